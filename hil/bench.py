"""bench.yaml: lines, the meters on them, what they use, and what is wrong with them. Strict."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from collector import localtime
from collector.central.points_csv import HEADER
from collector.config_across import load_profile
from collector.config_fields import (
    SECOND,
    Baudrate,
    Framing,
    Interval,
    ListOf,
    Name,
    Section,
    Share,
    Text,
    Version,
    Zone,
    duration,
    from_text,
    milliseconds,
    one_of,
    whole,
)
from collector.config_file import Faults
from drivers import strict_yaml
from drivers.meter_side import Wiring
from drivers.profile import Profile
from drivers.strict_yaml import ConfigError, Document, Location
from hil.faults import AILMENTS, ECHO, FAULTS, NEVER, Fault, ailing
from hil.household import CALENDARS, OFFICE_DAY, OFFICE_WEEK, Household
from hil.meter import VirtualMeter

Kind = Literal["pty", "tcp", "socket", "rfc2217"]
KINDS = ("pty", "tcp", "socket", "rfc2217")
MOST = 247  # meters that one `count` makes on a line: the addresses of Modbus


def _moment(text: str) -> tuple[bool, int]:
    """(whether it counts from the start, milliseconds)."""
    try:
        return True, milliseconds(text)
    except ValueError:
        pass
    try:
        return False, localtime.to_millis(localtime.parse_time(text))
    except ValueError:
        raise ValueError("a time such as 2026-11-01T00:00:00+03:00, or 10m: from the start, is wanted") from None


def _signed(text: str) -> int:
    return -milliseconds(text[1:]) if text.startswith("-") else milliseconds(text.removeprefix("+"))


def _fault_name(text: str) -> str:
    if text not in FAULTS:
        raise ValueError(f"a fault is one of {', '.join(FAULTS)}")
    return text


def _hours(text: str) -> tuple[int, ...]:
    if len(text) != 24 or not set(text) <= set("1234"):
        raise ValueError("a calendar is 24 digits, the tariff of each hour: 222222211111111111111112")
    return tuple(map(int, text))


Moment = Annotated[tuple[bool, int], from_text(_moment)]


class FaultPart(Section):
    """A fault: its name, the share of answers that it strikes, and from when to when."""

    name: Annotated[str, from_text(_fault_name)]
    share: Share = 1.0
    from_: Moment = Field(default=(True, 0), alias="from")
    to: Moment | None = None


class MeterPart(Section):
    """A meter, or `count` of them: then ids and addresses count on from the first one's.

    `day`: kWh of a mean day (else drawn). `clock`: how far ahead its clock is, `daily`: what it gains in a day.
    """

    id: Name
    profile: Text
    address: Text = "1"
    serial_number: Text | None = None
    count: Annotated[int, whole(1, MOST)] = 1
    seed: Annotated[int, whole(0, 1 << 31)] | None = None
    use: Annotated[Literal["household", "office"], one_of("household", "office")] = "household"
    day: Annotated[int, whole(0, 10_000)] | None = None
    tariffs: Annotated[int, whole(1, 4)] = 1
    calendar: Annotated[tuple[int, ...], from_text(_hours)] | None = None
    clock: Annotated[int, from_text(_signed)] = 0
    daily: Annotated[int, from_text(_signed)] = 0
    baudrate: Baudrate | None = None
    framing: Framing | None = None
    faults: ListOf[FaultPart] = ()


class LinePart(Section):
    """A line, or `count` of them. `listen`: the first network port (else a free one); `link`: a path to a pty."""

    name: Name
    kind: Annotated[Kind, one_of(*KINDS)] = "pty"
    count: Annotated[int, whole(1, 500)] = 1
    listen: Annotated[int, whole(1, 65_000)] | None = None
    link: Text | None = None
    baudrate: Baudrate = 9600
    framing: Framing = "8N1"
    turnaround: Annotated[int, duration("0ms", "1s")] = 5
    faults: ListOf[FaultPart] = ()
    meters: ListOf[MeterPart] = Field(min_length=1)


class BenchFile(Section):
    """bench.yaml. `interval`: of the truth's rows; `seed`: of everything that is drawn."""

    schema_: Version = Field(alias="schema")
    gateway: Name = "gw-bench"
    time_zone: Zone = "Europe/Moscow"
    interval: Interval = 15 * 60 * SECOND
    seed: Annotated[int, whole(0, 1 << 31)] = 1
    lines: ListOf[LinePart] = Field(min_length=1)


