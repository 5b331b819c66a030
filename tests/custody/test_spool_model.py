"""The outbox against a model of a few lines, under any order of appends, receipts, refusals, evictions and restarts."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from collector.durable.layout import PAGE
from collector.outbox import PARKED, RECEIPTED, TOMBSTONE, WAITING
from collector.spool import Outbox, SpoolFull
from tests.custody.boxes import DAY, NOW, append, outbox, payload_of, rows, tombstone

MAX_BYTES = 100_000
COUNT = 7  # snapshots of each batch


@dataclass
class Batch:
    """What the model knows of a batch. `sha256` is of the bytes that are sent now, `original` of the first ones."""

    sequence: int
    class_: str
    size: int
    at: int
    original: str
    sha256: str
    state: int = WAITING
    evicted: bool = False
    regained: bool = False
    # What a power cut brings back, as long as the receipt is only in RAM.
    before: Batch | None = field(default=None, repr=False)

    @property
    def may_be_evicted(self) -> bool:
        return self.class_ == "interval" and not self.evicted and self.state != RECEIPTED


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.generation = 0
        self.now = NOW
        self.batches: dict[int, Batch] = {}
        self.next = 1
        self.box: Outbox

    @property
    def path(self) -> Path:
        return self.directory / str(self.generation) / "spool.db"

    def open(self) -> None:
        self.box = outbox(self.path, max_bytes=MAX_BYTES, keep_ms=10 * DAY)

    @initialize()
    def begin(self) -> None:
        self.open()
        self.spool = self.box.id

    def teardown(self) -> None:
        if hasattr(self, "box"):
            self.box.close()
        shutil.rmtree(self.directory)

    # ------------------------------------------------------------------------- what happens to it

    @rule(class_=st.sampled_from(["keep", "interval", "interval"]), size=st.sampled_from([10, 700, 3000, 9000, 30_000]))
    def append(self, class_: str, size: int) -> None:
        try:
            entry = append(self.box, class_, size=size, now=self.now, count=COUNT)
        except SpoolFull:
            assert class_ == "interval"
            may_go = [batch for batch in self.batches.values() if batch.may_be_evicted or batch.state == RECEIPTED]
            assert sum(batch.size for batch in may_go) < size + 32 * PAGE  # not enough, with the room that is spare
            self.observe(changed=False)
            return
        assert (entry.spool, entry.sequence) == (self.spool, self.next)
        assert entry.payload == payload_of(self.spool, self.next, size)
        self.batches[self.next] = Batch(self.next, class_, size, self.now, entry.sha256, entry.sha256)
        self.next += 1
        self.observe(changed=True)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), which=st.sampled_from(["sent", "original", "wrong"]))
    def receipt(self, data: st.DataObject, which: str) -> None:
        batch = self.batches[data.draw(st.sampled_from(sorted(self.batches)))]
        sha256 = {"sent": batch.sha256, "original": batch.original, "wrong": "0" * 64}[which]
        assert self.box.settle(self.spool, batch.sequence, sha256) == (which != "wrong")
        if which != "wrong" and batch.state != RECEIPTED:
            self.settled(batch, regained=batch.evicted and sha256 == batch.original)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), code=st.sampled_from(["schema", "conflict"]), which=st.sampled_from(["sent", "original"]))
    def refusal(self, data: st.DataObject, code: str, which: str) -> None:
        batch = self.batches[data.draw(st.sampled_from(sorted(self.batches)))]
        sha256 = batch.sha256 if which == "sent" else batch.original
        taken = self.box.park(self.spool, batch.sequence, sha256, code)
        assert taken == (sha256 == batch.sha256 and batch.state != RECEIPTED)
        if taken and batch.evicted and code == "conflict":
            self.settled(batch, regained=True)
        elif taken:
            batch.state = PARKED
            self.written()

    @rule()
    def resend(self) -> None:
        parked = [batch for batch in self.batches.values() if batch.state == PARKED]
        assert self.box.resend() == len(parked)
        for batch in parked:
            batch.state = WAITING
        self.written()

    @rule(days=st.integers(0, 9))
    def resend_since(self, days: int) -> None:
        since = self.now - days * DAY
        again = [
            batch
            for batch in self.batches.values()
            if batch.state == PARKED or (batch.state == RECEIPTED and batch.at >= since and not batch.evicted)
        ]
        assert self.box.resend(since) == len(again)
        for batch in again:
            batch.state = WAITING
        self.written()

    @rule(days=st.integers(1, 8))
    def time_passes(self, days: int) -> None:
        self.now += days * DAY

    @rule()
    def restart(self) -> None:
        self.box.close()
        self.written()
        self.open()

    @rule()
    def power_cut(self) -> None:
        """The file and its log as they are on the disk; receipts that were only in RAM are gone."""
        there = self.path.parent
        self.generation += 1
        self.path.parent.mkdir()
        for name in ("spool.db", "spool.db-wal"):
            shutil.copy(there / name, self.path.with_name(name))
        self.box.close()
        for batch in list(self.batches.values()):
            if batch.before is not None:
                self.batches[batch.sequence] = batch.before
        self.open()
        assert self.box.damage is None

    # ------------------------------------------------------------------------- what the model makes of it

    def settled(self, batch: Batch, *, regained: bool) -> None:
        self.batches[batch.sequence] = replace(batch, state=RECEIPTED, regained=regained, before=batch)
        if sum(other.before is not None for other in self.batches.values()) == 64:
            self.written()

    def written(self) -> None:
        for batch in self.batches.values():
            batch.before = None

    def observe(self, *, changed: bool) -> None:
        """An append may have let some go: by the rules, or the model does not follow."""
        if not changed:
            return
        self.written()  # receipts first: what is deleted by the same append has counted by then
        found = {row["sequence"]: row for row in rows(self.path)}
        newest = max(self.batches)
        receipted = [n for n, batch in self.batches.items() if batch.state == RECEIPTED]
        gone = [n for n in self.batches if n not in found]
        assert gone == receipted[: len(gone)]  # oldest first, and nothing else
        assert newest in found
        evictable = [n for n, batch in self.batches.items() if batch.may_be_evicted and n != newest]
        evicted = [n for n in evictable if found[n]["kind"] == TOMBSTONE]
        assert evicted == evictable[: len(evicted)]
        if evicted:  # only when there was nothing else to delete, but the entry that was the newest then
            assert [n for n in receipted if n not in gone] in ([], [newest - 1])
        expired = [n for n in receipted if self.batches[n].at < self.now - 10 * DAY][:16]
        assert set(expired) - set(gone) <= {newest - 1}
        for number in gone:
            self.lost_before = self.lost_before + COUNT * self.lost(self.batches.pop(number))
        for number in evicted:
            stone = tombstone(self.spool, number, COUNT, self.batches[number].at - 1000, self.batches[number].at)
            assert found[number]["payload"] == stone
            self.batches[number] = replace(
                self.batches[number], evicted=True, state=WAITING, sha256=found[number]["sha256"]
            )

    lost_before = 0  # snapshots of tombstones that have been deleted since

    @staticmethod
    def lost(batch: Batch) -> int:
        batch = batch.before or batch  # a late receipt for the original counts when it is written
        return int(batch.evicted and not batch.regained)

    # ------------------------------------------------------------------------- what must always be true

    @invariant()
    def what_waits_is_sent_in_order(self) -> None:
        waiting = [batch for batch in self.batches.values() if batch.state == WAITING]
        keep = [batch for batch in waiting if batch.class_ == "keep"]
        interval = [batch for batch in waiting if batch.class_ == "interval" and not batch.evicted]
        stones = [batch for batch in waiting if batch.evicted]
        order = [(batch.sequence, batch.sha256) for batch in (*keep, *interval[::-1], *stones)]
        assert [(entry.sequence, entry.sha256) for entry in self.box.pending(1000)] == order
        assert [(entry.sequence, entry.sha256) for entry in self.box.pending(3)] == order[:3]

    @invariant()
    def the_state_tells_the_truth(self) -> None:
        state = self.box.state(self.now)
        assert state.id == self.spool
        assert state.next == self.next
        assert state.unreceipted == sum(batch.state != RECEIPTED for batch in self.batches.values())
        assert state.refused == sum(batch.state == PARKED for batch in self.batches.values())
        assert state.evicted == self.lost_before + COUNT * sum(map(self.lost, self.batches.values()))
        oldest = [batch.at for batch in self.batches.values() if batch.state != RECEIPTED]
        assert state.oldest == (oldest[0] if oldest else None)
        assert 0 <= state.fill <= 1
        assert (state.fill == 0) == (state.unreceipted == 0)
        assert (state.days_left is None) or state.days_left >= 0

    @invariant()
    def the_bytes_are_those_that_were_committed(self) -> None:
        for row in rows(self.path):
            batch = self.batches[row["sequence"]]
            assert row["sha256"] == batch.sha256
            if not batch.evicted:
                assert row["payload"] == payload_of(self.spool, batch.sequence, batch.size)


OutboxMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class TestOutboxAgainstItsModel(OutboxMachine.TestCase):  # type: ignore[misc, valid-type]
    """Twenty-five random lives of forty steps."""
