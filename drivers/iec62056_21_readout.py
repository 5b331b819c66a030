"""What data sets say by a profile: registers, serial number, clock and closings, from a readout or from single answers.

Rule 1. A key that stands twice with different texts says nothing, nor does one of a closing that stands twice at all.
Rule 2. A history index is never the value of now, except where a dialect says that its meters give all under one.
Rule 3. A unit that came must fit the code. Where none came, it is the register's, that of the same code without its
        history index, or kWh (kvarh, kVAh) for energy, in this order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TypeVar

from drivers import obis
from drivers.dialogue import FrozenSet, Measured, NotInProfile, Readout
from drivers.iec62056_21_datasets import DataSet, values
from drivers.iec62056_21_spelling import (
    CURRENT,
    clock,
    code,
    is_nothing,
    moment,
    number,
    si_value,
    split_unit,
    unit_of,
    whole_wh,
)
from drivers.iec_places import MONTH, UNLISTED, ClockRegister, Dialect, IecProfile, Place, Register, month_operand
from drivers.obis import TOTAL
from drivers.summed import given_codes, summands, summed
from drivers.values import base_unit

K = TypeVar("K")
Groups = tuple[str, ...]


class Sets:
    """The data sets of one asking, found by the name they have or by the code they mean."""

    def __init__(self, sets: Iterable[DataSet], dialect: Dialect | None = None) -> None:
        self.names: dict[str, Groups | None] = {}
        self.codes: dict[tuple[str, str], Groups | None] = {}  # by C.D.E and history index
        words: Mapping[str, str] = dialect.words if dialect else {}
        current = (dialect.current if dialect else None) or CURRENT
        rank: dict[tuple[str, str], int] = {}
        for one in sets:
            _put(self.names, one.ident, one.groups)
            meant = code(words.get(one.ident, one.ident))
            if meant is None or not meant.of_electricity:
                continue
            key = (meant.cde, CURRENT if meant.history == current else meant.history)
            channel = meant.channel or 0
            if rank.setdefault(key, channel) > channel:  # the meter's own channel before the first of several
                del self.codes[key]
                rank[key] = channel
            if rank[key] == channel and key[1] != CURRENT and key in self.codes:
                self.codes[key] = None  # slots that no closing has filled yet (ZMD: *00, many times over)
            elif rank[key] == channel:
                _put(self.codes, key, one.groups)

    def text(self, place: Place, own: str, history: str = CURRENT) -> str | None:
        """The text at a place; `own`: the code it stands for where it has no other name. None where it is not there."""
        return self.at(place.name or own, place, history)

    def at(self, name: str, place: Place, history: str = CURRENT) -> str | None:
        """The text under a name, in the bracket and part that the place says."""
        groups = self._groups(f"{name}({place.operand})" if place.operand else name, history)
        if groups is None or place.group > len(groups):
            return None
        text = groups[place.group - 1]
        if place.part is None:
            return text
        parts = tuple(values(text))
        return parts[place.part - 1] if place.part <= len(parts) else None

    def _groups(self, name: str, history: str) -> Groups | None:
        if history == CURRENT and name in self.names:
            return self.names[name]
        meant = code(name)
        return None if meant is None else self.codes.get((meant.cde, history or meant.history))

    def months(self, registers: Iterable[Register]) -> set[tuple[int, int]]:
        """Years and months of the closings that were asked for by their month."""
        found: set[tuple[int, int]] = set()
        for register in registers:
            if register.name is None or MONTH not in register.operand:
                continue
            text = re.escape(f"{register.name}({register.operand})").replace(
                re.escape(MONTH), r"([0-9]{2})\.([0-9]{2})"
            )
            hits = (re.fullmatch(text, name) for name in self.names)
            found.update((2000 + int(hit[2]), int(hit[1])) for hit in hits if hit)
        return {(year, month) for year, month in found if 1 <= month <= 12}

    def histories(self, name: str) -> Iterator[str]:
        """The history indices under which a code stands, in the order that they came."""
        meant = code(name)
        if meant is not None:
            yield from (history for cde, history in self.codes if cde == meant.cde and history != CURRENT)


def end_of(year: int, month: int) -> str:
    """The naive text of a month's end, which is the next one's beginning."""
    return f"{year + month // 12}-{month % 12 + 1:02d}-01T00:00:00"


def _put(known: dict[K, Groups | None], key: K, groups: Groups) -> None:
    known[key] = groups if known.get(key, groups) == groups else None


# ----------------------------------------------------------------------------- one asking


def readout(
    profile: IecProfile,
    sets: Sets,
    asked: tuple[str, ...] = (),
    *,
    serial: bool = True,
    clock: bool = True,
    frozen: bool = True,
    quality: tuple[str, ...] = (),
    refused: frozenset[str] = frozenset(),
) -> Readout:
    """What the data sets say. `asked`: codes, all where empty. Raises NotInProfile where none of the energy is there.

    A register that is there without a value is `absent`; one that is not there is `refused`, if the profile lists it.
    """
    registers = dict(_registers(profile, sets, asked))
    measured: dict[str, Measured | None] = {}
    missing = set()
    for name, register in registers.items():
        text = sets.text(register, name)
        if text is None:
            missing.add(name)
        else:
            measured[name] = _measured(name, register, text, sets)
    if profile.is_summed:
        measured[TOTAL] = summed(profile, measured)
    listed = [name for name in registers if name in profile.registers]
    return Readout(
        registers={name: it for name, it in measured.items() if it is not None and (not asked or name in asked)},
        serial_number=_serial(profile, sets) if serial else None,
        clock=own_clock(profile, sets) if clock else None,
        frozen=tuple(_frozen(profile, sets)) if frozen else (),
        refused=refused | missing.intersection(listed),
        absent=tuple(name for name, it in measured.items() if it is None and name in (asked or listed)),
        quality=quality,
    )


def _registers(profile: IecProfile, sets: Sets, asked: tuple[str, ...]) -> Iterator[tuple[str, Register]]:
    names = list(given_codes(profile, asked))
    if profile.is_summed and TOTAL in names:
        names.remove(TOTAL)
        names += [name for name in summands(profile) if name not in names]
    if profile.takes_every and not asked:
        found = (cde for cde, history in sets.codes if history == CURRENT and obis.is_known(cde))
        names = sorted({*names, *found}, key=obis.sort_key)
    for name in names:
        yield name, profile.registers.get(name, UNLISTED)


def _measured(name: str, register: Register, text: str, sets: Sets, history: str = CURRENT) -> Measured | None:
    """One value; None where there is none, or where text or unit are not this code's."""
    value, unit = split_unit(text)
    digits = number(value)
    if digits is None:
        return None
    meaning = obis.parse(name)
    factor = _factor(meaning, unit, register, lambda: _sibling(name, register, sets) if history else "")
    if factor is None:
        return None
    factor *= register.scale
    carried = whole_wh(digits, factor) if meaning.is_energy else si_value(digits, factor)
    return Measured(carried, meaning.unit, value.strip().encode("ascii"))


