"""A cable that is cut within a message, a broker that forgets: the gateway's custody and a real centre."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from collector.central.service import Centre
from collector.edge.publisher import Custody
from collector.edge.window import LONGEST
from collector.messages import receipt_topic
from collector.mqtt import Connection, Settings
from collector.spool import Outbox
from tests.broker import Mosquitto, Relay, eventually
from tests.central.building import (
    ASKED,
    GATEWAY,
    as_bytes,
    batch,
    bring,
    point,
    snapshot,
)
from tests.central.databases import open_database
from tests.custody.boxes import outbox as empty_outbox
from tests.system.central_daemon import running_centre

SNAPSHOTS = 400  # some 100 KB of a batch: it takes several packets, and a cut finds its middle
BATCHES = 12


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(tmp_path / "data" / "central.db")
    bring(engine, *(point(number) for number in range(1, 6)))
    yield engine
    engine.dispose()


def large(spool: str, sequence: int) -> bytes:
    """A batch whose values name it."""
    asked = ASKED + sequence * 1000
    snapshots = (
        snapshot(n % 5 + 1, asked=asked + n, answered=None, registers={"1.8.0": sequence * 1000 + n})
        for n in range(SNAPSHOTS)
    )
    return as_bytes({**batch(*snapshots, sequence=sequence, **{"class": "interval"}), "spool": spool})


class Sender:
    """A gateway's spool, custody and connection; its minutes pass when a test says so."""

    def __init__(self, folder: Path, url: str) -> None:
        self.outbox: Outbox = empty_outbox(folder / "gateway.db")
        self.connection = Connection(
            Settings(url, client_id=GATEWAY), subscriptions=[receipt_topic(GATEWAY)], on_message=self._receive,
            first_delay=0.05, longest_delay=0.1,
        )  # fmt: skip
        self.custody = Custody(GATEWAY, self.outbox, self.connection)
        self.now = 0.0
        self._lock = threading.Lock()
        self.payloads = [
            self.outbox.append("interval", large, count=SNAPSHOTS, first=ASKED, last=ASKED, now=ASKED).payload
            for _ in range(BATCHES)
        ]

    def _receive(self, message: Any) -> None:
        with self._lock:
            self.custody.receive(message.payload, self.now)
        message.acknowledge()

    def step(self) -> None:
        with self._lock:
            self.custody.step(self.now)

    def later(self) -> None:
        """So much later that everything without a receipt is due again."""
        self.now += LONGEST
        self.step()

    def done(self) -> bool:
        self.step()
        return self.outbox.state(ASKED).unreceipted == 0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("behind", ["gateway", "centre"])
def test_a_connection_cut_within_a_message_loses_nothing_and_brings_nothing_twice(
    tmp_path: Path, stack: ExitStack, behind: str
) -> None:
    broker = stack.enter_context(Mosquitto(tmp_path))
    relay = stack.enter_context(Relay(broker.port))
    hindered = f"mqtt://127.0.0.1:{relay.port}"
    centre = stack.enter_context(running_centre(tmp_path, hindered if behind == "centre" else broker.url))
    sender = Sender(tmp_path, hindered if behind == "gateway" else broker.url)
    stack.callback(sender.outbox.close)
    sender.connection.start()
    stack.callback(sender.connection.stop)
    end = centre.connection if behind == "centre" else sender.connection
    for passes in (17, 70_000, 250_000):  # within the head of a message, within its body, within a later one
        eventually(lambda: sender.connection.connected and centre.connection.connected, "both are connected")
        cuts = relay.connections
        relay.passes = passes
        sender.later()

        def cut() -> bool:
            sender.step()  # what nobody heard goes on alone, until its receipt: then the others follow
            return relay.passes is None

        eventually(cut, "cut")
        eventually(lambda had=cuts: relay.connections > had and end.connected, "connected again")

    def arrived() -> bool:
        sender.later()
        time.sleep(0.1)
        return sender.done()

    eventually(arrived, "everything has its receipt")
    whole(centre, sender)


@pytest.mark.usefixtures("engine")
def test_a_broker_that_forgets_everything_loses_nothing(tmp_path: Path, stack: ExitStack) -> None:
    """Wiped, sessions and messages, while some have arrived, some are in it and others wait for their turn."""
    broker = stack.enter_context(Mosquitto(tmp_path))
    centre = stack.enter_context(running_centre(tmp_path, broker.url))
    sender = Sender(tmp_path, broker.url)
    stack.callback(sender.outbox.close)
    sender.connection.start()
    stack.callback(sender.connection.stop)
    for _ in range(2):
        eventually(lambda: sender.connection.connected and centre.connection.connected, "both are connected")
        had = centre.ingest.counts.stored
        sender.later()
        eventually(lambda had=had: centre.ingest.counts.stored > had or sender.done(), "some arrive")
        broker.restart()
        eventually(lambda: "the broker" in centre.connection.why or centre.connection.connected)
    eventually(lambda: sender.connection.connected and centre.connection.connected, "both are connected")

    def arrived() -> bool:
        sender.later()
        time.sleep(0.1)
        return sender.done()

    eventually(arrived, "everything has its receipt")
    whole(centre, sender)


def whole(centre: Centre, sender: Sender) -> None:
    """The centre has every batch of the sender once, byte for byte, and every value."""
    eventually(lambda: centre.inbox.state().unsettled == 0, "all is in the series")
    assert [row.payload for row in sorted(centre.inbox.replay(0, 1000), key=lambda r: r.sequence)] == sender.payloads
    assert centre.ingest.counts.unreadable == 0
    assert centre.worker.counts.samples == BATCHES * SNAPSHOTS
    assert centre.worker.counts.quarantined == 0