# ----------------------------------------------------------------------------- what it means


@dataclass(frozen=True)
class BenchMeter:
    """A meter of the bench: `meter` is a healthy one, `faults` are its own and its line's."""

    id: str
    meter: VirtualMeter
    faults: tuple[Fault, ...] = ()

    @property
    def truth(self) -> VirtualMeter:
        """The meter as it should be read: with what it rightly does (a dial that turns over), without its faults."""
        return ailing(self.meter, self.faults, honest=True)

    @property
    def tariffs(self) -> int:
        """How many of its registers are billed."""
        most = max(self.meter.household.calendar)
        return most if self.meter.profile.can_give(f"1.8.{most}") else 1


@dataclass(frozen=True)
class BenchLine:
    """A line of the bench. `turnaround` in seconds; `listen` None: a free port; `echo`: its adapter's."""

    name: str
    meters: tuple[BenchMeter, ...]
    kind: Kind = "pty"
    listen: int | None = None
    link: Path | None = None
    baudrate: int = 9600
    framing: str = "8N1"
    turnaround: float = 0.005
    echo: bool = False


@dataclass(frozen=True)
class Bench:
    """Everything that is simulated. `interval` in ms."""

    lines: tuple[BenchLine, ...]
    gateway: str = "gw-bench"
    time_zone: str = "Europe/Moscow"
    interval: int = 15 * 60 * SECOND
    seed: int = 1

    @property
    def meters(self) -> Iterator[BenchMeter]:
        return (meter for line in self.lines for meter in line.meters)


def load(path: Path, start: int) -> Bench:
    """Read bench.yaml; times that count from the start count from `start` (ms). Raises ConfigError with all faults."""
    document = strict_yaml.load(path)
    folder = path.absolute().parent
    faults = Faults()
    form = faults.validate(document, BenchFile, folder)
    faults.check()
    assert form is not None  # else there were faults
    reader = _Reader(document, faults, form, start)
    lines = tuple(line for number, part in enumerate(form.lines) for line in reader.lines(part, ("lines", number)))
    reader.check(lines)
    faults.check()
    return Bench(lines, form.gateway, form.time_zone, form.interval, form.seed)


