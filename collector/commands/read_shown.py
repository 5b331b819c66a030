"""What `meterline read` shows of one asking: a table for people, or the contract's object."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collector.commands.meaning import meaning
from collector.localtime import rfc3339
from collector.model import SCHEMA
from drivers import obis, values
from drivers.dialogue import Measured, Readout
from drivers.profile import Profile

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Asked:
    """One asking and what came of it; instants are milliseconds UTC. `frozen`: registers by month."""

    profile: Profile
    port: str
    address: str
    asked_at: int
    answered_at: int
    readout: Readout
    frozen: Mapping[str, Mapping[str, Measured]]


def _text(code: str, measured: Measured) -> str:
    """kWh, kvarh, kVAh with three decimals; other values as they came, in the code's SI unit."""
    return values.kilo(measured.value) if obis.parse(code).is_energy else format(measured.value, "f")


def _registers(registers: Mapping[str, Measured]) -> dict[str, dict[str, str]]:
    return {
        code: {"value": _text(code, it), "unit": obis.parse(code).unit, "raw": it.raw.hex()}
        for code, it in sorted(registers.items(), key=lambda item: obis.sort_key(item[0]))
    }


def as_json(asked: Asked) -> dict[str, Any]:
    """The object of `--format json` (docs/contract.md)."""
    return {
        "schema": SCHEMA,
        "profile": asked.profile.id,
        "digest": asked.profile.digest,
        "port": asked.port,
        "address": asked.address,
        "serial_number": asked.readout.serial_number,
        "asked_at": rfc3339(asked.asked_at),
        "answered_at": rfc3339(asked.answered_at),
        "meter_clock": asked.readout.clock,
        "registers": _registers(asked.readout.registers),
        "frozen": {month: _registers(registers) for month, registers in sorted(asked.frozen.items())},
    } | ({"quality": list(asked.readout.quality)} if asked.readout.quality else {})


def waiting(what: str, *, quiet: bool) -> AbstractContextManager[object]:
    """A line on stderr with the time that has passed, on a terminal alone: at 300 baud a readout takes a minute."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.add_task(what, total=None)
    return progress


def show(asked: Asked) -> None:
    """Print it for people."""
    from rich.console import Console

    readout = asked.readout
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(asked.profile.title, style="bold")
    serial_number = readout.serial_number or ("not known" if asked.profile.serial == "none" else "not given")
    address = f"address {asked.address}" if asked.address else "no address"
    console.print(f"serial number {serial_number}, {address} on {asked.port}")
    console.print(f"asked {rfc3339(asked.asked_at)}" + (f", its clock {readout.clock}" if readout.clock else ""))
    console.print(_table(readout.registers))
    for month, registers in sorted(asked.frozen.items()):
        console.print(f"frozen at the end of {month}", style="bold")
        console.print(_table(registers))


def _table(registers: Mapping[str, Measured]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("code", style="cyan", no_wrap=True)
    table.add_column("value", justify="right", style="bold", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("is")
    for code, shown in _registers(registers).items():
        table.add_row(code, shown["value"], shown["unit"], meaning(code))
    return table
