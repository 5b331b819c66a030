"""`meterline read`: one meter, now. Values on stdout, everything else on stderr, every byte in the trace."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click

from collector.clock import Clock, SystemClock
from collector.commands.read_shown import Asked, as_json, show, waiting
from collector.config_across import misplaced
from collector.config_fields import BAUDRATES, read_secret
from collector.edge.discovery import resumed, search, tries
from collector.edge.frozen import month_label
from collector.edge.meter_clock import MeterTime
from collector.edge.transport import Scheme, open_port, parse_port
from collector.edge.wire import Trace, Wire
from collector.exits import CheckFailed, UsageFault
from collector.localtime import zone
from collector.recording import Spoken, written
from collector.serials import same_serial
from drivers import obis, profile
from drivers.dialogue import Ask, Dialogue, Measured, Readout
from drivers.profile import Profile
from drivers.table import driver

# What is asked where no address is given. Modbus: what most meters leave the factory with. IEC 62056-21: the one meter
# in front of an optical head needs none. Others have no such habit.
DEFAULT_ADDRESS = {"modbus": "1", "iec62056-21": ""}
FRAMINGS = [data + parity + stop for data in "87" for parity in "NEO" for stop in "12"]


@click.command(help="Read one meter, now.")
@click.option(
    "--profile",
    "name",
    required=True,
    metavar="P",
    help="Id of a shipped profile, a .yaml file, or auto: find out who answers.",
)
@click.option(
    "--port",
    required=True,
    help="/dev/ttyUSB0, socket://host:port (transparent converter), rfc2217://host:port, tcp://host:port (Modbus TCP).",
)
@click.option(
    "--address", metavar="A", help="How the wire asks the meter.  [default: 1 for Modbus, none for IEC 62056-21]"
)
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
    zone_name = _zone(time_zone, told=frozen)
    given = Given(port, address, int(baudrate) if baudrate else None, framing, frozen, _secret(password_file))
    if name == "auto":
        first, find = _search(given)
    else:
        first, find = _named(profile.load(name), given, serial_number)
    clock = SystemClock()
    with tracing(trace, clock) as traced, closing(open_port(port, *first)) as transport:
        wire = Wire(transport, clock, traced)
        meter, ask, dialogue = find(wire)
        asked_at = clock.millis()
        with waiting(f"reading {meter.model}", quiet=trace == "-"):
            readout = wire.carry(dialogue)
        answered_at = clock.millis()
    months = _by_month(readout, answered_at, zone_name, meter_time)
    asked = Asked(meter, port, ask.address, asked_at, answered_at, readout, months)
    _check_serial(asked, serial_number)
    if name == "auto":
        _propose(asked, ask)
    _say_what_is_missing(asked, frozen)
    if form == "json":
        click.echo(json.dumps(as_json(asked), ensure_ascii=False))
    else:
        show(asked)


# ----------------------------------------------------------------------------- whom to ask


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says of the meter and its line."""

    port: str
    address: str | None
    baudrate: int | None
    framing: str | None
    frozen: bool
    password: bytes | None

    @property
    def scheme(self) -> Scheme:
        """The port's kind."""
        return parse_port(self.port).scheme

    def ask(self, meter: Profile, address: str, baudrate: int, framing: str) -> Ask:
        """What a meter is asked."""
        if self.password is not None and meter.protocol == "modbus":
            _say("Modbus meters are read without a password: --password-file means nothing here")
        return Ask(
            address=address,
            frozen=self.frozen,
            password=self.password,
            baudrate=baudrate,
            framing=framing,
            turnaround=meter.line.turnaround,
            tcp=self.scheme == "tcp",
            transaction=secrets.randbelow(1 << 16),
            can_switch=self.scheme != "socket",
        )


# Given the open wire: the meter's profile, what it is asked, and the dialogue that does it.
Find = Callable[[Wire], tuple[Profile, Ask, Dialogue[Readout]]]
LineSettings = tuple[int, str]


