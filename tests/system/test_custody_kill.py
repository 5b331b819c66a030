"""kill -9 of real processes at any moment: what was committed is stored once, and every value is what a meter said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.central.store import open_store
from collector.central.store.series import KINDS
from collector.clock import SystemClock
from collector.config import load_central
from collector.inbox import NEVER
from collector.messages import decode_batch
from hil.tcp import TcpMeters
from tests.broker import Mosquitto, eventually
from tests.system.daemons import PROFILE, CountingMeter, Daemon, Register, chance, rows, run

GATEWAY = "gw-1"
LINES, PER_LINE = 3, 2
OUTBOX = "SELECT spool, sequence, sha256, payload FROM outbox"
INBOX = "SELECT spool, sequence, sha256, payload, gateway, settled FROM inbox"

Key = tuple[str, int]


@dataclass
class Building:
    """A gateway and a centre as processes, a broker between them, meters in this one."""

    folder: Path
    register: Register
    broker: Mosquitto
    gateway: Daemon
    centre: Daemon

    def committed(self) -> dict[Key, tuple[str, bytes]]:
        """What the gateway's spool holds: every batch that it ever committed, since nothing is old enough to go."""
        return {(s, n): (digest, payload) for s, n, digest, payload in rows(self.folder / "gateway.db", OUTBOX)}

    def stored(self) -> dict[Key, tuple[str, bytes]]:
        """What the centre's spool holds."""
        found = rows(self.folder / "data/spool.db", INBOX)
        assert {row[4] for row in found} <= {GATEWAY}
        return {(s, n): (digest, payload) for s, n, digest, payload, *_ in found}

    def settled(self) -> bool:
        """Whether the centre has handed on all of it."""
        return not rows(self.folder / "data/spool.db", f"{INBOX} WHERE settled = {NEVER}")


@contextmanager
def building(folder: Path) -> Iterator[Building]:
    register = Register()
    meters = [CountingMeter.make(number + 1, register) for number in range(LINES * PER_LINE)]
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder))
        lines = []
        for number in range(LINES):
            members = meters[number * PER_LINE : (number + 1) * PER_LINE]
            port = stack.enter_context(TcpMeters(members, SystemClock())).port
            lines.append({
                "name": f"line-{number}",
                "port": f"tcp://127.0.0.1:{port}",
                "meters": [
                    {"id": m.id, "profile": PROFILE, "address": m.address, "serial_number": m.serial_number}
                    for m in members
                ],
            })  # fmt: skip
        (folder / "gateway.yaml").write_text(json.dumps({
            "schema": "1", "gateway": GATEWAY, "time_zone": "Europe/Moscow", "interval": "5s",
            "mqtt": {"url": broker.url}, "spool": {"path": "gateway.db"}, "lines": lines,
        }))  # fmt: skip
        (folder / "central.yaml").write_text(json.dumps({
            "schema": "1", "data": "data", "time_zone": "Europe/Moscow", "mqtt": {"url": broker.url},
        }))  # fmt: skip
        head = "point,account,utility,address,flat,tariffs,receipt_order,meter,serial_number,profile,gateway,ratio,"
        head += "time_zone"
        points = [
            f"p-{n},a-{n},generic,Street 1,{n},1,1,{m.id},{m.serial_number},{PROFILE},{GATEWAY},1,"
            for n, m in enumerate(meters)
        ]
        (folder / "points.csv").write_text("\n".join([head, *points, ""]))
        run("registry", "import", folder / "points.csv", "--config", folder / "central.yaml")
        gateway = Daemon(folder, "gateway", "run", "--config", folder / "gateway.yaml")
        centre = Daemon(folder, "central", "run", "--config", folder / "central.yaml")
        stack.callback(gateway.kill)
        stack.callback(centre.kill)
        yield Building(folder, register, broker, gateway, centre)


