"""Custody from the gateway's end: what is sent when, what ends a batch's time in the spool, and what does not."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.clock import SystemClock
from collector.edge.health import LEAST, MOST, Pace
from collector.edge.publisher import LOOK, MOST_RECEIPTS, Custody, Publisher
from collector.model import PASSING
from collector.spool import Entry, Outbox, SpoolUnusable
from tests.broker import eventually

GATEWAY = "gw-1"
DAY = 86_400_000


def tombstone(spool: str, sequence: int, snapshots: int, first: int, last: int) -> bytes:
    return b"tombstone of %d" % sequence


@contextmanager
def opened(folder: Path) -> Iterator[Outbox]:
    outbox = Outbox(folder / "spool.db", max_bytes=64 << 20, keep_ms=40 * DAY, tombstone=tombstone)
    try:
        yield outbox
    finally:
        outbox.close()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with opened(tmp_path) as it:
        yield it


def fill(outbox: Outbox, count: int, class_: str = "interval", size: int = 100) -> list[Entry]:
    def batch(spool: str, sequence: int) -> bytes:
        return json.dumps({"spool": spool, "sequence": sequence, "class": class_}).encode().ljust(size)

    return [outbox.append(class_, batch, count=1, first=0, last=0, now=0) for _ in range(count)]


def receipt(entry: Entry, **changed: Any) -> bytes:
    fields = {
        "schema": 1, "gateway": GATEWAY, "spool": entry.spool, "sequence": entry.sequence, "sha256": entry.sha256,
        "stored": True,
    }  # fmt: skip
    return json.dumps(fields | changed).encode()


def refusal(entry: Entry, code: str) -> bytes:
    return receipt(entry, stored=False, code=code, final=code not in PASSING, reason="a reason")


class Broker:
    """Takes what is published, as long as it is up."""

    def __init__(self) -> None:
        self.connected = True
        self.taken: list[bytes] = []

    def publish(
        self, topic: str, payload: bytes, retain: bool = False, unheard: Callable[[], None] | None = None
    ) -> bool:
        assert (topic, retain) == (f"meterline/v1/{GATEWAY}/readings", False)
        if self.connected:
            self.taken.append(payload)
        return self.connected

    def sequences(self) -> list[int]:
        """What came since the last look."""
        found = [json.loads(payload)["sequence"] for payload in self.taken]
        self.taken.clear()
        return found


class Bench:
    """A custody with a spool, a broker and seconds that pass on demand."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.broker = Broker()
        self.custody = Custody(GATEWAY, outbox, self.broker)
        self.now = 1000.0

    def sent(self, after: float = 0.0) -> list[int]:
        self.now += after
        again = self.custody.step(self.now)
        assert self.now < again <= self.now + LOOK
        return self.broker.sequences()

    def receive(self, payload: bytes) -> None:
        self.custody.receive(payload, self.now)

    def waiting(self) -> list[int]:
        return [entry.sequence for entry in self.outbox.pending(1000)]


@pytest.fixture
def bench(outbox: Outbox) -> Bench:
    return Bench(outbox)


# ----------------------------------------------------------------------------- what is sent when


def test_eight_wait_for_receipts_kept_ones_first_then_the_newest(bench: Bench) -> None:
    fill(bench.outbox, 6)
    fill(bench.outbox, 3, "keep")
    assert bench.sent() == [7, 8, 9, 6, 5, 4, 3, 2]
    assert bench.sent(after=1) == []


def test_a_receipt_makes_room_for_the_next(bench: Bench) -> None:
    entries = fill(bench.outbox, 10)
    assert bench.sent() == [10, 9, 8, 7, 6, 5, 4, 3]
    bench.receive(receipt(entries[6]))
    assert bench.sent(after=1) == [2]
    assert 7 not in bench.waiting()


def test_what_was_published_is_not_taken_for_stored(bench: Bench) -> None:
    """The broker took all of it, acknowledged it, and lost it in a power cut."""
    fill(bench.outbox, 3)
    assert bench.sent() == [3, 2, 1]
    assert bench.waiting() == [3, 2, 1]
    bench.broker.connected = False
    bench.sent(after=10)
    bench.broker.connected = True
    bench.custody.connected()
    assert bench.sent(after=1) == []
    assert bench.sent(after=49) == [3, 2, 1]


def test_without_a_receipt_a_batch_is_sent_again_after_a_minute_doubling_to_a_quarter_of_an_hour(bench: Bench) -> None:
    fill(bench.outbox, 1)
    times = [bench.now for _ in range(5 * 900) if bench.sent(after=1)]
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [60, 120, 240, 480, 900, 900, 900]


