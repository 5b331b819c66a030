"""`meterline read`: one meter, now. Values on stdout, everything else on stderr, every byte in the trace."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from collector.clock import Clock, SystemClock
from collector.commands.meaning import meaning
from collector.config_across import ADDRESSES
from collector.config_fields import BAUDRATES, read_secret
from collector.edge.frozen import month_label
from collector.edge.meter_clock import MeterTime
from collector.edge.transport import open_port, parse_port
from collector.edge.wire import Trace, Wire
from collector.exits import CheckFailed, UsageFault
from collector.localtime import rfc3339, zone
from collector.model import SCHEMA
from collector.serials import same_serial
from drivers import obis, profile, values
from drivers.dialogue import Ask, Measured, Readout
from drivers.profile import Profile
from drivers.table import driver

if TYPE_CHECKING:
    from rich.table import Table

DEFAULT_ADDRESS = {"modbus": "1"}  # what most meters leave the factory with; other protocols have no such habit
FRAMINGS = [data + parity + stop for data in "87" for parity in "NEO" for stop in "12"]


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


@click.command(help="Read one meter, now.")
@click.option("--profile", "name", required=True, metavar="P", help="Id of a shipped profile, or a .yaml file.")
@click.option(
    "--port",
    required=True,
    help="/dev/ttyUSB0, socket://host:port (transparent converter), rfc2217://host:port, tcp://host:port (Modbus TCP).",
)
@click.option("--address", metavar="A", help="How the wire asks the meter.  [default: 1 for Modbus]")
@click.option(
    "--baudrate", type=click.Choice([str(rate) for rate in BAUDRATES]), metavar="N", help="Else the profile's."
)
@click.option("--framing", type=click.Choice(FRAMINGS), metavar="8N1", help="Else the profile's.")
@click.option("--password-file", type=click.Path(path_type=Path), metavar="F", help="Its first line is the password.")
@click.option("--serial-number", metavar="S", help="Exit with 5 if the meter has another one.")
@click.option("--frozen", is_flag=True, help="Also what the meter froze at the ends of months.")
@click.option("--time-zone", metavar="Z", help="Where the meter is, for frozen months.  [default: this machine's]")
@click.option(
    "--meter-time",
    type=click.Choice(["local", "standard", "utc"]),
    default="local",
    show_default=True,
    help="What the meter's clock shows, for frozen months.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--trace", metavar="FILE", help="Every byte with direction and time; - for stderr.")
def read(
    *,
    name: str,
    port: str,
    address: str | None,
    baudrate: str | None,
    framing: str | None,
    password_file: Path | None,
    serial_number: str | None,
    frozen: bool,
    time_zone: str | None,
    meter_time: MeterTime,
    form: str,
    trace: str | None,
) -> None:
    if name == "auto":
        raise UsageFault("--profile auto: not built yet (it comes with the optical port); name the meter's profile")
    meter = profile.load(name)
    scheme = parse_port(port).scheme
    zone_name = _zone(time_zone, told=frozen)
    if serial_number is not None and meter.serial == "none":
        raise UsageFault(f"--serial-number: no register of the serial number is known for {meter.title}; leave it out")
    ask = Ask(
        address=_address(meter, address, port),
        frozen=frozen,
        password=_password(meter, password_file),
        baudrate=int(baudrate or meter.line.baudrate),
        framing=framing or meter.line.framing,
        turnaround=meter.line.turnaround,
        tcp=scheme == "tcp",
        transaction=secrets.randbelow(1 << 16),
    )
    if (baudrate or framing) and scheme == "socket":
        _say("a socket:// converter cannot be switched: --baudrate and --framing are taken for what it is set to")
    if (baudrate or framing) and scheme == "tcp":
        _say("Modbus TCP has no speed: --baudrate and --framing mean nothing here")
    clock = SystemClock()
    with tracing(trace, clock) as traced, closing(open_port(port, ask.baudrate, ask.framing)) as transport:
        asked_at = clock.millis()
        readout: Readout = Wire(transport, clock, traced).carry(driver(meter.protocol).read(meter, ask))
        answered_at = clock.millis()
    months = _by_month(readout, answered_at, zone_name, meter_time)
    asked = Asked(meter, port, ask.address, asked_at, answered_at, readout, months)
    _check_serial(asked, serial_number)
    _say_what_is_missing(asked, frozen)
    if form == "json":
        click.echo(json.dumps(as_json(asked), ensure_ascii=False))
    else:
        _show(asked)


# ----------------------------------------------------------------------------- what was given


def _address(meter: Profile, address: str | None, port: str) -> str:
    """The address in its protocol's normal form. Raises UsageFault."""
    wanted = address if address is not None else DEFAULT_ADDRESS.get(meter.protocol)
    if wanted is None:
        raise UsageFault(f"--address: {meter.title} is asked by its address; give it")
    try:
        return ADDRESSES[meter.protocol](wanted, port)
    except ValueError as error:
        raise UsageFault(f"--address {wanted}: {error}") from None