def _factor(meaning: obis.Obis, unit: str, register: Register, sibling: Callable[[], str]) -> Decimal | None:
    """What the number is multiplied by to be in Wh or the SI unit; None where the unit is not this code's (rule 3)."""
    wanted = base_unit(meaning.unit)
    if unit == "":
        unit = register.unit or sibling()
    if unit == "":
        # Power could be W or kW, nobody knows; energy is read out in kWh, and V, A and Hz have no other unit.
        return wanted[1] if meaning.is_energy or wanted[0] in ("V", "A", "Hz", "") else None
    given = unit_of(unit)
    return given[1] if given is not None and given[0] == wanted[0] else None


def _sibling(name: str, register: Register, sets: Sets) -> str:
    """The unit of the value of now, for closings that are sent without one."""
    return split_unit(sets.text(register, name) or "")[1]


# ----------------------------------------------------------------------------- beside the registers


def _serial(profile: IecProfile, sets: Sets) -> str | None:
    if isinstance(profile.serial, str):
        return None
    texts = (sets.at(name, profile.serial) for name in profile.serial.names)
    return next((text.strip() for text in texts if text is not None and not is_nothing(text)), None)


def own_clock(profile: IecProfile, sets: Sets) -> str | None:
    """The meter's own clock as naive text; None where the sets do not hold it, or where it is none."""
    place = profile.clock
    if not isinstance(place, ClockRegister):
        return None
    here = Place()
    if place.date is not None and place.time is not None:
        date, time = sets.at(place.date, here), sets.at(place.time, here)
        if date is not None and time is not None:
            return clock(date, time, place.order)
    text = sets.at(place.moment, here) if place.moment is not None else None
    return None if text is None else moment(text, place.order)


def _frozen(profile: IecProfile, sets: Sets) -> Iterator[FrozenSet]:
    named: set[tuple[int, int]] = set()
    for group in profile.frozen:
        for month in sorted(sets.months(group.registers.values()).difference(named), reverse=True):
            asked = {name: _asked_for(it, month) for name, it in group.registers.items()}
            if found := _closed(asked, sets, CURRENT):
                yield FrozenSet(found, stamp=end_of(*month))
            named.add(month)
        if group.stamp is None:
            if found := _closed(group.registers, sets, CURRENT):
                yield FrozenSet(found, back=group.back)
            continue
        for history in sets.histories(group.stamp.name):
            text = sets.at(group.stamp.name, Place(), history)
            stamp = None if text is None else moment(text, group.stamp.order)
            if stamp is not None and (found := _closed(group.registers, sets, history)):
                yield FrozenSet(found, stamp=stamp)


def _asked_for(register: Register, month: tuple[int, int]) -> Register:
    return register.model_copy(update={"operand": month_operand(register.operand, *month)})


def _closed(registers: Mapping[str, Register], sets: Sets, history: str) -> dict[str, Measured]:
    found = {}
    for name, register in registers.items():
        text = sets.text(register, name, history)
        if text is not None and (it := _measured(name, register, text, sets, history)) is not None:
            found[name] = it
    return found


def without_energy(profile: IecProfile, sets: Sets) -> NotInProfile:
    """The error of a sound readout that holds no energy this profile knows."""
    names = ", ".join(list(sets.names)[:24]) or "nothing"
    return NotInProfile(f"the meter gives no energy register that {profile.id} knows; it gives {names}")
