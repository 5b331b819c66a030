"""A line in virtual time: simulated meters behind an in-memory port, and a clock that moves only when somebody waits.

The wire, the drivers and the meters' side are the real ones; only time and copper are not. A test that takes hours of a
line takes milliseconds, and the same instants every time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

from collector.edge.asking import MeterSetup
from collector.edge.line import Line, LineSetup
from collector.edge.transport import PortError
from collector.localtime import from_millis, zone
from collector.model import Snapshot
from collector.spool import SpoolFull
from drivers import modbus
from drivers import profile as profiles
from drivers.dialogue import Done, character_seconds
from drivers.meter_side import Held, HeldFrozen, Wiring
from drivers.profile import Profile

FROZEN = Path(__file__).resolve().parent.parent / "data" / "meters" / "test-frozen.yaml"

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
TURNAROUND = 0.005  # seconds a simulated meter thinks


class VirtualClock:
    """Wall clock and monotonic time that stand still unless somebody waits; `set_wall` is a time server's step."""

    def __init__(self, start: int) -> None:
        self.seconds = 1000.0
        self._wall = start
        self.working = 0
        self.waited: list[int] = []

    def monotonic(self) -> float:
        return self.seconds

    def millis(self) -> int:
        return self._wall + int((self.seconds - 1000.0) * 1000 + 1e-6)

    def set_wall(self, now: int) -> None:
        self._wall += now - self.millis()

    def wait(self, until: int, wake: Event) -> bool:
        assert self.working == 0, "a line that waits is not busy"
        self.waited.append(until)
        if not wake.is_set():
            self.pass_by(until)
        return wake.is_set()

    def pass_by(self, until: int) -> None:
        """Nothing happens until the wall clock shows `until`."""
        missing = until - self.millis()
        if missing > 0:
            self.seconds += missing / 1000

    @contextmanager
    def busy(self) -> Iterator[None]:
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1


@dataclass
class SimulatedMeter:
    """One meter on the wire: what its dials show, and what is wrong with it.

    `profile`: the registers that it really has. `spoil(frame)` is what arrives of an answer. `clock_off`: seconds its
    clock is ahead. `zone`: where its clock was set.
    """

    profile: Profile
    address: str
    serial_number: str | None = None
    wh: int = 20_044_630
    mute: bool = False
    spoil: Callable[[bytes], bytes] = bytes
    clock_off: int = 0
    zone: str = "Europe/Moscow"
    asked: int = 0

    def held(self, now: int) -> Held:
        clock = from_millis(now + 1000 * self.clock_off).astimezone(zone(self.zone)).replace(tzinfo=None, microsecond=0)
        values: dict[str, Any] = dict.fromkeys(self.profile.registers, 1)
        values |= {code: self.wh + n for n, code in enumerate(self.profile.energy_codes)}
        closings = []
        first = clock.replace(day=1, hour=0, minute=0, second=0)
        for back in (1, 2):
            frozen = dict.fromkeys(self.profile.energy_codes, self.wh - 1000 * back)
            closings.append(HeldFrozen(first, back, frozen))
            first = (first - timedelta(days=1)).replace(day=1)
        return Held(values, self.serial_number, clock, tuple(closings))


@dataclass
class Bus:
    """The port and the wire behind it: a `Transport`. `lost` says why nothing goes through any more."""

    clock: VirtualClock
    meters: list[SimulatedMeter]
    name: str = "virtual"
    baudrate: int = 9600
    framing: str = "8N1"
    can_switch: bool = True
    tcp: bool = False
    lost: str = ""
    opened: int = 0
    is_open: bool = False
    written: list[tuple[float, bytes]] = field(default_factory=list)
    on_write: Callable[[bytes], None] = field(default=lambda data: None)
    _due: list[tuple[float, int, bytes]] = field(default_factory=list)
    _count: int = 0

    def open(self, port: str, baudrate: int, framing: str) -> Bus:
        if self.lost:
            raise PortError(f"{port}: {self.lost}")
        assert not self.is_open, "a port is opened once"
        self.opened += 1
        self.is_open = True
        self.baudrate, self.framing = baudrate, framing
        return self

    def close(self) -> None:
        self.is_open = False
        self._due.clear()

    def write(self, data: bytes) -> None:
        self._check()
        self.on_write(data)
        self._check()
        self.written.append((self.clock.seconds, data))
        character = 0.0 if self.tcp else character_seconds(self.baudrate, self.framing)
        heard = self.clock.seconds + len(data) * character
        unit = data[6] if self.tcp else data[0]
        for meter in self.meters:
            if meter.address != str(unit):
                continue  # it would find out for itself; that takes a test of thirty meters thirty times as long
            side = modbus.meter(meter.profile, meter.address, Wiring(self.baudrate, self.framing, tcp=self.tcp))
            outcome = side.hear(meter.held(self.clock.millis()), data, self.clock.seconds)
            if isinstance(outcome, Done) and outcome.frame:
                meter.asked += 1
                frame = b"" if meter.mute else meter.spoil(b"".join(say.data for say in outcome.frame))
                if frame:
                    self._count += 1
                    arrival = heard + TURNAROUND + len(frame) * character
                    heapq.heappush(self._due, (arrival, self._count, frame))

    def read(self, timeout: float, most: int) -> bytes:
        self._check()
        if not self._due or self._due[0][0] > self.clock.seconds + timeout:
            self.clock.seconds += timeout
            return b""
        at, _, data = heapq.heappop(self._due)
        self.clock.seconds = max(self.clock.seconds, at)
        assert len(data) <= most
        return data

    def set_line(self, baudrate: int, framing: str) -> None:
        self._check()
        assert self.can_switch
        self.baudrate, self.framing = baudrate, framing

    def sent(self) -> None:
        self._check()

    def discard(self) -> None:
        self._due.clear()

    def _check(self) -> None:
        assert self.is_open, "a closed port is left alone"
        if self.lost:
            raise PortError(f"{self.name}: {self.lost}")


