"""A clerk's month, gone through from end to end: what must not happen. What is marked is not mended yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import update

from collector.central import utility as utilities
from collector.central.closing import NoPoints
from collector.central.database import segment
from collector.central.engine import writing
from collector.central.explain import explain
from collector.central.points_csv import parse
from collector.central.points_import import import_points
from collector.central.store.series import Sample
from collector.central.utility import Utility
from collector.clock import SystemClock
from tests.central.books import FIRST, GENERIC, SECOND, Centre, at, own_utility, point
from tests.central.building import GATEWAY, ZONE, Meterline, bring, central_yaml, points_csv

pytestmark = pytest.mark.usefixtures("database")
NOW = "2026-11-02 08:00:00"
SMS = own_utility(outputs='[{format: messages, file: sms.txt, line: "{account}*{values}", join: "*"}]')
STES = utilities.load("stes-strezhevoy")


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    """A flat that was read at the ends of September and October; it is 2 November."""
    monkeypatch.setattr(SystemClock, "millis", lambda _: at(NOW))
    made = Centre(tmp_path, point(1))
    made.month_of("m1", "2026-09", FIRST)
    made.month_of("m1", "2026-10", SECOND)
    yield made
    made.store.close()
    made.engine.dispose()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return central_yaml(tmp_path)


# ----------------------------------------------------------------------------- a wrong number is put right


def rows(centre: Centre, revision: int, by: str = "generic") -> dict[str, Mapping[str, str]]:
    return {row["register"]: row for row in centre.billing("2026-10", revision, by)}


def test_a_reading_by_hand_takes_the_place_of_a_meters_value_that_was_rejected(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    meterline("close", "2026-10", "--config", config)
    why = ("--register", "1.8.1", "--reason", "the dial shows 140")
    assert meterline("exceptions", "reject", "2026-10", "kv1", *why, "--config", config).status == 0
    assert rows(centre, 2)["1.8.1"]["status"] == "missing"
    told = ("10001", "2026-10", "140", "22", "--source", "visit")
    assert meterline("manual", "enter", *told, "--config", config).status == 0
    assert "r3" in meterline("close", "2026-10", "--config", config).err
    row = rows(centre, 3)["1.8.1"]
    assert (row["end_kwh"], row["consumption_kwh"], row["method"]) == ("140", "40", "manual")


def test_a_reading_by_hand_behind_a_rejection_is_held_accepted_and_rejected_by_itself(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    meterline("close", "2026-10", "--config", config)
    one = ("--register", "1.8.1", "--reason", "look", "--config", config)
    meterline("exceptions", "reject", "2026-10", "kv1", *one)
    meterline("manual", "enter", "10001", "2026-10", "90", "22", "--source", "visit", "--config", config)  # below 100
    meterline("close", "2026-10", "--config", config)
    row = rows(centre, 3)["1.8.1"]
    assert (row["end_kwh"], row["status"], row["method"]) == ("90", "held", "manual")
    assert meterline("exceptions", "accept", "2026-10", "kv1", *one).status == 0
    row = rows(centre, 4)["1.8.1"]
    assert (row["end_kwh"], row["status"], row["method"]) == ("90", "ready", "manual")
    assert meterline("exceptions", "reject", "2026-10", "kv1", *one).status == 0
    row = rows(centre, 5)["1.8.1"]
    assert (row["end_kwh"], row["status"], row["method"]) == ("", "missing", "")
    meterline("manual", "enter", "10001", "2026-10", "141", "22", *one[2:])
    meterline("close", "2026-10", "--config", config)
    row = rows(centre, 6)["1.8.1"]
    assert (row["end_kwh"], row["status"], row["method"]) == ("141", "ready", "manual")  # never the meter's 150 again


# ----------------------------------------------------------------------------- every month is somebody's


def move(centre: Centre, utility: str, when: str) -> None:
    """points.csv names this utility from now on."""
    data = points_csv([point(1, tariffs="1", utility=utility)])
    found = parse(data, "points.csv", default_zone=ZONE, utilities=set(utilities.known()))
    import_points(centre.engine, found, "points.csv", now=at(when), who="olga", dry_run=False)


def billed(centre: Centre, by: Utility, period: str) -> int:
    """kWh that a utility bills of the point in a period; 0 where it has none there."""
    try:
        centre.close(period, by=by)
    except NoPoints:
        return 0
    (row,) = centre.billing(period, by=by.id)
    return int(row["consumption_kwh"])


@pytest.mark.parametrize(
    ("first", "second", "moved"),
    [
        ("generic", "stes-strezhevoy", "2026-10-10 12:00:00"),
        ("generic", "stes-strezhevoy", "2026-10-25 12:00:00"),
        ("stes-strezhevoy", "generic", "2026-10-10 12:00:00"),
        ("stes-strezhevoy", "generic", "2026-10-25 12:00:00"),
    ],
)
def test_a_point_that_goes_to_another_utility_is_billed_for_every_hour(
    tmp_path: Path, first: str, second: str, moved: str
) -> None:
    """The meter counts one kWh an hour; the utilities' months end on the 23rd and on the 1st."""
    centre = Centre(tmp_path)
    move(centre, first, "2026-08-01 00:00:00")
    move(centre, second, moved)
    begins, ends = at("2026-08-20 00:00:00"), at("2026-12-02 00:00:00")
    hours = range(begins, ends, 3_600_000)
    centre.store.write([
        Sample("live", "m1", GATEWAY, time + 2000, {"1.8.0": 1_000_000 + 1000 * place})
        for place, time in enumerate(hours)
    ])  # fmt: skip
    utilities_ = [STES, GENERIC]
    centre.close("2026-08", by=utilities.load(first))
    total = sum(billed(centre, by, period) for period in ("2026-09", "2026-10", "2026-11") for by in utilities_)
    opening, closing = (
        utilities.load(name).edge_of(period, ZONE).at for name, period in ((first, "2026-08"), (second, "2026-11"))
    )
    assert total == (closing - opening) // 3_600_000


