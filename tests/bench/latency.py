"""From a meter's answer to the point in InfluxDB, at a thousand values a second: real gateways, broker, centre, server.

One gateway polls three serial lines that are hardly done when the next pass is due: what is asked first waits longest
for its commit. Two others poll by Modbus TCP, all at the same instant. The age counts from the asking, which is stored
and lies before the answer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from collector.central.points_csv import HEADER
from collector.clock import SystemClock
from drivers.profile import load
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from hil.tcp import TcpMeters
from tests.bench.centre import BUCKET, bucket_of, rest
from tests.bench.figure import Figure
from tests.bench.process import meterline
from tests.bench.watch import Sample, Watch, percentile
from tests.broker import Mosquitto
from tests.influxdb import Influxd

PROFILE, CODES = "orno-we-515", 5  # total and four tariffs in one request
INTERVAL = 5  # seconds, the shortest there is
SERIAL = ("gw-serial", 3, 30)  # gateway, lines, meters of each
TURNAROUND = 0.05  # seconds of the serial meters: a pass of thirty takes some three
TCP = (("gw-tcp-1", 10, 46), ("gw-tcp-2", 10, 46))
METERS = 90 + 920
SETTLE, WINDOW, TAIL = 20.0, 60.0, 10.0  # seconds; what was asked in the window may be seen in the tail


def gateway_files(folder: Path, gateway: str, ports: Sequence[str], meters: int, broker: str) -> Path:
    """gateway.yaml in a folder of its own."""
    lines = [
        "schema: 1", f"gateway: {gateway}", "time_zone: Europe/Moscow", f"interval: {INTERVAL}s",
        f"mqtt: {{url: {broker}}}", "spool: {path: spool.db, max_mb: 512, keep: 40d}", "lines:",
    ]  # fmt: skip
    for line, port in enumerate(ports):
        lines.append(f"  - {{name: line-{line}, port: '{port}', baudrate: 9600, framing: 8N1, meters: [")
        lines += [f"    {{id: {gateway}-{line}-{n:02d}, profile: {PROFILE}, address: {n + 1}}}," for n in range(meters)]
        lines.append("  ]}")
    (folder / gateway).mkdir()
    (folder / gateway / "gateway.yaml").write_text("\n".join(lines) + "\n")
    return folder / gateway / "gateway.yaml"


def figures() -> list[Figure]:
    """The figure, and what it is made of."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker, server = stack.enter_context(Mosquitto(folder)), stack.enter_context(Influxd())
        clock, profile = SystemClock(), load(PROFILE)

        def meters(count: int) -> list[VirtualMeter]:
            return [VirtualMeter(profile, str(n + 1), Household.of_seed(n, 1), None) for n in range(count)]

        ports = {
            SERIAL[0]: [
                stack.enter_context(Wire(meters(SERIAL[2]), clock, turnaround=TURNAROUND)).path
                for _ in range(SERIAL[1])
            ]
        }
        for name, lines, count in TCP:
            served = [stack.enter_context(TcpMeters(meters(count), clock)) for _ in range(lines)]
            ports[name] = [f"tcp://127.0.0.1:{each.port}" for each in served]
        config = folder / "central.yaml"
        config.write_text(
            f"schema: 1\ndata: ./data\ntime_zone: Europe/Moscow\nmqtt: {{url: {broker.url}}}\n"
            f"store: {bucket_of(server, folder)}\n"
        )
        counts = {name: count for name, _, count in (SERIAL, *TCP)}
        names = [(g, f"{g}-{line}-{n:02d}") for g in ports for line in range(len(ports[g])) for n in range(counts[g])]
        assert len(names) == METERS
        rows = (f"p-{m},{n},generic,Bench,{n},1,1,{m},{m},{PROFILE},{g},1," for n, (g, m) in enumerate(names))
        (folder / "points.csv").write_text("\n".join([",".join(HEADER), *rows, ""]))
        with meterline("registry", "import", str(folder / "points.csv"), "--config", str(config)) as done:
            assert done.wait(60) == 0
        centre = stack.enter_context(meterline("central", "run", "--config", str(config)))
        rest(centre.pid)  # what a gateway sends before the centre has subscribed is sent again after a minute
        for name in ports:
            yaml = gateway_files(folder, name, ports[name], counts[name], broker.url)
            stack.enter_context(meterline("gateway", "run", "--config", str(yaml)))
        time.sleep(SETTLE)
        end = time.time() + WINDOW
        watch = Watch(server, BUCKET, "1.8.0")
        with watch.running(back=15):
            time.sleep(WINDOW + TAIL)
    return [_figure({sample: age for sample, age in watch.ages().items() if sample.asked / 1000 < end})]


def _figure(ages: Mapping[Sample, float]) -> Figure:
    asked = [sample.asked / 1000 for sample in ages]
    rate = len(asked) * CODES / (max(asked) - min(asked))
    everywhere = sorted(ages.values())
    serial = sorted(age for sample, age in ages.items() if sample.meter.startswith(SERIAL[0]))
    return Figure(
        "from a meter's answer to the point in InfluxDB: p99, s", f"{percentile(everywhere, 0.99):.2f}", "2",
        f"{rate:,.0f} values/s; median {percentile(everywhere, 0.5):.2f}, longest {everywhere[-1]:.2f}; "
        f"p99 of the serial lines alone {percentile(serial, 0.99):.2f}",
    )  # fmt: skip
