"""What a simulated meter holds, as the data sets that its profile expects: the way back of `iec62056_21_readout`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

from drivers import obis
from drivers.iec62056_21_datasets import DataSet
from drivers.iec62056_21_spelling import code
from drivers.iec_places import ClockRegister, IecProfile, Place, Register, SerialRegister, month_operand
from drivers.meter_side import Held
from drivers.values import base_unit

Key = tuple[str, str]  # name and operand of a request
Cells = dict[Key, dict[tuple[int, int], str]]  # texts by bracket and part

DIGITS, DECIMALS = 6, 3  # of an energy register: what an MT174 shows (0000123.456*kWh), and most meters of its kind


def data_sets(profile: IecProfile, held: Held) -> dict[Key, DataSet]:
    """Every data set that the meter has, by what is asked for: (name, operand)."""
    cells: Cells = {}
    _place_registers(cells, profile.registers, held.registers)
    if profile.takes_every:
        others = {name: Register() for name in held.registers if name not in profile.registers}
        _place_registers(cells, others, held.registers)
    if isinstance(profile.serial, SerialRegister) and held.serial_number is not None:
        cells[profile.serial.names[0], profile.serial.operand] = {
            (profile.serial.group, profile.serial.part or 1): held.serial_number
        }
    if isinstance(profile.clock, ClockRegister) and held.clock is not None:
        cells |= {(name, ""): {(1, 1): text} for name, text in _clock(profile.clock, held.clock)}
    for block in profile.frozen:
        for closing in held.frozen:
            if block.stamp is not None:
                index = f"*{closing.back:02d}"
                cells[f"{block.stamp.name}{index}", ""] = {(1, 1): _moment(closing.moment, block.stamp.order)}
                _place_registers(cells, block.registers, closing.registers, index)
            elif block.back == closing.back:
                last = closing.moment - timedelta(days=1)  # of the month that the closing ended
                asked = {
                    name: it.model_copy(update={"operand": month_operand(it.operand, last.year, last.month)})
                    for name, it in block.registers.items()
                }
                _place_registers(cells, asked, closing.registers)
    return {key: DataSet(key[0], tuple(_groups(texts))) for key, texts in cells.items()}


def _place_registers(
    cells: Cells, registers: Mapping[str, Register], values: Mapping[str, Any], index: str = ""
) -> None:
    for name, register in registers.items():
        key = (register.name or name) + index, register.operand
        value = values.get(name)
        text = "" if value is None else _number(name, register, value)
        cells.setdefault(key, {})[_at(register)] = text


def _at(place: Place) -> tuple[int, int]:
    return place.group, place.part or 1


def _groups(texts: Mapping[tuple[int, int], str]) -> Iterator[str]:
    for group in range(1, max(group for group, _ in texts) + 1):
        last = max((part for other, part in texts if other == group), default=1)
        yield ",".join(texts.get((group, part), "") for part in range(1, last + 1))


def _number(name: str, register: Register, value: Any) -> str:
    """A value as the meter shows it, cut to its digits; with its unit where the profile does not know it beforehand."""
    meaning = obis.parse(name)
    unit = register.unit or meaning.unit
    shown = Decimal(value) / (base_unit(unit)[1] * register.scale)
    if meaning.is_energy:
        shown = shown.quantize(Decimal(1).scaleb(-DECIMALS), ROUND_DOWN)
    # A name of the maker's own has no unit beside it, neither has a value in a list (Neva 0F0880FF, Energomera ET0PE).
    sent = unit if not register.unit and code(register.name or name) and register.part is None else ""
    width = DIGITS + 1 + DECIMALS if meaning.is_energy else 1
    return f"{shown:0{width}f}" + (f"*{sent}" if sent else "")


def _clock(place: ClockRegister, moment: datetime) -> Iterable[tuple[str, str]]:
    if place.date is not None and place.time is not None:
        yield place.date, _date(moment, place.order)
        yield place.time, f"{moment:%H%M%S}"
    elif place.moment is not None:
        yield place.moment, _moment(moment, place.order)


def _date(moment: datetime, order: str) -> str:
    # Energomera's ww.dd.mm.yy, 00 is Sunday (latonita/esphome-energomera-iec README); else the plain digits.
    return f"{moment:%w}".zfill(2) + f"{moment:.%d.%m.%y}" if order == "dmy" else f"{moment:%y%m%d}"


def _moment(moment: datetime, order: str) -> str:
    return f"{moment:%d%m%y%H%M%S}" if order == "dmy" else f"{moment:%y%m%d%H%M%S}"