def test_nothing_is_sent_while_the_broker_is_away_and_everything_afterwards(bench: Bench) -> None:
    bench.broker.connected = False
    entries = {entry.sequence: entry for entry in fill(bench.outbox, 50) + fill(bench.outbox, 5, "keep")}
    for _ in range(100):
        assert bench.sent(after=600) == []
    bench.broker.connected = True
    bench.custody.connected()
    order = []
    while batches := bench.sent(after=1):
        assert len(batches) <= 8
        order += batches
        for sequence in batches:
            bench.receive(receipt(entries[sequence]))
    assert order == [51, 52, 53, 54, 55, *range(50, 0, -1)]
    assert bench.waiting() == []


def test_a_connection_that_comes_and_goes_sends_no_batch_more_than_once_a_minute(bench: Bench) -> None:
    fill(bench.outbox, 20)
    sent: list[tuple[float, int]] = []
    for second in range(600):
        bench.broker.connected = second % 2 == 0
        if bench.broker.connected:
            bench.custody.connected()
        sent += [(bench.now, sequence) for sequence in bench.sent(after=1)]
    for sequence in {s for _, s in sent}:
        times = [at for at, s in sent if s == sequence]
        assert all(b - a >= 60 for a, b in itertools.pairwise(times))
    assert Counter(s for _, s in sent) == dict.fromkeys(range(13, 21), 10)


def test_a_broker_that_takes_no_more_is_not_asked_for_more(bench: Bench) -> None:
    fill(bench.outbox, 5)
    room = iter([True, True, False, AssertionError("asked after a no")])

    def publish(topic: str, payload: bytes, retain: bool = False, unheard: Callable[[], None] | None = None) -> bool:
        answer = next(room)
        assert isinstance(answer, bool)
        return answer

    bench.broker.publish = publish  # type: ignore[method-assign]
    bench.sent()
    bench.broker.publish = Broker.publish.__get__(bench.broker)  # type: ignore[method-assign]
    assert bench.sent(after=1) == [3, 2, 1]


def test_a_kept_batch_does_not_stand_behind_readings_that_nobody_answers(bench: Bench) -> None:
    fill(bench.outbox, 8)
    assert len(bench.sent()) == 8
    fill(bench.outbox, 1, "keep")
    assert bench.sent(after=10) == []  # those eight may still be answered
    assert bench.sent(after=50)[0] == 9
    fill(bench.outbox, 1, "keep")
    assert bench.sent(after=1) == [10]  # now they were sent twice in vain
    assert bench.sent(after=1) == []


# ----------------------------------------------------------------------------- receipts


def test_a_receipt_that_comes_twice_changes_nothing_the_second_time(bench: Bench) -> None:
    one, _ = fill(bench.outbox, 2)
    assert bench.sent() == [2, 1]
    for _ in range(3):
        bench.receive(receipt(one))
    assert bench.waiting() == [2]
    bench.receive(refusal(one, "conflict"))
    bench.receive(refusal(one, "busy"))
    assert bench.waiting() == [2]
    assert bench.outbox.state(0).refused == 0


def test_a_receipt_that_comes_before_we_know_that_it_was_sent_counts(bench: Bench) -> None:
    """After a crash between publishing and the receipt nothing is remembered, and the receipt is as good."""
    (one,) = fill(bench.outbox, 1)
    bench.receive(receipt(one))
    assert bench.sent() == []
    assert bench.waiting() == []


@pytest.mark.parametrize(
    "payload",
    [
        lambda e: receipt(e, sha256="0" * 64),
        lambda e: receipt(e, sequence=99),
        lambda e: receipt(e, spool="0" * 12),
        lambda e: receipt(e, gateway="gw-2"),
        lambda e: receipt(e, schema=2),
        lambda e: receipt(e, sequence=0),
        lambda e: receipt(e, sha256="0" * 64, stored=False, code="conflict", final=True),
        lambda e: receipt(e, sha256="0" * 64, stored=False, code="busy", final=False),
        lambda e: receipt(e, stored=False, code="nobody-knows", final=True),
        lambda e: receipt(e)[:-1],
        lambda e: b"",
        lambda e: b"\xff\xfe",
        lambda e: b"[" * 100_000,
        lambda e: b"null",
    ],
    ids=range(14),
)
def test_a_receipt_that_is_not_for_these_bytes_changes_nothing_and_is_counted(
    bench: Bench, payload: Callable[[Entry], bytes]
) -> None:
    (one,) = fill(bench.outbox, 1)
    bench.sent()
    bench.receive(payload(one))
    assert bench.custody.counts.ignored == 1
    assert bench.waiting() == [1]
    assert bench.outbox.state(0).refused == 0
    assert bench.sent(after=59) == []
    assert bench.sent(after=1) == [1]