def _password(meter: Profile, path: Path | None) -> bytes | None:
    if path is None:
        return None
    if meter.protocol == "modbus":
        _say("Modbus meters are read without a password: --password-file means nothing here")
    try:
        return read_secret(path).encode()
    except ValueError as error:
        raise UsageFault(f"--password-file: {error}") from None


def _zone(name: str | None, *, told: bool) -> str:
    """The zone in which months end: as given, else this machine's, else UTC. Raises UsageFault."""
    if name is not None:
        try:
            return zone(name).key
        except ValueError as error:
            raise UsageFault(f"--time-zone: {error}") from None
    # The place of a zone's file is its name: /usr/share/zoneinfo/Europe/Moscow.
    for text in (os.environ.get("TZ", "").lstrip(":"), os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]):
        with suppress(ValueError):
            return zone(text).key
    if told:
        _say(
            "this machine's time zone is not known: frozen months are taken to end at UTC's midnight; give --time-zone"
        )
    return "UTC"


@contextmanager
def tracing(target: str | None, clock: Clock) -> Iterator[Trace | None]:
    """A trace of lines `2026-10-31T21:01:02.120Z >> 01 04 00 48` into a file; "-" is stderr. Raises UsageFault."""
    if target is None:
        yield None
        return
    with ExitStack() as stack:
        stream: TextIO = sys.stderr
        if target != "-":
            try:
                stream = stack.enter_context(Path(target).open("w", encoding="ascii", buffering=1))
            except OSError as error:
                raise UsageFault(f"--trace {target}: cannot be written: {error.strerror}") from None
        # One offset for the whole trace: a wall clock that is set meanwhile must not turn the order of bytes round.
        offset = clock.millis() - clock.monotonic() * 1000
        yield lambda direction, data, at: print(rfc3339(int(at * 1000 + offset)), direction, data.hex(" "), file=stream)


# ----------------------------------------------------------------------------- what came


def _by_month(readout: Readout, now: int, zone_name: str, means: MeterTime) -> dict[str, Mapping[str, Measured]]:
    """The frozen registers by the month that they end. What nobody can say the month of is named, not shown."""
    months: dict[str, Mapping[str, Measured]] = {}
    for frozen in readout.frozen:
        month = month_label(frozen, readout.clock, now, zone_name, means)
        if month is not None:
            months.setdefault(month, frozen.registers)
            continue
        which = f"stamped {frozen.stamp}" if frozen.stamp else f"{frozen.back} back"
        _say(
            f"the closing {which} is not shown: by the meter's clock ({readout.clock or 'none'}) or stamp it is not "
            f"surely the end of a month in {zone_name}; see --time-zone and --meter-time"
        )
    return months


def _check_serial(asked: Asked, wanted: str | None) -> None:
    found = asked.readout.serial_number
    if wanted is None or (found is not None and same_serial(found, wanted)):
        return
    raise CheckFailed(
        f"serial number {wanted} was expected, the meter at address {asked.address} of {asked.port} "
        + (f"says {found}" if found is not None else "gives none")
        + ": another meter, or another address? Its values are not shown"
    )


def _say_what_is_missing(asked: Asked, frozen: bool) -> None:
    names = asked.profile.registers
    if refused := sorted((name for name in asked.readout.refused if name in names), key=obis.sort_key):
        _say(f"refused by the meter, though its profile has them: {', '.join(refused)}")
    if asked.readout.absent:
        _say(f"not available now, says the meter: {', '.join(asked.readout.absent)}")
    if asked.readout.serial_number is None and asked.profile.serial != "none":
        _say("the meter gives no serial number, though its profile knows where one is")
    if frozen and not asked.profile.frozen:
        _say(f"no frozen registers are known for {asked.profile.title}")


def _say(text: str) -> None:
    click.echo(f"meterline: {text}", err=True)


# ----------------------------------------------------------------------------- what is shown


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
    }


def _show(asked: Asked) -> None:
    from rich.console import Console

    readout = asked.readout
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(asked.profile.title, style="bold")
    serial_number = readout.serial_number or ("not known" if asked.profile.serial == "none" else "not given")
    console.print(f"serial number {serial_number}, address {asked.address} on {asked.port}")
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
