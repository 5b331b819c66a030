"""Readings by hand: the phone, messages, elders' lists; what is refused and why, and what the close makes of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.central import utility
from collector.central.manual_desk import Desk, Refused
from collector.central.manual_lines import Line, read
from collector.central.utility import Utility
from collector.clock import SystemClock
from tests.central.books import FIRST, GENERIC, Centre, at, own_utility, point
from tests.central.building import ZONE, Meterline, central_yaml

pytestmark = pytest.mark.usefixtures("database")
NOBODY = {"meter": "", "serial_number": "", "profile": "", "gateway": ""}
NOW = "2026-10-22 10:00:00"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return central_yaml(tmp_path)


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    """A flat with two tariffs, one read by hand, and an account with two meters and odd signs in its name."""
    monkeypatch.setattr(SystemClock, "millis", lambda _: at(NOW))
    centre = Centre(
        tmp_path,
        point(1),
        point(2, tariffs="1", **NOBODY),
        point(3, account="43*45;6 7", tariffs="1"),
        point(4, account="43*45;6 7", receipt_order="2"),
    )
    yield centre
    centre.store.close()
    centre.engine.dispose()


def desk(centre: Centre, told: str = NOW, by: Utility = GENERIC, period: str = "2026-10") -> Desk:
    return Desk(centre.engine, by, period, at(told), default_zone=ZONE)


def lines(centre: Centre, text: str | bytes, **keys: object) -> list[Line]:
    data = text.encode() if isinstance(text, str) else text
    return read(data, "list.txt", desk(centre, **keys))  # type: ignore[arg-type]


def only(centre: Centre, text: str) -> Line:
    (found,) = lines(centre, text)
    return found


# ----------------------------------------------------------------------------- messages


@pytest.mark.parametrize("text", ["10001*1500*320", "10001 1500 320", "  10001 1500 320\r\n", "\ufeff10001*1500*320"])
def test_a_message_is_an_account_and_its_readings_in_the_order_of_the_receipt(centre: Centre, text: str) -> None:
    line = only(centre, text)
    assert (line.account, line.verdict, line.text) == ("10001", "accepted", "")
    assert line.taken is not None
    assert [(item.point, item.register, item.meter, item.wh) for item in line.taken.readings] == [
        ("kv1", "1.8.1", "m1", 1_500_000),
        ("kv1", "1.8.2", "m1", 320_000),
    ]


@pytest.mark.parametrize("text", ["43*45;6 7*1*2*3", "43*45;6 7 1 2 3"])
def test_an_account_with_asterisks_semicolons_and_blanks_is_found_whole(centre: Centre, text: str) -> None:
    line = only(centre, text)
    assert (line.account, line.verdict) == ("43*45;6 7", "accepted")
    assert line.taken is not None
    assert [(item.point, item.register) for item in line.taken.readings] == [
        ("kv3", "1.8.0"),
        ("kv4", "1.8.1"),
        ("kv4", "1.8.2"),
    ]


def test_the_order_is_the_utilitys_own(centre: Centre) -> None:
    night_first = own_utility(labels="{1.8.0: total, 1.8.2: night, 1.8.1: day}")
    (line,) = lines(centre, "10001 320 1500", by=night_first)
    assert line.taken is not None
    assert {item.register: item.wh for item in line.taken.readings} == {"1.8.1": 1_500_000, "1.8.2": 320_000}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10001*1500", "1 readings; account 10001 has 2: kv1 T1, kv1 T2"),
        ("10001*1500*320*7", "3 readings; account 10001 has 2"),
        ("10001*01500*320", "'01500' is no reading: whole kWh in digits, no zeros in front, no point or comma"),
        ("10001*1500.5*320", "'1500.5' is no reading"),
        ("10001*-5*320", "'-5' is no reading"),
        ("10001*1e3*320", "'1e3' is no reading"),
        ("10001*١٢*320", "'١٢' is no reading"),
        ("10001**320", "'' is no reading"),
        ("10001  1500 320", "3 readings; account 10001 has 2"),
        ("10009*1*2", "no account of generic begins this line"),
        ("010001*1*2", "no account of generic begins this line"),
        ("Здравствуйте, мои показания 1500", "no account of generic begins this line"),
        ("10001*1500*320 10002*5", "3 readings; account 10001 has 2"),
        ("10001*1500*3\x0020", "characters that cannot be printed"),
        ("1" * 1001, "1001 characters; a line has at most 1000"),
        (b"10001*1500*\xff", "byte 12 of the line is 0xff, which is not UTF-8"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_with_its_reason(centre: Centre, text: str | bytes, said: str) -> None:
    (line,) = lines(centre, text)
    assert (line.verdict, line.taken) == ("refused", None)
    assert said in line.text


def test_a_line_that_may_be_two_accounts_is_refused(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, account="5"), point(2, account="5*6", tariffs="1"))
    line = only(centre, "5*6*7")
    assert (line.verdict, "this may be account 5 or 5*6" in line.text) == ("refused", True)


def test_the_same_line_again_changes_nothing_and_another_one_takes_both_out(centre: Centre) -> None:
    found = lines(centre, "10001*1*2\n\n10002*5\n10001*1*2\n10002*6\n")
    assert [(line.line, line.verdict, line.text) for line in found] == [
        (1, "accepted", ""),
        (3, "refused", "line 5 tells other readings of the same account: neither is taken"),
        (4, "duplicate", "the same as line 1"),
        (5, "refused", "line 3 tells other readings of the same account: neither is taken"),
    ]


# ----------------------------------------------------------------------------- lists


def test_a_list_names_meters_by_serial_number_and_proves_its_totals(centre: Centre) -> None:
    found = lines(
        centre,
        "account;flat;meter;t1;t2;total\n"
        "10001;1;;1500;320;1820\n"
        '"43*45;6 7";3;00003;77;;77\n'
        '"43*45;6 7";4;4;10;20;31\n'
        '"43*45;6 7";4;;10;20;30\n'
        '"43*45;6 7";4;0999;10;20;30\n'
        "10002;2;;5;6;11\n"
        "10002;2;5\n"
        '10002;2";";5;;5\n',
    )
    assert [(line.line, line.verdict) for line in found] == [
        (2, "accepted"), (3, "accepted"), (4, "refused"), (5, "refused"), (6, "refused"), (7, "refused"),
        (8, "refused"), (9, "refused"),
    ]  # fmt: skip
    said = {line.line: line.text for line in found}
    assert said[4] == "total: 31, but 10 + 20 is 30"
    assert said[5] == "account 43*45;6 7 has 2 meters; say which one it is, by its serial number"
    assert said[6] == "meter 0999 is not at account 43*45;6 7; there hang: 00003, 00004"
    assert said[7] == "2 readings; there are 1: 1.8.0"
    assert said[8] == "3 columns instead of 6"
    assert said[9].startswith("not CSV") or "instead of" in said[9]


def test_a_list_of_ten_thousand_lines_with_every_fault_in_it_gives_each_line_its_verdict(tmp_path: Path) -> None:
    centre = Centre(tmp_path, *(point(n, account=f"{70000 + n}", tariffs="1", **NOBODY) for n in range(10_000)))
    faults = {
        0: b"%d,12,", 1: b"%d,012,", 2: b"%d,12.5,", 3: b"%d,-1,", 4: b"%d,,", 5: b"%d,1e9,", 6: b"%d,12,13",
        7: b"x%d,12,", 8: b"%d,\xff,", 9: b"%d;12;", 10: b'%d,"12,', 11: b"%d,12,,,", 12: b"%d,=1+1,",
        13: b"%d,99999999999999,", 14: b"%d,1 2,", 15: b"%d,12\x00,",
    }  # fmt: skip
    rows = [faults[n % len(faults)] % (70000 + n) for n in range(10_000)]
    found = lines(centre, b"account,t1,total\n" + b"\r\n".join(rows), period="2026-10")
    assert [line.line for line in found] == list(range(2, 10_002))
    accepted = [n for n in range(10_000) if n % len(faults) == 0]
    assert [line.line - 2 for line in found if line.verdict == "accepted"] == accepted
    assert all(line.text for line in found if line.verdict == "refused")


# ----------------------------------------------------------------------------- the window


@pytest.mark.parametrize(
    ("window", "told", "open_"),
    [
        ("{first: 20, last: 25}", "2026-10-20 00:00:00", True),
        ("{first: 20, last: 25}", "2026-10-19 23:59:59", False),
        ("{first: 20, last: 25}", "2026-10-25 23:59:59", True),
        ("{first: 20, last: 25}", "2026-10-26 00:00:00", False),
        ("{first: 30, last: 3}", "2026-10-30 00:00:00", True),
        ("{first: 30, last: 3}", "2026-11-03 23:59:59", True),
        ("{first: 30, last: 3}", "2026-11-04 00:00:00", False),
        ("{first: 30, last: 3}", "2026-10-03 12:00:00", False),
    ],
)
def test_the_window_applies_to_its_first_and_last_second(centre: Centre, window: str, told: str, open_: bool) -> None:
    strict = own_utility(window=window)
    if open_:
        desk(centre, told, strict)
        return
    with pytest.raises(Refused, match="generic takes readings for 2026-10 from 2026-10-"):
        desk(centre, told, strict)


def test_a_window_ends_with_february_also_in_a_leap_year(centre: Centre) -> None:
    strict = own_utility(window="{first: 28, last: 31}")
    desk(centre, "2028-02-29 23:59:59", strict, "2028-02")
    with pytest.raises(Refused):
        desk(centre, "2028-03-01 00:00:00", strict, "2028-02")


def test_a_reading_of_before_the_period_is_another_months(centre: Centre) -> None:
    with pytest.raises(Refused, match="another month's"):
        desk(centre, "2026-09-30 23:59:59")


# ----------------------------------------------------------------------------- the phone, and the close


def test_a_reading_by_phone_is_billed_with_its_name_and_quality(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    answer = meterline("manual", "enter", "10002", "2026-10", "1234", "--config", config, "--by", "Olga")
    assert (answer.status, answer.err) == (0, "accepted: 1 reading of account 10002 for 2026-10\n")
    centre.close("2026-10")
    centre.close("2026-11")
    (row,) = [row for row in centre.billing("2026-10") if row["point"] == "kv2"]
    assert (row["end_kwh"], row["method"], row["status"], row["meter"]) == ("1234", "manual", "held", "")
    assert row["quality"] == "4.131 6.0"
    (said,) = [row["text"] for row in centre.findings("2026-10") if row["check"] == "by-hand"]
    assert said.startswith("1234.000 kWh, entered by Olga (entered by ")
    assert said.endswith("(by phone)")
    (later,) = [row for row in centre.billing("2026-11") if row["point"] == "kv2"]
    assert (later["status"], later["end_kwh"]) == ("missing", "")


def test_by_hand_alone_months_follow_each_other(
    centre: Centre, config: Path, meterline: Meterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for month, dial in (("2026-10", "1234"), ("2026-11", "1300")):
        monkeypatch.setattr(SystemClock, "millis", lambda _, month=month: at(f"{month}-22 10:00:00"))
        assert meterline("manual", "enter", "10002", month, dial, "--config", config).status == 0
    for month in ("2026-10", "2026-11"):
        centre.close(month)
    (row,) = [row for row in centre.billing("2026-11") if row["point"] == "kv2"]
    assert (row["start_kwh"], row["end_kwh"], row["consumption_kwh"], row["status"]) == ("1234", "1300", "66", "ready")


def test_what_the_meter_itself_says_comes_before_what_somebody_tells(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    meterline("manual", "enter", "10001", "2026-10", "90", "9", "--config", config)
    centre.close("2026-10")
    assert [row["method"] for row in centre.billing("2026-10")[:2]] == ["manual", "manual"]
    centre.month_of("m1", "2026-10", FIRST)
    centre.close("2026-10")
    assert [(row["method"], row["end_kwh"]) for row in centre.billing("2026-10", 2)[:2]] == [
        ("live", "100"),
        ("live", "10"),
    ]


def test_a_reading_that_the_meters_own_values_rule_out_is_held(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    centre.read("m1", "2026-10-31 22:30:00", {"1.8.1": "150", "1.8.2": "20"})  # too early to stand for the edge
    meterline("manual", "enter", "10001", "2026-10", "151", "20", "--config", config)
    centre.close("2026-10")
    said = [row["text"] for row in centre.findings("2026-10") if row["check"] == "unconfirmed"]
    assert said == [
        "151.000 kWh by hand does not fit what m1 itself said, 150.000 kWh at 2026-10-31 22:30:00",
    ]


def test_a_correction_needs_a_reason_and_says_what_it_replaced(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    def enter(*more: str) -> tuple[int, str]:
        answer = meterline("manual", "enter", "10002", "2026-10", *more, "--config", config)
        return answer.status, answer.err

    assert enter("1234")[0] == 0
    assert enter("1234") == (0, "nothing new\n")
    status, text = enter("1243")
    assert (status, "kv2 total has 1234.000 kWh already (by phone" in text) == (2, True)
    assert enter("1243", "--reason", "digits swapped")[0] == 0
    centre.close("2026-10")
    (said,) = [row["text"] for row in centre.findings("2026-10") if row["check"] == "by-hand"]
    assert said.endswith("; it takes the place of 1234.000 kWh: digits swapped")


def test_what_is_below_last_months_number_is_told_at_once_and_held(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    centre.month_of("m1", "2026-09", FIRST)
    centre.close("2026-09")
    answer = meterline("manual", "enter", "10001", "2026-10", "99", "11", "--config", config)
    assert "look at this: kv1 T1: 99.000 kWh is below the 100 kWh of 2026-09; ask again" in answer.err


def test_an_import_enters_what_is_sound_and_ends_with_5_where_a_line_was_refused(
    centre: Centre, config: Path, meterline: Meterline, tmp_path: Path
) -> None:
    (tmp_path / "sms.txt").write_text("10001*1500*320\n10002*x\n")
    arguments = ("manual", "import", tmp_path / "sms.txt", "2026-10", "--config", config)
    answer = meterline(*arguments, "--format", "csv")
    rows = list(csv.DictReader(answer.out.splitlines()))
    assert [(row["line"], row["account"], row["verdict"]) for row in rows] == [
        ("1", "10001", "accepted"),
        ("2", "10002", "refused"),
    ]
    assert (answer.status, "1 accepted, 0 duplicate, 1 refused" in answer.err) == (5, True)
    (tmp_path / "sms.txt").write_text("10001*1500*320\n")
    again = meterline(*arguments)
    assert (again.status, "0 accepted, 1 duplicate, 0 refused" in again.err) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["10002", "2026-10", "5", "--told", "2026-11-01"], "that day has not come yet"),
        (["10002", "2026-10", "5", "--told", "yesterday"], "a day is YYYY-MM-DD"),
        (["10002", "2026-10", "5", "--told", "2026-09-30"], "another month's"),
        (["10009", "2026-10", "5"], "account '10009' is not one of generic; it has to be exact"),
        (["10002", "2026-13", "5"], "is not a month"),
        (["10002", "2026-10", "5", "--utility", "nobody"], "is not known"),
    ],
)
def test_what_cannot_be_entered_exits_with_2(
    centre: Centre, config: Path, meterline: Meterline, arguments: list[str], said: str
) -> None:
    answer = meterline("manual", "enter", *arguments, "--config", config)
    assert (answer.status, said in answer.err) == (2, True), answer.err


def test_an_unknown_column_or_a_file_that_is_not_there_is_said(
    centre: Centre, config: Path, meterline: Meterline, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("account,name,t1\n10002,Ivan,5\n")
    answer = meterline("manual", "import", tmp_path / "list.csv", "2026-10", "--config", config)
    assert (answer.status, "odd: ['name']" in answer.err) == (2, True)
    assert meterline("manual", "import", tmp_path / "none", "2026-10", "--config", config).status == 2


def test_shipped_windows_are_in_the_utilitys_time_zone() -> None:
    assert all(profile.window is None or profile.time_zone for profile in map(utility.load, utility.known()))
