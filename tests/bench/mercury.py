"""How long a pass over thirty Mercury 230 takes, sum and four tariffs each, against the wire's shortest time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from collector.clock import SystemClock
from collector.edge.asking import MeterSetup
from collector.edge.line import Line, LineSetup
from collector.model import Snapshot
from drivers.dialogue import character_seconds
from drivers.profile import load
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from tests.bench.figure import Figure

PROFILE = "mercury-230"
BAUDRATE, FRAMING = 9600, "8N1"
METERS = 30
SECOND = 1_000  # interval in milliseconds: shorter than a round, so that the line never rests
# Seconds. First come a whole reading of each meter (18 s) and, at least a minute later, the closings again as witness;
# then some ten rounds are counted.
SETTLE, WINDOW = 120.0, 60.0
# What ends a frame for a meter at 9600 baud (INC20 table 1.1): it neither answers sooner than that after a request, nor
# hears a request that comes sooner after its neighbour's answer.
FRAME_END = 0.005
REQUESTS = 5  # sum and T1 to T4 (INC20 2.5.17)
REQUEST, ANSWER = 6, 19  # bytes


def minimum() -> float:
    """Seconds on the wire for one meter whose channel is open."""
    return REQUESTS * ((REQUEST + ANSWER) * character_seconds(BAUDRATE, FRAMING) + 2 * FRAME_END)


def cycle() -> float:
    """Seconds of one round of all meters, counted over whole rounds in a window."""
    profile = load(PROFILE)
    setups = [
        MeterSetup(f"m-{n:02d}", profile, str(n), str(38_395_000 + n), BAUDRATE, FRAMING, SECOND)
        for n in range(1, METERS + 1)
    ]
    clock = SystemClock()
    meters = [VirtualMeter(profile, s.address, Household.of_seed(i, 4), s.serial_number) for i, s in enumerate(setups)]
    asked: list[int] = []
    purposes: list[str] = []

    def commit(snapshots: Sequence[Snapshot], _: bool) -> None:
        for snapshot in snapshots:
            assert snapshot.failure is None, snapshot.failure
            assert {"1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4"} <= set(snapshot.registers)
            asked.append(snapshot.asked)
            purposes.append(snapshot.purpose)

    with Wire(meters, clock, baudrate=BAUDRATE, framing=FRAMING, turnaround=FRAME_END) as wire:
        line = Line(LineSetup("bench", wire.path, "UTC", tuple(setups)), clock, commit, lambda: True)
        line.start()
        time.sleep(SETTLE + WINDOW)
        line.stop()
    counted = [at for at in asked if at - asked[0] > 1000 * SETTLE]
    assert set(purposes[-len(counted) :]) == {"interval"}, "only interval readings are counted"
    whole = (len(counted) - 1) // METERS * METERS
    return (counted[whole] - counted[0]) / 1000 / whole * METERS


def figures() -> list[Figure]:
    """The line's figure."""
    least, taken = METERS * minimum(), cycle()
    return [
        Figure("line: cycle of 30 Mercury 230, 9600 8N1 / wire's minimum", f"{taken / least:.3f}", "1.05",
               f"{taken:.3f} s against {least:.3f} s"),
    ]  # fmt: skip
