"""Simulated lines: how true to a wire their timing is, what a thousand meters by TCP cost, a day in virtual time."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from collector.clock import SystemClock
from collector.edge.transport import open_port
from collector.localtime import parse_time, to_millis
from drivers.dialogue import character_seconds
from drivers.meter_side import Wiring
from drivers.modbus_frames import Question
from drivers.profile import load
from hil.bench import Bench, BenchLine, BenchMeter
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from hil.rehearsal import Rehearsal
from tests.bench.figure import Figure
from tests.bench.process import meterline, usage
from tests.broker import Mosquitto, eventually

SPEEDS = (300, 1200, 2400, 9600, 19200, 38400, 57600, 115200)
REGISTERS, TURNAROUND, TIMES = 60, 0.02, 9  # 125 characters of answer to 8 of request; the median of so many
SETTLE, WINDOW = 25.0, 60.0  # seconds
FLEET = """
schema: 1
interval: 10s
lines:
  - {name: block, kind: tcp, count: 20, meters: [{id: m, profile: abb-b23, count: 50, tariffs: 3}]}
"""


def took(baudrate: int) -> tuple[float, float]:
    """Seconds from a request's first byte to its answer's last one: measured, and by the wire's arithmetic."""
    meter = VirtualMeter(load("orno-we-517"), "1", Household(0), "1")
    question = Question(1, 3, 0x0100, REGISTERS)
    least = (8 + 5 + 2 * REGISTERS) * character_seconds(baudrate, "8N1") + TURNAROUND
    times = []
    with Wire([meter], SystemClock(), baudrate=baudrate, turnaround=TURNAROUND) as wire:
        port = open_port(wire.path, baudrate, "8N1")
        for _ in range(TIMES if baudrate > 1200 else 3):
            begun, came = time.monotonic(), b""
            port.write(question.rtu())
            while len(came) < 5 + 2 * REGISTERS:
                piece = port.read(least + 5, 4096)
                assert piece, f"{len(came)} characters and no more"
                came += piece
            times.append(time.monotonic() - begun)
            time.sleep(0.05)
        port.close()
    return statistics.median(times), least


def fleet() -> tuple[float, float]:
    """Shares of a core that 1,000 TCP meters polled every 10 s cost: the simulator's, and the gateway's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bench.yaml").write_text(FLEET)
        with (
            Mosquitto(folder) as broker,
            meterline("simulate", str(folder / "bench.yaml"), "--out", name, "--broker", broker.url) as simulator,
        ):
            eventually((folder / "points.csv").exists)
            with meterline("gateway", "run", "--config", str(folder / "gateway.yaml")) as gateway:
                time.sleep(SETTLE)
                before = usage(simulator.pid).cpu, usage(gateway.pid).cpu
                time.sleep(WINDOW)
                after = usage(simulator.pid).cpu, usage(gateway.pid).cpu
    return (after[0] - before[0]) / WINDOW, (after[1] - before[1]) / WINDOW


def a_day() -> tuple[float, float, int]:
    """Seconds of wall time and CPU that a day of 100 meters takes unpaced, and how many askings it had."""
    profiles = ("abb-b23", "neva-mt124", "mercury-230", "orno-we-515")
    wirings = (Wiring(), Wiring(9600, "7E1"), Wiring(), Wiring())
    lines = []
    for number in range(10):
        meters = []
        for place in range(10):
            kind = (number * 10 + place) % 4
            profile, seed = load(profiles[kind]), number * 10 + place
            serial = None if isinstance(profile.serial, str) else str(4_140_000 + seed)
            meter = VirtualMeter(
                profile, str(place + 1), Household.of_seed(seed, 3), serial, "Europe/Moscow", wiring=wirings[kind]
            )
            meters.append(BenchMeter(f"m-{seed:03d}", meter))
        lines.append(BenchLine(f"riser-{number}", tuple(meters)))
    start = to_millis(parse_time("2026-11-03T00:00:00+03:00"))
    with (
        tempfile.TemporaryDirectory() as name,
        Rehearsal(Bench(tuple(lines)), Path(name), start - 86_400_000) as played,
    ):
        begun, cpu = time.monotonic(), time.process_time()
        askings = sum(len(played.play(line, [(start, start + 86_400_000)]).snapshots) for line in lines)
        return time.monotonic() - begun, time.process_time() - cpu, askings


def figures() -> list[Figure]:
    """The figures of the bench's own parts."""
    found = []
    for speed in SPEEDS:
        measured, least = took(speed)
        found.append(
            Figure(f"simulated line at {speed}: round trip / the wire's arithmetic", f"{measured / least:.3f}",
                   "0.98 to 1.02", f"{1000 * measured:.1f} ms against {1000 * least:.1f} ms")
        )  # fmt: skip
    simulator, gateway = fleet()
    found.append(
        Figure("1,000 TCP meters every 10 s: cores, simulator and gateway", f"{simulator + gateway:.2f}", "1",
               f"simulator {simulator:.2f}, gateway {gateway:.2f}; {os.cpu_count()} cores")
    )  # fmt: skip
    wall, cpu, askings = a_day()
    found.append(
        Figure(
            "a day of a building of 100 meters, unpaced, s", f"{wall:.0f}", "60", f"{askings} askings, {cpu:.0f} s CPU"
        )
    )
    return found
