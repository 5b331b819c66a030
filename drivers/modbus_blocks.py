"""Which registers go into one Modbus request: blocks planned in milliseconds of line time.

A request costs its own 8 characters, the answer's 5, the silence before it and the meter's turnaround; a register costs
two characters. So a hole between two wanted values is read along where that is cheaper than another request. The
cheapest cut of the sorted values into blocks is found by dynamic programming: there is no better one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from drivers.dialogue import character_seconds, silence
from drivers.modbus_places import ClockRegister, ModbusProfile, Register, SerialRegister
from drivers.profile import CLOCK, SERIAL

Value = Register | SerialRegister | ClockRegister

REQUEST = 8  # characters of a read request: address, function, start, count, CRC (Modbus over serial line V1.02, 2.3)
FRAME = 5  # characters of an answer beside its registers: address, function, byte count, CRC
WORD = 2  # characters of one register


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """Where a value lies: `count` registers from `address` on, read with `function`.

    The extents of a profile do not overlap (`modbus_places` refuses it).
    """

    function: int
    address: int
    count: int
    name: str

    @property
    def end(self) -> int:
        """The first register behind it."""
        return self.address + self.count


def values_of(profile: ModbusProfile) -> dict[str, Value]:
    """Every value of the profile by its name.

    Names are OBIS codes, "serial", "clock", "frozen.<n>.<code>" and "frozen.<n>.stamp" (the profile's n-th, from 1).
    """
    single = {SERIAL: profile.serial, CLOCK: profile.clock}
    found: dict[str, Value] = dict(profile.registers)
    found |= {name: value for name, value in single.items() if not isinstance(value, str)}
    for number, group in enumerate(profile.frozen, 1):
        found |= {f"frozen.{number}.{code}": register for code, register in group.registers.items()}
        if group.stamp is not None:
            found[f"frozen.{number}.stamp"] = group.stamp
    return found


def extents(profile: ModbusProfile) -> dict[str, Extent]:
    """Where every value of the profile lies, by its name."""
    return {
        name: Extent(value.function or profile.modbus.function, value.address, value.words, name)
        for name, value in values_of(profile).items()
    }


@dataclass(frozen=True, slots=True)
class Block:
    """One request: `count` registers from `address` on, for the values `names`, and the line time it should take."""

    function: int
    address: int
    count: int
    names: tuple[str, ...]
    milliseconds: float

    @property
    def end(self) -> int:
        """The first register behind it."""
        return self.address + self.count

    @property
    def text(self) -> str:
        """The request in short: function, first register, how many."""
        return f"{self.function:02d} {self.address:04X}+{self.count}"


@dataclass(frozen=True, slots=True)
class Apart:
    """What a meter does not give in one request: registers below `below` together with registers from `above` on.

    Learnt from a block that was refused while both its parts were given: between the parts is a hole that is not there,
    or the meter gives fewer registers at once than its profile says.
    """

    function: int
    below: int
    above: int

    def forbids(self, block: Block) -> bool:
        """Whether the block asks for both."""
        return block.function == self.function and block.address < self.below and block.end > self.above

    def __str__(self) -> str:
        return f"apart:{self.function:02X}:{self.below:04X}-{self.above:04X}"

    @classmethod
    def parse(cls, key: str) -> Apart | None:
        """From its text; None for a key that names a value."""
        match = re.fullmatch(r"apart:([0-9A-F]{2}):([0-9A-F]{4})-([0-9A-F]{4})", key)
        return cls(*(int(part, 16) for part in match.groups())) if match else None


@dataclass(frozen=True, slots=True)
class Rules:
    """What a meter and its line allow, and what a request and a register cost (milliseconds)."""

    most: int
    alone: frozenset[int]
    apart: frozenset[Apart]
    request: float
    register: float


def rules(profile: ModbusProfile, *, baudrate: int, framing: str, turnaround: float, refused: Iterable[str]) -> Rules:
    """The rules for one meter. `turnaround`: seconds it thinks; `refused`: what `read` learnt of it before."""
    character = 1000 * character_seconds(baudrate, framing)
    quiet = 1000 * silence(baudrate)
    before = max(quiet, 1000 * profile.line.pause)
    return Rules(
        most=profile.modbus.most_registers,
        alone=frozenset(profile.modbus.alone),
        apart=frozenset(apart for key in refused if (apart := Apart.parse(key))),
        # A meter knows the end of a request by the same silence (V1.02, 2.5.1.1), so it cannot think for less.
        request=before + (REQUEST + FRAME) * character + max(1000 * turnaround, quiet),
        register=WORD * character,
    )


def blocks(extents: Iterable[Extent], by: Rules) -> tuple[Block, ...]:
    """The cheapest blocks that give all values, each in exactly one; in the order of function and address."""
    return _blocks(tuple(sorted(extents)), by)


def halves(block: Block, extents: Iterable[Extent], by: Rules) -> tuple[Block, Block] | None:
    """A refused block in two, cut at its widest hole, without one in the middle; None for a block of one value.

    `extents`: at least those of the block.
    """
    inside = sorted(extent for extent in extents if extent.name in block.names)
    if len(inside) < 2:
        return None

    def fitness(at: int) -> tuple[int, float]:
        return inside[at].address - inside[at - 1].end, -abs(at - len(inside) / 2)

    cut = max(range(1, len(inside)), key=fitness)
    return _block(inside[:cut], by), _block(inside[cut:], by)


def _block(extents: Sequence[Extent], by: Rules) -> Block:
    """The one request for sorted values of one function."""
    first, count = extents[0], extents[-1].end - extents[0].address
    names = tuple(extent.name for extent in extents)
    return Block(first.function, first.address, count, names, by.request + by.register * count)


def _is_allowed(block: Block, by: Rules) -> bool:
    """Whether the meter may be asked for a block of several values."""
    return (
        block.count <= by.most
        and by.alone.isdisjoint(range(block.address, block.end))  # a hole with one in it is refused as well
        and not any(apart.forbids(block) for apart in by.apart)
    )


@lru_cache(maxsize=1024)  # a line asks its meters the same again and again
def _blocks(extents: tuple[Extent, ...], by: Rules) -> tuple[Block, ...]:
    best: list[tuple[float, tuple[Block, ...]]] = [(0.0, ())]  # for the first n values: milliseconds, and the blocks
    for until in range(1, len(extents) + 1):
        choices = []
        for start in range(until - 1, -1, -1):
            if extents[start].function != extents[until - 1].function:
                break
            block = _block(extents[start:until], by)
            if start < until - 1 and not _is_allowed(block, by):
                break  # what is forbidden stays forbidden when more is asked
            milliseconds, before = best[start]
            choices.append((milliseconds + block.milliseconds, (*before, block)))
        best.append(min(choices, key=lambda choice: (choice[0], len(choice[1]))))
    return best[-1][1]
