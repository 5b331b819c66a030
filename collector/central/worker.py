"""Drains the centre's spool: gives every batch to the series, to evidence and to quarantine, then settles it.

Rule 1. A batch is settled when every sink has answered for it, and not before. Every sink takes the same thing twice
        without a change, so that a crash anywhere costs a repetition.
Rule 2. Each snapshot ends in one of three ways: accepted, kept in quarantine with its reason, or (a sink is away) left
        in the spool for another try. Nothing is dropped, nothing blocks what comes behind it.
Rule 3. A batch that breaks our own code goes into quarantine as a whole. The spool has its bytes as long as `keep`.
Rule 4. Acts go their own way in the same thread: the series, which show where an act fits, have one user at a time.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sqlalchemy.exc import InterfaceError, OperationalError

from collector.central.engine import DatabaseAway, writing
from collector.central.evidence import keep
from collector.central.judge import Judged, whole_batch
from collector.central.live_findings import Repeats, keep_findings
from collector.central.live_thresholds import Terms, thresholds_of
from collector.central.opening import opened
from collector.central.registry import Meter, Registry
from collector.central.store.series import SeriesStore, StoreAway, WriteResult
from collector.clock import Clock
from collector.messages import BadSnapshot, Envelope
from collector.pulse import Pulse
from collector.spool import SpoolFull, SpoolUnusable, Stored

log = logging.getLogger(__name__)

# Batches of one round: one commit of each sink for all of them, and at most 16 MiB of payloads in RAM.
ROUND = 64
# Seconds between two tries while a sink is away: doubling, so that its return is not met by a storm.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# Seconds that a round may take beside a step (pulse.py): a store that answers each of its requests at the last moment.
ROUND_MOST = 600.0
IDLE = 5.0  # seconds between two looks into the spool when nobody wakes us

# A sink is away: try again later. Other errors of a database speak of what was to be written.
AWAY = (StoreAway, DatabaseAway, OperationalError, InterfaceError, SpoolFull, SpoolUnusable)


@dataclass(slots=True)
class Counts:
    """What happened since the start. `evicted`: snapshots that gateways had to give up, as their tombstones say.

    `values`: what the series took; `reasons`: what was quarantined, by the first words of the reason.
    """

    batches: int = 0
    samples: int = 0
    values: int = 0
    quarantined: int = 0
    poisonous: int = 0
    evicted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Source(Protocol):
    """What a worker drains: the centre's spool, or a part of it that is to go the same way once more."""

    def unsettled(self, kind: Literal["readings"], limit: int, /) -> list[Stored]: ...
    def settle(self, ids: Sequence[int], now: int, /) -> None: ...


class Acts(Protocol):
    """Who takes acts (`collector.central.acts_drain`)."""

    def round(self) -> int: ...


