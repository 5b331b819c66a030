"""What a register value costs the centre: CPU of its one process, from broker to commit, with ten million stored."""

from __future__ import annotations

import json
import tempfile
import threading
import time
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

METERS, CODES = 1000, ("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4")
STORED = 10_000_000
A_BATCH = 30  # snapshots: a line's pass
BATCHES = 2000
WINDOW = 200  # batches under way at once: many gateways, each with its own eight
QUARTER_MS = 900_000
PROFILE = "abb-b23"


def values(meter: int, time_ms: int) -> dict[str, int]:
    """Registers that grow."""
    total = 50_000_000 + meter * 1000 + time_ms // QUARTER_MS
    return {code: total + place for place, code in enumerate(CODES)}


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
    digest = load(PROFILE).digest
    found = []
    for number in range(BATCHES):
        at = start + number // (METERS // A_BATCH) * QUARTER_MS
        meters = [(number * A_BATCH + n) % METERS for n in range(A_BATCH)]
        snapshots = tuple(snapshot(meter, at + n) for n, meter in enumerate(meters))
        found.append(
            encode(
                Batch(
                    gateway="gw-0",
                    spool="b7e3c1d09a44",
                    sequence=number + 1,
                    class_="interval",
                    zone="Europe/Moscow",
                    synced=True,
                    profiles={PROFILE: digest},
                    snapshots=snapshots,
                )
            )
        )
    return found


def figures() -> list[Figure]:
    """The centre's figures."""
    # All of it lies in the past: the first batch as many quarters ago as there are rounds of meters.
    start = (int(time.time() * 1000) // QUARTER_MS - BATCHES // (METERS // A_BATCH) - 2) * QUARTER_MS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(Mosquitto(folder))
        (folder / "central.yaml").write_text(
            f"schema: 1\ndata: ./data\ntime_zone: Europe/Moscow\nmqtt: {{url: {broker.url}}}\nstore: embedded\n"
        )
        rows = (f"p-{n},{n},generic,Bench,{n},1,1,m-{n:04d},{n + 1},{PROFILE},gw-0,1," for n in range(METERS))
        (folder / "points.csv").write_text("\n".join([",".join(HEADER), *rows, ""]))
        config = ("--config", str(folder / "central.yaml"))
        with meterline("registry", "import", str(folder / "points.csv"), *config) as done:
            assert done.wait(120) == 0
        fill(folder / "data" / "series.db", start)
        centre = stack.enter_context(meterline("central", "run", *config))
        return [_measured(broker.url, centre.pid, payloads(start))]


def _measured(url: str, pid: int, batches: list[bytes]) -> Figure:
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
    time.sleep(3)  # both ends are connected and subscribed
    before = usage(pid)
    for number in range(len(batches)):
        room.acquire()
        send(number + 1)
    assert complete.wait(300), f"{len(receipted)} of {len(batches)} batches were receipted"
    time.sleep(10)  # the worker settles the last ones
    after = usage(pid)
    connection.stop(1)
    count = len(batches) * A_BATCH * len(CODES)
    micros = (after.cpu - before.cpu) / count * 1e6
    return Figure(
        "centre, embedded store: us of CPU per register value", f"{micros:.1f}", "10",
        f"{count:,} values after {STORED:,}; {after.cpu - before.cpu:.1f} s CPU",
    )  # fmt: skip
