"""A building with every fault on, each on a line of its own beside a healthy neighbour, and what was seen of it."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from collector.central import utility as utilities
from collector.central.evidence import quarantined
from collector.central.live_findings import live_findings
from collector.localtime import parse_time, to_millis
from collector.model import Snapshot
from drivers.meter_side import Wiring
from drivers.profile import load
from hil.bench import Bench, BenchLine, BenchMeter
from hil.faults import ECHO, SPOILERS, Fault
from hil.household import HOUR_MS, Household
from hil.meter import VirtualMeter
from hil.rehearsal import Rehearsal, Rehearsed

ZONE, OFFSET_MS = "Europe/Moscow", 3 * HOUR_MS
DAY = 24 * HOUR_MS

# profile, tariffs, how it hangs: a checksum of each kind; with and without a clock, frozen months, a serial register
ABB = ("abb-b23", 3, Wiring())
NEVA = ("neva-mt124", 3, Wiring(9600, "7E1"))
MERCURY = ("mercury-230", 3, Wiring())
EASTRON = ("eastron-sdm230-2t", 2, Wiring())  # floating-point numbers, no serial number
ORNO = ("orno-we-515", 3, Wiring())  # no serial number either
Kind = tuple[str, int, Wiring]

# What stays on has no share; the others strike three answers in ten.
STEADY = {"wrong-baud", "two-at-one-address", "parity-stripped"}

# The two lists of what must be seen. Shown: by bytes, by timing, by a serial number.
SHOWN: list[tuple[str, Kind]] = [
    *((name, kind) for name in (ECHO, *SPOILERS) for kind in (ABB, NEVA, MERCURY)),
    ("swap", ABB), ("swap", NEVA), ("swap", MERCURY), ("reset", ABB), ("reset", NEVA), ("reset", MERCURY),
    ("rollover", NEVA), ("not-available", ABB), ("not-available", NEVA), ("not-available", EASTRON),
    ("power-cut-freezing", NEVA), ("power-cut-freezing", MERCURY),
]  # fmt: skip
# No byte shows these: what the meter says is sound, and not what was used, or when.
HIDDEN: list[tuple[str, Kind]] = [
    ("stuck", ABB), ("stuck", NEVA), ("backwards", ABB), ("backwards", NEVA), ("tariffs-swapped", ABB),
    ("tariffs-swapped", NEVA), ("clock-jump", NEVA), ("dst-error", NEVA), ("dst-error", MERCURY), ("clock-jump", ABB),
    ("swap", ORNO),
]  # fmt: skip

CALENDAR = (
    'calendar: {1.8.1: ["07:00-10:00", "17:00-21:00"], 1.8.2: ["23:00-07:00"], 1.8.3: ["10:00-17:00", "21:00-23:00"]}\n'
)


def at(text: str) -> int:
    """The instant of a local time in the building."""
    return to_millis(parse_time(f"{text}:00+03:00"))


def building(cases: Sequence[tuple[str, Kind]], since: int) -> Bench:
    """A line a case: the ailing meter first, then its neighbour."""
    lines = []
    for number, (name, kind) in enumerate(cases):
        share = 0.3 if name in SPOILERS and name not in STEADY else 1.0
        faults = () if name == ECHO else (Fault(name, share, since),)
        ill, well = _meter(2 * number, "1", kind), _meter(2 * number + 1, "2", kind)
        lines.append(BenchLine(f"{name}.{kind[0]}", (replace(ill, faults=faults), well), echo=name == ECHO))
    return Bench(tuple(lines), time_zone=ZONE)


def _meter(number: int, address: str, kind: Kind) -> BenchMeter:
    profile = load(kind[0])
    serial = None if isinstance(profile.serial, str) else str(4_140_000 + 37 * number)
    meter = VirtualMeter(profile, address, Household.of_seed(number, kind[1], OFFSET_MS), serial, ZONE, wiring=kind[2])
    return BenchMeter(f"m-{number:03d}", meter)


def hours() -> utilities.Utility:
    """The generic utility, with the tariff hours that the meters have."""
    text = (utilities.UTILITIES / "generic.yaml").read_text() + CALENDAR
    return utilities.parse(text.encode(), "generic.yaml")


# ----------------------------------------------------------------------------- what was seen


class Row(NamedTuple):
    """A billed row: register, kWh and instant of its end, status, method."""

    register: str
    kwh: int | None
    time: int | None
    status: str
    method: str


class Said(NamedTuple):
    """A finding of the centre: when it was first there (ms), the check, its level, the text."""

    at: int
    check: str
    level: str
    text: str


@dataclass
class Case:
    """What was seen of one meter of one line."""

    fault: str
    line: BenchLine
    item: BenchMeter
    seen: Rehearsed
    rows: list[Row]
    said: list[Said]
    neighbour: list[Said]

    @property
    def snapshots(self) -> list[Snapshot]:
        return [snapshot for snapshot in self.seen.snapshots if snapshot.meter == self.item.id]

    @property
    def wrong(self) -> list[Row]:
        """Rows that are billed and are not what the meter should have held."""
        return [row for row in self.rows if row.status == "ready" and not self._is_true(row)]

    def _is_true(self, row: Row) -> bool:
        assert row.kwh is not None and row.time is not None
        truth = self.item.truth
        early, late = (truth.energy(row.time + ms)[row.register] for ms in (-1000, 20_000))
        # The last asking of an edge may have waited for its line; a float32 is exact to seven digits.
        margin = late // 8_000_000 + 1
        return (early - margin) // 1000 <= row.kwh <= (late + margin) // 1000

    @property
    def unexplained(self) -> list[Row]:
        """Rows that are not ready, where no finding says why."""
        return [row for row in self.rows if row.status != "ready" and not any(it.level == "hold" for it in self.said)]

    def first_said(self, since: int) -> Said | None:
        """The first finding after an instant that the healthy neighbour of the same kind does not have too."""
        usual = {it.check for it in self.neighbour}
        return min((it for it in self.said if it.at >= since and it.check not in usual), default=None)


def rehearse(
    bench: Bench, folder: Path, spans: Sequence[tuple[int, int]], closes: dict[str, int], interval: int = HOUR_MS
) -> list[Case]:
    """Play all lines, close the months (month -> when), and gather what was seen; the rows are the last month's."""
    folder.mkdir(exist_ok=True)
    with Rehearsal(bench, folder, spans[0][0] - 30 * DAY) as rehearsal:
        seen = {line.name: rehearsal.play(line, spans, interval) for line in bench.lines}
        said: dict[str, list[Said]] = {item.id: [] for item in bench.meters}
        rows: dict[str, list[Row]] = {}
        for month, moment in closes.items():
            folder_of = rehearsal.close(month, moment, hours()).folder
            assert folder_of is not None
            for found in _table(folder_of / "findings.csv"):
                if found["meter"] in said:
                    said[found["meter"]].append(Said(moment, found["check"], found["level"], found["text"]))
            rows = {item.id: [] for item in bench.meters}
            for billed in _table(folder_of / "billing.csv"):
                rows[billed["meter"]].append(_row(billed))
        with rehearsal.engine.connect() as connection:
            for live in live_findings(connection, spans[0][0]):
                said[live.meter].append(Said(live.time, live.check, live.level, live.text))
            for kept in quarantined(connection, None, None, None):
                moment = kept.time or 0
                said[kept.meter].append(
                    Said(moment, f"rejected ({kept.reason.partition(':')[0]})", "info", kept.reason)
                )
    return [
        Case(line.name.partition(".")[0], line, item, seen[line.name], rows[item.id], said[item.id], said[other.id])
        for line in bench.lines
        for item, other in (line.meters, line.meters[::-1])
    ]