@pytest.mark.parametrize("code", ["schema", "too-large", "mismatch", "conflict"])
def test_a_final_refusal_parks_the_batch_and_the_others_go_on_until_it_is_sent_again(bench: Bench, code: str) -> None:
    entries = fill(bench.outbox, 9)
    assert len(bench.sent()) == 8
    bench.receive(refusal(entries[5], code))
    assert bench.outbox.state(0).refused == 1
    assert bench.sent(after=1) == [1]
    assert code in bench.custody.refusal
    for sequence, entry in enumerate(entries, 1):
        if sequence != 6:
            bench.receive(receipt(entry))
    assert bench.sent(after=3600) == []
    assert bench.custody.refusal == ""
    assert bench.outbox.resend() == 1
    assert bench.sent(after=1) == [6]


@pytest.mark.parametrize("code", sorted(PASSING))
def test_a_refusal_for_now_is_tried_again_ever_more_seldom(bench: Bench, code: str) -> None:
    (one,) = fill(bench.outbox, 1)
    times = []
    while len(times) < 6:
        if bench.sent(after=1):
            times.append(bench.now)
            bench.receive(refusal(one, code))
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [60, 120, 240, 480, 900]
    assert bench.outbox.state(0).refused == 0
    assert code in bench.custody.refusal


# ----------------------------------------------------------------------------- the law


