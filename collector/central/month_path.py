"""How a register went through a month, step by step: where it fell, jumped, or the sum of its steps is not its advance.

A value between two sound ones that is damaged makes a step up and one down that cancel out in the bill, and not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from collector.central.edge_value import Dial, wall
from collector.central.store.series import TimedValue
from drivers.values import kilo

_MOST_SHOWN = 5  # steps; who has that many has one cause


class Path(NamedTuple):
    """`advance`: last minus first, `steps`: the sum of the steps upwards, both Wh. `odd`: steps that no meter makes."""

    advance: int
    steps: int
    odd: Sequence[tuple[TimedValue, TimedValue]]

    def differs(self, digit: int) -> bool:
        """More than 0.1 % or two units of the last digit between the sum of steps and the advance."""
        return abs(self.steps - self.advance) > max(abs(self.advance) // 1000, 2 * digit)


def path_of(values: Sequence[TimedValue], dial: Dial) -> Path:
    """The path of a register; `values` by time, one at least."""
    advance, steps, odd = 0, 0, []
    for earlier, later in pairwise(values):
        step = dial.growth.ahead(earlier.value, later.value)
        advance += step
        steps += max(0, step)
        if not 0 <= step <= dial.most(earlier, later):
            odd.append((earlier, later))
    return Path(advance, steps, odd)


def sentences(path: Path, dial: Dial) -> Iterator[str]:
    """The path in words."""
    digit = dial.growth.last_digit.get(dial.code, 1)
    if path.differs(digit):
        yield (
            f"{dial.code} of {dial.meter}: the steps add up to {kilo(path.steps)} kWh, "
            f"from first to last it is {kilo(path.advance)} kWh"
        )
    for earlier, later in path.odd[:_MOST_SHOWN]:
        step = later.value - earlier.value
        sign = "-" if step < 0 else "+"
        first, last = (wall(value.time, dial.zone) for value in (earlier, later))
        yield f"{dial.code} of {dial.meter}: {sign}{kilo(abs(step))} kWh from {first} to {last}, which no meter makes"
    if len(path.odd) > _MOST_SHOWN:
        yield f"... and {len(path.odd) - _MOST_SHOWN} such steps more"
