"""A line of Mercury meters in virtual time: how long a round takes on the wire, and when channels are opened."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from collector.edge.line import Line, LineSetup
from drivers import mercury
from drivers.dialogue import Done, character_seconds
from drivers.meter_side import Held, MeterSide, Wiring
from drivers.obis import TARIFFS, TOTAL
from tests.bench.mercury import FRAME_END, METERS, minimum
from tests.edge.virtual import MINUTE, Bus, Spool, VirtualClock, meter

OPENING = 0x01
START = 1_793_700_420_000  # 2026-11-03T10:07 in Moscow


@dataclass
class MercuryBus(Bus):
    """The virtual port, with Mercury meters that keep their channels behind it."""

    sides: dict[str, MeterSide] = field(default_factory=dict)

    def write(self, data: bytes) -> None:
        self.written.append((self.clock.seconds, data))
        character = character_seconds(self.baudrate, self.framing)
        heard = self.clock.seconds + len(data) * character
        for simulated in self.meters:
            if simulated.address != str(data[0]):
                continue
            side = self.sides.get(simulated.address)
            if side is None:
                side = self.sides[simulated.address] = mercury.meter(simulated.profile, simulated.address, Wiring())
            outcome = side.hear(_adding_up(simulated.held(self.clock.millis())), data, heard)
            for say in outcome.frame if isinstance(outcome, Done) else ():
                self._count += 1
                heapq.heappush(self._due, (heard + FRAME_END + len(say.data) * character, self._count, say.data))


def _adding_up(held: Held) -> Held:
    """The same with totals that are the sums of their tariffs, as a Mercury's are."""

    def total(registers: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**registers, TOTAL: sum(registers[code] for code in TARIFFS)}

    closings = tuple(replace(closing, registers=total(closing.registers)) for closing in held.frozen)
    return replace(held, registers=total(held.registers), frozen=closings)


def run(count: int, interval: int, minutes: int) -> tuple[MercuryBus, Spool]:
    """A line of so many meters, asked every `interval` milliseconds for some minutes."""
    both = [meter(number, "mercury-230") for number in range(1, count + 1)]
    clock = VirtualClock(START)
    bus, spool = MercuryBus(clock, [simulated for _, simulated in both]), Spool(clock)
    setups = tuple(replace(setup, interval=interval) for setup, _ in both)
    line = Line(LineSetup("riser", "virtual", "Europe/Moscow", setups), clock, spool.commit, lambda: True,
                open_transport=bus.open)  # fmt: skip
    end = START + minutes * MINUTE
    while clock.millis() < end:
        line.turn()
        clock.pass_by(min(line.next_turn(), end))
    return bus, spool


def test_a_round_of_thirty_takes_at_most_a_twentieth_more_than_the_wire_needs() -> None:
    """Sum and four tariffs each; computed on the wire's own clock, which no busy computer disturbs."""
    bus, spool = run(METERS, 1000, 4)
    askings = [at for at, data in bus.written if data[1:4] == bytes((5, 0, 0)) and at > bus.written[0][0] + 120]
    assert len(askings) > 10 * METERS
    taken = (askings[-1] - askings[0]) / (len(askings) - 1)
    assert minimum() < taken < 1.05 * minimum()
    energies = {"1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4"}
    assert all(energies <= set(snapshot.registers) for snapshot in spool.snapshots)
    assert not any(snapshot.failure for snapshot in spool.snapshots)


@pytest.mark.parametrize(("interval", "opened"), [(MINUTE, 1), (5 * MINUTE, 6)])
def test_a_channel_is_opened_where_it_has_closed_and_nowhere_else(interval: int, opened: int) -> None:
    """It closes 240 s after the last request: every five minutes it must be opened, every minute it never closes.

    The first whole reading is repeated for its closings a minute later, while the channel is open.
    """
    bus, spool = run(1, interval, 30)
    assert not any(snapshot.failure for snapshot in spool.snapshots)
    assert sum(data[1] == OPENING for _, data in bus.written) == opened