def _named(meter: Profile, given: Given, serial_number: str | None) -> tuple[LineSettings, Find]:
    """How the port is opened for a meter of a known profile, and how it is asked. Raises UsageFault."""
    if serial_number is not None and meter.serial == "none":
        raise UsageFault(f"--serial-number: no register of the serial number is known for {meter.title}; leave it out")
    if text := misplaced(meter, given.port):
        raise UsageFault(f"--port: {text}")
    if (given.baudrate or given.framing) and given.scheme == "socket":
        _say("a socket:// converter cannot be switched: --baudrate and --framing are taken for what it is set to")
    if (given.baudrate or given.framing) and given.scheme == "tcp":
        _say("Modbus TCP has no speed: --baudrate and --framing mean nothing here")
    baudrate, framing = given.baudrate or meter.line.baudrate, given.framing or meter.line.framing
    try:
        wired = driver(meter.protocol).port_framing(framing)
    except ValueError as error:
        raise UsageFault(f"--framing: {error}") from None
    ask = given.ask(meter, _address(meter, given), baudrate, framing)
    return (baudrate, wired), lambda _wire: (meter, ask, driver(meter.protocol).read(meter, ask))


def _search(given: Given) -> tuple[LineSettings, Find]:
    """The same for a meter that nobody knows yet: the search says who it is. Raises UsageFault."""
    if given.scheme == "tcp":
        raise UsageFault("--profile auto: Modbus TCP does not tell which meter answers; name the meter's profile")
    attempts = tries(given.port, given.scheme, given.address, given.baudrate, given.framing)
    if not attempts:
        raise UsageFault(
            "--address, --framing: no protocol that auto tries has such ones; see --help, or name --profile"
        )

    def find(wire: Wire) -> tuple[Profile, Ask, Dialogue[Readout]]:
        found = search(wire, attempts, _say)
        attempt, greeted = found.attempt, found.greeted
        _say(f"found by {attempt}: {greeted.says}")
        if greeted.profile is None:
            raise UsageFault(
                f"{attempt.greeting.title} does not tell which meter this is; read it with --profile P --address "
                f"{greeted.address} --baudrate {attempt.baudrate} --framing {attempt.framing}, where P is one of "
                f"{', '.join(it.id for it in profile.load_all().values() if it.protocol == attempt.protocol)}"
            )
        meter = greeted.profile
        ask = given.ask(meter, greeted.address, attempt.baudrate, attempt.framing)
        return meter, ask, resumed(driver(meter.protocol).read(meter, ask), greeted)

    return attempts[0].line_settings, find


def _propose(asked: Asked, ask: Ask) -> None:
    """Say how the meter that was found is read from now on."""
    address = f" --address {asked.address}" if asked.address else ""
    _say(
        f"serial number {asked.readout.serial_number or 'not given'}; proposed: --profile {asked.profile.id}{address} "
        f"--baudrate {ask.baudrate} --framing {ask.framing}"
        + (
            " (no profile names its identification; what the readout holds is read)"
            if asked.profile.takes_every
            else ""
        )
    )


# ----------------------------------------------------------------------------- what was given


def _address(meter: Profile, given: Given) -> str:
    """The address in its protocol's normal form. Raises UsageFault."""
    wanted = DEFAULT_ADDRESS.get(meter.protocol) if given.address is None else given.address
    if wanted is None:
        raise UsageFault(f"--address: {meter.title} is asked by its address; give it")
    try:
        return driver(meter.protocol).normal_address(wanted, given.port)
    except ValueError as error:
        raise UsageFault(f"--address {wanted}: {error}") from None


def _secret(path: Path | None) -> bytes | None:
    """The password. Raises UsageFault."""
    try:
        return None if path is None else read_secret(path).encode()
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
    """A trace, in the form of a recording, into a file; "-" is stderr. Raises UsageFault."""
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
        yield lambda direction, data, at: print(written(Spoken(int(at * 1000 + offset), direction, data)), file=stream)


# ----------------------------------------------------------------------------- what came


def _by_month(readout: Readout, now: int, zone_name: str, means: MeterTime) -> dict[str, Mapping[str, Measured]]:
    """The frozen registers by the month that they end. What nobody can say the month of is named, not shown."""
    months: dict[str, Mapping[str, Measured]] = {}
    for frozen in readout.frozen:
        month = month_label(frozen, readout.clock, now, zone_name, means)
        if month is not None:
            if months.setdefault(month, frozen.registers) != frozen.registers:
                _say(f"the meter froze {month} twice, with other values; the first is shown, neither may be billed")
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
    if asked.readout.quality:
        _say(f"these values cannot show damage ({', '.join(asked.readout.quality)}); compare them with the display")
    if asked.readout.serial_number is None and asked.profile.serial != "none":
        _say("the meter gives no serial number, though its profile knows where one is")
    if frozen and not asked.profile.frozen:
        _say(f"no frozen registers are known for {asked.profile.title}")


def _say(text: str) -> None:
    click.echo(f"meterline: {text}", err=True)
