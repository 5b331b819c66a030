"""The checks at the door hold a meter to the thresholds of the utility that bills where it hangs, as of its asking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, update

from collector.central import live_thresholds, utility
from collector.central import worker as worker_module
from collector.central.database import segment
from collector.central.engine import writing
from collector.central.live_findings import live_findings
from collector.central.live_thresholds import EVER, USUAL, Terms, thresholds_of
from collector.central.registry import in_force
from collector.central.thresholds import Checks
from collector.central.utility import Utility
from drivers.strict_yaml import ConfigError
from tests.central.books import own_utility
from tests.central.building import ASKED, IMPORTED, ZONE, batch, bring, point, snapshot
from tests.central.test_worker import Hall

pytestmark = pytest.mark.usefixtures("database")
STRICT = Checks.model_validate({"clock": "30s"})
DAY = 86_400_000


def _load(name: str) -> Utility:
    """`generic` has the usual thresholds, `other` strict ones; nobody knows any else."""
    if name not in ("generic", "other"):
        raise ConfigError([f"utility {name!r} is not known"])
    return own_utility(id=name, checks="{clock: 30s}" if name == "other" else "{}")


@pytest.fixture(autouse=True)
def _utilities(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    live_thresholds._checks.cache_clear()
    monkeypatch.setattr(utility, "load", _load)
    yield
    live_thresholds._checks.cache_clear()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(tmp_path)
    yield hall
    hall.close()


def clocks(hall: Hall, number: int, sequence: int, asked: int = ASKED) -> None:
    """A meter whose clock is a minute slow is asked, and the worker carries that."""
    slow = {"clock": "2026-11-01T00:00:02", "asked": asked, "answered": asked + 90, "registers": {"1.8.0": 7}}
    hall.receive(batch(snapshot(number, **slow), sequence=sequence))
    hall.drain()


def found(hall: Hall) -> list[tuple[str, str]]:
    with hall.engine.connect() as connection:
        return [(item.meter, item.check) for item in live_findings(connection, 0)]


def test_each_meter_is_held_to_the_thresholds_of_its_own_utility(hall: Hall) -> None:
    bring(hall.engine, point(1), point(2, utility="other"))
    clocks(hall, 1, 1)
    clocks(hall, 2, 2)
    assert found(hall) == [("m2", "clock")]


def test_a_point_that_changed_its_utility_is_held_to_the_one_that_counted_when_it_was_asked(hall: Hall) -> None:
    bring(hall.engine, point(1, utility="other"))
    clocks(hall, 1, 1)
    assert found(hall) == [("m1", "clock")]
    bring(hall.engine, point(1), now=ASKED - 10)  # the worker has asked the registry before
    clocks(hall, 1, 2, ASKED + 1)
    assert thresholds_of(hall.engine, ["m1"])["m1"] == (Terms(EVER, STRICT), Terms(ASKED - 10, USUAL))


def test_a_new_threshold_counts_from_the_next_round_on(hall: Hall) -> None:
    bring(hall.engine, point(1))
    clocks(hall, 1, 1)
    assert found(hall) == []
    bring(hall.engine, point(1, utility="other"), now=ASKED - 10)
    clocks(hall, 1, 2, ASKED + 1)
    assert found(hall) == [("m1", "clock")]


def test_a_utility_that_nobody_knows_any_more_has_the_usual_thresholds(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(hall.engine, point(1, utility="other"))
    monkeypatch.setattr(utility, "load", lambda _: _load("gone"))
    clocks(hall, 1, 1)
    assert (found(hall), hall.quarantine()) == ([], [])


def hang(engine: Engine, where: str, start: int | None, end: int | None) -> None:
    with writing(engine) as connection:
        connection.execute(insert(segment).values(point=where, meter="m1", from_ms=start, to_ms=end))


def test_a_meter_that_is_moved_by_acts_has_each_points_thresholds_in_its_time_and_the_usual_ones_between(
    hall: Hall,
) -> None:
    bring(hall.engine, point(1, utility="other"), point(2, meter="m9"))
    bring(hall.engine, point(2, utility="other", meter="m9"), now=ASKED + 9 * DAY)
    with writing(hall.engine) as connection:
        connection.execute(update(segment).where(segment.c.meter == "m1").values(to_ms=ASKED))
    hang(hall.engine, "kv2", ASKED + DAY, ASKED + 20 * DAY)
    terms = thresholds_of(hall.engine, ["m1"])["m1"]
    seen: list[tuple[int, Any]] = [(day, in_force(terms, ASKED + day * DAY).checks) for day in (-90, -1, 0, 1, 9, 20)]
    assert seen == [(-90, STRICT), (-1, STRICT), (0, USUAL), (1, USUAL), (9, STRICT), (20, USUAL)]
    assert in_force(terms, ASKED + 20 * DAY - 1).checks == STRICT


def test_a_meter_that_was_hung_by_an_act_had_the_usual_thresholds_before(hall: Hall) -> None:
    bring(hall.engine, point(1, utility="other"))
    with writing(hall.engine) as connection:
        connection.execute(update(segment).values(from_ms=ASKED))
    terms = thresholds_of(hall.engine, ["m1"])["m1"]
    assert [in_force(terms, ASKED + after).checks for after in (-1, 0)] == [USUAL, STRICT]


def test_two_meters_at_once_each_have_their_own_and_one_that_hangs_nowhere_has_none(hall: Hall) -> None:
    bring(hall.engine, point(1, utility="other"), point(2), point(3, time_zone=ZONE))
    with writing(hall.engine) as connection:
        connection.execute(segment.delete().where(segment.c.meter == "m3"))
    checks = {meter: terms[-1].checks for meter, terms in thresholds_of(hall.engine, ["m1", "m2", "m3"]).items()}
    assert checks == {"m1": STRICT, "m2": USUAL}
    clocks(hall, 3, 1)
    assert (found(hall), hall.quarantine()) == ([], [])


def test_the_registry_is_asked_once_about_a_meter_until_it_changes(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(hall.engine, point(1), point(2))
    asked: list[set[str]] = []

    def noted(engine: Engine, meters: set[str]) -> dict[str, tuple[Terms, ...]]:
        asked.append(set(meters))
        return thresholds_of(engine, meters)

    monkeypatch.setattr(worker_module, "thresholds_of", noted)
    for sequence in (1, 2):
        clocks(hall, 1, sequence, ASKED + sequence)
    clocks(hall, 2, 3)
    bring(hall.engine, point(4), now=IMPORTED + 1)
    clocks(hall, 1, 4, ASKED + 4)
    assert asked == [{"m1"}, {"m2"}, {"m1"}]