# ----------------------------------------------------------------------------- transformers


def test_each_meter_of_a_month_is_billed_with_the_ratio_of_its_own_transformers(tmp_path: Path) -> None:
    """Until 10 October a meter behind transformers of 40, then a direct one; registry and act agree on both."""
    centre = Centre(tmp_path, point(1, tariffs="1", ratio="40"))
    centre.month_of("m1", "2026-09", {"1.8.0": "100"})
    centre.hang("kv1", "m9", "2026-10-10 12:00:00", {"1.8.0": "120"}, {"1.8.0": "0"})
    bring(
        centre.engine, point(1, tariffs="1", ratio="1", meter="m9", serial_number="77"), now=at("2026-10-10 12:00:00")
    )
    with writing(centre.engine) as connection:
        connection.execute(update(segment).where(segment.c.meter == "m9").values(ratio="1"))
    centre.month_of("m9", "2026-10", {"1.8.0": "100"})
    centre.close("2026-10")
    (row,) = (row for row in centre.billing("2026-10") if row["point"] == "kv1")
    assert (row["status"] == "held") or row["consumption_kwh"] == "900"


# ----------------------------------------------------------------------------- a number that was sent never shrinks


@pytest.mark.parametrize("october", [{"1.8.0": "80"}, None])
def test_a_number_below_one_that_was_sent_is_held_also_behind_a_month_that_was_not_billed(
    tmp_path: Path, october: Mapping[str, str] | None
) -> None:
    """A meter that somebody set back, or changed without an act: 100 kWh are sent, and later 90 and 99."""
    centre = Centre(tmp_path, point(1, tariffs="1"))
    dials = {"2026-08": {"1.8.0": "50"}, "2026-09": {"1.8.0": "100"}, "2026-10": october,
             "2026-11": {"1.8.0": "90"}, "2026-12": {"1.8.0": "99"}}  # fmt: skip
    for period, dial in dials.items():
        if dial is not None:
            centre.month_of("m1", period, dial)
    sent = []
    for period in dials:
        centre.close(period)
        (row,) = centre.billing(period)
        if row["status"] == "ready":
            sent.append(int(row["end_kwh"]))
    assert sent == sorted(sent)


