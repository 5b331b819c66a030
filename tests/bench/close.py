"""What it costs to close a month of 100,000 points with three tariffs each, all checks, with a year behind it.

A point has what a meter leaves that is asked every quarter of an hour: askings round the edge, boundary snapshots of
the day before and of midnight with its clock and all registers (kept, with raw bytes), the month before billed with
thirteen months carried. Everything is on the embedded store and SQLite, and the command closes it in a process of its
own on one core.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from decimal import Decimal
from pathlib import Path
from unittest import mock

from sqlalchemy import Connection, insert

from collector import localtime
from collector.central import closing, ledger, utility
from collector.central.case import Previous
from collector.central.database import evidence
from collector.central.engine import open_sqlite, writing
from collector.central.estimation import PastMonths
from collector.central.points_csv import HEADER, parse
from collector.central.points_import import import_points
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import Sample
from drivers import profile as profiles
from tests.bench.figure import Figure

POINTS, FEW = 100_000, 20_000
PROFILE, ZONE = "abb-b23", "Europe/Moscow"
CODES = ("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4")
BEFORE, PERIOD = "2026-09", "2026-10"
QUARTER, DAY = 900_000, 86_400_000
YEARS, OLD_METERS = 5, 2000  # of daily values, in the store of which the independence is measured
_AT_ONCE = 2000


def registers(meter: int, time: int, edge: int) -> dict[str, int]:
    """A meter's dials, in Wh: some 300 kWh a month, more by day."""
    hours = (time - edge) // (4 * QUARTER) + 24 * 700
    first, second, third = 1_000_000 + meter + 250 * hours, 500_000 + 100 * hours, 250_000 + 50 * hours
    return dict(zip(CODES, (first + second + third, first, second, third, 0), strict=True))


def turn(meter: int) -> int:
    """When a meter's turn comes among the 300 of its gateway, in ms: no two share an instant."""
    return 190 * (meter % 300)


def fill(folder: Path, points: int, years: int = 0) -> None:
    """A centre at the end of October, September billed."""
    data = folder / "data"
    engine, store = open_sqlite(data / "central.db"), EmbeddedStore(data / "series.db")
    rows = (
        f"p-{n:06d},{n:06d},generic,Bench {n // 100},{n % 100},3,1,m-{n:06d},{n + 1},{PROFILE},gw-{n // 300},1,"
        for n in range(points)
    )
    text = "\n".join([",".join(HEADER), *rows, ""]).encode()
    checked = parse(text, "points.csv", default_zone=ZONE, utilities=utility.known())
    import_points(engine, checked, "points.csv", now=1_700_000_000_000, who="bench", dry_run=False)
    edges = [localtime.to_millis(localtime.month_end(month, ZONE)) for month in (BEFORE, PERIOD)]
    for edge in edges:
        for start in range(0, points, _AT_ONCE):
            meters = range(start, min(start + _AT_ONCE, points))
            offsets = (-DAY, -2 * QUARTER, -QUARTER, 2000, QUARTER, 2 * QUARTER)
            store.write(
                [
                    Sample("live", f"m-{n:06d}", "gw", at, registers(n, at, edges[0]))
                    for offset in offsets
                    for n in meters
                    for at in [edge + offset + turn(n)]
                ]
            )
            with writing(engine) as connection:
                for offset in (-DAY + 2000, 2000):
                    connection.execute(insert(evidence), [kept(n, edge + offset + turn(n), edges[0]) for n in meters])
    for day in range(years * 365):
        at = edges[0] - (day + 2) * DAY
        store.write([Sample("live", f"m-{n:06d}", "gw", at, registers(n, at, edges[0])) for n in range(points)])
    books = closing.Books(engine, store, data / "out")
    with mock.patch.object(ledger, "previous", a_year_before):
        closing.close_month(books, BEFORE, utility.load("generic"), edges[0] + DAY, "bench")
    store.close()
    engine.dispose()
    (folder / "central.yaml").write_text(
        f"schema: 1\ndata: ./data\ntime_zone: {ZONE}\nmqtt: {{url: mqtt://127.0.0.1:1883}}\nstore: embedded\n"
    )


