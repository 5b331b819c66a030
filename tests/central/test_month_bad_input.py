"""The month's bad input through real ledger, series and files: clocks that change, dials that fall, texts that bite.

What a single rule makes of it is proven where the rule is (test_utility, test_close, test_month_checks, test_manual).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import update

from collector.central.database import segment
from collector.central.engine import writing
from collector.central.store.series import Sample
from drivers import profile as profiles
from tests.central.books import Centre, at, own_utility, point, wh
from tests.central.building import GATEWAY

pytestmark = pytest.mark.usefixtures("database")

ONE = "{1.8.0: total, 1.8.1: T1, 1.8.2: T2}"
EVERY_FORM = """
- {format: messages, file: sms.txt, line: "{account} {values}"}
- {format: phone, file: phone.txt}
- {format: building, file: building.csv}
- format: registry
  file: registry.csv
  columns: [{title: account, value: "{account}"}, {title: where, value: "{address}"}]
- {format: iec61968-9, file: readings.xml}
""".replace("\n", "\n  ")


@pytest.fixture
def made() -> Iterator[list[Centre]]:
    """Centres to be closed when the test is over."""
    centres: list[Centre] = []
    yield centres
    for centre in centres:
        centre.store.close()
        centre.engine.dispose()


# ----------------------------------------------------------------------------- clocks


@pytest.mark.parametrize(
    ("period", "zone", "begins", "ends", "says"),
    [
        # At 01:00 on 1 November 2026 it is 00:00 again: the month ended with the first of the two midnights.
        ("2026-10", "America/Havana", "2026-10-01 00:00:00", "2026-11-01 00:00:00", "2026-11-01T04:00:00.000Z"),
        # On 1 April 2011 the clocks went from 00:00 to 01:00: there was no midnight, the month ended with the change.
        ("2011-03", "Asia/Amman", "2011-03-01 00:00:00", "2011-04-01 01:00:00", "2011-03-31T22:00:00.000Z"),
        # The clocks of Berlin go back a week before the month ends: an hour more to bill, and no other edge.
        ("2026-10", "Europe/Berlin", "2026-10-01 00:00:00", "2026-11-01 00:00:00", "2026-10-31T23:00:00.000Z"),
        # 29 February lies before the edge.
        ("2028-02", "Europe/Moscow", "2028-02-01 00:00:00", "2028-03-01 00:00:00", "2028-02-29T21:00:00.000Z"),
        ("2027-02", "Europe/Moscow", "2027-02-01 00:00:00", "2027-03-01 00:00:00", "2027-02-28T21:00:00.000Z"),
    ],
)  # fmt: skip
def test_a_month_ends_once_where_its_own_calendar_has_it(
    made: list[Centre], tmp_path: Path, period: str, zone: str, begins: str, ends: str, says: str
) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1", time_zone=zone))
    made.append(centre)
    for edge, kwh in ((begins, ("100", "100.4", "101")), (ends, ("250", "250.4", "251"))):
        moment = at(edge, zone)
        for offset, value in zip((-900_000, 0, 900_000), kwh, strict=True):
            _write(centre, moment + offset, value)
        _write(centre, moment + 3_600_000, str(int(kwh[2]) + 1))  # the other midnight of Havana, which ends nothing
    before = f"{period[:5]}{int(period[5:]) - 1:02d}"
    centre.close(before, now="2029-01-01 00:00:00")
    centre.close(period, now="2029-01-01 00:00:00")
    (row,) = centre.billing(period)
    assert (row["start_kwh"], row["end_kwh"], row["consumption_kwh"]) == ("100", "250", "150")
    assert (row["end_time"], row["status"]) == (says, "ready")


def _write(centre: Centre, time: int, kwh: str) -> None:
    centre.store.write([Sample("live", "m1", GATEWAY, time, {"1.8.0": wh(kwh)})])


# ----------------------------------------------------------------------------- dials


def quiet(centre: Centre, *months: tuple[str, str]) -> None:
    for month, kwh in months:
        centre.month_of("m1", month, {"1.8.0": kwh})


def test_a_value_sent_with_decimals_and_cut_since_is_held_and_not_sent_below_itself(
    made: list[Centre], tmp_path: Path
) -> None:
    forms = {"outputs": EVERY_FORM, "labels": ONE}
    centre = Centre(tmp_path, point(1, tariffs="1"))
    made.append(centre)
    quiet(centre, ("2026-08", "90.10"), ("2026-09", "100.57"), ("2026-10", "100.90"))
    for month, decimals in (("2026-08", "2"), ("2026-09", "2"), ("2026-10", "0")):
        centre.close(month, by=own_utility(decimals=decimals, **forms))
    (before,), (after,) = centre.billing("2026-09"), centre.billing("2026-10")
    assert (before["end_kwh"], before["status"]) == ("100.57", "ready")
    assert (after["end_kwh"], after["status"]) == ("100", "held")
    assert "below-sent" in centre.checks("2026-10")
    sent = centre.out / "2026-10" / "generic" / "r1" / "submissions"
    assert (sent / "sms.txt").read_bytes() == b""
    assert "100" not in (sent / "phone.txt").read_text(encoding="utf-8").split()


def test_a_dial_that_turns_over_at_the_very_edge_is_billed_through_its_nines(
    made: list[Centre], tmp_path: Path
) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    made.append(centre)
    centre.profiles["abb-b23"] = profiles.load("abb-b23").model_copy(update={"digits": 5})
    quiet(centre, ("2026-08", "99850"), ("2026-09", "99900"))
    for moment, kwh in (("10-31 23:45:00", "99999.9"), ("11-01 00:00:02", "0.1"), ("11-01 00:15:00", "0.2")):
        centre.read("m1", f"2026-{moment}", {"1.8.0": kwh}, kept=True)
    quiet(centre, ("2026-11", "40"))
    for month in ("2026-08", "2026-09", "2026-10", "2026-11"):
        centre.close(month)
    used = [centre.billing(month)[0] for month in ("2026-09", "2026-10", "2026-11")]
    assert [(row["end_kwh"], row["consumption_kwh"], row["status"]) for row in used] == [
        ("99900", "50", "ready"), ("0", "100", "ready"), ("40", "40", "ready"),
    ]  # fmt: skip
    assert "rollover" in centre.checks("2026-10")


def test_a_reading_that_comes_twice_is_one_and_changes_nothing(made: list[Centre], tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    made.append(centre)
    quiet(centre, ("2026-09", "100"), ("2026-10", "150"))
    centre.close("2026-09")
    centre.close("2026-10")
    files, rows = centre.files(), len(centre.ledger())
    quiet(centre, ("2026-09", "100"), ("2026-10", "150"))
    centre.close("2026-10")
    assert (centre.files(), len(centre.ledger())) == (files, rows)


# ----------------------------------------------------------------------------- texts


HOSTILE = ("=cmd|'/c calc'!A0", "@SUM(1;2)", "-1+2", "]]><x/>&amp;", '"><MeterReading/>', "43*45;6", "a,b")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_account_or_address_is_a_formula_a_tag_or_a_further_field_anywhere(
    made: list[Centre], tmp_path: Path, text: str
) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1", account=text, address=text, flat=text[:8]))
    made.append(centre)
    quiet(centre, ("2026-09", "100"), ("2026-10", "150"))
    forms = own_utility(outputs=EVERY_FORM, labels=ONE)
    centre.close("2026-09", by=forms)
    centre.close("2026-10", by=forms)
    folder = centre.out / "2026-10" / "generic" / "r1"
    for path in (*folder.glob("*.csv"), *(folder / "submissions").glob("*.csv")):
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8")), strict=True):
            for cell in row:
                assert not re.match(r"[=+@\t]|-(?![0-9.]+$)", cell), f"{path.name}: {cell}"
    message = etree.parse(folder / "submissions" / "readings.xml")
    names = message.xpath("//*[local-name()='MeterReading']")
    assert len(names) == 1
    assert any(element.text == text for element in message.iter())
    assert [row["account"].removeprefix("'") for row in centre.billing("2026-10")] == [text]


# ----------------------------------------------------------------------------- ratios


@pytest.mark.parametrize(("by_act", "status"), [("40", "ready"), ("20", "held"), (None, "ready")])
def test_a_ratio_of_the_act_that_the_registry_does_not_have_holds_the_row(
    made: list[Centre], tmp_path: Path, by_act: str | None, status: str
) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1", ratio="40"))
    made.append(centre)
    quiet(centre, ("2026-09", "100"), ("2026-10", "110"))
    with writing(centre.engine) as connection:
        connection.execute(update(segment).values(ratio=by_act))
    centre.close("2026-09")
    centre.close("2026-10")
    assert [row["status"] for row in centre.billing("2026-10")] == [status]
    said = [row["text"] for row in centre.findings("2026-10") if row["check"] == "ratio"]
    assert said == (["the act that hung m1 says ratio 20, the registry 40"] if status == "held" else [])
