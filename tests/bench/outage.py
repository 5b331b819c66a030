"""How fast an outage is made up for, and how old live readings become meanwhile: 100 gateways x 100 meters x 15 min.

A twentieth of three days, at full rate: everything that gateways, or the centre, hold of 3.5 hours. Once the
broker was away, and the gateways hold it; once InfluxDB was, and the centre does.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from collector.inbox import NEVER
from tests.bench.centre import BUCKET, bucket_of, centre_files, payload, rest, snapshot
from tests.bench.figure import Figure
from tests.bench.fleet import Due, Fleet
from tests.bench.process import meterline
from tests.bench.watch import Watch, percentile
from tests.broker import Mosquitto
from tests.influxdb import Influxd
from tests.system.daemons import rows

GATEWAYS, METERS, CODES = 100, 100, 5
A_BATCH = 15  # snapshots: what a line commits at once
QUARTER_MS = 900_000
ROUNDS = 3 * 96 // 20  # quarters of an hour: a twentieth of three days
OUTAGE = ROUNDS * QUARTER_MS / 1000  # seconds
BACKLOG = ROUNDS * GATEWAYS * METERS
# Seconds between two live batches: seven times what so many meters give, so that there are enough of them to count.
LIVE_PAUSE = 0.2
FIRST_LIVE = 1_000_000  # their sequences
BATCHES = ROUNDS * GATEWAYS * -(-METERS // A_BATCH)
PATIENCE, LOOK = 300.0, 0.25  # seconds


def backlogs(now: int) -> dict[str, list[Due]]:
    """gateway -> its batches of the outage, which ended a while ago."""
    end = now // QUARTER_MS * QUARTER_MS - QUARTER_MS
    found = {}
    for g in range(GATEWAYS):
        numbers, name = itertools.count(1), f"gw-{g}"
        found[name] = [
            Due(number := next(numbers), payload(name, number, [
                snapshot(g * METERS + m, end - ago * QUARTER_MS + m) for m in range(first, min(first + A_BATCH, METERS))
            ]))
            for ago in range(ROUNDS, 0, -1)
            for first in range(0, METERS, A_BATCH)
        ]  # fmt: skip
    return found


class Live:
    """Reads on, a gateway at a time."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        for number in itertools.count(FIRST_LIVE):
            g = number % GATEWAYS
            now = int(time.time() * 1000)
            read = [snapshot(g * METERS + (number // GATEWAYS + n) % METERS, now) for n in range(A_BATCH)]
            self._fleet.gateways[g].live.append(Due(number, payload(f"gw-{g}", number, read)))
            if self._stop.wait(LIVE_PAUSE):
                return


def figures() -> list[Figure]:
    """Both outages."""
    return [*_outage("the broker"), *_outage("InfluxDB")]


def _outage(what: str) -> list[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker, server = stack.enter_context(Mosquitto(folder)), stack.enter_context(Influxd())
        gateways = [(f"gw-{g}", METERS) for g in range(GATEWAYS)]
        config = centre_files(folder, broker.url, bucket_of(server, folder), gateways)
        fleet = Fleet(broker.url, backlogs(int(time.time() * 1000)))
        centre = stack.enter_context(meterline("central", "run", "--config", str(config)))
        rest(centre.pid)  # what a gateway sends before the centre has subscribed is sent again after a minute
        spool = folder / "data" / "spool.db"
        if what == "InfluxDB":
            server.stop()
            stack.enter_context(fleet.running())
            _await(lambda: fleet.idle)
            assert _settled(spool) == 0
            server.start()
            _await(lambda: _settled(spool) > 0)  # it is tried again once a minute
            began, already = time.time(), _settled(spool)
        else:
            began, already = time.time(), 0
            stack.enter_context(fleet.running())
        watch = Watch(server, BUCKET, "1.8.0")
        with watch.running(back=60), Live(fleet):
            _await(lambda: _settled(spool) == BATCHES)
            took = time.time() - began
    rate = OUTAGE * (1 - already / BATCHES) / took
    ages = sorted(watch.ages().values())
    return [
        Figure(f"outage of {what}: drained, times real time", f"{rate:,.0f}", "20",
               f"{BACKLOG * CODES:,} values of {OUTAGE / 3600:.1f} h in {took:.0f} s; three days at this rate: "
               f"{3 * 86_400 / rate / 60:.0f} min"),
        Figure(f"outage of {what}: oldest live reading meanwhile, s", f"{ages[-1]:.1f}", "5",
               f"{len(ages)} readings; median {percentile(ages, 0.5):.1f}"),
    ]  # fmt: skip


def _await(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(LOOK)


def _settled(spool: Path) -> int:
    """How many batches of the backlog have gone to every sink."""
    found = rows(spool, f"SELECT count(*) FROM inbox WHERE sequence < {FIRST_LIVE} AND settled < {NEVER}")
    return int(found[0][0]) if found else 0
