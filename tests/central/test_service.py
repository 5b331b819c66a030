"""The whole centre against a real broker, in this process and as a daemon that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from collector.central import chain, emission
from collector.central.emission import TOPIC
from collector.central.engine import open_engine
from collector.central.month_ends import SETTLE, WHO
from collector.central.rounds import Rounds
from collector.central.service import Centre, run
from collector.clock import Clock, SystemClock
from collector.config import CentralConfig, load_central
from collector.exits import Unreachable, UsageFault
from collector.messages import decode_receipt, readings_topic, receipt_topic, status_topic
from collector.model import Receipt
from collector.mqtt import Connection, Message, Settings
from tests.broker import PATIENCE, Mosquitto, eventually
from tests.central.books import FIRST, at
from tests.central.books import Centre as Books
from tests.central.building import GATEWAY, Meterline, as_bytes, batch, bring, central_yaml, point, snapshot

COUNT = 40


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def building(engine: Engine) -> None:
    bring(engine, *(point(number) for number in range(1, 6)))


class Gateway:
    """The gateway's side of the wire: sends bytes, collects receipts."""

    def __init__(self, url: str) -> None:
        self.receipts: list[Receipt] = []
        self.connection = Connection(
            Settings(url, client_id=GATEWAY), subscriptions=[receipt_topic(GATEWAY)], on_message=self._receive,
            first_delay=0.05, longest_delay=0.1,
        )  # fmt: skip

    def _receive(self, message: Any) -> None:
        self.receipts.append(decode_receipt(message.payload))
        message.acknowledge()

    def send(self, payload: bytes, topic: str = readings_topic(GATEWAY), retain: bool = False) -> None:
        eventually(lambda: self.connection.publish(topic, payload, retain), "the gateway is connected")

    def stored(self) -> set[int]:
        return {receipt.sequence for receipt in self.receipts if receipt.stored}


@contextmanager
def connected(broker: Mosquitto) -> Iterator[Gateway]:
    gateway = Gateway(broker.url)
    gateway.connection.start()
    eventually(lambda: gateway.connection.connected, "the gateway is connected")
    yield gateway
    gateway.connection.stop()


@contextmanager
def centre(tmp_path: Path, url: str) -> Iterator[Centre]:
    with Centre(load_central(central_yaml(tmp_path, url)), SystemClock()) as centre:
        eventually(lambda: centre.connection.connected, "the centre is connected")
        yield centre


def sound(sequence: int) -> bytes:
    """A batch that names its number in its value."""
    one = snapshot(sequence % 5 + 1, asked=1_793_480_462_120 + sequence, answered=None, registers={"1.8.0": sequence})
    return as_bytes(batch(one, sequence=sequence))


def values(meterline: Meterline, config: Path) -> list[int]:
    """The numbers in the series, as the command shows them."""
    rows = json.loads(meterline("readings", "--config", config, "--format", "json").out)
    return sorted(int(row["value"].replace(".", "")) for row in rows)


@pytest.mark.usefixtures("building")
def test_what_a_gateway_publishes_is_receipted_and_can_be_read(
    tmp_path: Path, broker: Mosquitto, meterline: Meterline
) -> None:
    with centre(tmp_path, broker.url) as running, connected(broker) as gateway:
        for sequence in range(1, COUNT + 1):
            gateway.send(sound(sequence))
        eventually(lambda: len(gateway.stored()) == COUNT, "all receipts")
        eventually(lambda: running.inbox.state().unsettled == 0, "all batches are settled")
        assert values(meterline, tmp_path / "central.yaml") == list(range(1, COUNT + 1))  # beside the running daemon


@pytest.mark.usefixtures("building")
def test_hostile_messages_end_nothing(tmp_path: Path, broker: Mosquitto, meterline: Meterline) -> None:
    with centre(tmp_path, broker.url) as running, connected(broker) as gateway:
        gateway.send(sound(1))
        for payload in (b"", b"\xff" * 1000, b"[" * 200_000, as_bytes(batch(gateway="gw-other")), sound(1) + b" "):
            gateway.send(payload)
        gateway.send(sound(2).ljust(10 << 20))
        gateway.send(b"x", "meterline/v1/not a name/readings")
        gateway.send(as_bytes(batch(gateway="gw-new")), readings_topic("gw-new"))
        gateway.send(b"\x00", status_topic(GATEWAY))
        gateway.send(sound(3), retain=True)
        eventually(lambda: 3 in gateway.stored(), "the sound batch behind them")
        codes = {receipt.code for receipt in gateway.receipts if not receipt.stored}
        assert codes == {"mismatch", "conflict", "too-large"}
        assert running.ingest.counts.refused["unknown-gateway"] == 1
        eventually(lambda: running.inbox.state().unsettled == 0)
        assert values(meterline, tmp_path / "central.yaml") == [1, 3]


