"""The worker: what becomes of each snapshot, whatever breaks in between, and however often it is repeated."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import OperationalError

from collector.central import worker as worker_module
from collector.central.database import evidence, quarantine
from collector.central.engine import writing
from collector.central.live_findings import live_findings
from collector.central.registry import Registry
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import KINDS, Rejected, Row, Sample, StoreAway, WriteResult
from collector.central.worker import Worker
from collector.messages import open_envelope
from collector.spool import Inbox, Incoming
from tests.broker import eventually
from tests.central.building import (
    ASKED,
    GATEWAY,
    PROFILE,
    SPOOL,
    ZONE,
    SetClock,
    as_bytes,
    batch,
    bring,
    point,
    snapshot,
)
from tests.central.databases import open_database

pytestmark = pytest.mark.usefixtures("database")
OCTOBER_ENDS = 1_793_480_400_000
DAY = 86_400_000


class Hall:
    """A worker with a real spool, registry and store."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_database(folder / "central.db")
        self.inbox = Inbox(folder / "spool.db", keep_ms=1000)
        self.store = EmbeddedStore(folder / "series.db")
        self.clock = SetClock()
        self.start_again()

    def start_again(self) -> None:
        """A new worker, as after a crash: nothing in RAM."""
        self.worker = Worker(self.inbox, Registry(self.engine), self.store, self.clock)

    def receive(self, *batches: dict[str, Any], kind: Any = "readings") -> None:
        rows = [Incoming(item["gateway"], item["spool"], item["sequence"], kind, as_bytes(item)) for item in batches]
        assert set(self.inbox.put(rows, self.clock.now)) == {"stored"}

    def drain(self) -> None:
        while self.worker.round():
            pass

    def series(self) -> list[Row]:
        return list(self.store.span(KINDS, None, 0, 1 << 45))

    def quarantine(self) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(quarantine).order_by(quarantine.c.sequence, quarantine.c.id)))

    def evidence(self) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(evidence).order_by(evidence.c.sequence, evidence.c.position)))

    def state(self) -> tuple[Any, ...]:
        """All that is known, without the numbers that a database gives to rows."""
        return self.series(), [row[1:] for row in self.quarantine()], self.evidence(), self.inbox.state().unsettled

    def close(self) -> None:
        self.store.close()
        self.inbox.close()
        self.engine.dispose()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(tmp_path)
    bring(hall.engine, *(point(number) for number in range(1, 5)))
    yield hall
    hall.close()


def test_a_snapshot_becomes_values_stamped_with_its_asking_and_its_months_end(hall: Hall) -> None:
    whole = snapshot(1, registers={"1.8.0": 7}, frozen={"2026-10": {"1.8.0": 5}}, quantities={"32.7.0": 230.1})
    hall.receive(batch(whole))
    hall.drain()
    assert hall.series() == [
        Row("m1", OCTOBER_ENDS, "1.8.0", 5, "frozen"),
        Row("m1", ASKED, "1.8.0", 7, "live"),
        Row("m1", ASKED, "32.7.0", 230.1, "quantity"),
    ]
    assert (hall.inbox.state().unsettled, hall.quarantine()) == (0, [])


def test_a_kept_snapshot_is_evidence_with_the_digest_and_zone_of_its_batch(hall: Hall) -> None:
    hall.receive(batch(snapshot(1, raw={"1.8.0": "0131d996"}, clock="2026-11-01T00:00:59"), snapshot(2)))
    stored = hall.inbox.unsettled("readings", 1)[0]
    hall.drain()
    first, second = hall.evidence()
    assert (first.gateway, first.spool, first.sequence, first.position) == (GATEWAY, SPOOL, 1, 0)
    assert (first.meter, first.asked, first.sha256, first.zone) == ("m1", ASKED, stored.sha256, ZONE)
    assert json.loads(first.snapshot) == snapshot(1, raw={"1.8.0": "0131d996"}, clock="2026-11-01T00:00:59")
    assert (second.position, second.meter) == (1, "m2")


def test_what_says_nothing_is_not_in_the_evidence_and_what_says_zero_is(hall: Hall) -> None:
    hall.receive(batch(snapshot(1, frozen={}, quality=[], clock=None, failure=None, registers={"1.8.0": 0}, newer=[1])))
    hall.drain()
    (kept,) = hall.evidence()
    assert json.loads(kept.snapshot) == snapshot(1, registers={"1.8.0": 0})


