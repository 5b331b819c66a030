"""Writes the series again from the centre's spool, as far back as it reaches, and finds out whether that is needed.

Rule 1. A batch goes the same way as the first time: the worker's judgement, the worker's sinks. All of these take the
        same thing twice without a change: a rebuild may break off anywhere, and the worker may run beside it.
Rule 2. The order is that of arrival: of two values for one instant the later one wins again, of two frozen ones the
        first stays again.
Rule 3. The registry of today judges. What came before its meter was imported is in quarantine since then, and becomes
        part of the series by a rebuild.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from collector.central.evidence import quarantined
from collector.central.judge import Judged
from collector.central.registry import Registry
from collector.central.store.series import Kind, SeriesStore
from collector.central.worker import Counts, Worker
from collector.clock import Clock
from collector.messages import BadSnapshot, MessageFault, open_envelope
from collector.spool import Stored

DAY = 86_400_000  # ms

# (row, how many) -> the next batches behind that row of the spool, in the order of their arrival
Replay = Callable[[int, int], list[Stored]]


class _Again:
    """A spool in whose eyes nothing behind a row has been settled yet."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._row = 0

    def unsettled(self, _kind: str, limit: int, /) -> list[Stored]:
        return self._replay(self._row, limit)

    def settle(self, ids: Sequence[int], _now: int, /) -> None:
        self._row = max(self._row, *ids)


def rebuild(replay: Replay, registry: Registry, store: SeriesStore, clock: Clock) -> Iterator[Counts]:
    """Carry every batch again; what has been done so far, after each round. Raises what is in worker.AWAY."""
    worker = Worker(_Again(replay), registry, store, clock)
    while worker.round():
        yield worker.counts


class Value(NamedTuple):
    """Which value; not how great it is, since a later one may have won."""

    kind: Kind
    meter: str
    time: int
    register: str


def absent(batches: Sequence[Stored], registry: Registry, store: SeriesStore, oldest: int) -> tuple[int, list[Value]]:
    """How many values at `oldest` or later these settled batches have given, and those that the series have not.

    A value that the store refused is in quarantine, and is not missed. Raises StoreAway.
    """
    opened = []
    for batch in batches:
        with suppress(MessageFault):  # what an older Meterline took in
            opened.append((batch, open_envelope(batch.payload)))
    sent = (item for _, envelope in opened for item in envelope.snapshots or () if not isinstance(item, BadSnapshot))
    judged = Judged(registry.meters({item["meter"] for item in sent}), {})
    for batch, envelope in opened:
        judged.add(batch, envelope)
    given = {
        Value(sample.kind, sample.meter, sample.time, code)
        for sample in judged.samples
        if sample.time >= oldest
        for code in sample.values
    }
    missed = given - set(_held(given, store))
    return len(given), sorted(missed - set(_refused(missed, registry)))


def _held(values: set[Value], store: SeriesStore) -> Iterator[Value]:
    """What the series have near these values: a look for each day."""
    days: dict[int, list[Value]] = defaultdict(list)
    for value in values:
        days[value.time // DAY].append(value)
    for some in days.values():
        times = [value.time for value in some]
        kinds, meters = {value.kind for value in some}, {value.meter for value in some}
        for row in store.span(kinds, meters, min(times), max(times) + 1):
            yield Value(row.kind, row.meter, row.time, row.register)


def _refused(values: set[Value], registry: Registry) -> Iterator[Value]:
    if not values:
        return
    times = [value.time for value in values]
    with registry.engine.connect() as connection:
        for row in quarantined(connection, {value.meter for value in values}, min(times), max(times) + 1):
            for kind in ("live", "frozen", "quantity"):
                if row.kind == kind and row.time is not None:
                    yield Value(kind, row.meter, row.time, row.register)
