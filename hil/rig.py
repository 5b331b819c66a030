"""rig.yaml: real adapters with real meters on them, and one reading of one of those meters. Strict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from collector.clock import SystemClock
from collector.config_across import load_profile, misplaced
from collector.config_fields import Baudrate, FilePath, Framing, ListOf, Name, Port, Section, Text, Version, read_secret
from collector.config_file import Faults
from collector.edge.transport import open_port
from collector.edge.wire import Trace, Wire
from collector.recording import Spoken
from drivers import strict_yaml
from drivers.dialogue import Ask, Readout
from drivers.profile import Profile
from drivers.strict_yaml import ConfigError, Document, Location
from drivers.table import driver

CLOCK = SystemClock()


class MeterPart(Section):
    """A meter on an adapter. `serial_number`: as on its name plate; null where its profile knows none."""

    profile: Text
    address: Text = ""
    serial_number: Text | None = None
    baudrate: Baudrate | None = None
    framing: Framing | None = None
    password_file: FilePath | None = None


class LinePart(Section):
    """A port and what hangs on it. `adapter`: what it is, for the report."""

    name: Name
    port: Port
    adapter: Text
    meters: ListOf[MeterPart] = ()


class RigFile(Section):
    """rig.yaml."""

    schema_: Version = Field(alias="schema")
    lines: ListOf[LinePart]


@dataclass(frozen=True)
class RigMeter:
    """One real meter, and how it is asked."""

    line: str
    port: str
    adapter: str
    profile: Profile
    address: str
    serial_number: str | None
    baudrate: int
    framing: str
    password_file: Path | None

    def __str__(self) -> str:
        whom = f" {self.address}" if self.address else ""
        return f"{self.line}: {self.profile.id}{whom} at {self.baudrate} {self.framing}"

    @property
    def port_settings(self) -> tuple[int, str]:
        """How its port is opened."""
        return self.baudrate, driver(self.profile.protocol).port_framing(self.framing)

    def ask(self, *, tcp: bool, can_switch: bool) -> Ask:
        """What it is asked: all of its profile, without frozen registers."""
        return Ask(
            self.address,
            password=None if self.password_file is None else read_secret(self.password_file).encode(),
            baudrate=self.baudrate,
            framing=self.framing,
            turnaround=self.profile.line.turnaround,
            tcp=tcp,
            can_switch=can_switch,
        )

    def read(self, told: Trace | None = None) -> tuple[Readout, tuple[Spoken, ...]]:
        """Ask it once. The readout, and every byte with its time; `told` hears them too, by seconds of a steady clock.

        Raises DriverError and PortError.
        """
        spoken: list[Spoken] = []

        def traced(direction: str, data: bytes, at: float) -> None:
            spoken.append(Spoken(int(at * 1000), direction, data))
            if told is not None:
                told(direction, data, at)

        with closing(open_port(self.port, *self.port_settings)) as transport:
            ask = self.ask(tcp=transport.tcp, can_switch=transport.can_switch)
            readout = Wire(transport, CLOCK, traced).carry(driver(self.profile.protocol).read(self.profile, ask))
        return readout, tuple(spoken)


def load(path: Path) -> tuple[RigMeter, ...]:
    """The meters of a rig. Raises ConfigError with all faults, also for a rig without any."""
    document = strict_yaml.load(path)
    folder = path.absolute().parent
    faults = Faults()
    form = faults.validate(document, RigFile, folder)
    faults.check()
    assert form is not None  # else there were faults
    meters = [
        meter
        for number, line in enumerate(form.lines)
        for at, part in enumerate(line.meters)
        for meter in _meter(document, faults, line, part, ("lines", number, "meters", at))
    ]
    if not meters:
        faults.add(document, ("lines",), "a rig has meters; leave the file away where there are none")
    faults.check()
    return tuple(meters)


def _meter(document: Document, faults: Faults, line: LinePart, part: MeterPart, at: Location) -> Iterator[RigMeter]:
    try:
        profile = load_profile(part.profile, Path(document.name).absolute().parent)
    except ConfigError as error:
        faults.add(document, (*at, "profile"), "; ".join(error.faults))
        return
    by = driver(profile.protocol)
    baudrate, framing = part.baudrate or profile.line.baudrate, part.framing or profile.line.framing
    if text := misplaced(profile, line.port):
        faults.add(document, at, text)
    if part.serial_number is None and profile.serial != "none":
        faults.add(document, at, "serial_number: as on the meter's name plate; the tests hold it against the wire's")
    try:
        address = by.normal_address(part.address, line.port)
        by.port_framing(framing)
    except ValueError as error:
        faults.add(document, at, str(error))
        return
    yield RigMeter(
        line.name, line.port, line.adapter, profile, address, part.serial_number, baudrate, framing, part.password_file
    )