def verify(it: Building, keys: set[Key]) -> None:
    """Custody and truth of every batch among `keys`, and of everything that the centre holds."""
    committed, stored = it.committed(), it.stored()
    assert not keys - set(stored), "committed batches are not at the centre"
    assert not set(stored) - set(committed), "the centre has batches that the gateway did not commit before sending"
    for key, (digest, payload) in stored.items():
        assert committed[key] == (digest, payload), f"{key}: its bytes changed on the way"
    for spool in {spool for spool, _ in committed}:
        sequences = sorted(sequence for other, sequence in committed if other == spool)
        assert sequences == list(range(1, len(sequences) + 1)), "sequences begin at 1 and have no holes"

    truth = {(meter, code): set(values) for (meter, code), values in it.register.said.items()}
    expected: dict[tuple[str, int, str], int] = {}
    read: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for _, payload in committed.values():
        for snapshot in decode_batch(payload).snapshots or ():
            for code, value in snapshot.registers.items():
                assert value in truth[snapshot.meter, code], f"{snapshot.meter} never said {code} = {value}"
                read.setdefault((snapshot.meter, code), []).append((snapshot.asked, value))
    for found in read.values():
        found.sort()
        values = [value for _, value in found]
        assert values == sorted(set(values)), "a value came twice, or at another time than it was said"
    for key, (_, payload) in stored.items():
        batch = decode_batch(payload)
        if key in keys and batch.synced:
            for snapshot in batch.snapshots or ():
                expected |= {(snapshot.meter, snapshot.asked, code): v for code, v in snapshot.registers.items()}
    store = open_store(load_central(it.folder / "central.yaml"))
    try:
        series = {(r.meter, r.time, r.register): r.value for r in store.span(KINDS, None, 0, 1 << 52)}
    finally:
        store.close()
    assert expected.items() <= series.items(), "a committed value is not in the series, or is another one there"
    assert expected
    print(f"{len(committed)} batches, {len(stored)} stored, {len(expected)} values")


def play(it: Building, rounds: int, seed: int | None = None) -> None:
    """Kill one of the processes at a time, at random, and start it again."""
    luck = chance(seed)
    it.centre.start()
    it.gateway.start()
    eventually(it.stored, "the first batch arrives")
    for _ in range(rounds):
        time.sleep(luck.uniform(0.1, 4))
        victim = luck.choice(["gateway", "centre", "both", "broker"])
        if victim == "broker":
            it.broker.stop()
        if victim in ("centre", "both"):
            it.centre.kill()
        if victim in ("gateway", "both"):
            it.gateway.kill()
        time.sleep(luck.uniform(0, 0.5))
        if victim == "broker":
            it.broker.start()
        for daemon in (it.gateway, it.centre):
            if not daemon.alive:
                daemon.start()


def conclude(it: Building, patience: float) -> None:
    for daemon in (it.centre, it.gateway):
        eventually(lambda d=daemon: d.said("connected to"), "connected")
    before = len(it.committed())
    eventually(lambda: len(it.committed()) > before, "the gateway reads on")
    keys = set(it.committed())
    eventually(lambda: keys <= set(it.stored()), "every committed batch reaches the centre", patience=patience)
    assert it.gateway.end() == 0, it.gateway.log
    eventually(it.settled, "the centre hands on what it holds")
    assert it.centre.end() == 0, it.centre.log
    verify(it, keys)
    assert "Traceback" not in it.gateway.log, it.gateway.log
    assert "Traceback" not in it.centre.log, it.centre.log


def test_processes_killed_at_random_lose_nothing_and_store_nothing_twice(tmp_path: Path) -> None:
    with building(tmp_path) as it:
        play(it, rounds=7)
        # What is under way may wait a minute for its receipt; a gateway that starts again sends everything at once.
        for daemon in (it.centre, it.gateway):
            daemon.kill()
            daemon.start()
            eventually(lambda d=daemon: d.said("connected to"), "connected")
        conclude(it, patience=60)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_processes_killed_very_often_lose_nothing_and_store_nothing_twice(tmp_path: Path, seed: int) -> None:
    with building(tmp_path) as it:
        play(it, rounds=80, seed=seed)
        # Without another start: batches whose receipts were lost are sent again in their time.
        conclude(it, patience=1200)