@pytest.mark.usefixtures("building")
def test_a_status_and_a_will_are_seen_in_the_fleet(tmp_path: Path, broker: Mosquitto, meterline: Meterline) -> None:
    status = {"schema": 1, "gateway": GATEWAY, "online": True, "at": 1, "version": "0.1.0"}
    topic, will = status_topic(GATEWAY), as_bytes({**status, "online": False})
    with centre(tmp_path, broker.url) as running:
        box = Connection(Settings(broker.url, client_id="box"), will=(topic, will), clean=True)
        box.start()
        eventually(lambda: box.publish(topic, as_bytes(status), retain=True))
        eventually(lambda: running.ingest.counts.statuses == 1)
        config = tmp_path / "central.yaml"
        seen = [row["online"] for row in json.loads(meterline("fleet", "--config", config, "--format", "json").out)]
        assert seen == ["yes"] * 5
        attempt = box._attempt
        assert attempt is not None
        attempt.close()  # the box vanishes without a goodbye
        eventually(lambda: running.ingest.counts.statuses == 2)
        seen = [row["online"] for row in json.loads(meterline("fleet", "--config", config, "--format", "json").out)]
        assert seen == ["no"] * 5
        box.stop()


@pytest.mark.usefixtures("building")
def test_a_broker_that_is_away_is_waited_for(tmp_path: Path, broker: Mosquitto) -> None:
    broker.stop()
    config = load_central(central_yaml(tmp_path, broker.url))
    with Centre(config, SystemClock()) as running:
        eventually(lambda: "refuses connections" in running.connection.why)
        broker.start()
        eventually(lambda: running.connection.connected)
        broker.restart()
        with connected(broker) as gateway:
            eventually(lambda: running.connection.connected)
            gateway.send(sound(1))
            eventually(lambda: gateway.stored() == {1})


