"""gateway.yaml and gateway.d/*.yaml: their form, the checks across lines and meters, and what they mean together.

The files are checked as text first (form), then across (duplicates, profiles, ports), also where the form has faults,
so that one run of `config check` shows everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from collector.config_across import Across, load_profile
from collector.config_fields import (
    DAY,
    Baudrate,
    Code,
    FilePath,
    Framing,
    Instant,
    Interval,
    Keep,
    ListOf,
    LogForm,
    MeterTime,
    Name,
    Port,
    Section,
    Share,
    Text,
    Version,
    Zone,
    whole,
)
from collector.config_file import Faults, Metrics, Mqtt, check_mqtt, path_at
from drivers import strict_yaml
from drivers.profile import Profile
from drivers.strict_yaml import ConfigError, Document
from drivers.table import driver

# ----------------------------------------------------------------------------- the form of the files


class MeterPart(Section):
    """One meter of a line. `baudrate`, `framing` and `interval` are the meter's over the line's."""

    id: Name
    profile: Text
    address: Text
    serial_number: Annotated[Text, Field(max_length=64)] | None = None
    baudrate: Baudrate | None = None
    framing: Framing | None = None
    interval: Interval | None = None
    password_file: FilePath | None = None
    meter_time: MeterTime = "local"
    quantities: ListOf[Code] = ()


class AddedMeter(MeterPart):
    """A meter that a file of gateway.d adds to a line."""

    line: Name


class Ending(Section):
    """A meter that is not asked any more, from this instant on."""

    id: Name
    at: Instant


class LinePart(Section):
    """One wire with its meters."""

    name: Name
    port: Port
    baudrate: Baudrate | None = None
    framing: Framing | None = None
    silent_share: Share = 0.05  # 1 s in 20: a dead meter's time-outs stay below the jitter of a cycle
    meters: ListOf[MeterPart] = ()


class Spool(Section):
    """Where the gateway keeps its batches, how much of them (MiB), and how long it keeps the receipted ones (ms)."""

    path: FilePath
    max_mb: Annotated[int, whole(1, 1 << 20)] = 512
    keep: Keep = 40 * DAY  # one month's close and its corrections


class GatewayFile(Section):
    """gateway.yaml."""

    schema_: Version = Field(alias="schema")
    gateway: Name
    time_zone: Zone
    interval: Interval = 15 * 60_000
    mqtt: Mqtt
    spool: Spool
    lines: ListOf[LinePart]
    log: LogForm = "plain"
    metrics: Metrics | None = None


class AdditionFile(Section):
    """A file of gateway.d."""

    meters: ListOf[AddedMeter] = ()
    ended: ListOf[Ending] = ()


# ----------------------------------------------------------------------------- what they mean together


@dataclass(frozen=True)
class Meter:
    """One meter as it is to be asked. `interval` in ms; `ended` (ms since 1970): not asked from then on."""

    id: str
    profile: Profile
    address: str
    serial_number: str | None
    baudrate: int
    framing: str
    interval: int
    password_file: Path | None = None
    meter_time: MeterTime = "local"
    quantities: tuple[str, ...] = ()
    ended: int | None = None


@dataclass(frozen=True)
class Line:
    """One wire. `silent_share` is the share of its time that silent meters may take, 0 to 1."""

    name: str
    port: str
    meters: tuple[Meter, ...]
    silent_share: float = 0.05


@dataclass(frozen=True)
class GatewayConfig:
    """A gateway's configuration, sound and complete. `interval` in ms; `warnings` are lines of text."""

    gateway: str
    time_zone: str
    interval: int
    mqtt: Mqtt
    spool: Spool
    lines: tuple[Line, ...]
    warnings: tuple[str, ...] = ()
    log: LogForm = "plain"
    metrics: Metrics | None = None


def load_gateway(path: Path) -> GatewayConfig:
    """Read gateway.yaml and gateway.d/*.yaml beside it. Raises ConfigError with the faults of all of them."""
    main = strict_yaml.load(path)
    folder = path.absolute().parent
    faults = Faults()
    form = faults.validate(main, GatewayFile, folder)
    additions: list[tuple[Document, AdditionFile | None]] = []
    for part in sorted((folder / "gateway.d").glob("*.yaml")):
        try:
            document = strict_yaml.load(part)
        except ConfigError as error:
            faults.extend(part, error)
            continue
        additions.append((document, faults.validate(document, AdditionFile, folder)))
    check_mqtt(faults, main, folder)
    Across(faults, folder, main, [document for document, _ in additions]).check()
    faults.check()
    assert form is not None  # else there were faults
    return _together(form, [part for _, part in additions if part is not None], folder, faults.warnings)


def spool_of(path: Path) -> Path:
    """Where the spool of a gateway.yaml is. Nothing else of the file is looked at: whoever only wants to talk to the
    gateway need not be able to read its secrets. Raises ConfigError."""
    document = strict_yaml.load(path)
    found = path_at(document, path.absolute().parent, "spool", "path")
    if found is None:
        raise ConfigError(
            [f"{path}: spool.path: this key is required; without it nobody knows where the gateway listens"]
        )
    return found


def _together(form: GatewayFile, additions: list[AdditionFile], folder: Path, warnings: list[str]) -> GatewayConfig:
    ended = {ending.id: ending.at for part in additions for ending in part.ended}
    lines = []
    for line in form.lines:
        added = [meter for part in additions for meter in part.meters if meter.line == line.name]
        meters = []
        for meter in (*line.meters, *added):
            known = load_profile(meter.profile, folder)
            meters.append(
                Meter(
                    id=meter.id,
                    profile=known,
                    address=driver(known.protocol).normal_address(meter.address, line.port),
                    serial_number=meter.serial_number,
                    baudrate=meter.baudrate or line.baudrate or known.line.baudrate,
                    framing=meter.framing or line.framing or known.line.framing,
                    interval=meter.interval or form.interval,
                    password_file=meter.password_file,
                    meter_time=meter.meter_time,
                    quantities=meter.quantities,
                    ended=ended.get(meter.id),
                )
            )
        lines.append(Line(line.name, line.port, tuple(meters), line.silent_share))
    return GatewayConfig(
        gateway=form.gateway,
        time_zone=form.time_zone,
        interval=form.interval,
        mqtt=form.mqtt,
        spool=form.spool,
        lines=tuple(lines),
        warnings=tuple(warnings),
        log=form.log,
        metrics=form.metrics,
    )