class World:
    """A broker that loses, a centre that stores by key and digest, receipts that are lost, late, doubled, broken."""

    def __init__(self, outbox: Outbox, chance: random.Random) -> None:
        self.bench = Bench(outbox)
        self.chance = chance
        self.stored: dict[tuple[str, int], bytes] = {}
        self.receipts: list[bytes] = []
        self.entries: dict[tuple[str, int], Entry] = {}
        self.kind = True  # nothing goes wrong any more

    def append(self) -> None:
        for entry in fill(self.bench.outbox, self.chance.randint(1, 4), self.chance.choice(["interval", "keep"])):
            self.entries[(entry.spool, entry.sequence)] = entry

    def turn(self, seconds: float) -> None:
        self.bench.now += seconds
        if self.bench.broker.connected:
            self.bench.custody.step(self.bench.now)
        taken, self.bench.broker.taken = self.bench.broker.taken, []
        for payload in taken:
            if self.kind or self.chance.random() < 0.7:
                self._centre(payload)
        self.chance.shuffle(self.receipts)
        due = self.receipts if self.kind else self.receipts[: self.chance.randint(0, len(self.receipts))]
        self.receipts = [] if self.kind else self.receipts[len(due) :]
        for payload in due:
            for _ in range(1 if self.kind else self.chance.choice([0, 1, 1, 2])):
                self.bench.receive(payload)

    def _centre(self, payload: bytes) -> None:
        fields = json.loads(payload)
        entry = self.entries[(fields["spool"], fields["sequence"])]
        assert payload == entry.payload
        luck = 0.0 if self.kind else self.chance.random()
        if luck > 0.9:
            self.receipts.append(refusal(entry, self.chance.choice(["busy", "unknown-gateway", "schema"])))
            return
        self.stored[(entry.spool, entry.sequence)] = payload
        good = receipt(entry)
        wrong = [receipt(entry, sha256=hashlib.sha256(b"x").hexdigest()), good[:-2], receipt(entry, gateway="gw-2")]
        self.receipts.append(self.chance.choice(wrong) if luck > 0.8 else good)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_whatever_is_lost_on_the_way_every_batch_is_stored_before_it_leaves_and_in_the_end_all_are(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    with opened(tmp_path_factory.mktemp("law")) as outbox:
        world = World(outbox, chance)
        world.kind = False
        for _ in range(40):
            if chance.random() < 0.5 and len(world.entries) < 40:
                world.append()
            if chance.random() < 0.2:
                world.bench.broker.connected = not world.bench.broker.connected
                if world.bench.broker.connected:
                    world.bench.custody.connected()
            world.turn(chance.choice([0.1, 1, 30, 61, 500]))
            refused = outbox.state(0).refused
            held = {(e.spool, e.sequence) for e in outbox.pending(1000)}
            gone = set(world.entries) - held
            assert len(gone - set(world.stored)) <= refused, "a batch left the spool and nobody has it"
        world.kind = True
        world.bench.broker.connected = True
        world.bench.custody.connected()
        world.turn(901)  # a refusal that is under way may still come, and park something
        outbox.resend()
        for _ in range(20):
            world.turn(901)
        assert world.stored == {key: entry.payload for key, entry in world.entries.items()}
        assert outbox.state(0).unreceipted == 0


# ----------------------------------------------------------------------------- the thread


def test_the_thread_sends_what_was_committed_and_takes_receipts(outbox: Outbox) -> None:
    broker = Broker()
    turns = threading.Semaphore(0)
    publisher = Publisher(Custody(GATEWAY, outbox, broker), SystemClock(), turns.release)
    publisher.start()
    entries = fill(outbox, 3)
    publisher.wake()
    eventually(lambda: len(broker.taken) == 3)
    for entry in entries:
        publisher.receipt(receipt(entry))
    eventually(lambda: outbox.state(0).unreceipted == 0)
    publisher.stop()
    assert turns.acquire(blocking=False)
    assert publisher.crashed is None


def test_a_new_connection_is_told_to_the_custody_before_it_is_used(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    custody = Custody(GATEWAY, outbox, Broker())
    calls: list[str] = []
    monkeypatch.setattr(custody, "connected", lambda: calls.append("connected"))
    monkeypatch.setattr(custody, "step", lambda now: calls.append("step") or now + 60)
    publisher = Publisher(custody, SystemClock(), lambda: None)
    publisher.connected()
    publisher.start()
    eventually(lambda: calls[:2] == ["connected", "step"])
    publisher.connected()
    eventually(lambda: calls.count("connected") == 2)
    publisher.stop()
    assert calls[calls.index("connected", 1) + 1] == "step"


def test_a_spool_that_cannot_be_used_is_said_and_tried_again(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, broken = Broker(), threading.Event()
    broken.set()
    sound = outbox.pending

    def pending(*arguments: Any) -> list[Entry]:
        if broken.is_set():
            raise SpoolUnusable("the disk is gone")
        return sound(*arguments)

    monkeypatch.setattr(outbox, "pending", pending)
    fill(outbox, 1)
    publisher = Publisher(Custody(GATEWAY, outbox, broker), SystemClock(), lambda: None)
    publisher.start()
    eventually(lambda: publisher.trouble == "the disk is gone")
    broken.clear()
    publisher.wake()
    eventually(lambda: broker.taken and not publisher.trouble)
    publisher.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_publisher_is_known_to_who_started_it(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    custody = Custody(GATEWAY, outbox, Broker())
    monkeypatch.setattr(custody, "step", lambda now: 1 / 0)
    publisher = Publisher(custody, SystemClock(), lambda: None)
    publisher.start()
    eventually(lambda: isinstance(publisher.crashed, ZeroDivisionError))
    publisher.stop()


def test_a_flood_of_receipts_is_held_in_bounds(outbox: Outbox) -> None:
    (one,) = fill(outbox, 1)
    custody = Custody(GATEWAY, outbox, Broker())
    publisher = Publisher(custody, SystemClock(), lambda: None)
    for _ in range(MOST_RECEIPTS):
        publisher.receipt(b"{}")
    publisher.receipt(receipt(one))  # does not fit any more, and comes again after a minute
    publisher.start()
    eventually(lambda: custody.counts.ignored == MOST_RECEIPTS)
    publisher.stop()
    assert outbox.state(0).unreceipted == 1


# ----------------------------------------------------------------------------- the pace of the status


def test_a_status_goes_out_at_each_change_once_a_minute_at_most_and_once_in_ten_at_least() -> None:
    pace, sent = Pace(), []
    for now in range(3600):
        state = now // 7 if now < 600 else 0
        if pace.due(state, now):
            pace.sent(state, now)
            sent.append(now)
    steps = [b - a for a, b in itertools.pairwise(sent)]
    assert sent[0] == 0
    assert steps[:10] == [LEAST] * 10
    assert steps[10:] == [MOST] * 4


def test_after_a_new_connection_the_status_goes_out_though_nothing_changed() -> None:
    pace = Pace()
    pace.sent("well", 0)
    assert not pace.due("well", LEAST)
    pace.owe()
    assert not pace.due("well", LEAST - 1)
    assert pace.due("well", LEAST)
    pace.sent("well", LEAST)
    assert not pace.due("well", 2 * LEAST)
