"""How long a pass over thirty meters takes, against the shortest time the wire allows for the same values."""

from __future__ import annotations

import time
from collections.abc import Sequence

from collector.clock import SystemClock
from collector.edge.asking import MeterSetup
from collector.edge.line import Line, LineSetup
from collector.model import Snapshot
from drivers.dialogue import Ask, character_seconds, silence
from drivers.modbus import plan
from drivers.profile import load
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from tests.bench.figure import Figure

BAUDRATE, FRAMING = 9600, "8N1"
TURNAROUND = 0.005  # what the issue sets for the meters' thinking
METERS = 30
SECOND = 1_000  # interval in milliseconds: shorter than a round, so that the line never rests
SETTLE, WINDOW = 60.0, 60.0  # seconds
PROFILES = ("orno-we-515", "abb-b23", "orno-we-517")  # total and four tariffs each: one, two and three requests


def minimum(profile: str) -> float:
    """Seconds on the wire for one meter: requests (8 bytes), thinking, answers (5 + 2 bytes a register), silences."""
    character = character_seconds(BAUDRATE, FRAMING)
    meter = setup(1, profile)
    codes = meter.interval_codes
    ask = Ask("1", codes, serial=False, clock=False, baudrate=BAUDRATE, framing=FRAMING, turnaround=TURNAROUND)
    blocks = plan(meter.profile, ask)
    return sum((8 + 5 + 2 * block.count) * character + TURNAROUND + silence(BAUDRATE) for block in blocks)


def setup(number: int, profile: str) -> MeterSetup:
    """The gateway's view of one meter."""
    loaded = load(profile)
    serial = None if isinstance(loaded.serial, str) else str(10_000_000 + number)
    return MeterSetup(f"m-{number:02d}", loaded, str(number), serial, BAUDRATE, FRAMING, SECOND)


def cycle(mute: frozenset[int], absent: frozenset[int]) -> float:
    """Seconds of one round of the living meters, asked round after round. `absent` ones are not on the line at all.

    Counted over whole rounds in a window after the first minute, by then silent meters are found out and budgeted.
    """
    setups = [setup(n, PROFILES[n % len(PROFILES)]) for n in range(1, METERS + 1) if n not in absent]
    clock = SystemClock()
    meters = [
        VirtualMeter(s.profile, s.address, Household.of_seed(i, 4), s.serial_number) for i, s in enumerate(setups)
    ]
    asked: list[int] = []

    def commit(snapshots: Sequence[Snapshot], _: bool) -> None:
        asked.extend(snapshot.asked for snapshot in snapshots if snapshot.failure is None)

    with Wire(meters, clock, baudrate=BAUDRATE, framing=FRAMING, turnaround=TURNAROUND) as wire:
        wire.mute.update(str(n) for n in mute)
        line = Line(LineSetup("bench", wire.path, "UTC", tuple(setups)), clock, commit, lambda: True)
        line.start()
        time.sleep(SETTLE + WINDOW)
        line.stop()
    living = len(setups) - len(mute)
    counted = [at for at in asked if at - asked[0] > 1000 * SETTLE]
    whole = (len(counted) - 1) // living * living  # whole rounds: meters of other profiles take other times
    return (counted[whole] - counted[0]) / 1000 / whole * living


def figures() -> list[Figure]:
    """The line's figures."""
    least = sum(minimum(PROFILES[n % len(PROFILES)]) for n in range(1, METERS + 1))
    healthy = cycle(frozenset(), frozenset())
    three = frozenset({5, 15, 25})
    slowed, without = cycle(three, frozenset()), cycle(frozenset(), three)
    return [
        Figure("line: cycle of 30 meters, 9600 8N1 / wire's minimum", f"{healthy / least:.3f}", "1.05",
               f"{healthy:.3f} s against {least:.3f} s"),
        Figure("line: 27 living of 30 / a line of these 27 alone", f"{slowed / without:.3f}", "1.06",
               f"{slowed:.3f} s against {without:.3f} s"),
    ]  # fmt: skip
