"""Closing a month at the centre: files, revisions, what is looked at, points that change hands, the preview."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from collector import localtime
from collector.central import closing, ledger, utility
from collector.central.billing_files import BILLING, FINDINGS
from collector.central.closing import preview_month
from collector.exits import UsageFault
from tests.central.books import FIRST, GENERIC, SECOND, Centre, at, own_utility, point, two_flats
from tests.central.building import bring

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return two_flats(tmp_path)


def statuses(rows: list[dict[str, str]]) -> list[str]:
    return [row["status"] for row in rows]


# ----------------------------------------------------------------------------- files


def test_a_month_is_a_folder_of_three_files_and_a_place_for_submissions(centre: Centre) -> None:
    closed = centre.close("2026-10")
    assert closed.folder == centre.out / "2026-10" / "generic" / "r1"
    names = sorted(path.name for path in closed.folder.iterdir())
    assert names == ["billing.csv", "findings.csv", "manifest.json", "submissions"]
    assert list((closed.folder / "submissions").iterdir()) == []
    assert sorted(path.name for path in closed.folder.parent.iterdir()) == ["r1"]


def test_the_columns_are_those_of_the_contract(centre: Centre) -> None:
    centre.close("2026-10")
    files = {name.rsplit("/", 1)[-1]: data.decode() for name, data in centre.files().items()}
    assert files["billing.csv"].split("\n", 1)[0] == (
        "period,utility,account,point,meter,serial_number,register,label,start_time,start_kwh,end_time,end_kwh,ratio,"
        "consumption_kwh,status,method,quality,revision,digest"
    )
    assert files["findings.csv"].split("\n", 1)[0] == (
        "period,account,point,meter,register,time,check,level,quality,text"
    )
    assert (len(BILLING), len(FINDINGS)) == (19, 10)


def test_the_manifest_counts_the_rows_and_names_each_file_with_its_digest(centre: Centre) -> None:
    centre.close("2026-10")
    folder = centre.out / "2026-10" / "generic" / "r1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest) == [
        "schema", "period", "utility", "revision", "expected", "ready", "held", "missing", "estimated", "files",
        "previous",
    ]  # fmt: skip
    assert [manifest[name] for name in ("expected", "ready", "held", "missing", "estimated")] == [4, 2, 0, 2, 0]
    assert (manifest["schema"], manifest["period"], manifest["utility"]) == (1, "2026-10", "generic")
    assert manifest["previous"] is None
    for file in manifest["files"]:
        data = (folder / file["name"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["rows"] == data.count(b"\n") - 1


def test_the_next_revision_names_the_manifest_before_it(centre: Centre) -> None:
    centre.close("2026-10")
    centre.month_of("m2", "2026-10", FIRST)
    centre.close("2026-10")
    first, second = ((centre.out / "2026-10" / "generic" / f"r{n}" / "manifest.json").read_bytes() for n in (1, 2))
    assert json.loads(second)["previous"] == hashlib.sha256(first).hexdigest()


def test_rows_are_sorted_by_account_receipt_order_point_and_register(tmp_path: Path) -> None:
    places = [("b", "2", "kv1"), ("b", "10", "kv2"), ("a", "3", "kv3"), ("b", "2", "kv0"), ("Ä", "1", "kv5")]
    rows = [
        point(number, account=account, receipt_order=order, point=name)
        for number, (account, order, name) in enumerate(places)
    ]
    centre = Centre(tmp_path, *rows)
    centre.close("2026-10")
    assert [(row["point"], row["register"]) for row in centre.billing("2026-10")] == [
        (name, code) for name in ("kv3", "kv0", "kv1", "kv2", "kv5") for code in ("1.8.1", "1.8.2")
    ]
    assert [row["point"] for row in centre.findings("2026-10")][::2] == ["kv3", "kv0", "kv1", "kv2", "kv5"]


@pytest.mark.parametrize("account", ["=1+1", "+79161234567", "-1", "@cmd"])
def test_a_text_that_a_spreadsheet_would_calculate_gets_an_apostrophe(tmp_path: Path, account: str) -> None:
    centre = Centre(tmp_path, point(1, account=account))
    centre.close("2026-10")
    assert {row["account"] for row in centre.billing("2026-10") + centre.findings("2026-10")} == {f"'{account}"}


def test_a_negative_number_is_a_number_and_gets_none(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    centre.month_of("m1", "2026-09", {"1.8.0": "100"})
    centre.month_of("m1", "2026-10", {"1.8.0": "90"})
    centre.close("2026-10")
    (row,) = centre.billing("2026-10")
    assert (row["consumption_kwh"], row["status"]) == ("-10", "held")


def test_accounts_with_commas_quotes_asterisks_and_semicolons_come_out_as_they_are(tmp_path: Path) -> None:
    account = '4347*45;6,"x" № 7 😀'
    centre = Centre(tmp_path, point(1, account=account))
    centre.close("2026-10")
    data = (centre.out / "2026-10" / "generic" / "r1" / "billing.csv").read_bytes()
    assert b'"4347*45;6,""x"" \xe2\x84\x96 7 \xf0\x9f\x98\x80"' in data
    assert (b"\r" in data, data[:3]) == (False, b"per")
    assert centre.billing("2026-10")[0]["account"] == account


# ----------------------------------------------------------------------------- months and revisions


def test_the_first_month_has_no_start_and_the_second_begins_where_it_ended(centre: Centre) -> None:
    centre.close("2026-09")
    centre.close("2026-10")
    september, october = centre.billing("2026-09")[:2], centre.billing("2026-10")[:2]
    assert statuses(september) == ["held", "held"]
    assert centre.checks("2026-09")[:2] == ["no-start", "no-start"]
    assert [row["consumption_kwh"] for row in september + october] == ["", "", "50", "12"]
    assert [row["start_kwh"] for row in october] == [row["end_kwh"] for row in september] == ["100", "10"]
    assert [row["start_time"] for row in october] == [row["end_time"] for row in september]
    assert statuses(october) == ["ready", "ready"]


def test_closing_again_with_nothing_new_leaves_every_byte_and_the_ledger_as_they_are(centre: Centre) -> None:
    first = centre.close("2026-10", now="2026-11-02 08:00:00")
    files, rows = centre.files(), centre.ledger()
    again = centre.close("2026-10", now="2026-11-09 08:00:00")
    assert (again.changed, again.revision, again.counts) == (0, first.revision, first.counts)
    assert centre.files() == files
    assert centre.ledger() == rows


def test_the_same_inputs_give_the_same_bytes_anywhere_at_any_time(centre: Centre, tmp_path: Path) -> None:
    other = two_flats(tmp_path / "other")
    centre.close("2026-10", now="2026-11-02 08:00:00")
    other.close("2026-10", now="2027-03-02 08:00:00")
    assert centre.files() == other.files()


def test_more_proof_of_the_same_is_nothing_new(centre: Centre) -> None:
    centre.close("2026-10")
    centre.read("m1", "2026-10-31 23:50:00", SECOND)
    centre.read("m1", "2026-11-01 00:05:00", SECOND, kept=True)
    assert centre.close("2026-10").changed == 0


def test_a_late_value_gives_revision_rows_and_a_folder_with_the_whole_state(centre: Centre) -> None:
    centre.close("2026-10")
    r1 = centre.files()
    centre.month_of("m2", "2026-10", {"1.8.1": "7", "1.8.2": "8"})
    closed = centre.close("2026-10")
    assert (closed.changed, closed.revision) == (2, 2)
    before, after = centre.billing("2026-10", 1), centre.billing("2026-10", 2)
    assert after[:2] == before[:2]
    assert [(row["point"], row["end_kwh"], row["status"], row["revision"]) for row in after[2:]] == [
        ("kv2", "7", "held", "2"),
        ("kv2", "8", "held", "2"),
    ]
    revised = [row["text"] for row in centre.findings("2026-10", 2) if row["check"] == "revised"]
    assert revised[0] == "r1 had no reading (missing), now 7 kWh (held)"
    assert {name: data for name, data in centre.files().items() if "/r1/" in name} == r1


def test_an_earlier_asking_that_arrives_late_corrects_the_number_and_says_why(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    centre.month_of("m1", "2026-09", {"1.8.0": "90"})
    for when, dial in (("2026-10-31 23:45:00", "99"), ("2026-11-01 00:30:00", "102"), ("2026-11-01 00:45:00", "102")):
        centre.read("m1", when, {"1.8.0": dial})
    centre.close("2026-10")
    centre.read("m1", "2026-11-01 00:00:02", {"1.8.0": "100"}, kept=True)
    centre.close("2026-10")
    ends = [centre.billing("2026-10", revision)[0]["end_kwh"] for revision in (1, 2)]
    assert ends == ["102", "100"]
    assert centre.findings("2026-10", 2)[0]["text"] == "r1 had 102 kWh (ready), now 100 kWh (ready)"


def test_a_corrected_month_asks_for_the_next_to_be_closed_again_and_then_they_fit(centre: Centre) -> None:
    centre.month_of("m1", "2026-11", {"1.8.1": "200", "1.8.2": "30"})
    for month in ("2026-10", "2026-11"):
        assert centre.close(month).again is None
    centre.read("m1", "2026-11-01 00:00:00", {"1.8.1": "149.9", "1.8.2": "22.3"})
    assert centre.close("2026-10").again == "2026-11"
    assert centre.close("2026-11").changed == 2
    october, november = centre.billing("2026-10", 2), centre.billing("2026-11", 2)
    assert [row["end_kwh"] for row in october[:2]] == [row["start_kwh"] for row in november[:2]] == ["149", "22"]
    assert centre.close("2026-10").again is None


def test_a_value_is_held_until_the_next_asking_confirms_it(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    centre.month_of("m1", "2026-09", {"1.8.0": "90"})
    centre.read("m1", "2026-10-31 23:45:00", {"1.8.0": "99"})
    centre.read("m1", "2026-11-01 00:00:02", {"1.8.0": "100"}, kept=True)
    assert centre.close("2026-10", now="2026-11-01 00:05:00").counts["held"] == 1
    assert centre.checks("2026-10") == ["unconfirmed"]
    centre.read("m1", "2026-11-01 00:15:00", {"1.8.0": "100.1"})
    assert centre.close("2026-10", now="2026-11-01 00:20:00").counts["ready"] == 1
    assert statuses(centre.billing("2026-10", 1) + centre.billing("2026-10", 2)) == ["held", "ready"]


# ----------------------------------------------------------------------------- what is looked at


def test_neighbours_are_found_also_of_a_meter_that_is_asked_once_a_day(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    for day, dial in (("2026-09-30", "90"), ("2026-10-01", "91"), ("2026-10-02", "92")):
        centre.read("m1", f"{day} 00:00:03", {"1.8.0": dial}, kept=True)
    for day, dial in (("2026-10-31", "98"), ("2026-11-01", "99"), ("2026-11-02", "100")):
        centre.read("m1", f"{day} 00:00:03", {"1.8.0": dial}, kept=True)
    centre.close("2026-10")
    assert [(row["status"], row["consumption_kwh"]) for row in centre.billing("2026-10")] == [("ready", "8")]


def test_both_askings_of_a_frozen_value_are_found_however_late_the_second_was(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    centre.month_of("m1", "2026-09", {"1.8.0": "90"})
    centre.read("m1", "2026-11-01 00:00:20", {"1.8.0": "100.4"}, frozen={"2026-10": {"1.8.0": "99.8"}})
    assert centre.close("2026-10").counts["held"] == 1
    centre.read("m1", "2026-11-20 00:00:20", {"1.8.0": "160"}, frozen={"2026-10": {"1.8.0": "99.8"}})
    assert centre.close("2026-10").counts["ready"] == 1
    (row,) = centre.billing("2026-10", 2)
    assert (row["method"], row["end_kwh"], row["end_time"]) == ("frozen", "99", "2026-10-31T21:00:00.000Z")


def test_what_a_meter_froze_at_its_gateways_midnight_is_not_the_value_at_another_zones(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1", time_zone="Asia/Yekaterinburg"))  # two hours ahead of the gateway
    for when in ("2026-11-01 00:00:20", "2026-11-01 00:02:00"):
        centre.read("m1", when, {"1.8.0": "100.4"}, frozen={"2026-10": {"1.8.0": "99.8"}})
    for when in ("2026-10-31 21:45:00", "2026-10-31 22:00:02", "2026-10-31 22:15:00"):
        centre.read("m1", when, {"1.8.0": "98"})
    centre.close("2026-10")
    (row,) = centre.billing("2026-10")
    assert (row["method"], row["end_kwh"], row["end_time"]) == ("live", "98", "2026-10-31T19:00:02.000Z")


def test_points_in_four_zones_end_each_at_its_own_midnight(tmp_path: Path) -> None:
    zones = ("Asia/Kamchatka", "Asia/Yekaterinburg", "Europe/Moscow", "Europe/Kaliningrad")
    centre = Centre(tmp_path, *(point(n, tariffs="1", time_zone=zone) for n, zone in enumerate(zones)))
    midnights = ("2026-10-31 15:00:00", "2026-10-31 22:00:00", "2026-11-01 00:00:00", "2026-11-01 01:00:00")
    for number in range(len(zones)):
        for hour, kwh in enumerate(("10", "11", "12", "13")):
            centre.read(f"m{number}", midnights[hour], {"1.8.0": kwh})
    with pytest.raises(UsageFault, match=r"Kaliningrad\), and there it is 2026-10-31 23:59:59"):
        centre.close("2026-10", now="2026-11-01 00:59:59")
    closed = centre.close("2026-10", now="2026-11-01 01:00:00")
    assert closed.edges == (at("2026-10-31 15:00:00"), at("2026-11-01 01:00:00"))
    assert [row["end_kwh"] for row in centre.billing("2026-10")] == ["10", "11", "12", "13"]


def test_what_the_registry_says_after_the_edge_does_not_change_the_period_before(centre: Centre) -> None:
    bring(centre.engine, point(1, account="moved-in"), now=at("2026-11-01 00:00:00"))
    bring(centre.engine, point(2, account="renamed"), now=at("2026-10-31 23:59:59"))
    centre.close("2026-10")
    assert {row["account"] for row in centre.billing("2026-10")} == {"10001", "renamed"}


def test_a_point_that_changes_hands_is_billed_once_a_month(centre: Centre) -> None:
    early = own_utility(id="other", edge="{day: 25}")
    bring(centre.engine, point(1, utility="other"), point(2), now=at("2026-09-01 00:00:00"))
    assert centre.close("2026-10", by=early).expected == 2
    bring(centre.engine, point(1, utility="generic"), now=at("2026-10-28 00:00:00"))
    assert centre.close("2026-10").expected == 2  # kv2 alone: October of kv1 was billed by the other
    assert centre.close("2026-10", by=early).changed == 0
    assert [row["point"] for row in centre.billing("2026-10")] == ["kv2", "kv2"]


def test_a_month_begins_where_the_utility_that_billed_the_point_before_ended_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.yaml").write_text(
        "{schema: 1, id: other, title: Other, edge: {day: 25}, labels: {1.8.0: total}}"
    )
    monkeypatch.setattr(utility, "UTILITIES", tmp_path)
    centre = Centre(tmp_path, point(1, tariffs="1", utility="other"))
    for edge, dial in (("2026-10-25", "20"), ("2026-12-01", "50")):
        for time in ("00:00:00", "00:15:00", "00:30:00"):
            centre.read("m1", f"{edge} {time}", {"1.8.0": dial})
        centre.read("m1", localtime.rfc3339(at(f"{edge} 00:00:00") - 900_000)[:19].replace("T", " "), {"1.8.0": dial})
    bring(centre.engine, point(1, tariffs="1", utility="generic"), now=at("2026-10-28 00:00:00"))
    centre.close("2026-10", by=utility.load("other"))
    centre.close("2026-11")
    (row,) = centre.billing("2026-11")
    assert (row["start_time"], row["start_kwh"], row["end_kwh"]) == ("2026-10-24T21:00:00.000Z", "20", "50")


def test_a_zone_that_is_corrected_later_does_not_move_an_edge_that_has_passed(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1))
    bring(centre.engine, point(1, time_zone="Asia/Kamchatka"), now=at("2026-11-05 00:00:00"))
    assert centre.close("2026-10").edges == (at("2026-11-01 00:00:00"),) * 2
    assert centre.close("2026-11").edges == (at("2026-11-30 15:00:00"),) * 2


def test_a_replaced_meter_is_closed_over_both(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    centre.month_of("m1", "2026-09", {"1.8.0": "100.9"})
    centre.hang("kv1", "m9", "2026-10-15 10:15:00", {"1.8.0": "150.7"}, {"1.8.0": "3.3"})
    centre.month_of("m9", "2026-10", {"1.8.0": "20.2"})
    centre.close("2026-10")
    (row,) = (row for row in centre.billing("2026-10") if row["point"] == "kv1")
    assert (row["meter"], row["serial_number"], row["start_kwh"], row["end_kwh"]) == ("m9", "77", "100", "20")
    assert (row["consumption_kwh"], row["status"]) == ("67", "ready")
    centre.month_of("m9", "2026-11", {"1.8.0": "40"})
    centre.close("2026-11")
    assert [row["consumption_kwh"] for row in centre.billing("2026-11") if row["point"] == "kv1"] == ["20"]


# ----------------------------------------------------------------------------- preview


def test_a_preview_says_what_a_close_would_give_and_leaves_no_trace(centre: Centre) -> None:
    shown = preview_month(centre.books, "2026-10", GENERIC)
    assert (centre.ledger(), centre.files(), centre.out.exists()) == ([], {}, False)
    closed = centre.close("2026-10")
    assert (shown.counts, shown.checks, shown.changed) == (closed.counts, closed.checks, closed.changed)
    assert (shown.revision, shown.folder, list(shown.rows)) == (None, None, list(closed.rows))


def test_a_preview_may_come_before_the_edge_and_a_close_may_not(centre: Centre) -> None:
    assert preview_month(centre.books, "2030-01", GENERIC).counts["missing"] == 4
    with pytest.raises(UsageFault, match="2030-01 of generic ends at 2030-02-01 00:00:00"):
        centre.close("2030-01", now="2030-01-31 23:59:59")
    assert centre.close("2030-01", now="2030-02-01 00:00:00").expected == 4


def test_a_utility_without_points_cannot_be_closed(centre: Centre) -> None:
    for act in (centre.close, lambda period, by: preview_month(centre.books, period, by)):
        with pytest.raises(UsageFault, match="other has no points to bill in 2026-10"):
            act("2026-10", by=own_utility(id="other"))


def test_utilities_are_found_by_the_points_that_they_bill(centre: Centre) -> None:
    assert [item.id for item in closing.utilities_with_points(centre.books, "2026-10")] == ["generic"]
    assert closing.utilities_with_points(Centre(centre.out / "new").books, "2026-10") == []


def test_closing_in_small_parts_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for at_once in (1, 2, 1000):
        monkeypatch.setattr(closing, "_AT_ONCE", at_once)
        monkeypatch.setattr(ledger, "_AT_ONCE", at_once)
        centre = Centre(
            tmp_path / f"{at_once}", *(point(n, account=f"{n % 2}", tariffs=f"{n % 4 + 1}") for n in range(5))
        )
        centre.close("2026-10")
        emitted = centre.files()
        centre.books = closing.Books(centre.engine, centre.store, tmp_path / f"{at_once}-again")
        centre.out = centre.books.out
        centre.close("2026-10")
        assert centre.files() == emitted
        found.append(emitted)
    assert found[0] == found[1] == found[2]