def _table(path: Path) -> Iterable[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def _row(billed: dict[str, str]) -> Row:
    kwh = int(billed["end_kwh"]) if billed["end_kwh"] else None
    time = to_millis(datetime.fromisoformat(billed["end_time"])) if billed["end_time"] else None
    return Row(billed["register"], kwh, time, billed["status"], billed["method"])


# ----------------------------------------------------------------------------- in words


def gateway_words(case: Case, since: int) -> str:
    """What the gateway made of the askings, in words that do not change with a single one."""
    after = [snapshot for snapshot in case.snapshots if snapshot.asked >= since]
    failures = Counter(snapshot.failure.kind for snapshot in after if snapshot.failure)
    ok = len(after) - sum(failures.values())
    share = "none" if not ok else "all" if not failures else "most" if 2 * ok >= len(after) else "some"
    return f"{share} read" + (f"; {', '.join(sorted(failures))}" if failures else "")


def centre_words(case: Case) -> str:
    """What the centre says: each check once."""
    return ", ".join(sorted({f"{it.check}" for it in case.said})) or "nothing"


def bill_words(case: Case) -> str:
    """How many registers are in which state, and whether they are the truth."""
    states = Counter(row.status for row in case.rows)
    words = ", ".join(f"{count} {status}" for status, count in sorted(states.items()))
    return words + (f"; {len(case.wrong)} of them not what was used" if case.wrong else "")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the log of a building full of faults."""
    log = logging.getLogger("collector")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
