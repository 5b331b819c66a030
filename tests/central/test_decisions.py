"""Exceptions: what a clerk sees of rows that are not ready, and what becomes of a decision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.clock import SystemClock
from tests.central.books import FIRST, SECOND, Centre, at, point
from tests.central.building import Meterline, central_yaml

pytestmark = pytest.mark.usefixtures("database")
OTHER = {"1.8.1": "7", "1.8.2": "8"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return central_yaml(tmp_path)


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    """Three flats: sound, begun this month (held: no-start), never read. October is closed; it is 2 November."""
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 08:00:00"))
    centre = Centre(tmp_path, point(1), point(2), point(3))
    centre.month_of("m1", "2026-09", FIRST)
    centre.month_of("m1", "2026-10", SECOND)
    centre.month_of("m2", "2026-10", OTHER)
    centre.close("2026-10")
    yield centre
    centre.store.close()
    centre.engine.dispose()


def statuses(centre: Centre, revision: int) -> list[tuple[str, str, str]]:
    return [(row["point"], row["end_kwh"], row["status"]) for row in centre.billing("2026-10", revision)]


def test_the_list_has_a_line_for_each_reason_of_each_row_that_is_not_ready(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    answer = meterline("exceptions", "list", "2026-10", "--config", config, "--format", "csv")
    lines = answer.out.splitlines()
    assert answer.status == 0
    assert [line.split(",")[2:6] + line.split(",")[10:12] for line in lines[1:]] == [
        ["kv2", "m2", "1.8.1", "held", "no-start", "hold"],
        ["kv2", "m2", "1.8.2", "held", "no-start", "hold"],
        ["kv3", "m3", "1.8.1", "missing", "missing", "hold"],
        ["kv3", "m3", "1.8.2", "missing", "missing", "hold"],
    ]


def test_an_accepted_row_is_ready_in_the_next_revision_with_name_and_reason(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    answer = meterline(
        "exceptions", "accept", "2026-10", "kv2", "--config", config, "--reason", "first month", "--by", "Olga P."
    )
    assert answer.status == 0, answer.err
    assert statuses(centre, 2)[2:4] == [("kv2", "7", "ready"), ("kv2", "8", "ready")]
    said = [row["text"] for row in centre.findings("2026-10", 2) if row["check"] == "accepted"]
    assert len(said) == 2
    assert said[0].startswith("accepted by Olga P. (entered by ")
    assert said[0].endswith(": first month")
    assert statuses(centre, 1)[2:4] == [("kv2", "7", "held"), ("kv2", "8", "held")]
    assert centre.close("2026-10").changed == 0


def test_a_month_after_an_accepted_one_begins_with_its_number(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    meterline("exceptions", "accept", "2026-10", "kv2", "--config", config, "--reason", "x")
    centre.month_of("m2", "2026-11", {"1.8.1": "17", "1.8.2": "9"})
    centre.close("2026-11")
    rows = [row for row in centre.billing("2026-11") if row["point"] == "kv2"]
    assert [(row["start_kwh"], row["consumption_kwh"], row["status"]) for row in rows] == [
        ("7", "10", "ready"),
        ("8", "1", "ready"),
    ]


def test_a_rejected_value_is_no_number_any_more_and_nothing_begins_with_it(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    answer = meterline(
        "exceptions", "reject", "2026-10", "kv1", "--register", "1.8.2", "--config", config, "--reason", "burnt meter"
    )
    assert answer.status == 0, answer.err
    assert statuses(centre, 2)[:2] == [("kv1", "150", "ready"), ("kv1", "", "missing")]
    (said,) = [row for row in centre.findings("2026-10", 2) if row["check"] == "rejected"]
    assert "22 kWh was rejected by" in said["text"]
    centre.month_of("m1", "2026-11", {"1.8.1": "200", "1.8.2": "30"})
    centre.close("2026-11")
    first, second = (row for row in centre.billing("2026-11") if row["point"] == "kv1")
    assert (first["status"], second["status"], second["start_kwh"]) == ("ready", "held", "")


def test_a_rejection_can_be_taken_back(centre: Centre, config: Path, meterline: Meterline) -> None:
    for verdict in ("reject", "accept"):
        answer = meterline("exceptions", verdict, "2026-10", "kv1", "--config", config, "--reason", verdict)
        assert answer.status == 0, answer.err
    assert statuses(centre, 3)[:2] == [("kv1", "150", "ready"), ("kv1", "22", "ready")]


def test_a_decision_counts_no_longer_when_the_row_has_changed(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    meterline("exceptions", "accept", "2026-10", "kv2", "--config", config, "--reason", "x")
    centre.read("m2", "2026-11-01 00:00:00", {"1.8.1": "6", "1.8.2": "8"}, kept=True)
    centre.close("2026-10")
    rows = [row for row in centre.billing("2026-10", 3) if row["point"] == "kv2"]
    assert [(row["end_kwh"], row["status"]) for row in rows] == [("6", "held"), ("8", "held")]
    assert "overtaken" in centre.checks("2026-10", 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["accept", "2026-10", "kv1"], "only a held or a rejected row can be accepted"),
        (["accept", "2026-10", "kv3"], "a missing one takes a reading"),
        (["reject", "2026-10", "kv3"], "only a held or a ready row can be rejected"),
        (["accept", "2026-10", "kv2", "kv9"], "2026-10 of kv9 is not closed, or there is no such point"),
        (["accept", "2026-10", "kv2", "--register", "1.8.7"], "kv2 has no 1.8.7 in 2026-10"),
        (["accept", "2026-09", "kv2"], "2026-09 of kv2 is not closed"),
    ],
)
def test_what_cannot_be_decided_is_refused_and_nothing_is_noted(
    centre: Centre, config: Path, meterline: Meterline, arguments: list[str], said: str
) -> None:
    answer = meterline("exceptions", *arguments, "--config", config, "--reason", "x")
    assert (answer.status, said in answer.err) == (2, True), answer.err
    assert meterline("audit", "log", "--config", config, "--format", "csv").out.count("decision") == 0


def test_a_decision_needs_a_reason(centre: Centre, config: Path, meterline: Meterline) -> None:
    for reason in ([], ["--reason", " "], ["--reason", "a\nb"]):
        assert meterline("exceptions", "accept", "2026-10", "kv2", "--config", config, *reason).status == 2
