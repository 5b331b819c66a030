"""A rehearsal: lines of the bench in virtual time, read by the gateway's own lines into the centre's own spool.

Between gateway and centre a batch is handed over as bytes; there is no broker. Everything else is what runs in the
field: the lines' schedule and retries, drivers, messages, the centre's worker with its checks, the month's close.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from collector.central import points_csv
from collector.central import utility as utilities
from collector.central.closing import Books, Closed, close_month
from collector.central.engine import open_engine
from collector.central.points_import import import_points
from collector.central.registry import Registry
from collector.central.store.embedded import EmbeddedStore
from collector.central.utility import Utility
from collector.central.worker import Worker
from collector.config import load_central
from collector.edge.asking import MeterSetup
from collector.edge.line import Line, LineSetup
from collector.messages import encode, split
from collector.model import Batch, LineState, MeterState, Snapshot
from collector.spool import Inbox, Incoming
from drivers.meter_side import Wiring
from hil.bench import Bench, BenchLine, BenchMeter
from hil.bench import points_csv as points_of
from hil.faults import Faulty, on_one_wire
from hil.unpaced import UnpacedWire, VirtualClock

SPOOL = "be0c4be0c4be"  # the one spool of a rehearsal's gateway
STORM = 10_000  # turns of a line within one call; more is a line that looks again and again


@dataclass
class Rehearsed:
    """What was seen of one line: its snapshots, what the status said at the end, how often which fault struck."""

    snapshots: list[Snapshot] = field(default_factory=list)
    state: LineState | None = None
    meters: Mapping[str, MeterState] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    struck: Mapping[str, int] = field(default_factory=dict)


class Rehearsal:
    """A centre with its files in `folder`, and a bench whose lines are played one after the other.

    `hung`: when the registry's points begin (ms). A context; raises as the parts do.
    """

    def __init__(self, bench: Bench, folder: Path, hung: int, utility: str = "generic") -> None:
        self.bench = bench
        self.sequence = 0
        (folder / "central.yaml").write_text(
            f"schema: 1\ndata: {folder / 'data'}\ntime_zone: {bench.time_zone}\nmqtt: {{url: 'mqtt://127.0.0.1:1883'}}\n"
            f"out: {folder / 'out'}\n"
        )
        with ExitStack() as stack:
            config = load_central(folder / "central.yaml")
            self.engine = open_engine(config)
            stack.callback(self.engine.dispose)
            rows = points_csv.parse(
                points_of(bench, utility).encode(), "points.csv", default_zone=bench.time_zone,
                utilities=utilities.known(),
            )  # fmt: skip
            import_points(self.engine, rows, "points.csv", now=hung, who="bench", dry_run=False)
            self.store = EmbeddedStore(config.data / "series.db")
            stack.callback(self.store.close)
            self.inbox = Inbox(config.data / "spool.db", keep_ms=config.spool.keep)
            stack.callback(self.inbox.close)
            self.books = Books(self.engine, self.store, config.out)
            self._open = stack.pop_all()

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def play(self, line: BenchLine, spans: Sequence[tuple[int, int]], interval: int | None = None) -> Rehearsed:
        """Read a line through these spans (from, to; ms); between two of them nothing happens at all."""
        clock = VirtualClock(spans[0][0])
        stations = on_one_wire([(item.meter, item.faults) for item in line.meters], clock, self.bench.seed)
        wire = UnpacedWire(
            stations, clock, baudrate=line.baudrate, framing=line.framing, turnaround=line.turnaround, echo=line.echo
        )
        seen = Rehearsed()
        worker = Worker(self.inbox, Registry(self.engine), self.store, clock)

        def commit(snapshots: Sequence[Snapshot], synced: bool) -> None:
            seen.snapshots += snapshots
            self._hand_over(snapshots, synced, clock.millis())

        setup = LineSetup(
            line.name, "virtual", self.bench.time_zone,
            tuple(_setup(item, line, interval or self.bench.interval) for item in line.meters),
        )  # fmt: skip
        gateway = Line(setup, clock, commit, lambda: True, open_transport=wire.open)
        for begin, end in spans:
            clock.leap(begin)
            _work(gateway, clock, end)
            while worker.round():
                pass
        seen.state, seen.meters, seen.warnings = gateway.state(), gateway.meters(), gateway.warnings()
        seen.struck = sum((item.struck for item in stations if isinstance(item, Faulty)), start=Counter())
        return seen

    def close(self, month: str, now: int, utility: Utility | None = None) -> Closed:
        """Close a month, as `meterline close` does."""
        return close_month(self.books, month, utility or utilities.load("generic"), now)

    def _hand_over(self, snapshots: Sequence[Snapshot], synced: bool, now: int) -> None:
        digests = {item.meter.profile.id: item.meter.profile.digest for item in self.bench.meters}
        for group in split(snapshots):
            self.sequence += 1
            batch = Batch(
                gateway=self.bench.gateway,
                spool=SPOOL,
                sequence=self.sequence,
                class_=group.class_,
                zone=self.bench.time_zone,
                synced=synced,
                profiles={name: digests[name] for name in {snapshot.profile for snapshot in group.snapshots}},
                snapshots=group.snapshots,
            )
            row = Incoming(self.bench.gateway, SPOOL, self.sequence, "readings", encode(batch))
            self.inbox.put([row], now)


def _setup(item: BenchMeter, line: BenchLine, interval: int) -> MeterSetup:
    meter = item.meter
    wiring = meter.wiring or Wiring(line.baudrate, line.framing)
    return MeterSetup(
        item.id, meter.profile, meter.address, meter.serial_number, wiring.baudrate, wiring.framing, interval
    )


def _work(line: Line, clock: VirtualClock, end: int) -> None:
    """Let a line work until then."""
    for _ in range(STORM):
        line.turn()
        upcoming = line.next_turn()
        if upcoming >= end or clock.millis() >= end:
            clock.leap(end)
            return
        clock.leap(upcoming)
    raise RuntimeError(f"line {line.setup.name}: {STORM} turns and no end; it looks again and again")
