"""The worker and an InfluxDB that is away: all waits in the spool, then it is carried, nothing lost, nothing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from collector.central import worker as worker_module
from collector.central.database import evidence, quarantine
from collector.central.registry import Registry
from collector.central.store.influx import InfluxStore
from collector.central.store.series import KINDS, Row, StoreAway
from collector.central.worker import Worker
from collector.spool import Inbox, Incoming
from tests.broker import eventually
from tests.central.building import ASKED, GATEWAY, SetClock, as_bytes, batch, bring, point, snapshot
from tests.influxdb import DAY, Influxd

METERS = range(1, 9)
QUARTER = 900_000  # ms


class Hall:
    """A worker with a real spool and registry, on a real InfluxDB."""

    def __init__(self, folder: Path, engine: Engine, influxd: Influxd) -> None:
        self.influxd, self.engine, self.folder = influxd, engine, folder
        bring(engine, *(point(number) for number in METERS))
        self.bucket = influxd.bucket()
        # The operator's token: one of a bucket dies with it, and a wiped server comes back with what it is set up with.
        self.config = influxd.settings(folder, self.bucket, influxd.operator)
        self.inbox = Inbox(folder / "spool.db", keep_ms=60 * DAY)
        self.clock = SetClock()
        self.store = InfluxStore(self.config, 60 * DAY)
        self.start_again()

    def start_again(self) -> None:
        """A new process: nothing in RAM."""
        self.store.close()
        self.store = InfluxStore(self.config, 60 * DAY)
        self.worker = Worker(self.inbox, Registry(self.engine), self.store, self.clock)

    def send(self, sequence: int, *, asked: int | None = None) -> None:
        """A quarter of an hour's readings of every meter."""
        when = ASKED + sequence * QUARTER if asked is None else asked
        registers = {"1.8.0": 20_000_000 + sequence, "1.8.1": 15_000_000 + sequence}
        snapshots = [snapshot(n, asked=when + n, answered=None, registers=registers) for n in METERS]
        payload = as_bytes(batch(*snapshots, sequence=sequence, **{"class": "interval"}))
        self.clock.now = when + 5000
        put = self.inbox.put([Incoming(GATEWAY, "b7e3c1d09a44", sequence, "readings", payload)], self.clock.now)
        assert put == ["stored"]

    def drain(self) -> None:
        while self.worker.round():
            pass

    def expected(self, sequences: range) -> list[Row]:
        return [
            Row(f"m{n}", ASKED + sequence * QUARTER + n, code, base + sequence, "live")
            for n in METERS
            for sequence in sequences
            for code, base in (("1.8.0", 20_000_000), ("1.8.1", 15_000_000))
        ]

    def series(self) -> list[Row]:
        return list(self.store.span(KINDS, None, 0, 1 << 45))

    def quarantined(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(quarantine.c.reason)).scalars())


@pytest.fixture
def hall(tmp_path: Path, engine: Engine, influxd: Influxd) -> Iterator[Hall]:
    hall = Hall(tmp_path, engine, influxd)
    yield hall
    hall.store.close()
    hall.inbox.close()
    influxd.drop(influxd.known(hall.bucket.name))


def test_an_influxdb_that_is_away_for_a_day_costs_time_and_nothing_else(hall: Hall) -> None:
    hall.influxd.own()
    day = 96
    for sequence in range(1, day):
        hall.send(sequence)
    hall.drain()
    hall.influxd.stop()
    try:
        for sequence in range(day, 2 * day):
            hall.send(sequence)
            with pytest.raises(StoreAway, match="Connection refused"):
                hall.worker.round()
            if sequence % 32 == 0:
                hall.start_again()
        assert hall.inbox.state().unsettled == day
    finally:
        hall.influxd.start()
    for sequence in range(2 * day, 2 * day + 10):
        hall.send(sequence)
    hall.drain()
    assert hall.inbox.state().unsettled == 0
    assert hall.series() == hall.expected(range(1, 2 * day + 10))
    assert len(hall.influxd.lines(hall.bucket)) == len(hall.series())  # and nothing twice, under another tag say
    assert hall.quarantined() == []


