"""Serves one meter at one moment: asks it what is due, as far as port, spool and the silent meters' budget allow.

Rule 1. What is due is decided at the moment of asking, so that midnight in the middle of a pass is midnight.
Rule 2. A meter that did not answer is silent: it is asked within the budget only, by a cheap probe, and in whole when
        that is answered. An interval reading that fell due and was not asked for is told all the same (`skipped`).
Rule 3. While the port is lost, interval readings that fall due fail with `port`; boundary snapshots stay owed.
Rule 4. Whatever goes wrong with one meter ends with its own failure snapshot. No error of a meter leaves this file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from collector.clock import Clock
from collector.edge import asking
from collector.edge.budget import Silence, SilentBudget, fell_silent
from collector.edge.connection import Connection
from collector.edge.meter import LineMeter
from collector.edge.pending import Pending
from collector.edge.reaction import Reaction
from collector.edge.schedule import Task
from collector.edge.transport import PortError
from collector.edge.wire import Wire
from collector.localtime import rfc3339
from collector.model import Purpose, Snapshot
from drivers.dialogue import Ask, Dialogue, DriverError, Readout
from drivers.table import driver

T = TypeVar("T")

log = logging.getLogger(__name__)

# Transaction numbers from one asking by Modbus TCP to the next: more than an asking has requests, and a thousand
# askings until a number comes again.
TRANSACTIONS = 64

# Askings in a row without a sound frame after which a meter counts as silent: with one frame in ten damaged and each
# asked three times, that is one series in a thousand million; what really happens is a wrong speed, or two meters with
# one address, and costs the line more time than silence does.
DAMAGED_MOST = 3

ALIVE = ("refused", "profile", "stranger")  # failures of a meter that is there and speaks


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an asking gave nothing (one of the model's failure kinds, and for the operator), and the bytes that came."""

    kind: str
    text: str
    heard: bytes = b""


