"""Readings by hand that must not become a wrong number: told late, of one meter under two names, of small dials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.central.manual_desk import Desk, Refused
from collector.central.manual_lines import read
from collector.clock import SystemClock
from tests.central.books import GENERIC, Centre, at, own_utility, point
from tests.central.building import ZONE, Meterline, central_yaml

pytestmark = pytest.mark.usefixtures("database")
NOW = "2026-10-22 10:00:00"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """A flat with two tariffs, and an account with two meters."""
    made = Centre(
        tmp_path,
        point(1),
        point(3, account="777", tariffs="1"),
        point(4, account="777", receipt_order="2", tariffs="1"),
    )
    yield made
    made.store.close()
    made.engine.dispose()


def verdicts(centre: Centre, text: str, **keys: str) -> list[tuple[int, str, str]]:
    by = own_utility(**keys) if keys else GENERIC
    desk = Desk(centre.engine, by, "2026-10", at(NOW), default_zone=ZONE)
    return [(line.line, line.verdict, line.text) for line in read(text.encode(), "list.txt", desk)]


# ----------------------------------------------------------------------------- one meter under two names


@pytest.mark.parametrize("other", ["3", "m3", "00003"])
def test_two_lines_that_differ_about_one_meter_are_both_refused_however_it_is_called(
    centre: Centre, other: str
) -> None:
    assert verdicts(centre, f"account,meter,t1\n777,00003,77\n777,{other},78\n777,4,5\n") == [
        (2, "refused", "line 3 tells other readings of the same account: neither is taken"),
        (3, "refused", "line 2 tells other readings of the same account: neither is taken"),
        (4, "accepted", ""),
    ]


def test_the_same_reading_of_one_meter_under_two_names_is_told_once(centre: Centre) -> None:
    assert [verdict for _, verdict, _ in verdicts(centre, "account,meter,t1\n777,00003,77\n777,m3,77\n")] == [
        "accepted", "duplicate",
    ]  # fmt: skip


def test_the_only_meter_of_an_account_is_the_same_with_and_without_its_number(centre: Centre) -> None:
    found = verdicts(centre, "account,meter,t1,t2\n10001,,77,8\n10001,00001,77,9\n")
    assert [verdict for _, verdict, _ in found] == ["refused", "refused"]


def test_a_message_of_a_meter_and_one_of_its_account_must_agree(centre: Centre) -> None:
    form = '[{format: messages, file: s.txt, line: "{account} {serial_number} {values}", per: meter}]'
    assert [verdict for _, verdict, _ in verdicts(centre, "777 00003 77\n777*78*5\n", outputs=form)] == [
        "refused", "refused",
    ]  # fmt: skip


# ----------------------------------------------------------------------------- when it was told


@pytest.mark.parametrize(
    ("told", "taken"),
    [("2026-09-30 23:59:59", False), ("2026-10-01 00:00:00", True), ("2026-11-30 23:59:59", True),
     ("2026-12-01 00:00:00", False), ("2027-10-22 10:00:00", False)],
)  # fmt: skip
def test_a_reading_that_is_told_in_another_month_is_not_this_months(centre: Centre, told: str, taken: bool) -> None:
    """Without a window it is taken until the next month has ended: what is told then is that one's."""
    if taken:
        Desk(centre.engine, GENERIC, "2026-10", at(told), default_zone=ZONE)
        return
    with pytest.raises(Refused, match="another month's"):
        Desk(centre.engine, GENERIC, "2026-10", at(told), default_zone=ZONE)


# ----------------------------------------------------------------------------- what is told


@pytest.mark.parametrize(
    ("text", "sound"),
    [("0.5", True), ("0.05", True), ("0", True), ("12.34", True), ("0.005", False), ("00.5", False), (".5", False),
     ("0.", False)],
)  # fmt: skip
def test_a_dial_that_stands_below_one_is_taken_with_its_decimals(centre: Centre, text: str, sound: bool) -> None:
    found = verdicts(centre, f"777*{text}*5", decimals="2")
    assert [verdict for _, verdict, _ in found] == ["accepted" if sound else "refused"]


def test_a_total_with_decimals_is_the_sum_where_decimals_are_billed(centre: Centre) -> None:
    text = "account,t1,t2,total\n10001,10.25,0.5,{}\n"
    assert verdicts(centre, text.format("10.75"), decimals="2") == [(2, "accepted", "")]
    assert verdicts(centre, text.format("10.74"), decimals="2") == [
        (2, "refused", "total: 10.74, but 10.25 + 0.5 is 10.75")
    ]


def test_a_header_may_stand_in_quotes_as_spreadsheets_write_it(centre: Centre) -> None:
    assert verdicts(centre, '"account","t1","t2"\r\n"10001","77","8"\r\n') == [(2, "accepted", "")]


@pytest.mark.parametrize("option", ["--source", "--reason"])
@pytest.mark.parametrize("words", ["two\nlines", "bell \x07", "w" * 401])
def test_words_that_are_kept_for_ever_can_be_printed(
    centre: Centre, option: str, words: str, tmp_path: Path, meterline: Meterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemClock, "millis", lambda _: at(NOW))
    answer = meterline(
        "manual", "enter", "10001", "2026-10", "77", "8", option, words, "--config", central_yaml(tmp_path)
    )
    assert (answer.status, f"{option}: 1 to 400 printable characters" in answer.err) == (2, True)
