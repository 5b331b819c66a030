"""OBIS codes of a meter's registers: parse, print, unit and kind (IEC 62056-6-1, value groups C.D.E)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_CODE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})")

# Value group C of electricity (IEC 62056-6-1, table of C codes): quantity by C without its phase block (20, 40, 60).
_ENERGY_UNIT = {1: "kWh", 2: "kWh", 3: "kvarh", 4: "kvarh", 5: "kvarh", 6: "kvarh", 7: "kvarh", 8: "kvarh"}
_ENERGY_UNIT |= {9: "kVAh", 10: "kVAh", 15: "kWh", 16: "kWh"}
_INSTANT_UNIT = {1: "W", 2: "W", 3: "var", 4: "var", 9: "VA", 10: "VA", 11: "A", 12: "V", 13: "", 14: "Hz", 16: "W"}

# Abstract objects of any device (IEC 62056-6-1, group A 0) that a meter's profile may have: the battery's voltage.
_OTHER_UNIT = {(96, 6, 3): "V"}

TOTAL, TARIFFS = "1.8.0", ("1.8.1", "1.8.2", "1.8.3", "1.8.4")  # import, what is billed: of all, and by tariff
TIME_INTEGRAL = 8  # value group D: time integral 1, a register that counts for ever
INSTANT = 7  # value group D: instantaneous value


@dataclass(frozen=True, slots=True, order=True)
class Obis:
    """An OBIS code without medium and channel: `c` quantity, `d` processing, `e` tariff (0 is the total)."""

    c: int
    d: int
    e: int

    def __str__(self) -> str:
        return f"{self.c}.{self.d}.{self.e}"

    @property
    def is_energy(self) -> bool:
        """True for a register that counts energy (time integral 1 of an energy quantity)."""
        return self.d == TIME_INTEGRAL and self._quantity in _ENERGY_UNIT

    @property
    def unit(self) -> str:
        """kWh, kvarh or kVAh of an energy code, the SI unit of an instantaneous one ("" for a power factor).

        Raises ValueError where this project knows no unit.
        """
        if (other := _OTHER_UNIT.get((self.c, self.d, self.e))) is not None:
            return other
        table = {TIME_INTEGRAL: _ENERGY_UNIT, INSTANT: _INSTANT_UNIT}.get(self.d, {})
        if self._quantity not in table:
            raise ValueError(f"{self}: no unit is known for this OBIS code")
        return table[self._quantity]

    @property
    def _quantity(self) -> int:
        """Value group C with its phase taken off: 21-40 are L1, 41-60 L2, 61-80 L3 of 1-20 (IEC 62056-6-1).

        What stands above (angles, the neutral, harmonics) has no such order and is no quantity of ours: 0.
        """
        return (self.c - 1) % 20 + 1 if 1 <= self.c <= 80 else 0


@lru_cache(maxsize=1024)
def parse(text: str) -> Obis:
    """Parse "1.8.0". Raises ValueError that says what was expected."""
    match = _CODE.fullmatch(text)
    numbers = [int(group) for group in match.groups()] if match else []
    if not numbers or max(numbers) > 255:
        raise ValueError(f"{text!r} is not an OBIS code C.D.E such as 1.8.0 (three numbers 0-255 with dots)")
    obis = Obis(*numbers)
    if str(obis) != text:
        raise ValueError(f"{text!r}: write {obis} (no leading zeros)")
    return obis


@lru_cache(maxsize=1024)
def is_known(text: str) -> bool:
    """Whether this project knows what a code counts or measures, and in what unit; False for what is no code."""
    try:
        return parse(text).unit is not None
    except ValueError:
        return False


def sort_key(code: str) -> tuple[int, int, int]:
    """Order of registers in files: by C, D, E as numbers, so that 15.8.0 follows 2.8.0."""
    obis = parse(code)
    return (obis.c, obis.d, obis.e)