@dataclass
class Spool:
    """Where a line commits to. `full`: classes that it does not take."""

    clock: VirtualClock
    full: set[str] = field(default_factory=set)
    commits: list[tuple[float, list[Snapshot], bool]] = field(default_factory=list)

    def commit(self, snapshots: Sequence[Snapshot], synced: bool) -> None:
        kinds = {snapshot.batch_class for snapshot in snapshots}
        assert len(kinds) == 1, "a batch has one class"
        if kinds & self.full:
            raise SpoolFull("the spool has no room")
        self.commits.append((self.clock.seconds, list(snapshots), synced))

    @property
    def snapshots(self) -> list[Snapshot]:
        return [snapshot for _, group, _ in self.commits for snapshot in group]


class Building:
    """A line with its meters, gateway side and wire side, at 10:07 local time of a winter day unless said otherwise."""

    def __init__(
        self,
        meters: Sequence[tuple[MeterSetup, SimulatedMeter]],
        *,
        start: str = "2026-11-03T10:07:00",
        zone_name: str = "Europe/Moscow",
        silent_share: float = 0.05,
        clock_type: type[VirtualClock] = VirtualClock,
        **bus: Any,
    ) -> None:
        self.zone = zone_name
        self.clock = clock_type(self.at(start))
        self.synced = True
        self.bus = Bus(self.clock, [simulated for _, simulated in meters], **bus)
        self.spool = Spool(self.clock)
        setup = LineSetup("riser-1", "virtual", zone_name, tuple(setup for setup, _ in meters), silent_share)
        self.line = Line(setup, self.clock, self.spool.commit, lambda: self.synced, open_transport=self.bus.open)

    def at(self, text: str) -> int:
        """The instant of a local wall clock text."""
        moment = datetime.fromisoformat(text).replace(tzinfo=zone(self.zone)).astimezone(UTC)
        return int(moment.timestamp()) * 1000

    def until(self, text: str | int, most: int = 20_000) -> list[Snapshot]:
        """Let the line work until a local time (text) or instant; what it committed meanwhile."""
        end = self.at(text) if isinstance(text, str) else text
        before = len(self.spool.commits)
        for _ in range(most):
            self.line.turn()
            upcoming = self.line.next_turn()
            assert upcoming > self.clock.millis() or self.line._due(self.line._meters, self.clock.millis()), "no rest"
            if upcoming >= end or self.clock.millis() >= end:
                self.clock.pass_by(end)
                return [snapshot for _, group, _ in self.spool.commits[before:] for snapshot in group]
            self.clock.pass_by(upcoming)
        raise AssertionError("a storm: the line looks again and again")


def meter(number: int, profile: str = "abb-b23", **more: Any) -> tuple[MeterSetup, SimulatedMeter]:
    """One healthy meter, both sides. `more` goes to the side that knows the name."""
    loaded = profiles.load(str(FROZEN) if profile == "test-frozen" else profile)
    serial = None if isinstance(loaded.serial, str) else str(10_000_000 + number)
    setup = MeterSetup(f"m-{number:03d}", loaded, str(number), serial, 9600, "8N1", 15 * MINUTE)
    simulated = SimulatedMeter(loaded, str(number), serial)
    ours = {name: value for name, value in more.items() if name in MeterSetup.__dataclass_fields__}
    theirs = {name: value for name, value in more.items() if name not in ours}
    return replace(setup, **ours), replace(simulated, **theirs)


def meters(count: int, profile: str = "abb-b23") -> list[tuple[MeterSetup, SimulatedMeter]]:
    """Healthy meters 1 to `count`."""
    return [meter(number, profile) for number in range(1, count + 1)]


def of(snapshots: Sequence[Snapshot], name: str) -> list[Snapshot]:
    """Those of one meter."""
    return [snapshot for snapshot in snapshots if snapshot.meter == name]


def kinds(snapshots: Sequence[Snapshot]) -> list[str]:
    """What each came to: "ok", or its failure's kind."""
    return [snapshot.failure.kind if snapshot.failure else "ok" for snapshot in snapshots]
