"""The gateway as a whole, in this process: real broker, real spool, simulated meters on TCP."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from collector.clock import SystemClock
from collector.commands.gateway import gateway as command
from collector.config import GatewayConfig, load_gateway
from collector.edge import gateway as daemon
from collector.edge import timekeeping
from collector.edge.gateway import Gateway
from collector.edge.health import Reporter, farewell, fitting, health, spool_state
from collector.edge.timekeeping import ADVICE, HOLD, LOOK, Timekeeping
from collector.edge.window import Window
from collector.messages import MAX_PAYLOAD, decode_batch, decode_status, encode
from collector.model import Batch, LineState, MeterState, Receipt, Snapshot, Status
from collector.mqtt import Connection, Message, Settings
from collector.spool import Outbox, OutboxState, SpoolFull, SpoolUnusable
from drivers import profile
from hil.tcp import TcpMeters
from tests.broker import Mosquitto, Relay, eventually
from tests.edge.hurry import SetClock, each_second
from tests.system.daemons import PROFILE, CountingMeter, Register

GATEWAY = "gw-1"
AFTER_MIDNIGHT = 1_793_480_460_000  # 2026-11-01 00:01 in Moscow: a boundary snapshot is due, then interval readings


@pytest.fixture(autouse=True)
def _a_status_is_looked_for_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reporter.__init__, "__defaults__", (0.1,))  # seconds; five, where a status costs something


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


class Centre:
    """Hears everything that the gateway says, and answers when it is told to."""

    def __init__(self, broker: Mosquitto) -> None:
        self.connection = Connection(Settings(broker.url), subscriptions=["meterline/v1/#"], on_message=self.take)
        self.heard: list[tuple[str, bytes, bool]] = []
        self.answer: Callable[[Batch, bytes], Receipt | None] = lambda batch, payload: None

    @property
    def batches(self) -> list[Batch]:
        return [decode_batch(payload) for topic, payload, _ in self.heard if topic.endswith("/readings")]

    @property
    def statuses(self) -> list[Status]:
        return [decode_status(payload) for topic, payload, _ in self.heard if topic.endswith("/status")]

    def take(self, message: Message) -> None:
        self.heard.append((message.topic, message.payload, message.retained))
        message.acknowledge()
        if message.topic.endswith("/readings"):
            receipt = self.answer(decode_batch(message.payload), message.payload)
            if receipt is not None:
                self.connection.publish(f"meterline/v1/{GATEWAY}/receipt", encode(receipt))


def stored(batch: Batch, payload: bytes) -> Receipt:
    digest = hashlib.sha256(payload).hexdigest()
    return Receipt(gateway=GATEWAY, spool=batch.spool, sequence=batch.sequence, sha256=digest, stored=True)


def refused(batch: Batch, payload: bytes) -> Receipt:
    words = {"stored": False, "code": "conflict", "final": True, "reason": "for a test"}
    return stored(batch, payload).model_copy(update=words)


@contextmanager
def centre(broker: Mosquitto) -> Iterator[Centre]:
    it = Centre(broker)
    it.connection.start()
    eventually(lambda: it.connection.connected)
    try:
        yield it
    finally:
        it.connection.stop()


def configured(folder: Path, broker: str, port: int, meters: list[CountingMeter], **more: Any) -> GatewayConfig:
    line = {
        "name": "riser-1",
        "port": f"tcp://127.0.0.1:{port}",
        "meters": [
            {"id": m.id, "profile": PROFILE, "address": m.address, "serial_number": m.serial_number} for m in meters
        ],
    }
    (folder / "gateway.yaml").write_text(json.dumps({
        "schema": "1", "gateway": GATEWAY, "time_zone": "Europe/Moscow", "interval": "5s",
        "mqtt": {"url": broker}, "spool": {"path": "spool.db", "max_mb": "8"}, "lines": [line], **more,
    }))  # fmt: skip
    return each_second(load_gateway(folder / "gateway.yaml"))


@contextmanager
def running(config: GatewayConfig, *, synced: bool = True) -> Iterator[None]:
    stop, faults = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            daemon.run(config, SetClock(AFTER_MIDNIGHT), stop, synced=lambda: synced)
        except BaseException as error:
            faults.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
    assert not faults


@contextmanager
def meters(count: int = 2) -> Iterator[tuple[list[CountingMeter], int]]:
    register = Register()
    members = [CountingMeter.make(number, register) for number in range(1, count + 1)]
    with TcpMeters(members, SystemClock()) as line:
        yield members, line.port


# ----------------------------------------------------------------------------- batches


def test_readings_come_as_batches_of_one_class_with_zone_profiles_and_the_trust_in_our_clock(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with centre(broker) as it, meters() as (members, port):
        it.answer = stored
        with running(configured(tmp_path, broker.url, port, members)):
            eventually(lambda: {batch.class_ for batch in it.batches} == {"keep", "interval"})
    batches = it.batches
    assert len({(batch.spool, batch.sequence) for batch in batches}) == len(batches)
    digest = profile.load(PROFILE).digest
    for batch in batches:
        assert (batch.gateway, batch.zone, batch.synced) == (GATEWAY, "Europe/Moscow", True)
        assert batch.profiles == {PROFILE: digest}
        assert {snapshot.batch_class for snapshot in batch.snapshots or ()} == {batch.class_}
        assert {snapshot.meter for snapshot in batch.snapshots or ()} <= {"m-1", "m-2"}
        assert all(snapshot.registers and snapshot.failure is None for snapshot in batch.snapshots or ())
    boundary = next(batch for batch in batches if batch.class_ == "keep")
    assert {snapshot.serial_number for snapshot in boundary.snapshots or ()} <= {"00001001", "00001002"}


def test_a_clock_that_nobody_set_is_said_in_batches_and_status(broker: Mosquitto, tmp_path: Path) -> None:
    with (
        centre(broker) as it,
        meters() as (members, port),
        running(configured(tmp_path, broker.url, port, members), synced=False),
    ):
        eventually(lambda: it.batches and it.statuses)
    assert {batch.synced for batch in it.batches} == {False}
    assert it.statuses[0].synced is False
    assert ADVICE in (it.statuses[0].warnings or ())


def test_what_was_not_receipted_is_sent_again_by_the_next_life_of_the_gateway(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with centre(broker) as it, meters() as (members, port):
        config = configured(tmp_path, broker.url, port, members)
        with running(config):
            eventually(lambda: len(it.batches) >= 2)
        first = {(batch.spool, batch.sequence) for batch in it.batches}
        it.heard.clear()
        it.answer = stored
        with running(config):
            eventually(lambda: first <= {(batch.spool, batch.sequence) for batch in it.batches})


def test_a_refused_batch_is_parked_until_gateway_resend_says_otherwise(broker: Mosquitto, tmp_path: Path) -> None:
    def refuse_the_first(batch: Batch, payload: bytes) -> Receipt:
        heard = [(other.spool, other.sequence) for other in it.batches]
        first = heard.count((batch.spool, batch.sequence)) == 1 and heard[0] == (batch.spool, batch.sequence)
        return refused(batch, payload) if first else stored(batch, payload)

    def resend() -> int:
        done = CliRunner().invoke(command, ["resend", "--config", str(tmp_path / "gateway.yaml")])
        assert done.exit_code == 0, done.output
        assert "will be sent again" in done.output
        return int(done.output.split()[0])

    with centre(broker) as it, meters() as (members, port):
        it.answer = refuse_the_first
        with running(configured(tmp_path, broker.url, port, members)):
            eventually(lambda: len(it.batches) >= 2, "the others go on")
            parked = it.batches[0]
            assert it.batches.count(parked) == 1
            eventually(lambda: resend() == 1)
            eventually(lambda: it.batches.count(parked) == 2, "the daemon notices")
            assert resend() == 0


def test_a_full_spool_is_told_to_the_line_and_no_snapshot_is_swallowed(tmp_path: Path, broker: Mosquitto) -> None:
    with meters() as (members, port):
        config = configured(tmp_path, broker.url, port, members)
        it = Gateway(config, SystemClock(), lambda: True)

        def full(*_: Any, **__: Any) -> None:
            raise SpoolFull("no room")

        it._outbox.append = full  # type: ignore[assignment, method-assign]
        with pytest.raises(SpoolFull):
            it._commit([Snapshot(meter="m-1", profile=PROFILE, purpose="interval", asked=1)], True)
        it._outbox.close()


def test_more_snapshots_than_one_message_holds_become_several_batches(tmp_path: Path, broker: Mosquitto) -> None:
    with meters() as (members, port):
        it = Gateway(configured(tmp_path, broker.url, port, members), SystemClock(), lambda: True)
        snapshots = [
            Snapshot(meter="m-1", profile=PROFILE, purpose="boundary", asked=n, raw={"1.8.0": "00" * 400})
            for n in range(1000)
        ]
        it._commit(snapshots, True)
        batches = it._outbox.pending(100)
        it._outbox.close()
    assert len(batches) > 1
    assert all(len(batch.payload) <= MAX_PAYLOAD for batch in batches)
    told = [s for batch in batches for s in decode_batch(batch.payload).snapshots or ()]
    assert sorted(s.asked for s in told) == list(range(1000))


def test_an_end_by_a_bug_is_told_to_who_started_us(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.edge.publisher.Custody.step", lambda self, now: 1 / 0)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    with meters() as (members, port), pytest.raises(RuntimeError, match="publisher"):
        daemon.run(
            configured(tmp_path, broker.url, port, members), SystemClock(), threading.Event(), synced=lambda: True
        )


# ----------------------------------------------------------------------------- status


def test_the_status_is_retained_and_a_clean_stop_says_offline(broker: Mosquitto, tmp_path: Path) -> None:
    with centre(broker) as it, meters() as (members, port):
        it.answer = stored
        with running(configured(tmp_path, broker.url, port, members)):
            eventually(lambda: it.statuses)
        eventually(lambda: not it.statuses[-1].online)
        first, last = it.statuses[0], it.statuses[-1]
    assert first.online
    assert first.spool is not None
    assert len(first.spool.id) == 12
    assert set(first.lines or ()) == {"riser-1"}
    assert set(first.meters or ()) == {"m-1", "m-2"}
    assert last == farewell(GATEWAY, last.version, last.at)
    with centre(broker) as late:
        eventually(lambda: late.statuses)
        assert late.heard[0][2], "retained"
        assert not late.statuses[0].online


def test_a_broken_connection_says_offline_and_the_next_one_online_again(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.edge.health.LEAST", 1.0)
    connections: list[Window] = []

    def note(window: Window) -> None:
        connections.append(window)

    monkeypatch.setattr(Window, "connected", note)
    with centre(broker) as it, meters() as (members, port), Relay(broker.port) as relay:
        it.answer = stored
        with running(configured(tmp_path, f"mqtt://127.0.0.1:{relay.port}", port, members)):
            eventually(lambda: it.statuses and it.statuses[-1].online)
            relay.cut()
            eventually(lambda: any(not status.online for status in it.statuses), "the will")
            eventually(lambda: it.statuses[-1].online)
    will = next(status for status in it.statuses if not status.online)
    assert will == farewell(GATEWAY, will.version, will.at)
    assert len(connections) >= 2


@pytest.mark.parametrize("trouble", [SpoolUnusable, SpoolFull])
def test_a_spool_that_cannot_be_used_is_in_the_status_and_ends_nothing(
    trouble: type[Exception], broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise trouble("the disk is gone")

    with centre(broker) as it, meters() as (members, port):
        monkeypatch.setattr(Outbox, "state", gone)
        monkeypatch.setattr(Outbox, "pending", gone)
        with running(configured(tmp_path, broker.url, port, members)):
            eventually(lambda: it.statuses)
            assert it.statuses[0].spool is None
            assert "the disk is gone" in (it.statuses[0].warnings or ())


def test_the_farewell_has_nothing_below_the_version() -> None:
    assert json.loads(encode(farewell(GATEWAY, "0.1.0", 5))) == {
        "schema": 1, "gateway": GATEWAY, "online": False, "at": 5, "version": "0.1.0",
    }  # fmt: skip


def status(**more: Any) -> Status:
    state = OutboxState("b7e3c1d09a44", 19, 1, 0, 0, 0.1234567, 41.52, None, False)
    fields: dict[str, Any] = {
        "synced": True,
        "spool": spool_state(state),
        "lines": {"r": LineState(meters=2, answering=2, cycle_ms=100)},
        "meters": {"m": MeterState(last=1, boundary="2026-11-01", ok=5)},
        "warnings": None,
    }
    return Status(gateway=GATEWAY, online=True, at=1, version="0", **(fields | more))


def test_what_changes_with_every_pass_is_not_a_change_of_health() -> None:
    busy = status(
        spool=spool_state(OutboxState("b7e3c1d09a44", 25, 3, 0, 0, 0.2, 40.0, None, False)),
        lines={"r": LineState(meters=2, answering=2, cycle_ms=120, silent_share=0.01)},
        meters={"m": MeterState(last=9, boundary="2026-11-01", ok=6, no_answer=1, drift_s=2)},
    )
    assert health(busy, False) == health(status(), False)


@pytest.mark.parametrize(
    "news",
    [
        {"synced": False},
        {"spool": spool_state(OutboxState("b7e3c1d09a44", 19, 1, 1, 0, 0.1, 41.5, None, False))},
        {"spool": spool_state(OutboxState("b7e3c1d09a44", 19, 1, 0, 7, 0.1, 41.5, None, False))},
        {"spool": spool_state(OutboxState("b7e3c1d09a44", 19, 1, 0, 0, 0.1, 41.5, "torn", False))},
        {"spool": spool_state(OutboxState("000000000000", 19, 1, 0, 0, 0.1, 41.5, None, False))},
        {"lines": {"r": LineState(meters=2, answering=1)}},
        {"meters": {"m": MeterState(boundary="2026-11-02")}},
        {"meters": {"m": MeterState(boundary="2026-11-01", stranger=1)}},
        {"warnings": ("line r: the port is lost",)},
    ],
    ids=range(9),
)
def test_what_an_operator_should_see_is_a_change_of_health(news: dict[str, Any]) -> None:
    assert health(status(**news), False) != health(status(), False)
    assert health(status(), True) != health(status(), False)


def test_a_status_of_thousands_of_meters_goes_without_what_it_says_of_each() -> None:
    large = status(meters={f"meter-{n:05d}": MeterState(last=1793480463910, ok=n) for n in range(4000)})
    assert len(encode(large)) > MAX_PAYLOAD
    sent = decode_status(fitting(large))
    assert sent.meters is None
    assert sent.lines == large.lines
    assert "4000 meters" in (sent.warnings or ("",))[0]
    assert fitting(status()) == encode(status())


# ----------------------------------------------------------------------------- the clock


def test_a_clock_is_trusted_from_the_first_sign_until_a_crystal_may_have_drifted_away() -> None:
    now, known = [0.0], [False]
    clock = Timekeeping(lambda: known[0], lambda: now[0])
    assert not clock.synced()
    known[0] = True
    assert not clock.synced()  # looked a moment ago
    now[0] += LOOK
    assert clock.synced()
    known[0] = False
    now[0] += HOLD - 1
    assert clock.synced()
    now[0] += 1
    assert not clock.synced()
    known[0] = True
    now[0] += LOOK
    assert clock.synced()


def test_this_computer_says_something_about_its_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert timekeeping._kernel_synchronised() in (True, False)
    monkeypatch.setattr(timekeeping, "_kernel_synchronised", lambda: False)
    monkeypatch.setattr(timekeeping, "_TIMESYNCD", tmp_path / "synchronized")
    monkeypatch.setattr(timekeeping, "_XEN", tmp_path / "xen")
    monkeypatch.setattr(timekeeping, "_CPUINFO", tmp_path / "cpuinfo")
    assert not timekeeping.of_this_computer().synced()
    (tmp_path / "cpuinfo").write_text("processor: 0\nflags\t\t: fpu vme sse2\n")
    assert not timekeeping.of_this_computer().synced()
    (tmp_path / "cpuinfo").write_text("processor: 0\nflags\t\t: fpu hypervisor sse2\n")
    assert timekeeping.of_this_computer().synced()
    (tmp_path / "cpuinfo").unlink()
    (tmp_path / "synchronized").touch()
    assert timekeeping.of_this_computer().synced()
