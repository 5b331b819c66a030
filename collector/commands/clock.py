"""`meterline clock correct`: moves a meter's own clock by some minutes, as far as the meter lets itself be moved.

Rule 1. It is the only command that writes into a meter. It wants the serial number, and a yes.
Rule 2. Nothing is sent before a line of the audit file that says so is on the disk; what came of it is the next line.
        If that never comes, nobody knows whether the clock was moved: read it.
Rule 3. The clock is set when a second begins, and read again afterwards: what is not shown to be right is not done.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import click

from collector.clock import Clock, SystemClock
from collector.commands.groups import Group
from collector.commands.read import tracing
from collector.config_fields import BAUDRATES, read_secret
from collector.edge.meter_clock import MeterTime, from_instant, parse_clock
from collector.edge.timekeeping import of_this_computer
from collector.edge.transport import open_port, parse_port
from collector.edge.wire import Wire
from collector.exits import CheckFailed, UsageFault
from collector.localtime import rfc3339, zone
from collector.model import SCHEMA
from collector.serials import same_serial
from drivers import mercury, profile
from drivers.dialogue import Ask, DriverError
from drivers.mercury_clock import MOST
from drivers.mercury_places import MercuryProfile
from drivers.table import driver

RIGHT = 2  # seconds: a clock of whole seconds, asked for over a wire, cannot be shown to be nearer


@click.group(cls=Group, help="A meter's own clock.")
def clock() -> None:
    """The group."""


@clock.command(help="Set a meter's clock right, by the few minutes a day that it allows. Writes into the meter.")
@click.option("--profile", "name", required=True, metavar="P", help="Id of a shipped profile, or a .yaml file.")
@click.option("--port", required=True, help="As for `meterline read`.")
@click.option("--address", required=True, metavar="A", help="The meter's own.")
@click.option("--serial-number", required=True, metavar="S", help="Nothing is written into a meter with another one.")
@click.option("--time-zone", required=True, metavar="Z", help="Where the meter is: Europe/Moscow.")
@click.option(
    "--meter-time",
    type=click.Choice(["local", "standard", "utc"]),
    default="local",
    show_default=True,
    help="What the meter's clock is to show.",
)
@click.option(
    "--audit", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File that gets a line more."
)
@click.option("--yes", is_flag=True, help="Do it; without this it is only told what would be done.")
@click.option(
    "--baudrate", type=click.Choice([str(rate) for rate in BAUDRATES]), metavar="N", help="Else the profile's."
)
@click.option("--framing", type=click.Choice(["8N1", "8E1", "8O1"]), metavar="8N1", help="Else the profile's.")
@click.option("--password-file", type=click.Path(path_type=Path), metavar="F", help="Its first line is the password.")
@click.option("--trace", metavar="FILE", help="Every byte with direction and time; - for stderr.")
def correct(
    *,
    name: str,
    port: str,
    address: str,
    serial_number: str,
    time_zone: str,
    meter_time: MeterTime,
    audit: Path,
    yes: bool,
    baudrate: str | None,
    framing: str | None,
    password_file: Path | None,
    trace: str | None,
) -> None:
    meter = profile.load(name)
    if not isinstance(meter, MercuryProfile) or meter.mercury.family != "230":
        raise UsageFault(
            f"--profile: no correction of its clock is known for {meter.title}; mercury-230 and -234 have one"
        )
    if not of_this_computer().synced():
        raise UsageFault("this computer's clock is set by nobody (no time service): it cannot set another one")
    try:
        zone(time_zone)
        password = None if password_file is None else read_secret(password_file).encode()
        ask = Ask(
            driver(meter.protocol).normal_address(address, port),
            codes=("1.8.0",),
            password=password,
            baudrate=int(baudrate or meter.line.baudrate),
            framing=framing or meter.line.framing,
        )
        parse_port(port)
    except ValueError as error:
        raise UsageFault(str(error)) from None
    own = SystemClock()
    with tracing(trace, own) as traced, closing(open_port(port, ask.baudrate, ask.framing)) as transport:
        wire = Wire(transport, own, traced)
        job = Correction(wire, own, meter, ask, serial_number, lambda now: from_instant(now, time_zone, meter_time))
        off = job.look()
        if abs(off) <= RIGHT:
            click.echo(f"the clock of {serial_number} is right within {RIGHT} s; nothing is done", err=True)
            return
        if not yes:
            raise UsageFault(f"the clock of {serial_number} is {off:+d} s off and would be set; say --yes to do it")
        about = {"port": port, "serial_number": serial_number, "off_s": off}
        job.carry_out(lambda line: append(audit, about | line))
    click.echo(f"the clock of {serial_number} was {off:+d} s off and is right now", err=True)


@dataclass
class Correction:
    """One correction. `shows(millis)`: what the meter's clock is to show at an instant, naive."""

    wire: Wire
    own: Clock
    meter: MercuryProfile
    ask: Ask
    serial_number: str
    shows: Callable[[int], datetime]

    def look(self) -> int:
        """Seconds that the meter's clock is ahead. Raises CheckFailed for another meter, or one without a clock."""
        readout = self.wire.carry(mercury.read(self.meter, self.ask))
        found, shown = readout.serial_number, parse_clock(readout.clock)
        if found is None or not same_serial(found, self.serial_number):
            raise CheckFailed(f"serial number {self.serial_number} was expected, the meter says {found or 'none'}")
        if shown is None:
            raise CheckFailed(f"the meter {self.serial_number} does not say its time")
        return round((shown - self.shows(self.own.millis())).total_seconds())

    def carry_out(self, note: Callable[[dict[str, Any]], None]) -> None:
        """Move the clock; `note` puts a line on the disk. Raises DriverError, CheckFailed."""
        off = self.look()  # again, a moment before: what is sent depends on it
        at = self._next_second()
        to = self.shows(at).replace(microsecond=0)
        shown = self.shows(at) if not off else self.shows(at + 1000 * off)
        self._note(note, "begun", to, f"from {shown.isoformat()} to {to.isoformat()}, at the most {MOST} s a day")
        self.own.wait(at, Event())
        try:
            since = replace(self.ask, since=None)
            self.wire.carry(mercury.correct_clock(self.meter, since, shown.replace(microsecond=0), to))
        except DriverError as error:
            # A refusal is the meter's word that nothing was done; after silence or damage nobody knows.
            self._note(note, "refused" if error.kind == "refused" else "unknown", to, str(error))
            raise
        left = self.look()
        self._note(note, "done" if abs(left) <= RIGHT else "failed", to, f"it is {left:+d} s off now")
        if abs(left) > RIGHT:
            raise CheckFailed(f"the meter said yes, but its clock is {left:+d} s off")

    def _next_second(self) -> int:
        """The beginning of a second that is far enough ahead for a line on the disk. Milliseconds."""
        return (self.own.millis() // 1000 + 2) * 1000

    def _note(self, note: Callable[[dict[str, Any]], None], state: str, to: datetime, text: str) -> None:
        note(
            {
                "at": rfc3339(self.own.millis()),
                "state": state,
                "profile": self.meter.id,
                "digest": self.meter.digest,
                "address": self.ask.address,
                "set_to": to.isoformat(),
                "text": text,
            }
        )


def append(path: Path, line: dict[str, Any]) -> None:
    """A line more in the audit file, on the disk when this returns. Raises UsageFault where it cannot be written."""
    whole = {"schema": SCHEMA, "event": "clock-correction", "by": f"{getpass.getuser()}@{socket.gethostname()}"} | line
    text = json.dumps(whole, ensure_ascii=False, sort_keys=True) + "\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            os.write(handle, text.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise UsageFault(f"--audit {path}: cannot be written: {error.strerror}") from None