@pytest.mark.usefixtures("building")
def test_stopping_is_clean_and_what_was_receipted_is_there_after_the_next_start(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with centre(tmp_path, broker.url), connected(broker) as gateway:
        for sequence in range(1, COUNT + 1):
            gateway.send(sound(sequence))
        eventually(gateway.stored)  # some of them
    with centre(tmp_path, broker.url) as running:
        assert {row.sequence for row in running.inbox.replay(0, 1000)} >= gateway.stored()
        eventually(lambda: running.inbox.state().unsettled == 0)


def test_run_ends_when_it_is_told_to(tmp_path: Path, broker: Mosquitto) -> None:
    with running(load_central(central_yaml(tmp_path, broker.url)), SystemClock()):
        pass


def test_a_month_that_has_ended_is_closed_and_told_beside_the_road(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emission, "EVERY", 50)
    books = Books(tmp_path, point(1), point(2))
    books.month_of("m1", "2026-10", FIRST)
    early = at("2026-11-01 00:00:00") + SETTLE - SystemClock().millis()

    class ThatNight(SystemClock):
        def millis(self) -> int:
            return super().millis() + early

    told: list[str] = []

    def hear(message: Message) -> None:
        told.append(message.topic)
        message.acknowledge()

    config = central_yaml(tmp_path, broker.url)
    config.write_text(config.read_text() + "publish_billing: true\n")
    utility = Connection(Settings(broker.url, client_id="utility"), subscriptions=[f"{TOPIC}/#"], on_message=hear)
    utility.start()
    with running(load_central(config), ThatNight()):
        eventually(lambda: "2026-10/generic/r1/manifest.json" in books.files(), "the month is closed")
        eventually(lambda: f"{TOPIC}/generic/2026-10/manifest.json" in told, "the month is told")
    utility.stop()
    with books.engine.connect() as connection:
        assert {link.who for link in chain.links(connection)} == {WHO}
    books.store.close()


@contextmanager
def running(config: CentralConfig, clock: Clock) -> Iterator[None]:
    """The daemon in a thread; it has ended afterwards."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(config, clock, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_trouble_beside_the_road_is_told_with_that_of_the_centre(tmp_path: Path) -> None:
    def fails(_now: int, _stop: threading.Event) -> int:
        raise Unreachable("no flour")

    centre = Centre(load_central(central_yaml(tmp_path)), SystemClock())
    centre.also(Rounds("bakery", fails, SystemClock(), failing="no bread", retry=1))
    with centre:
        eventually(lambda: centre.figures().trouble["bakery"] == "no bread: no flour")
    assert "bakery" not in {thread.name for thread in threading.enumerate()}


def test_a_second_centre_on_the_same_data_is_refused(tmp_path: Path, broker: Mosquitto) -> None:
    config = load_central(central_yaml(tmp_path, broker.url))
    with Centre(config, SystemClock()), pytest.raises(Unreachable, match="in use by another process"):
        Centre(config, SystemClock())
    with Centre(config, SystemClock()):  # and nothing of the refused one stays in the way
        pass


def test_old_batches_go_at_start_and_new_ones_stay(tmp_path: Path, broker: Mosquitto, engine: Engine) -> None:
    bring(engine, *(point(number) for number in range(1, 6)))
    with centre(tmp_path, broker.url) as running, connected(broker) as gateway:
        gateway.send(sound(1))
        eventually(lambda: gateway.stored() == {1} and running.inbox.state().unsettled == 0)
    long_after = SystemClock().millis() + 61 * 86_400_000

    class Later(SystemClock):
        def millis(self) -> int:
            return long_after

    with Centre(load_central(central_yaml(tmp_path, broker.url)), Later()) as running:
        eventually(lambda: running.inbox.replay(0, 10) == [])


def test_a_password_that_cannot_be_read_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    path = central_yaml(tmp_path)
    (tmp_path / "password").write_text("secret\n")
    text = path.read_text().replace("1883'", "1883', username: centre, password_file: password")
    path.write_text(text)
    config = load_central(path)
    (tmp_path / "password").unlink()
    with pytest.raises(UsageFault, match="cannot be read"):
        Centre(config, SystemClock())


# -------------------------------------------------------------------------------------------------- as a real process


class Daemon:
    """`meterline central run` as a process."""

    def __init__(self, config: Path, log: Path) -> None:
        with log.open("ab") as out:
            command = [sys.executable, "-m", "collector", "central", "run", "--config", str(config)]
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    def end(self, number: int) -> int:
        os.kill(self.process.pid, number)
        return self.process.wait(PATIENCE)


@pytest.mark.usefixtures("building")
def test_a_killed_centre_loses_nothing_and_has_nothing_twice(
    tmp_path: Path, broker: Mosquitto, meterline: Meterline
) -> None:
    config, log = central_yaml(tmp_path, broker.url), tmp_path / "log"
    daemon = Daemon(config, log)
    with connected(broker) as gateway:
        eventually(lambda: "connected to" in log.read_text())
        for turn in range(1, 4):
            # Each time some have their receipt when the kill comes, and others are somewhere on the road.
            before = len(gateway.stored())
            for sequence in range(1, turn * COUNT + 1):
                if sequence not in gateway.stored():
                    gateway.send(sound(sequence))
            eventually(lambda had=before: len(gateway.stored()) > had, "some receipts")
            assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
            daemon = Daemon(config, log)
            eventually(lambda times=turn + 1: log.read_text().count("connected to") >= times)
        everything = list(range(1, 3 * COUNT + 1))
        for sequence in everything:
            gateway.send(sound(sequence))
        eventually(lambda: sorted(gateway.stored()) == everything, "every batch has its receipt")
        eventually(lambda: values(meterline, config) == everything, "every value once")
        assert daemon.end(signal.SIGTERM) == 0
    assert "Traceback" not in log.read_text()


def test_a_centre_whose_database_cannot_be_opened_ends_with_6(tmp_path: Path, meterline: Meterline) -> None:
    config = central_yaml(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "central.db").write_bytes(b"not a database " * 1000)
    answer = meterline("central", "run", "--config", config)
    assert answer.status == 6
    assert "central.db cannot be opened" in answer.err


def test_an_engine_of_the_tests_is_that_of_the_daemon(tmp_path: Path, engine: Engine) -> None:
    assert engine.url == open_engine(load_central(central_yaml(tmp_path))).url
