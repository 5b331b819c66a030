"""What a register value costs the centre: CPU of its one process, from broker to commit, with ten million stored.

Once with the embedded store, once with a real InfluxDB, whose own CPU is counted apart.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from collector.central.points_csv import HEADER
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import Sample
from collector.messages import encode, readings_topic, receipt_topic
from collector.model import Batch, Snapshot
from collector.mqtt import Connection, Message, Settings
from drivers.profile import load
from tests.bench.figure import Figure
from tests.bench.process import meterline, usage
from tests.broker import Mosquitto
from tests.influxdb import ORG, Influxd

METERS, CODES = 1000, ("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4")
STORED = 10_000_000
A_BATCH = 30  # snapshots: a line's pass
BATCHES = 2000
VALUES = BATCHES * A_BATCH * len(CODES)
WINDOW = 200  # batches under way at once: many gateways, each with its own eight
QUARTER_MS = 900_000
PROFILE = "abb-b23"
BUCKET = "readings"


def values(meter: int, time_ms: int) -> dict[str, int]:
    """Registers that grow; the total is the sum of the tariffs, as of a meter that nobody has to look at."""
    used = 50_000_000 + meter * 1000 + time_ms // QUARTER_MS
    tariffs = {code: used // (place + 1) for place, code in enumerate(CODES[1:])}
    return {CODES[0]: sum(tariffs.values()), **tariffs}


def centre_files(folder: Path, broker: str, store: str, gateways: Sequence[tuple[str, int]]) -> Path:
    """central.yaml, and the points of these gateways imported: each with as many meters as it says."""
    config = folder / "central.yaml"
    config.write_text(f"schema: 1\ndata: ./data\ntime_zone: Europe/Moscow\nmqtt: {{url: {broker}}}\nstore: {store}\n")
    named = [gateway for gateway, meters in gateways for _ in range(meters)]
    rows = (f"p-{n},{n},generic,Bench,{n},1,1,m-{n:04d},{n + 1},{PROFILE},{name},1," for n, name in enumerate(named))
    (folder / "points.csv").write_text("\n".join([",".join(HEADER), *rows, ""]))
    with meterline("registry", "import", str(folder / "points.csv"), "--config", str(config)) as done:
        assert done.wait(120) == 0
    return config


def bucket_of(server: Influxd, folder: Path) -> str:
    """`store` of central.yaml for a new bucket BUCKET, with a token for it alone in a file."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(server.token(server.bucket(name=BUCKET)).text)
    return f"{{influxdb: {{url: {server.url}, org: {ORG}, bucket: {BUCKET}, token_file: token, timeout: 30s}}}}"


def count_values(server: Influxd, start: int) -> int:
    """How many values of ours the bucket has at `start` (seconds since 1970) or later."""
    flux = (
        f'from(bucket: "{BUCKET}") |> range(start: {start}) |> filter(fn: (r) => r._measurement == "energy") '
        "|> group() |> count()"
    )
    query = {"query": flux, "dialect": {"annotations": [], "header": False}}
    text: bytes = server.call("POST", f"/api/v2/query?org={ORG}", query)
    return int(text.decode().split(",")[-1] or 0) if text.strip() else 0


def fill(path: Path, start: int) -> None:
    """Ten million values in the series, as some weeks of the same meters leave them."""
    store = EmbeddedStore(path)
    rounds = STORED // (METERS * len(CODES))
    for number in range(rounds, 0, -1):
        at = start - number * QUARTER_MS
        store.write([Sample("live", f"m-{n:04d}", "gw-0", at, values(n, at)) for n in range(METERS)])
    store.close()


def snapshot(meter: int, asked: int) -> Snapshot:
    """One interval reading of a meter."""
    return Snapshot(
        meter=f"m-{meter:04d}",
        profile=PROFILE,
        purpose="interval",
        asked=asked,
        answered=asked + 90,
        registers=values(meter, asked),
    )


def payloads(start: int) -> list[bytes]:
    """Batches of one gateway, one after the other."""
    found = []
    for number in range(BATCHES):
        at = start + number // (METERS // A_BATCH) * QUARTER_MS
        meters = [(number * A_BATCH + n) % METERS for n in range(A_BATCH)]
        found.append(payload("gw-0", number + 1, [snapshot(meter, at + n) for n, meter in enumerate(meters)]))
    return found