class _Reader:
    """From the file's form to what it means; its faults are collected."""

    def __init__(self, document: Document, faults: Faults, form: BenchFile, start: int) -> None:
        self.document, self.faults, self.form, self.start = document, faults, form, start
        self.folder = Path(document.name).absolute().parent
        self.drawn = 0
        moment = datetime.fromtimestamp(start / 1000, UTC).astimezone(localtime.zone(form.time_zone))
        self.offset_ms = (moment.utcoffset() or timedelta(0)) // timedelta(milliseconds=1)

    def lines(self, part: LinePart, at: Location) -> Iterator[BenchLine]:
        """The lines of one entry."""
        own = [fault for fault in part.faults if fault.name != ECHO]
        if part.link is not None and part.kind != "pty":
            self.faults.add(self.document, (*at, "link"), "a link is for a pty; network ports are set with listen")
        if part.kind == "tcp" and len(own) < len(part.faults):
            self.faults.add(self.document, (*at, "faults"), "a Modbus TCP port has no echo")
        for index in range(part.count):
            meters = [
                meter
                for number, item in enumerate(part.meters)
                for meter in self.meters(item, part, own, index, (*at, "meters", number))
            ]
            yield BenchLine(
                part.name if part.count == 1 else f"{part.name}-{index + 1}",
                tuple(meters),
                part.kind,
                None if part.listen is None else part.listen + index,
                None if part.link is None else self.folder / part.link,
                part.baudrate,
                part.framing,
                part.turnaround / 1000,
                len(own) < len(part.faults),
            )

    def meters(
        self, item: MeterPart, line: LinePart, also: Sequence[FaultPart], index: int, at: Location
    ) -> Iterator[BenchMeter]:
        """The meters of one entry on the line with that index."""
        try:
            profile = load_profile(item.profile, self.folder)
        except ConfigError as error:
            self.faults.add(self.document, (*at, "profile"), "; ".join(error.faults))
            return
        if line.kind == "tcp" and profile.protocol != "modbus":
            text = f"{profile.id} does not speak Modbus TCP; it needs a line of kind pty, socket or rfc2217"
            self.faults.add(self.document, (*at, "profile"), text)
            return
        usual = Wiring(line.baudrate, line.framing, tcp=line.kind == "tcp")
        for place in range(item.count):
            alone = item.count == 1 and line.count == 1
            name = item.id if alone else f"{item.id}-{index * item.count + place + 1:04d}"
            try:
                found = tuple(self.fault(fault) for fault in (*also, *item.faults))
                meter = self.meter(item, profile, place, usual)
                ailing(meter, found).side(usual)
            except ValueError as error:
                self.faults.add(self.document, at, f"{name}: {error}")
                return
            yield BenchMeter(name, meter, found)

    def meter(self, item: MeterPart, profile: Profile, place: int, usual: Wiring) -> VirtualMeter:
        """A healthy meter. Raises ValueError for an address that cannot count on."""
        self.drawn += 1
        seed = self.form.seed * 1_000_003 + (self.drawn if item.seed is None else item.seed + place)
        drawn = Household.of_seed(seed, item.tariffs, self.offset_ms)
        household = replace(
            drawn,
            day_wh=drawn.day_wh if item.day is None else 1000 * item.day,
            calendar=item.calendar or CALENDARS[item.tariffs],
        )
        if item.use == "office":
            household = replace(household, day=OFFICE_DAY, week=OFFICE_WEEK)
        serial = item.serial_number if item.count == 1 and item.serial_number else str(4_140_000 + 37 * self.drawn)
        address = item.address if not place else str(int(item.address) + place)
        return VirtualMeter(
            profile,
            address,
            household,
            None if isinstance(profile.serial, str) else serial,
            self.form.time_zone,
            item.clock,
            replace(usual, baudrate=item.baudrate or usual.baudrate, framing=item.framing or usual.framing),
            self.start,
            item.daily,
        )

    def fault(self, part: FaultPart) -> Fault:
        """One fault. Raises ValueError for one that cannot be as it stands there."""
        if part.name == ECHO:
            raise ValueError(f"{ECHO} is an adapter's fault; it stands with the line")
        if part.name in AILMENTS and (part.share != 1.0 or part.to is not None):
            raise ValueError(f"{part.name} is inside a meter: it begins (from), and has neither share nor end")
        return Fault(part.name, part.share, self.at(part.from_), NEVER if part.to is None else self.at(part.to))

    def at(self, moment: tuple[bool, int]) -> int:
        """The instant of a time in the file."""
        counts, millis = moment
        return millis + (self.start if counts else 0)

    def check(self, lines: Sequence[BenchLine]) -> None:
        """What only shows across the file: names that stand twice."""
        for kind, names in (
            ("line", Counter(line.name for line in lines)),
            ("meter", Counter(meter.id for line in lines for meter in line.meters)),
        ):
            for name in sorted(name for name, times in names.items() if times > 1):
                self.faults.add(self.document, ("lines",), f"the {kind} {name!r} stands twice")


# ----------------------------------------------------------------------------- the files of a gateway and a centre


def gateway_yaml(bench: Bench, ports: dict[str, str], broker: str, spool: Path) -> str:
    """The gateway.yaml that reads the bench. `ports`: line -> port."""
    text = [
        "schema: 1", f"gateway: {bench.gateway}", f"time_zone: {bench.time_zone}",
        f"interval: {bench.interval // SECOND}s",
        f"mqtt: {{url: {broker}}}", f"spool: {{path: {spool}, max_mb: 64, keep: 40d}}", "lines:",
    ]  # fmt: skip
    for line in bench.lines:
        text += [f"  - name: {line.name}", f"    port: {ports[line.name]}", "    meters:"]
        for item in line.meters:
            meter = item.meter
            wiring = meter.wiring or Wiring(line.baudrate, line.framing)
            keys = [f"id: {item.id}", f"profile: {meter.profile.id}", f'address: "{meter.address}"']
            keys += [f'serial_number: "{meter.serial_number}"'] if meter.serial_number else []
            keys += [f"baudrate: {wiring.baudrate}", f"framing: {wiring.framing}"]
            text.append(f"      - {{{', '.join(keys)}}}")
    return "\n".join(text) + "\n"


def points_csv(bench: Bench, utility: str = "generic") -> str:
    """The utility's list: a point for each meter, with the meter's id."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    for number, item in enumerate(bench.meters, 1):
        plate = item.meter.serial_number or f"PLATE-{number:05d}"
        rows.writerow([
            f"p-{item.id}"[:63], f"{90_000_000 + number}", utility, "bench", number, item.tariffs, 1, item.id, plate,
            item.meter.profile.id, bench.gateway, 1, bench.time_zone,
        ])  # fmt: skip
    return text.getvalue()
