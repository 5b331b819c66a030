"""One wire and its thread: passes over the meters of which something is due, and what the status says of them.

Rule 1. Boundary snapshots before frozen months before interval readings; meters that answer before silent ones.
Rule 2. Between two askings nothing waits but the wire itself. What the living gave is committed before a silent meter
        is asked, and when a silent meter was asked in vain, the living have their turn again if something is due.
Rule 3. Ports, clocks and spools fail; the thread does not end before `stop`. A bug ends its round: the port is let go,
        what is in hand committed, the line begins again after a growing pause, and the status says so until a restart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from collector.clock import Clock
from collector.edge.asking import MeterSetup
from collector.edge.budget import SilentBudget
from collector.edge.connection import Connection
from collector.edge.meter import LineMeter
from collector.edge.pending import Commit, Pending
from collector.edge.reaction import Reaction
from collector.edge.roster import after_change
from collector.edge.schedule import HOUR, MINUTE, begin, growing
from collector.edge.serving import Serving
from collector.edge.transport import Transport, open_port
from collector.edge.wire import Trace, Wire
from collector.localtime import rfc3339
from collector.model import LineState, MeterState
from collector.pulse import Pulse

log = logging.getLogger(__name__)

ORDER = {"boundary": 0, "requested": 1, "interval": 2}

# Milliseconds between a bug and the line's new beginning. Ten seconds: no storm of tracebacks; an hour: a boundary
# reading, which may be billed up to an hour after its edge, is not given up for a bug that has gone with its cause.
REST_FIRST, REST_MOST = 10_000, HOUR


@dataclass(frozen=True, slots=True)
class LineSetup:
    """One wire as it is to be worked. `zone`: the gateway's; `silent_share`: see `budget`, 0 to 1."""

    name: str
    port: str
    zone: str
    meters: tuple[MeterSetup, ...]
    silent_share: float = 0.05


