"""How long the meters of a rig take: for the beginning of an answer, for its characters, for a whole reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from drivers.dialogue import Ask, DriverError, character_seconds
from drivers.table import driver
from hil.rig import RigMeter


@dataclass(frozen=True)
class Answer:
    """One answer: seconds from the question's end to its first piece, and all pieces (seconds from there, bytes)."""

    turnaround: float
    pieces: tuple[tuple[float, int], ...]
    character: float
    """Seconds that one character takes on this wire."""

    @property
    def size(self) -> int:
        return sum(count for _, count in self.pieces)

    @property
    def pace(self) -> float:
        """How long its characters took, as a share of the wire's arithmetic; the first piece is not counted."""
        first, last = self.pieces[0][1], self.pieces[-1][0]
        return last / ((self.size - first) * self.character) if self.size > first and self.character else 1.0


@dataclass
class Timed:
    """What some readings of one meter took (seconds), and what was planned; `failed`: texts of readings that failed."""

    meter: RigMeter
    readings: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def planned(self) -> float:
        """Seconds that one reading should take by the plan."""
        profile = self.meter.profile
        meter, thinks = self.meter, profile.line.turnaround
        ask = Ask(meter.address, baudrate=meter.baudrate, framing=meter.framing, turnaround=thinks)
        return sum(step.milliseconds for step in driver(profile.protocol).plan(profile, ask)) / 1000

    @property
    def longest(self) -> Answer | None:
        """The answer with the most bytes in the most pieces, by which an adapter's habits are seen."""
        return max(self.answers, key=lambda answer: (answer.size, len(answer.pieces)), default=None)


def timed(meter: RigMeter, readings: int) -> Timed:
    """Read a meter some times. Raises PortError."""
    found = Timed(meter)
    for _ in range(readings):
        trace: list[tuple[str, int, float]] = []
        try:
            meter.read(partial(_note, trace))
        except DriverError as error:
            found.failed.append(str(error))
        else:
            found.readings.append(trace[-1][2] - trace[0][2])
        found.answers += _answers(trace, meter)
    return found


def _note(trace: list[tuple[str, int, float]], direction: str, data: bytes, at: float) -> None:
    trace.append((direction, len(data), at))


def _answers(trace: list[tuple[str, int, float]], meter: RigMeter) -> Iterator[Answer]:
    """Each question's answer. A session that changes its speed has answers in its own; their pace is not measured."""
    character = 0.0 if meter.port.startswith("tcp") else character_seconds(*meter.port_settings)
    left = 0.0  # when the question's last character had left
    pieces: list[tuple[float, int]] = []
    for direction, count, at in [*trace, (">>", 0, 0.0)]:
        if direction == "<<":
            pieces.append((at, count))
            continue
        if pieces:
            first = pieces[0][0]
            yield Answer(max(first - left, 0.0), tuple((it - first, size) for it, size in pieces), character)
        left, pieces = at + count * character, []
