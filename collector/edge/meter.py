"""What a line remembers of one of its meters, and what the status says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from collector.edge.asking import MeterSetup
from collector.edge.budget import Silence
from collector.edge.meter_clock import drift_seconds
from collector.edge.reaction import believed, planned
from collector.edge.schedule import Memory, Outcome, Rules, Task, after, due, missed, next_due, stepped_back
from collector.localtime import from_millis, local_date
from collector.model import MeterState, Snapshot
from drivers.dialogue import Readout
from drivers.profile import CLOCK, SERIAL


@dataclass(slots=True)
class LineMeter:
    """One meter of a line. Changed by the line's thread alone; `state` may be read by others.

    `refused`: the driver's keys of what it refuses. `reaction`: seconds it takes to begin an answer. `heard`:
    Clock.monotonic() of its last answer, by which a session may still be open. `damages`: askings in a row without a
    sound frame. `silence`: it did not answer lately. `stranger`: why its values are not believed. `identity`: why
    nobody can prove who it is.
    """

    setup: MeterSetup
    rules: Rules
    memory: Memory
    refused: frozenset[str] = frozenset()
    reaction: float | None = None
    heard: float | None = None
    damages: int = 0
    silence: Silence | None = None
    stranger: str = ""
    identity: str = field(init=False)
    answering: bool = False
    last: int | None = None
    boundary: str | None = None
    drift: int | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.identity = "" if self.setup.has_serial else "their profiles know no place of a serial number"

    @property
    def missing(self) -> tuple[str, ...]:
        """What of its profile it refuses, by name."""
        names = (*self.setup.profile.registers, SERIAL, CLOCK)
        return tuple(name for name in names if name in self.refused)

    def due(self, now: int, synced: bool) -> Task | None:
        """What is to be asked of it now."""
        return None if self.is_ended(now) else due(self.rules, self.memory, now, synced=synced)

    def next_due(self, now: int, synced: bool) -> int:
        """When something may be due next."""
        return next_due(self.rules, self.memory, now, synced=synced)

    def is_ended(self, now: int) -> bool:
        """Whether it is not asked any more."""
        return self.setup.ended is not None and now >= self.setup.ended

    @property
    def turnaround(self) -> float:
        """Seconds of thinking that its requests are planned with: measured, else the profile's."""
        return self.setup.profile.line.turnaround if self.reaction is None else planned(self.reaction)

    def reacted(self, seconds: float | None) -> None:
        """It was asked and began to answer within `seconds`."""
        if seconds is not None:
            self.reaction = believed(self.reaction, seconds)

    def tick_over(self, now: int) -> None:
        """Its interval reading that was due is over, read or not."""
        self.memory = missed(self.rules, self.memory, now)

    def stepped_back(self, now: int) -> None:
        """Our clock went back to `now`."""
        self.memory = stepped_back(self.rules, self.memory, now)
        if self.silence is not None:
            self.silence = self.silence.stepped_back(now)

    def failed(self, task: Task, kind: str, asked: int) -> None:
        """An asking gave nothing."""
        self.counts[kind] += 1
        self.damages = self.damages + 1 if kind == "damaged" else 0
        self.answering = False
        wait = kind not in ("no-answer", "port")  # when those are tried again is the budget's and the port's matter
        self.memory = after(self.rules, self.memory, task, Outcome(asked, answered=False, wait=wait))

    def answered(self, task: Task, readout: Readout, snapshot: Snapshot, synced: bool) -> None:
        """An asking was answered, by the right meter or by a stranger."""
        self.refused = readout.refused if task.anew else self.refused | readout.refused
        if snapshot.failure is not None:
            self.stranger = snapshot.failure.text
            self.silence = None
            self.failed(task, snapshot.failure.kind, snapshot.asked)
            return
        if readout.serial_number is not None:
            self.stranger = self.identity = ""
        elif task.serial:
            self.identity = "they give no serial number"
        self.counts["ok"] += 1
        self.damages = 0
        self.answering = True
        self.silence = None
        self.last = snapshot.answered
        if snapshot.clock is not None and snapshot.answered is not None:
            middle = (snapshot.asked + snapshot.answered) // 2  # it read its clock somewhere in between
            self.drift = drift_seconds(snapshot.clock, middle, self.rules.zone, self.setup.meter_time)
        if task.purpose == "boundary":
            self.boundary = local_date(from_millis(task.since), self.rules.zone).isoformat()
        outcome = Outcome(snapshot.asked, answered=True, proven=task.serial, synced=synced, frozen=snapshot.frozen)
        self.memory = after(self.rules, self.memory, task, outcome)

    def state(self) -> MeterState:
        """What the status says of it."""
        return MeterState(
            last=self.last,
            boundary=self.boundary,
            ok=self.counts["ok"],
            no_answer=self.counts["no-answer"],
            damaged=self.counts["damaged"],
            refused=self.counts["refused"],
            stranger=self.counts["stranger"],
            drift_s=self.drift,
        )
