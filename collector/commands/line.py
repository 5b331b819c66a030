"""`meterline line`: what is wrong with a line, in words."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import click

from collector.clock import SystemClock
from collector.commands.folding import folded
from collector.commands.groups import Group
from collector.commands.read import FRAMINGS, tracing
from collector.config_across import misplaced
from collector.config_fields import BAUDRATES, read_secret
from collector.edge.doctor import Evidence, Finding, findings, healthy, is_nobody
from collector.edge.doctor_examination import Examination, Patient, patients
from collector.edge.transport import open_port, parse_port
from collector.exits import UsageFault
from drivers import profile as profiles
from drivers.dialogue import DamagedFrame, NoAnswer


@click.group(cls=Group, help="A line between this computer and its meters.")
def line() -> None:
    pass


@line.command(help="Say in words what is wrong with a line, or that it is healthy. Asks one meter some times.")
@click.option("--port", required=True, help="/dev/ttyUSB0, socket://host:port, rfc2217://host:port, tcp://host:port.")
@click.option("--profile", "name", metavar="P", help="Of the meter that is asked; without it, the usual questions.")
@click.option("--address", metavar="A", help="Of the meter that is asked.")
@click.option(
    "--baudrate", type=click.Choice([str(rate) for rate in BAUDRATES]), metavar="N", help="Else the profile's."
)
@click.option("--framing", type=click.Choice(FRAMINGS), metavar="8N1", help="Else the profile's.")
@click.option("--password-file", type=click.Path(path_type=Path), metavar="F", help="Its first line is the password.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--trace", metavar="FILE", help="Every byte with direction and time; - for stderr.")
def doctor(
    *,
    port: str,
    name: str | None,
    address: str | None,
    baudrate: str | None,
    framing: str | None,
    password_file: Path | None,
    form: str,
    trace: str | None,
) -> None:
    """Ends with 0 for a healthy line, 3 where nobody is there, 4 for any other fault."""
    asked = _patients(
        port=port,
        name=name,
        address=address,
        baudrate=int(baudrate) if baudrate else None,
        framing=framing,
        password_file=password_file,
    )
    clock = SystemClock()
    with tracing(trace, clock) as traced, closing(open_port(port, *asked[0].line_settings)) as transport:
        seen = Examination(transport, clock, _say, traced).examine(asked)
    found = findings(seen)
    faults = [finding for finding in found if finding.level == "fault"]
    if form == "json":
        click.echo(json.dumps(_as_json(port, seen, found), ensure_ascii=False))
    else:
        for text in (*(() if faults else (healthy(seen),)), *(finding.text for finding in found)):
            click.echo(folded(text, sys.stdout))
    if is_nobody(faults):
        raise NoAnswer(f"{port}: nobody answers")
    if faults:
        raise DamagedFrame(f"{port}: {', '.join(finding.name for finding in faults)}")


def _patients(
    *,
    port: str,
    name: str | None,
    address: str | None,
    baudrate: int | None,
    framing: str | None,
    password_file: Path | None,
) -> list[Patient]:
    """Raises UsageFault."""
    profile = None if name is None else profiles.load(name)
    scheme = parse_port(port).scheme
    if profile is None and scheme == "tcp":
        raise UsageFault("--profile: Modbus TCP does not tell which meter answers; name the meter's profile")
    if profile is not None and (text := misplaced(profile, port)):
        raise UsageFault(f"--port: {text}")
    try:
        password = None if password_file is None else read_secret(password_file).encode()
    except ValueError as error:
        raise UsageFault(f"--password-file: {error}") from None
    try:
        found = patients(
            port=port, profile=profile, address=address, baudrate=baudrate, framing=framing, password=password
        )
    except ValueError as error:
        raise UsageFault(f"--address, --framing: {error}") from None
    if not found:
        raise UsageFault("--address, --framing: no protocol has such ones")
    return found


def _as_json(port: str, seen: Evidence, found: list[Finding]) -> dict[str, object]:
    return {
        "schema": 1,
        "port": port,
        "protocol": seen.asked.protocol,
        "address": seen.asked.address,
        "baudrate": seen.asked.baudrate,
        "framing": seen.asked.framing,
        "asked": len(seen.exchanges),
        "sound": len(seen.sound),
        "serial_numbers": list(dict.fromkeys(seen.serials)),
        "findings": [{"name": it.name, "level": it.level, "text": it.text} for it in found],
    }


def _say(text: str) -> None:
    click.echo(folded(f"meterline: {text}", sys.stderr), err=True)
