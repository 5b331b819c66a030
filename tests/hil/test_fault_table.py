"""Every fault of the bench: what the gateway does, what the centre says, what the bill shows; the table in the docs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.faults import FAULTS
from tests.hil.faulty_building import (
    DAY,
    HIDDEN,
    SHOWN,
    Case,
    at,
    bill_words,
    building,
    centre_words,
    gateway_words,
    quiet,
    rehearse,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
START = (at("2026-09-30T22:40"), at("2026-10-01T01:30"))
SINCE = at("2026-10-31T12:00")
# What no byte shows is seen in the months: three before it are known, and it begins in the fourth.
HIDDEN_SINCE = at("2026-10-10T12:00")
EDGES = [(at(f"2026-{month - 1:02d}-{day}T22:40"), at(f"2026-{month:02d}-01T01:30"))
         for month, day in ((7, 30), (8, 31), (9, 31), (10, 30))]  # fmt: skip
CLOSES = {f"2026-{month:02d}": at(f"2026-{month + 1:02d}-03T00:00") for month in (7, 8, 9, 10)}
OCTOBER = CLOSES["2026-10"]

HEAD = """# Faults of the bench

Written by `tests/hil/test_fault_table.py` from what it saw; it fails when this page differs. To write it again:
`METERLINE_WRITE_DOCS=1 pytest tests/hil/test_fault_table.py`.

A line of two meters for each fault, the first one with it, in virtual time: real gateway lines, drivers, messages,
checks and close. Faults of the wire strike three answers in ten; a wrong speed, a second meter at the address and a
converter that strips parity are there all the time. They begin half a day before the end of October.

"""


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    spans = [START, (at("2026-10-31T06:00"), at("2026-11-01T06:00"))]
    return rehearse(building(SHOWN, SINCE), tmp_path_factory.mktemp("shown"), spans, {"2026-10": OCTOBER})


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    spans = [*EDGES, (at("2026-10-10T06:00"), at("2026-10-11T02:00")), (at("2026-10-31T18:00"), at("2026-11-01T02:00"))]
    return rehearse(building(HIDDEN, HIDDEN_SINCE), tmp_path_factory.mktemp("hidden"), spans, CLOSES)


def _ailing(cases: list[Case]) -> list[Case]:
    return cases[::2]


def _neighbours(cases: list[Case]) -> list[Case]:
    return cases[1::2]


def test_every_fault_of_the_list_is_on_one_of_the_two_lists() -> None:
    assert {name for name, _ in (*SHOWN, *HIDDEN)} == set(FAULTS)


def test_what_bytes_timing_or_a_serial_number_show_makes_no_wrong_billing_number(shown: list[Case]) -> None:
    assert [(case.line.name, case.item.id, case.wrong) for case in shown if case.wrong] == []


def test_every_number_that_is_missing_is_explained(shown: list[Case]) -> None:
    assert [(case.line.name, case.item.id, case.unexplained) for case in shown if case.unexplained] == []


def test_a_neighbour_of_a_faulty_meter_is_billed(shown: list[Case]) -> None:
    lost = [
        (case.line.name, row)
        for case in _neighbours(shown)
        if case.fault not in ("doubled", "foreign", "two-at-one-address")
        for row in case.rows
        if row.status != "ready"
    ]
    assert lost == []


def test_every_fault_struck(shown: list[Case]) -> None:
    idle = [
        case.line.name
        for case in _ailing(shown)
        if any(fault.share < 1 for fault in case.item.faults) and not case.seen.struck
    ]
    assert idle == []


def test_what_no_byte_shows_is_flagged(hidden: list[Case]) -> None:
    unseen = [case.line.name for case in _ailing(hidden) if case.first_said(HIDDEN_SINCE) is None]
    assert unseen == []


def test_the_page_in_the_docs_says_what_was_seen(
    shown: list[Case], hidden: list[Case], request: pytest.FixtureRequest
) -> None:
    page = HEAD + _list() + _shown_table(_ailing(shown)) + _hidden_table(_ailing(hidden))
    if _writes():
        DOCUMENT.write_text(page)
    assert DOCUMENT.read_text() == page


def _writes() -> bool:
    import os

    return os.environ.get("METERLINE_WRITE_DOCS") == "1"


def _list() -> str:
    lines = [f"| `{name}` | {text} |" for name, text in FAULTS.items()]
    return "## The faults\n\n| name | what it is |\n|---|---|\n" + "\n".join(lines) + "\n\n"


def _shown_table(cases: list[Case]) -> str:
    rows = [
        f"| `{case.fault}` | {case.item.meter.profile.id} | {gateway_words(case, SINCE)} | {centre_words(case)} "
        f"| {bill_words(case)} |"
        for case in cases
    ]
    return (
        "## What bytes, timing or a serial number show\n\n"
        "No wrong number is billed, and a finding explains each that is missing or held.\n\n"
        "| fault | meter | the gateway: askings | the centre says | the bill |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\n"
    )


def _hidden_table(cases: list[Case]) -> str:
    rows = []
    for case in cases:
        first = case.first_said(HIDDEN_SINCE)
        assert first is not None
        days = -(-(first.at - HIDDEN_SINCE) // DAY)
        rows.append(
            f"| `{case.fault}` | {case.item.meter.profile.id} | {gateway_words(case, HIDDEN_SINCE)} "
            f"| {centre_words(case)} | {first.check}, {days} days | {bill_words(case)} |"
        )
    return (
        "## What no byte shows\n\n"
        "What the meter says is sound, and not what was used, or when. It begins at noon of the 10th of October, after "
        "three\nmonths without; each month is closed on the third day of the next one. `first` is the check that spoke "
        "first, and\nwithin how many days after the beginning.\n\n"
        "| fault | meter | the gateway: askings | the centre says | first | the bill |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