def test_an_interval_snapshot_is_no_evidence(hall: Hall) -> None:
    hall.receive(batch(snapshot(1, purpose="interval"), **{"class": "interval"}))
    hall.drain()
    assert len(hall.series()) == 3
    assert hall.evidence() == []


def test_a_meter_with_something_wrong_all_day_is_written_down_once(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def noted(engine: Engine) -> AbstractContextManager[Connection]:
        written.append(engine)
        return writing(engine)

    monkeypatch.setattr(worker_module, "writing", noted)
    wrong = {"1.8.0": 9_000_000, "1.8.1": 1_000_000, "1.8.2": 2_000_000, "1.8.3": 0, "1.8.4": 0}
    for hour in range(3):
        asked = ASKED + hour * 3_600_000
        item = snapshot(1, purpose="interval", asked=asked, answered=None, registers=wrong)
        hall.receive(batch(item, sequence=hour + 1, **{"class": "interval"}))
        hall.clock.now = asked + 5000
        hall.drain()
    with hall.engine.connect() as connection:
        assert [(found.check, found.time) for found in live_findings(connection, 0)] == [("tariff-sum", ASKED)]
    assert len(written) == 1


def test_a_failure_is_neither_a_value_nor_evidence_nor_a_doubt(hall: Hall) -> None:
    hall.receive(batch(snapshot(1, registers={}, failure={"kind": "no-answer", "text": "no answer in 1.5 s"})))
    hall.drain()
    assert hall.state() == ([], [], [], 0)


def test_a_bad_snapshot_is_in_quarantine_with_its_reason_and_its_neighbours_are_not(hall: Hall) -> None:
    bad = snapshot(2, registers={"1.8.0": -5})
    torn = {"meter": "m3", "asked": ASKED, "registers": "x"}
    strange = snapshot(9)
    hall.receive(batch(snapshot(1), bad, torn, strange, 17))
    hall.drain()
    assert {row.meter for row in hall.series()} == {"m1"}
    assert [row.meter for row in hall.evidence()] == ["m1"]
    rows = hall.quarantine()
    assert [(row.position, row.meter, row.time, row.kind, row.register, row.value) for row in rows] == [
        (1, "m2", ASKED, "", "", ""),
        (2, "m3", ASKED, "", "", ""),
        (3, "m9", ASKED, "", "", ""),
        (4, "", None, "", "", ""),
    ]
    assert rows[0].reason == "impossible value: 1.8.0 is -5, expected 0 to 2^53"
    assert rows[2].reason.startswith("unknown meter: m9")
    assert json.loads(rows[0].snapshot) == bad
    assert json.loads(rows[1].snapshot) == torn
    assert rows[3].snapshot == "17"


def test_values_of_a_gateway_without_the_time_are_never_in_the_series(hall: Hall) -> None:
    hall.receive(batch(snapshot(1), synced=False))
    hall.drain()
    assert hall.series() == []
    assert hall.quarantine()[0].reason.startswith("unsynced clock")


def test_a_time_that_no_calendar_has_is_kept_in_the_snapshot_alone(hall: Hall) -> None:
    hall.receive(batch(snapshot(1, asked=1 << 80), snapshot(2, asked=-5)))
    hall.drain()
    assert [(row.time, json.loads(row.snapshot)["asked"]) for row in hall.quarantine()] == [(None, 1 << 80), (None, -5)]


def test_another_frozen_value_for_the_same_month_is_kept_beside_and_the_first_stays(hall: Hall) -> None:
    for sequence, value in ((1, 100), (2, 100), (3, 101)):
        again = snapshot(
            1, asked=ASKED + sequence * 60_000, answered=None, registers={}, frozen={"2026-10": {"1.8.0": value}}
        )
        hall.receive(batch(again, sequence=sequence))
    hall.drain()
    assert hall.series() == [Row("m1", OCTOBER_ENDS, "1.8.0", 100, "frozen")]
    (row,) = hall.quarantine()
    assert (row.sequence, row.kind, row.month, row.register, row.value) == (3, "frozen", "2026-10", "1.8.0", "0.101")
    assert row.reason == "frozen-changed: 0.100 kWh came first and stays"
    assert len(hall.evidence()) == 3


def test_what_the_store_refuses_for_good_is_in_quarantine_by_register(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = hall.store.write

    def refusing(samples: Sequence[Sample]) -> WriteResult:
        write(samples[1:])
        return WriteResult([Rejected(0, "beyond retention")])

    monkeypatch.setattr(hall.store, "write", refusing)
    hall.receive(batch(snapshot(1, registers={"1.8.0": 1, "1.8.1": 2}), snapshot(2, registers={"1.8.0": 3})))
    hall.drain()
    rows = [(row.meter, row.kind, row.register, row.value, row.reason) for row in hall.quarantine()]
    assert rows == [
        ("m1", "live", "1.8.0", "0.001", "beyond retention"),
        ("m1", "live", "1.8.1", "0.002", "beyond retention"),
    ]
    assert [row.meter for row in hall.series()] == ["m2"]


def test_tombstones_are_settled_and_counted_and_acts_are_left(hall: Hall) -> None:
    lost = batch(sequence=1, snapshots=None, evicted={"snapshots": 180, "from": 1, "to": 2})
    hall.receive(lost)
    hall.receive(batch(sequence=2, snapshots=None, act={"kind": "sealing"}), kind="acts")
    hall.drain()
    assert hall.worker.counts.evicted == 180
    assert (hall.inbox.state().unsettled, len(hall.inbox.unsettled("acts", 5))) == (1, 1)


def test_a_meter_that_becomes_known_is_believed_from_the_next_round_on(hall: Hall) -> None:
    hall.receive(batch(snapshot(5)))
    hall.drain()
    bring(hall.engine, point(5))
    hall.receive(batch(snapshot(5), sequence=2))
    hall.drain()
    assert [row.sequence for row in hall.quarantine()] == [1]
    assert {row.meter for row in hall.series()} == {"m5"}


def test_a_meter_that_moves_to_another_gateway_is_judged_by_the_registry_as_it_is_now(hall: Hall) -> None:
    hall.receive(batch(snapshot(1)))
    hall.drain()
    bring(hall.engine, point(1, gateway="gw-new"), now=ASKED + 1)
    hall.receive(batch(snapshot(1, asked=ASKED + 60_000, answered=None), sequence=2))
    hall.receive(batch(snapshot(1, asked=ASKED + 60_000, answered=None), gateway="gw-new"))
    hall.drain()
    assert [(row.gateway, row.sequence) for row in hall.quarantine()] == [(GATEWAY, 2)]
    assert {row.time for row in hall.series()} == {ASKED, ASKED + 60_000}


# --------------------------------------------------------------------------------------- crashes, absent sinks, poison


class Crash(BaseException):
    """A kill -9: nothing of ours may catch it."""


def mixed() -> list[dict[str, Any]]:
    """Batches with something for every sink."""
    frozen = snapshot(1, frozen={"2026-10": {"1.8.0": 100}})
    changed = snapshot(1, asked=ASKED + 60_000, answered=None, frozen={"2026-10": {"1.8.0": 101, "1.8.1": 5}})
    return [
        batch(frozen, snapshot(2, registers={"1.8.0": -1}), sequence=1),
        batch(changed, snapshot(9), sequence=2),
        batch(snapshot(3, purpose="interval", quantities={"32.7.0": 230.1}), sequence=3, **{"class": "interval"}),
        batch(sequence=4, snapshots=None, evicted={"snapshots": 1, "from": 1, "to": 2}),
    ]


def crashing(target: Any, name: str, before: bool) -> Callable[[pytest.MonkeyPatch], None]:
    def install(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(target, name)

        def call(*arguments: Any, **named: Any) -> Any:
            if not before:
                original(*arguments, **named)
            raise Crash

        monkeypatch.setattr(target, name, call)

    return install


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", ["series", "kept", "settle"])
def test_a_kill_at_any_step_costs_a_repetition_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    states = []
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
        hall = Hall(tmp_path / name)
        bring(hall.engine, *(point(number) for number in range(1, 5)))
        hall.receive(*mixed())
        if name == "killed":
            targets = {
                "series": (hall.store, "write"),
                "kept": (worker_module, "keep"),
                "settle": (hall.inbox, "settle"),
            }
            with monkeypatch.context() as patched:
                crashing(*targets[step], before)(patched)
                with pytest.raises(Crash):
                    hall.worker.round()
            hall.close()  # the files, as the next process finds them
            hall = Hall(tmp_path / name)
        hall.drain()
        states.append(hall.state())
        hall.close()
    assert states[0] == states[1]
    assert states[0][3] == 0
    assert len(states[0][1]) == 3


def test_the_same_batches_settled_twice_change_nothing(hall: Hall) -> None:
    hall.receive(*mixed())
    stored = hall.inbox.unsettled("readings", 10)
    hall.drain()
    before = hall.state()
    hall.worker._settle(stored)
    assert hall.state() == before


@pytest.mark.parametrize("fault", [StoreAway("the store is away"), OperationalError("", None, Exception("locked"))])
def test_while_a_sink_is_away_batches_wait_and_are_carried_when_it_is_back(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(worker_module, "FIRST_WAIT", 0.01)
    write, back = hall.store.write, threading.Event()

    def away(samples: Sequence[Sample]) -> WriteResult:
        if back.is_set():
            return write(samples)
        raise fault

    monkeypatch.setattr(hall.store, "write", away)
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=hall.worker.run, args=(stop, wake))
    thread.start()
    hall.receive(batch(snapshot(1)))
    wake.set()
    eventually(lambda: hall.worker.trouble)
    assert hall.inbox.state().unsettled == 1
    back.set()
    eventually(lambda: hall.inbox.state().unsettled == 0)
    eventually(lambda: not hall.worker.trouble)
    stop.set()
    wake.set()
    thread.join()
    assert len(hall.series()) == 3
    assert caplog.text.count("batches wait in the spool") == 1


def test_a_poisonous_batch_is_set_aside_whole_and_what_comes_behind_it_goes_on(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(payload: bytes) -> Any:
        if b'"sequence":2,' in payload:
            raise ZeroDivisionError("a bug")
        return open_envelope(payload)

    monkeypatch.setattr(worker_module, "opened", broken)
    hall.receive(*(batch(snapshot(number), sequence=number) for number in (1, 2, 3)))
    hall.drain()
    assert {row.meter for row in hall.series()} == {"m1", "m3"}
    (row,) = hall.quarantine()
    assert (row.sequence, row.position, row.meter, row.time) == (2, -1, "", None)
    assert "a bug" in row.reason
    assert json.loads(row.snapshot)["sequence"] == 2
    assert (hall.inbox.state().unsettled, hall.worker.counts.poisonous) == (0, 1)


def test_a_fault_in_the_round_itself_does_not_end_the_worker(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FIRST_WAIT", 0.01)
    faults = iter([ZeroDivisionError("a bug"), ZeroDivisionError("a bug")])
    unsettled = hall.inbox.unsettled

    def broken(*arguments: Any) -> Any:
        for fault in faults:
            raise fault
        return unsettled(*arguments)

    monkeypatch.setattr(hall.inbox, "unsettled", broken)
    hall.receive(batch(snapshot(1)))
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=hall.worker.run, args=(stop, wake))
    thread.start()
    eventually(lambda: hall.inbox.state().unsettled == 0)
    stop.set()
    wake.set()
    thread.join()


# ------------------------------------------------------------------------------------------------------------- order

_items = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(-1, 3), st.booleans()), min_size=1, max_size=6
)


@given(_items, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_in_which_batches_come_means_nothing(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[int, int, int, bool]], random: Any
) -> None:
    """One value for each meter and instant, as meters have; some unsynced, some negative, some unknown."""
    batches = [
        batch(
            snapshot(meter, asked=ASKED + at * 60_000, answered=None, registers={"1.8.0": at if value >= 0 else -1}),
            sequence=sequence,
            synced=synced,
        )
        for sequence, (meter, at, value, synced) in enumerate(items, 1)
    ]
    states = []
    for _ in range(2):
        hall = Hall(tmp_path_factory.mktemp("hall"))
        bring(hall.engine, point(1), point(2), point(3))
        for item in batches:
            hall.receive(item)
        hall.drain()
        series, doubts, proofs, unsettled = hall.state()
        states.append((series, sorted(doubts, key=repr), proofs, unsettled))
        hall.close()
        random.shuffle(batches)
    assert states[0] == states[1]


def test_every_snapshot_is_accepted_or_in_quarantine_and_none_is_lost(hall: Hall) -> None:
    snapshots = [snapshot(n % 6, asked=ASKED + n, answered=None, registers={"1.8.0": n - 5}) for n in range(200)]
    hall.receive(
        *(batch(*snapshots[n : n + 7], sequence=n + 1, profiles={PROFILE: "sha256:0"}) for n in range(0, 200, 7))
    )
    hall.drain()
    accepted = {(row.meter, row.time) for row in hall.series()}
    doubted = {(row.meter, row.time) for row in hall.quarantine()}
    assert len(accepted) + len(doubted) == 200
    assert not accepted & doubted