def a_year_before(_: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Previous]]:
    """As if the centre had closed all months of a year: what September's rows carry on."""
    kwh = {"1.8.1": "186", "1.8.2": "74", "1.8.3": "37"}
    end = localtime.to_millis(localtime.month_end(period, ZONE))
    first = localtime.to_millis(localtime.month_end(BEFORE, ZONE))
    months = [localtime.next_month(period, -step) for step in range(13)]
    found = {}
    for point in points:
        number = int(point.removeprefix("p-"))
        dials = registers(number, end, first)
        read = end + 2000 + turn(number)
        found[point] = {
            code: Previous(
                period, "ready", f"m-{number:06d}", read, Decimal(dials[code] // 1000), 1, "ab" * 32,
                PastMonths({month: [used] for month in months}),
            )
            for code, used in kwh.items()
        }  # fmt: skip
    return found


def kept(meter: int, asked: int, edge: int) -> dict[str, object]:
    """A boundary snapshot as it is kept."""
    dials = registers(meter, asked, edge)
    clock = localtime.from_millis(asked).astimezone(localtime.zone(ZONE))
    snapshot = {
        "answered": asked + 90, "asked": asked, "clock": f"{clock:%Y-%m-%dT%H:%M:%S}", "meter": f"m-{meter:06d}",
        "profile": PROFILE, "purpose": "boundary", "raw": {code: f"{wh:016x}" for code, wh in dials.items()},
        "registers": dials, "serial_number": f"{meter + 1}",
    }  # fmt: skip
    text = json.dumps(snapshot, separators=(",", ":"))
    return {
        "gateway": f"gw-{meter // 300}", "spool": "b7e3c1d09a44", "sequence": asked // 1000, "position": meter % 300,
        "meter": f"m-{meter:06d}", "asked": asked, "sha256": hashlib.sha256(text.encode()).hexdigest(), "zone": ZONE,
        "snapshot": text,
    }  # fmt: skip


CLOSE = """
import resource, sys
from collector.cli import main
try:
    main(["close", "{period}", "--config", sys.argv[1]])
except SystemExit as ended:
    status = ended.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, status or 0)
"""


def measured(folder: Path) -> tuple[float, float]:
    """CPU seconds (user and system) and peak MiB of `close`, held to one core."""
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", CLOSE.format(period=PERIOD), str(folder / "central.yaml")],
        capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    cpu, peak, status = done.stdout.splitlines()[-1].split()
    assert status == "0", done.stderr
    assert f"{3 * count_of(folder)} ready" in done.stdout, done.stdout[-2000:]
    return float(cpu), float(peak)


def count_of(folder: Path) -> int:
    """How many points a centre bills."""
    engine = open_sqlite(folder / "data" / "central.db")
    with engine.connect() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM point_version").scalar_one()
    engine.dispose()
    return int(count)


def closed(points: int, years: int = 0) -> tuple[float, float]:
    """What a close of so many points costs."""
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), points, years)
        assert profiles.load(PROFILE).tariffs == 4
        return measured(Path(name))


def figures() -> Iterator[Figure]:
    """The close's figures."""
    cpu, peak = closed(POINTS)
    yield Figure(
        "close, 100,000 points x 3 tariffs, all checks: s of CPU", f"{cpu:.1f}", "30",
        f"300,000 rows, {cpu / POINTS * 1e6:.0f} us a point, on one core, with files",
    )  # fmt: skip
    yield Figure("close, the same: peak resident MiB", f"{peak:.0f}", "1024", "VmHWM")
    few, _ = closed(FEW)
    yield Figure(
        "close: CPU a point, 100,000 points / 20,000 points", f"{cpu / POINTS / (few / FEW):.2f}", "1.1", f"{few:.1f} s"
    )
    young, _ = closed(OLD_METERS)
    old, _ = closed(OLD_METERS, YEARS)
    yield Figure(
        f"close: CPU with {YEARS} years of daily values in the store / with none", f"{old / young:.2f}", "1.1",
        f"{OLD_METERS} points, {old:.1f} s against {young:.1f} s",
    )  # fmt: skip
