"""A week of a building with all faults on, over the end of a month. The short one is in test_fault_table."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.faults import FAULTS
from hil.household import HOUR_MS
from tests.hil.faulty_building import SHOWN, Case, at, building, quiet, rehearse

START = (at("2026-09-30T22:40"), at("2026-10-01T01:30"))
WEEK = (at("2026-10-26T00:00"), at("2026-11-02T00:00"))


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder: Path = tmp_path_factory.mktemp("week")
    closes = {"2026-10": WEEK[1] + 24 * HOUR_MS}
    with quiet():
        return rehearse(building(SHOWN, WEEK[0]), folder, [START, WEEK], closes, HOUR_MS // 2)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_week_with_every_fault_on_ends_with_no_wrong_billing_number(week: list[Case]) -> None:
    assert len({case.fault for case in week}) >= len(FAULTS) - 5
    assert [(case.line.name, case.item.id, case.wrong) for case in week if case.wrong] == []
    billed = sum(row.status == "ready" for case in week for row in case.rows)
    assert 2 * billed > sum(len(case.rows) for case in week), "a bill with nothing on it has no wrong number either"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_week_with_every_fault_on_leaves_no_missing_number_unexplained(week: list[Case]) -> None:
    assert [(case.line.name, case.item.id, case.unexplained) for case in week if case.unexplained] == []