# ----------------------------------------------------------------------------- what a clerk reads


def test_a_decision_about_a_month_says_which_closed_month_starts_from_it(
    tmp_path: Path, config: Path, meterline: Meterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemClock, "millis", lambda _: at(NOW))
    centre = Centre(tmp_path, point(1))
    centre.month_of("m1", "2026-09", FIRST)
    centre.month_of("m1", "2026-10", SECOND)
    centre.close("2026-09")
    centre.close("2026-10")
    answer = meterline("exceptions", "reject", "2026-09", "kv1", "--reason", "wrong dial", "--config", config)
    assert answer.status == 0
    assert "2026-10 is closed already and starts from these rows: close it again" in answer.err


@pytest.mark.parametrize("account", ["1", "日"])
def test_the_story_of_a_number_shows_the_lines_of_its_own_account_alone(tmp_path: Path, account: str) -> None:
    centre = Centre(tmp_path, point(1, account=account), *(point(n, account=f"2100{n}") for n in range(2, 9)))
    for number in range(1, 9):
        centre.month_of(f"m{number}", "2026-09", FIRST)
        centre.month_of(f"m{number}", "2026-10", SECOND)
    centre.close("2026-09", by=SMS)
    centre.close("2026-10", by=SMS)
    shown = [line for line in explain(centre.books, "kv1", "2026-10") if "sms.txt:" in line]
    assert [line.split(": ", 1)[1] for line in shown] == [f"{account}*150*22"] * 2  # once for each register


def test_a_sentence_about_a_point_that_is_read_by_hand_names_the_point(
    tmp_path: Path, config: Path, meterline: Meterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = {"meter": "", "serial_number": "", "profile": "", "gateway": ""}
    centre = Centre(tmp_path, point(1, tariffs="1", **nobody))
    for period, told, kwh in (("2026-09", "2026-09-25", "100"), ("2026-10", "2026-10-25", "99")):
        monkeypatch.setattr(SystemClock, "millis", lambda _, day=told: at(f"{day} 10:00:00"))
        meterline("manual", "enter", "10001", period, kwh, "--config", config)
    centre.close("2026-09")
    monkeypatch.setattr(SystemClock, "millis", lambda _: at(NOW))
    meterline("exceptions", "accept", "2026-09", "kv1", "--reason", "first month", "--config", config)
    centre.close("2026-10")
    (said,) = [row["text"] for row in centre.findings("2026-10") if row["check"] == "backwards"]
    assert said == "1.8.0 of the point ends with 99 kWh, below the 100 kWh that it started from"


@pytest.mark.parametrize(("now", "late"), [("2026-10-25 23:00:00", False), ("2026-10-26 10:00:00", True)])
def test_who_closes_after_the_utilitys_window_is_told_so(
    tmp_path: Path, config: Path, meterline: Meterline, monkeypatch: pytest.MonkeyPatch, now: str, late: bool
) -> None:
    """Elektroset takes readings until the 25th."""
    monkeypatch.setattr(SystemClock, "millis", lambda _: at(now))
    centre = Centre(tmp_path)
    move(centre, "elektroset", "2026-08-01 00:00:00")
    answer = meterline("close", "2026-10", "--config", config)
    said = "elektroset took readings for 2026-10 until 2026-10-25 23:59:59 (Europe/Moscow): ask it before"
    assert (answer.status, said in answer.err) == (0, late)
    assert said not in meterline("close", "2026-10", "--config", config).err  # nothing new, nothing to send


@pytest.mark.parametrize("period", ["0001-01", "1999-12", "9999-12", "2026-13", "2026-1"])
@pytest.mark.parametrize(
    "command",
    ["close {}", "close {} --status", "walk {}", "exceptions list {}", "explain kv1 {}", "manual enter 10001 {} 1 2"],
)
def test_what_is_no_month_that_could_be_billed_ends_with_2_and_a_sentence(
    centre: Centre, config: Path, meterline: Meterline, period: str, command: str
) -> None:
    answer = meterline(*command.format(period).split(), "--config", config)
    assert (answer.status, answer.out, period in answer.err, "Traceback" in answer.err) == (2, "", True, False)