def payload(gateway: str, sequence: int, snapshots: Sequence[Snapshot]) -> bytes:
    """An interval batch of one gateway."""
    batch = Batch(
        gateway=gateway, spool="b7e3c1d09a44", sequence=sequence, class_="interval", zone="Europe/Moscow", synced=True,
        profiles={PROFILE: load(PROFILE).digest}, snapshots=tuple(snapshots),
    )  # fmt: skip
    return encode(batch)


def figures() -> list[Figure]:
    """The centre's figures."""
    # All of it lies in the past: the first batch as many quarters ago as there are rounds of meters.
    start = (int(time.time() * 1000) // QUARTER_MS - BATCHES // (METERS // A_BATCH) - 2) * QUARTER_MS
    return [embedded(start), *influx(start)]


def embedded(start: int) -> Figure:
    """With the store in a file, after ten million values."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(Mosquitto(folder))
        config = centre_files(folder, broker.url, "embedded", [("gw-0", METERS)])
        fill(folder / "data" / "series.db", start)
        centre = stack.enter_context(meterline("central", "run", "--config", str(config)))
        cpu = _carry(broker.url, centre.pid, payloads(start))
    return _figure("centre, embedded store", cpu, f"{VALUES:,} values after {STORED:,}; {cpu:.1f} s CPU")


def influx(start: int) -> list[Figure]:
    """With a bucket of InfluxDB; what the server itself needs is a figure of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker, server = stack.enter_context(Mosquitto(folder)), stack.enter_context(Influxd())
        config = centre_files(folder, broker.url, bucket_of(server, folder), [("gw-0", METERS)])
        centre = stack.enter_context(meterline("central", "run", "--config", str(config)))
        before = usage(server.pid)
        cpu = _carry(broker.url, centre.pid, payloads(start))
        served = usage(server.pid).cpu - before.cpu
        stored = count_values(server, 0)
        assert stored == VALUES, f"{stored} of {VALUES} values are in InfluxDB"
    return [
        _figure("centre, InfluxDB", cpu, f"{VALUES:,} values; {cpu:.1f} s CPU"),
        Figure("InfluxDB itself: us of CPU per register value", f"{served / VALUES * 1e6:.1f}", "-",
               f"{served:.1f} s CPU, compaction as far as it began"),
    ]  # fmt: skip


def _figure(who: str, cpu: float, detail: str) -> Figure:
    return Figure(f"{who}: us of CPU per register value", f"{cpu / VALUES * 1e6:.1f}", "10", detail)


def _carry(url: str, pid: int, batches: list[bytes]) -> float:
    """CPU seconds of the centre for these batches, from the first message to the last value in the series."""
    receipted: set[int] = set()
    room, complete = threading.Semaphore(WINDOW), threading.Event()

    def receipt(message: Message) -> None:
        word = json.loads(message.payload)
        if word.get("code") == "busy":  # asked to come again, as a gateway would
            threading.Timer(1.0, send, (word["sequence"],)).start()
            message.acknowledge()
            return
        assert word["stored"], word
        receipted.add(word["sequence"])
        message.acknowledge()
        room.release()
        if len(receipted) == len(batches):
            complete.set()

    def send(sequence: int) -> None:
        while not connection.publish(readings_topic("gw-0"), batches[sequence - 1]):
            time.sleep(0.01)

    settings = Settings(url=url, client_id="gw-0")
    connection = Connection(settings, subscriptions=[receipt_topic("gw-0")], on_message=receipt)
    connection.start()
    rest(pid)  # it has started, and both ends are connected and subscribed
    before = usage(pid)
    for number in range(len(batches)):
        room.acquire()
        send(number + 1)
    assert complete.wait(300), f"{len(receipted)} of {len(batches)} batches were receipted"
    rest(pid)  # the worker has settled the last ones
    after = usage(pid)
    connection.stop(1)
    return after.cpu - before.cpu


def rest(pid: int) -> None:
    """Wait until a process has done next to nothing for five seconds."""
    used = -1.0
    while usage(pid).cpu - used > 0.1:
        used = usage(pid).cpu
        time.sleep(5)
