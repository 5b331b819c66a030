"""Clocks that jump, at the centre and at a gateway: nothing is lost, and what cannot be believed says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from collector.messages import readings_topic
from tests.broker import Mosquitto, eventually
from tests.central.building import (
    ASKED,
    as_bytes,
    batch,
    bring,
    point,
    snapshot,
)
from tests.central.databases import open_database
from tests.central.test_service import connected
from tests.system.central_daemon import JumpingClock, doubts, running_centre

DAY = 86_400_000  # ms


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(tmp_path / "data" / "central.db")
    bring(engine, *(point(number) for number in range(1, 6)))
    yield engine
    engine.dispose()


def one(sequence: int, asked: int, **changed: Any) -> bytes:
    read = snapshot(sequence % 5 + 1, asked=asked, answered=None, registers={"1.8.0": sequence})
    return as_bytes(batch(read, sequence=sequence, **changed))


def test_a_centre_whose_clock_jumps_loses_nothing_and_says_what_it_does_not_believe(
    tmp_path: Path, engine: Engine
) -> None:
    clock = JumpingClock(ASKED)
    with Mosquitto(tmp_path) as broker, running_centre(tmp_path, broker.url, clock) as centre:
        with connected(broker) as gateway:
            jumps = (0, 3 * DAY, -3 * DAY, 40 * DAY, 0)  # of the centre's clock; the gateway's is right
            for sequence, jump in enumerate(jumps, 1):
                clock.now = ASKED + jump
                gateway.send(one(sequence, ASKED + sequence))
                eventually(lambda s=sequence: gateway.stored() == set(range(1, s + 1)), "receipted")
                eventually(lambda: centre.inbox.state().unsettled == 0, "settled")
        assert [row.sequence for row in centre.inbox.replay(0, 100)] == [1, 2, 3, 4, 5]
        assert (centre.worker.counts.samples, centre.worker.counts.quarantined) == (4, 1)
    said = f"impossible time: asked {ASKED + 3} is more than a day ahead (it came at {ASKED - 3 * DAY})"
    assert doubts(engine) == {3: said}


def test_a_gateway_whose_clock_jumps_is_believed_only_as_far_as_it_says_and_can_be(
    tmp_path: Path, engine: Engine
) -> None:
    with Mosquitto(tmp_path) as broker, running_centre(tmp_path, broker.url, JumpingClock(ASKED)) as centre:
        with connected(broker) as gateway:
            asked = (ASKED, ASKED + 3 * DAY, ASKED - 30 * DAY, 1000, ASKED + 4)
            for sequence, when in enumerate(asked, 1):
                gateway.send(one(sequence, when))
            gateway.send(one(6, ASKED + 5, synced=False))
            eventually(lambda: gateway.stored() == set(range(1, 7)), "receipted")
            eventually(lambda: centre.inbox.state().unsettled == 0, "settled")
        assert (
            centre.worker.counts.samples == 3
        )  # also what a clock that was wrong by a month has stamped, if it said nothing
    found = {sequence: reason.split(":")[0] for sequence, reason in doubts(engine).items()}
    assert {2: "impossible time", 4: "impossible time", 6: "unsynced clock"}.items() <= found.items()


def test_a_new_gateway_is_known_at_once_though_the_clock_went_back(tmp_path: Path, engine: Engine) -> None:
    clock = JumpingClock(ASKED)
    payload = as_bytes({**batch(snapshot(9, asked=ASKED, answered=None)), "gateway": "gw-new"})
    with (
        Mosquitto(tmp_path) as broker,
        running_centre(tmp_path, broker.url, clock) as centre,
        connected(broker) as gateway,
    ):
        gateway.send(payload, readings_topic("gw-new"))
        eventually(lambda: centre.ingest.counts.refused.get("unknown-gateway"))
        clock.now -= DAY
        bring(engine, point(9, gateway="gw-new"))

        def again() -> int:
            gateway.send(payload, readings_topic("gw-new"))
            return centre.ingest.counts.stored

        eventually(again, "stored")