def test_the_worker_says_what_is_wrong_once_and_goes_on_by_itself(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hall.influxd.own()
    monkeypatch.setattr(worker_module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(worker_module, "LONGEST_WAIT", 0.1)
    caplog.set_level("INFO")
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=hall.worker.run, args=(stop, wake))
    hall.influxd.stop()
    tries: list[None] = []
    write = hall.store.write
    monkeypatch.setattr(hall.store, "write", lambda samples: (tries.append(None), write(samples))[1])
    try:
        thread.start()
        hall.send(1)
        wake.set()
        eventually(lambda: len(tries) > 3)
        assert hall.worker.trouble.startswith(f"batches wait in the spool: InfluxDB at {hall.influxd.url}: Connection")
        assert caplog.text.count("batches wait in the spool") == 1
    finally:
        hall.influxd.start()
        eventually(lambda: not hall.worker.trouble)
        stop.set()
        wake.set()
        thread.join()
    assert hall.series() == hall.expected(range(1, 2))


def test_an_unfit_bucket_is_said_at_the_start_before_any_reading_comes(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(worker_module, "LONGEST_WAIT", 0.1)
    hall.influxd.retain(hall.bucket, 60 * DAY // 1000)
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=hall.worker.run, args=(stop, wake))
    thread.start()
    try:
        eventually(lambda: "drops values after 60 days and spool.keep is 60 days" in hall.worker.trouble)
        hall.influxd.retain(hall.bucket, 61 * DAY // 1000)
        eventually(lambda: not hall.worker.trouble)
    finally:
        stop.set()
        wake.set()
        thread.join()


def test_a_server_that_dies_in_the_middle_of_its_work_loses_nothing(hall: Hall) -> None:
    """Killed again and again while batches are written: what it had not answered is written again."""
    hall.influxd.own()
    for sequence in range(1, 300):
        hall.send(sequence)
    for _ in range(3):
        killer = threading.Timer(0.02, hall.influxd.stop)
        killer.start()
        try:
            hall.drain()
        except StoreAway:
            pass
        finally:
            killer.join()
            hall.influxd.start()
    hall.drain()
    assert hall.series() == hall.expected(range(1, 300))
    assert len(hall.influxd.lines(hall.bucket)) == len(hall.series())


def test_readings_that_are_too_old_for_the_bucket_are_in_quarantine_and_do_not_hold_up_the_rest(hall: Hall) -> None:
    hall.influxd.retain(hall.bucket, 61 * DAY // 1000)
    now = int(time.time() * 1000) // DAY * DAY
    hall.send(1, asked=now - DAY)
    hall.send(2, asked=now - 200 * DAY)
    hall.send(3, asked=now)
    hall.drain()
    assert hall.inbox.state().unsettled == 0
    assert {row.time // DAY * DAY for row in hall.series()} == {now - DAY, now}
    assert len(hall.series()) == 2 * 2 * len(METERS)
    assert len(hall.quarantined()) == 2 * len(METERS)
    assert all(reason.startswith("beyond retention: ") for reason in hall.quarantined())


def test_frozen_values_that_changed_are_in_quarantine_and_the_first_ones_stay(hall: Hall) -> None:
    for sequence, value in ((1, 5), (2, 5), (3, 6)):
        one = snapshot(1, registers={}, frozen={"2026-10": {"1.8.0": value}}, asked=ASKED + sequence, answered=None)
        payload = as_bytes(batch(one, sequence=sequence))
        hall.inbox.put([Incoming(GATEWAY, "b7e3c1d09a44", sequence, "readings", payload)], hall.clock.now)
        hall.drain()
        hall.start_again()
    assert [row.value for row in hall.series()] == [5]
    assert hall.quarantined() == ["frozen-changed: 0.005 kWh came first and stays"]
    with hall.engine.connect() as connection:
        assert len(list(connection.execute(select(evidence)))) == 3