class Serving:
    """What is needed to ask the meters of one line, one at a time, in the line's thread.

    `probes`: askings of silent meters so far. `unasked`: interval readings that fell due while the spool had no room.
    """

    def __init__(
        self,
        line: str,
        zone: str,
        *,
        clock: Clock,
        connection: Connection,
        pending: Pending,
        budget: SilentBudget,
        reaction: Reaction,
        synced: Callable[[], bool],
    ) -> None:
        self.probes = 0
        self.unasked = 0
        self._line = line
        self._zone = zone
        self._clock = clock
        self._connection = connection
        self._pending = pending
        self._budget = budget
        self._reaction = reaction
        self._synced = synced
        self._transaction = 0

    def serve(self, meter: LineMeter) -> None:
        """Do what is due of a meter now, if anything is."""
        now = self._clock.millis()
        task = meter.due(now, self._synced())
        if task is None:
            return
        if task.purpose == "interval" and self._pending.interval_stopped:
            self.unasked += 1
            meter.tick_over(now)
        elif self._connection.wire is None:
            self._tell_tick(meter, task, Trouble("port", self._connection.why), now)
        elif meter.silence is None:
            self._ask(meter, task)
        elif now >= meter.silence.next and self._budget.allows(now):
            self._probe(meter, task)
        else:
            self._tell_tick(meter, task, self._skipped(meter.silence, now), now, purpose="interval")

    # ------------------------------------------------------------------------- askings

    def _ask(self, meter: LineMeter, task: Task) -> None:
        """The whole asking."""
        setup, synced = meter.setup, self._synced()
        asked, start = self._clock.millis(), self._clock.monotonic()

        def work(wire: Wire) -> tuple[Readout, Snapshot]:
            self._reaction.begin(wire.transport)
            ask = asking.whole(
                setup,
                task,
                refused=meter.refused,
                turnaround=meter.turnaround,
                tcp=wire.transport.tcp,
                transaction=self._transaction,
                can_switch=wire.transport.can_switch,
                since=None if meter.heard is None else start - meter.heard,
            )
            readout = wire.carry(_read(meter, ask))
            meter.heard = self._clock.monotonic()
            # Counted on from `asked`, since the wall clock may be set in the middle.
            answered = asked + round(1000 * (self._clock.monotonic() - start))
            distrusted = bool(meter.stranger)
            return readout, asking.taken(
                setup, task, readout, asked=asked, answered=answered, zone=self._zone, distrusted=distrusted
            )

        found = self._guarded(meter, work)
        if isinstance(found, Trouble):
            self._note(meter, task, found, asked, start)
            snapshot = asking.failed(setup, task.purpose, found.kind, found.text, asked=asked, heard=found.heard)
        else:
            readout, snapshot = found
            synced = synced and self._synced()
            meter.answered(task, readout, snapshot, synced)
            meter.reacted(self._reaction.fastest)
            self._connection.answered()
        self._pending.add(snapshot, synced)

    def _probe(self, meter: LineMeter, task: Task) -> None:
        """The cheapest asking, of a silent meter; the whole one if it answers."""
        asked, start = self._clock.millis(), self._clock.monotonic()
        self.probes += 1

        def work(wire: Wire) -> Readout:
            port = wire.transport
            ask = asking.probe(meter.setup, tcp=port.tcp, transaction=self._transaction, can_switch=port.can_switch)
            return wire.carry(asking.once(_read(meter, ask)))

        found = self._guarded(meter, work)
        if not isinstance(found, Trouble) or found.kind in ALIVE:
            self._ask(meter, task)
        else:
            self._note(meter, task, found, asked, start)
            self._tell_tick(meter, task, found, asked)

    def _guarded(self, meter: LineMeter, work: Callable[[Wire], T]) -> T | Trouble:
        """What `work` gives with the wire set for a meter, or why it gave nothing."""
        wire = self._connection.wire
        if wire is None:
            return Trouble("port", self._connection.why)
        self._transaction = (self._transaction + TRANSACTIONS) % 0x10000
        try:
            wire.set_line(*meter.setup.line_settings)
            return work(wire)
        except PortError as error:
            self._connection.lost(error)
            return Trouble("port", str(error))
        except DriverError as error:
            return Trouble(error.kind, str(error), wire.heard)
        except Exception as error:  # rule 4: a bug that one meter's answer finds must not cost its neighbours
            log.exception("line %s, meter %s: a bug, please report it", self._line, meter.setup.id)
            return Trouble("damaged", f"the answer could not be understood (a bug): {error!r}", wire.heard)

    # ------------------------------------------------------------------------- what came of it

    def _skipped(self, silence: Silence, now: int) -> Trouble:
        again = max(silence.next, self._budget.opens_at(now) or now)
        return Trouble(
            "skipped",
            f"not asked now: no sound answer since {rfc3339(silence.since)} ({silence.times} askings), and silent "
            f"meters have {self._budget.share:.1%} of the line's time; it is tried again after {rfc3339(again)}",
        )

    def _note(self, meter: LineMeter, task: Task, why: Trouble, asked: int, start: float) -> None:
        """Remember a failed asking, and what it cost the line if the meter was silent before."""
        now = self._clock.millis()
        meter.failed(task, why.kind, asked)
        if why.kind == "port":
            return
        if meter.silence is not None:
            self._budget.spend(self._clock.monotonic() - start, now)
        if why.kind in ALIVE:
            meter.silence = None
        elif why.kind == "no-answer" or meter.silence is not None or meter.damages >= DAMAGED_MOST:
            meter.silence = fell_silent(meter.silence, now, task.until)

    def _tell_tick(self, meter: LineMeter, task: Task, why: Trouble, now: int, purpose: Purpose | None = None) -> None:
        """A reading fell due and was not asked for, or by a probe only: tell why. What else is owed stays owed."""
        meter.answering = False
        if not task.tick:
            return
        if purpose is None:
            purpose = "boundary" if task.purpose == "boundary" else "interval"
        if purpose == "interval" and self._pending.interval_stopped:
            self.unasked += 1
        else:
            snapshot = asking.failed(meter.setup, purpose, why.kind, why.text, asked=now, heard=why.heard)
            self._pending.add(snapshot, self._synced())
        meter.tick_over(now)


def _read(meter: LineMeter, ask: Ask) -> Dialogue[Readout]:
    dialogue: Dialogue[Readout] = driver(meter.setup.profile.protocol).read(meter.setup.profile, ask)
    return dialogue
