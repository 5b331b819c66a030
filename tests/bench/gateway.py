"""What a gateway with 300 meters on three lines costs: memory, CPU, writes to its disk, with receipts coming in."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from collector.central.points_csv import HEADER
from collector.clock import SystemClock
from drivers.profile import load
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from tests.bench.figure import Figure
from tests.bench.process import Usage, meterline, usage
from tests.broker import Mosquitto

PER_LINE, LINES = 100, 3
PROFILES = ("orno-we-515", "eastron-sdm630", "abb-b23", "gavazzi-em340", "eastron-sdm230-2t")
INTERVAL = 60  # seconds between passes here, so that minutes show what days cost; a pass of 100 meters takes some 15
PASSES = 4
PASSES_A_DAY = 96  # at `interval: 15m`
QUARTER = 900


def files(folder: Path, ports: list[str], broker: str) -> None:
    """The configuration of both ends, and the points."""
    gateway = [
        "schema: 1",
        "gateway: gw-bench",
        "time_zone: Europe/Moscow",
        f"interval: {INTERVAL}s",
        f"mqtt: {{url: {broker}}}",
        "spool: {path: spool.db, max_mb: 512, keep: 40d}",
        "lines:",
    ]
    points = [",".join(HEADER)]
    for line, port in enumerate(ports):
        gateway.append(f"  - {{name: riser-{line}, port: {port}, baudrate: 9600, framing: 8N1, meters: [")
        for n in range(PER_LINE):
            name, profile, serial = f"m-{line}-{n:03d}", PROFILES[n % len(PROFILES)], serial_of(line, n)
            keys = {"id": name, "profile": profile, "address": n + 1} | ({"serial_number": serial} if serial else {})
            gateway.append(f"    {{{', '.join(f'{key}: {value}' for key, value in keys.items())}}},")
            points.append(f"p-{name},{line}{n:03d},generic,Bench,{n},1,1,{name},{serial or name},{profile},gw-bench,1,")
        gateway.append("  ]}")
    (folder / "gateway.yaml").write_text("\n".join(gateway) + "\n")
    (folder / "points.csv").write_text("\n".join(points) + "\n")
    (folder / "central.yaml").write_text(
        f"schema: 1\ndata: ./data\ntime_zone: Europe/Moscow\nmqtt: {{url: {broker}}}\nstore: embedded\n"
    )


def meter(line: int, n: int) -> VirtualMeter:
    """The n-th simulated meter of a line."""
    profile, household = load(PROFILES[n % len(PROFILES)]), Household.of_seed(PER_LINE * line + n, 1)
    return VirtualMeter(profile, str(n + 1), household, serial_of(line, n))


def serial_of(line: int, n: int) -> str | None:
    """A meter's serial number, where its profile has one."""
    return None if isinstance(load(PROFILES[n % len(PROFILES)]).serial, str) else str(1_000_000 + 1000 * line + n)


def figures() -> list[Figure]:
    """The gateway's figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(Mosquitto(folder))
        wires = [
            stack.enter_context(Wire([meter(line, n) for n in range(PER_LINE)], SystemClock())) for line in range(LINES)
        ]
        files(folder, [wire.path for wire in wires], broker.url)
        config = ("--config", str(folder / "central.yaml"))
        with meterline("registry", "import", str(folder / "points.csv"), *config) as done:
            assert done.wait(60) == 0
        stack.enter_context(meterline("central", "run", *config))
        daemon = stack.enter_context(meterline("gateway", "run", "--config", str(folder / "gateway.yaml")))
        # Passes begin at whole minutes; between 40 and 59 seconds past, one is over and the next has not begun.
        time.sleep(INTERVAL - time.time() % INTERVAL + INTERVAL + 50)
        before = usage(daemon.pid)
        time.sleep(PASSES * INTERVAL)
        after = usage(daemon.pid)
        return _figures(before, after)


def _figures(before: Usage, after: Usage) -> list[Figure]:
    cpu = (after.cpu - before.cpu) / PASSES
    written = (after.written - before.written) / PASSES
    return [
        Figure("gateway, 300 meters on 3 lines: peak resident MiB", f"{after.peak_kib / 1024:.1f}", "64", "VmHWM"),
        Figure("gateway, 15 min: share of one core", f"{cpu / QUARTER:.2%}", "10 %", f"{cpu:.2f} s CPU a pass"),
        Figure("gateway: MB a day to its disk", f"{written * PASSES_A_DAY / 1e6:.1f}", "50",
               f"{written / 1e3:.0f} kB a pass, receipts included"),
    ]  # fmt: skip
