"""A gateway that lies, with the broker's rule removed: what the centre finds out, and what it cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from collector.central.service import Centre
from collector.messages import readings_topic
from tests.broker import Mosquitto, eventually
from tests.central.building import (
    ASKED,
    GATEWAY,
    SPOOL,
    as_bytes,
    batch,
    bring,
    point,
    snapshot,
)
from tests.central.databases import open_database
from tests.central.test_service import connected
from tests.system.central_daemon import JumpingClock, doubts, running_centre

EVIL = "gw-evil"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(tmp_path / "data" / "central.db")
    bring(engine, *(point(number) for number in range(1, 6)))
    yield engine
    engine.dispose()


@pytest.fixture
def lies(tmp_path: Path, engine: Engine) -> Iterator[tuple[Centre, Callable[..., None]]]:
    """A broker that lets everybody write everywhere; `say(topic's gateway, batch)`."""
    bring(engine, *(point(n) for n in range(1, 6)), point(8, gateway=EVIL))
    clock = JumpingClock(ASKED + 5000)
    with (
        Mosquitto(tmp_path) as broker,
        running_centre(tmp_path, broker.url, clock) as centre,
        connected(broker) as sender,
    ):

        def say(topic: str, **changed: Any) -> None:
            handled = centre.ingest.counts
            before = handled.stored + handled.repeats + sum(handled.refused.values())
            sender.send(as_bytes({**batch(snapshot(1), sequence=1), **changed}), readings_topic(topic))
            eventually(lambda: handled.stored + handled.repeats + sum(handled.refused.values()) > before)
            eventually(lambda: centre.inbox.state().unsettled == 0)

        yield centre, say


def test_topic_and_payload_that_disagree_are_refused_whichever_of_them_lies(
    lies: tuple[Centre, Callable[..., None]],
) -> None:
    centre, say = lies
    say(EVIL, gateway=GATEWAY)
    say(GATEWAY, gateway=EVIL)
    say("gw-nobody", gateway="gw-nobody")
    assert centre.ingest.counts.refused == {"mismatch": 2, "unknown-gateway": 1}
    assert centre.inbox.replay(0, 10) == []


def test_another_gateways_meter_is_kept_out_of_the_series(
    lies: tuple[Centre, Callable[..., None]], engine: Engine
) -> None:
    centre, say = lies
    say(EVIL, gateway=EVIL)
    assert centre.worker.counts.samples == 0
    assert doubts(engine) == {1: f"foreign gateway: m1 is read through {GATEWAY}, not {EVIL}"}


def test_who_forges_topic_and_payload_is_told_only_by_what_contradicts_him(
    lies: tuple[Centre, Callable[..., None]], engine: Engine
) -> None:
    """The broker's rule alone proves who speaks (docs/deployment.md): what is left are keys and serial numbers."""
    centre, say = lies
    say(GATEWAY)  # the true one
    truth = centre.inbox.replay(0, 10)
    say(GATEWAY, snapshots=[snapshot(1, registers={"1.8.0": 1})])  # the same key, other bytes
    assert centre.ingest.counts.refused == {"conflict": 1}
    assert centre.inbox.replay(0, 10) == truth
    other = snapshot(1, serial_number="99999", asked=ASKED + 1)
    say(GATEWAY, sequence=2, snapshots=[other])
    assert doubts(engine)[2].startswith("other serial number: '99999' answered")
    # A key of his own and a serial number that stands on the meter for everybody to read: believed. That the value is
    # out of line with its neighbours is found by the close, which bills it only between sound ones.
    say(GATEWAY, spool=SPOOL[::-1], snapshots=[snapshot(1, asked=ASKED + 2, registers={"1.8.0": 99_999_999})])
    assert centre.worker.counts.samples == 2
    assert hashlib.sha256(truth[0].payload).hexdigest() == truth[0].sha256