class Worker:
    """One at a time on a spool."""

    def __init__(
        self, inbox: Source, registry: Registry, store: SeriesStore, clock: Clock, acts: Acts | None = None
    ) -> None:
        self.counts = Counts()
        self.pulse = Pulse("the worker", clock.monotonic)
        self.trouble = ""  # which sink is away and why, in words; empty when all is well
        self._inbox = inbox
        self._acts = acts
        self._registry = registry
        self._store = store
        self._clock = clock
        self._meters: dict[str, Meter] = {}
        self._terms: dict[str, tuple[Terms, ...]] = {}
        self._version = -1
        self._repeats = Repeats()

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Work until `stop` is set. `wake` is set by whoever has put something into the spool, or has set `stop`."""
        wait = FIRST_WAIT
        proven = False
        while not stop.is_set():
            wake.clear()
            self.pulse.beat(ROUND_MOST)
            try:
                if not proven:
                    self._store.write([])  # says now, and not with the next reading, that nothing can be written
                    proven = True
                while self.round() and not stop.is_set():
                    self.pulse.beat(ROUND_MOST)
            except AWAY as error:
                proven = False
                self._say(f"batches wait in the spool: {error}")
            except Exception:  # a fault of ours ends a round and not the service; the batches are still there
                log.exception("a round of the worker failed; trying again in %.0f s", wait)
            else:
                self._say("")
                wait = FIRST_WAIT
                wake.wait(IDLE)
                continue
            stop.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def round(self) -> int:
        """Settle the oldest batches; how many there were. Raises what AWAY names; then those that remain wait."""
        batches = self._inbox.unsettled("readings", ROUND)
        if batches:
            self._settle(batches)
        return len(batches) + (self._acts.round() if self._acts is not None else 0)

    def _settle(self, batches: Sequence[Stored]) -> None:
        try:
            self._carry(batches)
        except AWAY:
            raise
        except Exception as error:  # noqa: BLE001 - rule 3: whatever it is, it ends one batch and not the queue
            if len(batches) > 1:
                log.warning("one of %d batches cannot be handled (%r); taking each by itself", len(batches), error)
                for batch in batches:
                    self._settle([batch])
            else:
                self._set_aside(batches[0], error)

    def _carry(self, batches: Sequence[Stored]) -> None:
        judged = self._judge(batches)
        result = self._store.write(judged.samples) if judged.samples else WriteResult()
        judged.add_refused(result)
        findings = self._repeats.without(judged.findings)
        if judged.proofs or judged.quarantine or findings:
            with writing(self._registry.engine) as connection:
                keep(connection, judged.proofs, judged.quarantine)
                keep_findings(connection, findings)
        self._repeats.note(findings)
        self._inbox.settle([batch.id for batch in batches], self._clock.millis())
        self.counts.batches += len(batches)
        self.counts.samples += len(judged.samples) - len(result.rejected)
        self.counts.quarantined += len(judged.quarantine)
        self.counts.values += sum(len(sample.values) for sample in judged.samples)
        self.counts.values -= sum(len(judged.samples[refused.place].values) for refused in result.rejected)
        self.counts.reasons.update(_category(row.reason) for row in judged.quarantine)

    def _set_aside(self, batch: Stored, error: Exception) -> None:
        name = f"{batch.gateway}, spool {batch.spool}, sequence {batch.sequence}"
        log.error("the batch of %s cannot be handled; it is in quarantine as a whole", name, exc_info=error)
        with writing(self._registry.engine) as connection:
            keep(connection, [], [whole_batch(batch, f"it broke our code: {error!r}")])
        self._inbox.settle([batch.id], self._clock.millis())
        self.counts.poisonous += 1

    def _judge(self, batches: Sequence[Stored]) -> Judged:
        version = self._registry.version()
        if version != self._version:
            self._meters.clear()
            self._terms.clear()
            self._version = version
        judged = Judged(self._meters, self._terms)
        for batch in batches:
            envelope = opened(batch.payload)
            if envelope.evicted is not None:
                self.counts.evicted += envelope.evicted.snapshots
            self._look_up(envelope)
            judged.add(batch, envelope)
        return judged

    def _look_up(self, envelope: Envelope) -> None:
        """Remember what the registry knows of the meters in a batch, until it changes."""
        sound = [item["meter"] for item in envelope.snapshots or () if not isinstance(item, BadSnapshot)]
        if new := set(sound).difference(self._meters):
            self._meters.update(self._registry.meters(new))
            self._terms.update(thresholds_of(self._registry.engine, new))

    def _say(self, trouble: str) -> None:
        """Log a change of what is wrong, not each time that it is."""
        if trouble != self.trouble:
            log.error("%s", trouble) if trouble else log.info("the spool is drained again")
            self.trouble = trouble


def _category(reason: str) -> str:
    """The first words of a reason, up to its details; a store's own words, which may be anything, are `other`."""
    words = reason.partition(":")[0]
    return words if re.fullmatch(r"[a-z][a-z -]{1,30}", words) else "other"
