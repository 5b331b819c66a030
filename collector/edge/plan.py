"""How long each line's askings take by the arithmetic of its wires, and whether they fit into their interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collector.config import GatewayConfig, Line, Meter
from collector.edge.setup import meter_setup
from drivers.dialogue import Ask
from drivers.table import Planned, driver


@dataclass(frozen=True)
class MeterPlan:
    """One meter's askings. `interval` and `boundary` are milliseconds of line time."""

    meter: Meter
    requests: tuple[Planned, ...]
    interval: float
    boundary_requests: tuple[Planned, ...]
    boundary: float

    @property
    def share(self) -> float:
        """The share of its line's time that its interval readings take."""
        return self.interval / self.meter.interval


@dataclass(frozen=True)
class LinePlan:
    """One line. What retries and silent meters take comes on top, within `silent_share`."""

    line: Line
    meters: tuple[MeterPlan, ...]

    @property
    def share(self) -> float:
        """The share of the line's time that interval readings take; above 1 they cannot all be read."""
        return sum(meter.share for meter in self.meters)

    @property
    def interval(self) -> float:
        """Milliseconds of one pass over all meters."""
        return sum(meter.interval for meter in self.meters)

    @property
    def boundary(self) -> float:
        """Milliseconds of the pass at midnight."""
        return sum(meter.boundary for meter in self.meters)

    @property
    def warnings(self) -> list[str]:
        """What does not fit, in words."""
        name = self.line.name
        found = []
        if self.share > 1:
            found.append(
                f"line {name}: its plan takes {self.share:.0%} of its time: readings will be late or missing; "
                "a longer interval, a higher baudrate, or fewer meters on the wire make it fit"
            )
        elif self.share + self.line.silent_share > 1:
            found.append(
                f"line {name}: its plan takes {self.share:.0%} of its time and silent meters may take "
                f"{self.line.silent_share:.0%}: together more than there is"
            )
        if self.boundary > WITHIN:
            found.append(
                f"line {name}: the pass at midnight takes {self.boundary / 1000:.0f} s; what is read more than "
                f"{WITHIN // 1000} s after it is billed with quality 1.9 unless the meter froze it itself"
            )
        return found


WITHIN = 60_000  # ms from an edge within which a reading counts as taken on time (docs/contract.md, Month close)


def plans(config: GatewayConfig) -> list[LinePlan]:
    """The plan of every line. Ended meters take no time."""
    return [
        LinePlan(line, tuple(_plan(meter, line) for meter in line.meters if meter.ended is None))
        for line in config.lines
    ]


def _plan(meter: Meter, line: Line) -> MeterPlan:
    setup, known = meter_setup(meter), meter.profile

    def planned(codes: Sequence[str], *, boundary: bool) -> tuple[tuple[Planned, ...], float]:
        ask = Ask(
            meter.address,
            tuple(codes),
            serial=boundary and setup.has_serial,
            clock=boundary,
            frozen=boundary and bool(known.frozen),
            baudrate=meter.baudrate,
            framing=meter.framing,
            turnaround=known.line.turnaround,
        )
        found = driver(known.protocol).plan(known, ask)
        if line.port.startswith("tcp://"):
            # The network's time is nobody's to plan; what remains is what the meter thinks.
            return tuple(found), len(found) * known.line.turnaround * 1000
        return tuple(found), sum(step.milliseconds for step in found)

    interval, interval_time = planned(setup.interval_codes, boundary=False)
    boundary, boundary_time = planned((), boundary=True)
    return MeterPlan(meter, interval, interval_time, boundary, boundary_time)