class Line:
    """A wire and its meters.

    `commit` (see `pending.Commit`) is called in the line's thread; `synced` says whether our clock may be trusted now.
    `state`, `meters`, `warnings`, `change`, `pause`, `resume` and `stop` may be called from any other thread.
    """

    def __init__(
        self,
        setup: LineSetup,
        clock: Clock,
        commit: Commit,
        synced: Callable[[], bool],
        *,
        open_transport: Callable[[str, int, str], Transport] = open_port,
        trace: Trace | None = None,
    ) -> None:
        now = clock.millis()
        self.setup = setup
        self.crashed = ""  # what ended it by itself the last time: a bug; and how often that happened
        self.crashes = 0
        self._clock = clock
        self._synced = synced
        self._meters = [LineMeter(m, m.rules(setup.zone), begin(m.rules(setup.zone), now)) for m in setup.meters]

        self.pulse = Pulse(f"line {setup.name}", clock.monotonic)
        self._wanted = setup.meters  # as `change` left them; the thread takes them over

        def on_wire(direction: str, data: bytes, at: float) -> None:
            self.pulse.beat()
            if trace is not None:
                trace(direction, data, at)

        reaction = Reaction(on_wire)

        def open_wire() -> Wire:
            return Wire(open_transport(setup.port, *setup.meters[0].line_settings), clock, reaction)

        self._connection = Connection(setup.name, open_wire, clock)
        self._pending = Pending(setup.name, commit, clock)
        self._budget = SilentBudget(setup.silent_share, now)
        self._serving = Serving(
            setup.name,
            setup.zone,
            clock=clock,
            connection=self._connection,
            pending=self._pending,
            budget=self._budget,
            reaction=reaction,
            synced=synced,
        )
        self._looked = now
        self._cycle: int | None = None
        self._stop, self._paused = threading.Event(), threading.Event()
        self._wake, self._released = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"line {setup.name}", daemon=True)

    # ------------------------------------------------------------------------- the thread

    def start(self) -> None:
        """Begin to work, in a thread of its own."""
        self.pulse.beat()
        self._thread.start()

    def stop(self) -> None:
        """End after the asking under way: commit what is in hand, let go of the port. Returns when that is done."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.pulse.end()

    def pause(self, timeout: float) -> bool:
        """Let go of the port after the asking under way, until `resume`. True when it is free within `timeout` s."""
        self._released.clear()
        self._paused.set()
        self._wake.set()
        return self._released.wait(timeout)

    def resume(self) -> None:
        """Take the port again."""
        self._paused.clear()
        self._wake.set()

    def change(self, meters: tuple[MeterSetup, ...]) -> None:
        """From the next turn on these, at least one, are the line's meters; what stays known of them: `roster`."""
        self._wanted = meters
        self._wake.set()

    def run(self) -> None:
        """Work until `stop`: the thread's life."""
        try:
            while not self._stop.is_set():
                self._wake.clear()
                self.turn()
                if not self._stop.is_set():
                    self._sleep(self.next_turn())
        finally:
            self._connection.close("the gateway is stopping")
            self._pending.commit(last=True)
            if self._stop.is_set() and (lost := len(self._pending)):
                log.error("line %s: %d snapshots could not be stored and are lost", self.setup.name, lost)

    def _live(self) -> None:
        tries = 0
        while not self._stop.is_set():
            began = self._clock.millis()
            try:
                self.run()
            except Exception as error:  # rule 3: the meters of a line must not be lost for good by one answer
                now = self._clock.millis()
                tries = 0 if now - began > REST_MOST else tries
                again = now + growing(tries, REST_FIRST, REST_MOST)
                tries, self.crashes = tries + 1, self.crashes + 1
                self.crashed = (
                    f"line {self.setup.name} was ended by a bug ({self.crashes} times since the gateway started), "
                    f"please report it with the log; it begins again at {rfc3339(again)}: {error!r}"
                )
                log.critical("%s", self.crashed, exc_info=True)
                self._rest(again)

    def _rest(self, until: int) -> None:
        """Do nothing until then, or until `stop`. The port is free meanwhile, whoever asks for it."""
        while self._clock.millis() < until:
            self._wake.clear()
            if self._stop.is_set():
                return
            if self._paused.is_set():
                self._released.set()
            self._sleep(until)

    def _sleep(self, until: int) -> None:
        self.pulse.beat((until - self._clock.millis()) / 1000)
        self._clock.wait(until, self._wake)
        self.pulse.beat()

    # ------------------------------------------------------------------------- passes

    def turn(self) -> None:
        """Ask everything that is due now, once, and commit it."""
        now = self._clock.millis()
        if now < self._looked:
            for meter in self._meters:
                meter.stepped_back(now)
        self._looked = now
        if (wanted := self._wanted) is not self.setup.meters:
            self._meters = after_change(self._meters, wanted, self.setup.zone, now)
            self.setup = replace(self.setup, meters=wanted)
        if self._paused.is_set():
            self._connection.close("the line is paused (gateway pause)")
            self._released.set()
        else:
            self._connection.open()
        if not self._pending.full and (due := self._due(self._meters, now)):
            with self._clock.busy():
                self._pass(due)
        self._pending.commit()

    def next_turn(self) -> int:
        """When to look again (milliseconds since 1970)."""
        now, synced = self._clock.millis(), self._synced()
        instants = [now + MINUTE] if not synced else []  # nobody says when our clock becomes trustworthy
        if self._pending.again is not None:
            instants.append(self._pending.again)
        if self._connection.wire is None and not self._paused.is_set():
            instants.append(self._connection.again)
        for meter in () if self._pending.full else self._meters:
            if not meter.is_ended(now):
                may = max(meter.next_due(now, synced), self._not_before(meter, now))
                instants.append(min(meter.memory.tick, may))  # a tick is told of, also when nobody may be asked
        return min(instants, default=now + MINUTE)

    def _not_before(self, meter: LineMeter, now: int) -> int:
        """When a meter may be asked, as far as port and budget are concerned."""
        if self._connection.wire is None:
            return now + MINUTE if self._paused.is_set() else self._connection.again
        if meter.silence is None:
            return now
        opens = self._budget.opens_at(now)
        return now + MINUTE if opens is None else max(meter.silence.next, opens)

    def _due(self, meters: Sequence[LineMeter], now: int) -> list[LineMeter]:
        """The meters of which something is due, in the order of rule 1."""
        synced = self._synced()
        due = [(task, meter) for meter in meters if (task := meter.due(now, synced)) is not None]
        # Who waits longest is first: a line that is asked for more than it can give serves all alike.
        due.sort(key=lambda item: (ORDER[item[0].purpose], item[1].silence.last if item[1].silence else item[0].since))
        return [meter for _, meter in due]

    def _pass(self, due: list[LineMeter]) -> None:
        start, probes = self._clock.monotonic(), self._serving.probes
        living = [meter for meter in due if meter.silence is None]
        silent = [meter for meter in due if meter.silence is not None]
        for meter in living:
            if self._interrupted():
                return
            self._serving.serve(meter)
            self._pending.commit_aged()
        if silent:
            self._pending.commit()
        for meter in silent:
            probed = self._serving.probes > probes
            if self._interrupted() or (probed and self._living_wait()):
                break
            self._serving.serve(meter)
            if meter.silence is None:
                self._hasten()
        # Retries of a few meters say nothing about how long a round of the line takes.
        if 2 * len(living) >= sum(meter.answering for meter in self._meters) > 0:
            self._cycle = round(1000 * (self._clock.monotonic() - start))

    def _interrupted(self) -> bool:
        return self._stop.is_set() or (self._paused.is_set() and self._connection.wire is not None)

    def _living_wait(self) -> bool:
        now, synced = self._clock.millis(), self._synced()
        return any(meter.silence is None and meter.due(now, synced) is not None for meter in self._meters)

    def _hasten(self) -> None:
        """A silent meter is back: what kept it silent (a cable, a riser's power) may have kept others."""
        now = self._clock.millis()
        for meter in self._meters:
            if meter.silence is not None:
                meter.silence = meter.silence.hastened(now)

    # ------------------------------------------------------------------------- the status

    def state(self) -> LineState:
        """What the status says of the line."""
        now = self._clock.millis()
        asked = [meter for meter in self._meters if not meter.is_ended(now)]
        return LineState(
            meters=len(asked),
            answering=sum(meter.answering for meter in asked),
            cycle_ms=self._cycle,
            silent_share=round(self._budget.used(now), 3),
        )

    def meters(self) -> dict[str, MeterState]:
        """What the status says of each meter, by its id."""
        now = self._clock.millis()
        return {meter.setup.id: meter.state() for meter in self._meters if not meter.is_ended(now)}

    def warnings(self) -> tuple[str, ...]:
        """What the operator should look at, a sentence each."""
        name = self.setup.name
        found = [self.crashed] if self.crashed else []
        if self._connection.wire is None:
            found.append(f"line {name}: {self._connection.why}")
        if self._pending.full:
            found.append(f"line {name}: nothing is asked, {len(self._pending)} snapshots wait for the spool")
        elif self._pending.interval_stopped:
            count = self._serving.unasked
            found.append(f"line {name}: the spool is full, interval readings are not asked ({count} so far)")
        unproven: dict[str, list[str]] = {}
        for meter in self._meters:
            if meter.stranger:
                found.append(f"{meter.setup.id}: {meter.stranger}")
            if meter.missing:
                found.append(f"{meter.setup.id}: it refuses {', '.join(meter.missing)} of {meter.setup.profile.id}")
            if meter.identity:
                unproven.setdefault(meter.identity, []).append(meter.setup.id)
        found += [f"identity unproven ({why}): {', '.join(ids)}" for why, ids in unproven.items()]
        return tuple(found)
