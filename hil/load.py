"""`meterline bench load`: the traffic of many gateways for a centre, over its own broker, and a verdict on every batch.

Each gateway sends its batch of a round at an instant of its own, as gateways in the field do, keeps it until its
receipt, and sends it again when none comes. At the end the series are asked for every value.
"""

from __future__ import annotations

import csv
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console

from collector.central.points_csv import HEADER
from collector.central.store import open_store
from collector.central.store.series import Kind, Row
from collector.clock import Clock, SystemClock
from collector.commands.registry import config_option
from collector.config import CentralConfig, load_central
from collector.config_fields import milliseconds
from collector.exits import CheckFailed, Unreachable, UsageFault
from collector.messages import MessageFault, decode_receipt, encode, readings_topic, receipt_topic
from collector.model import Batch, Snapshot
from collector.mqtt import Connection, Message, Settings
from drivers.profile import load as load_profile

PROFILE = "abb-b23"
CODES = ("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4")
LIVE: tuple[Kind, ...] = ("live",)
CONNECTIONS = 10  # each carries its share of the gateways: a process has no thousand threads to spare
AGAIN = 20.0  # seconds without a receipt after which a batch is sent again; a gateway waits for 60
CONNECTED = 10.0  # seconds that the broker may take
DRAIN = 60.0  # seconds that the centre may take to store what it has given receipts for


class Key(NamedTuple):
    """A batch: of which gateway, and its sequence number."""

    gateway: str
    sequence: int


@dataclass
class Sent:
    """A batch on its way: when it was due and asked (ms), and when its receipt came (monotonic s)."""

    due: float
    asked: int
    payload: bytes
    last: float
    receipted: float | None = None
    refused: str = ""


@dataclass(frozen=True)
class Load:
    """How much: gateways, meters of each, rounds, and seconds from one round to the next. `seed`: of the instants."""

    gateways: int
    meters: int
    rounds: int
    interval: float
    seed: int = 1

    def gateway(self, number: int) -> str:
        return f"gw-load-{number:04d}"

    def meter(self, number: int, place: int) -> str:
        return f"load-{number:04d}-{place:03d}"

    @property
    def all_meters(self) -> Iterator[tuple[str, str]]:
        """(gateway, meter) of all."""
        for number in range(self.gateways):
            for place in range(self.meters):
                yield self.gateway(number), self.meter(number, place)


@dataclass(frozen=True)
class Verdict:
    """What became of the batches. `lost`: without a receipt, or with one and not in the series. `late`: receipts."""

    sent: int
    receipted: int
    stored: int
    lost: int
    late: int
    refused: Counter[str]
    worst: float
    median: float

    def __str__(self) -> str:
        why = "".join(f"; refused: {count} {code}" for code, count in sorted(self.refused.items()))
        return (
            f"sent {self.sent}, receipted {self.receipted}, stored {self.stored}, lost {self.lost}, late {self.late} "
            f"(receipts: median {self.median:.2f} s, longest {self.worst:.2f} s){why}"
        )


@click.command()
@config_option
@click.option("--gateways", type=click.IntRange(1, 10_000), default=1000, show_default=True)
@click.option("--meters", type=click.IntRange(1, 200), default=10, show_default=True, help="Of each gateway.")
@click.option("--rounds", type=click.IntRange(1, 10_000), default=3, show_default=True, help="Batches of each gateway.")
@click.option("--interval", default="30s", show_default=True, help="From one round to the next.")
@click.option("--late", default="30s", show_default=True, help="A receipt that takes longer is late.")
@click.option(
    "--points", type=click.Path(dir_okay=False, path_type=Path), help="Write points.csv for all this, and do no more."
)
def load(
    *, config_file: Path, gateways: int, meters: int, rounds: int, interval: str, late: str, points: Path | None
) -> None:
    """Send what GATEWAYS gateways send, for a centre that is set up for a test; 5 when something is lost.

    First `--points points.csv`, then `registry import points.csv`, then the same without it. The broker has to let the
    centre's user publish for all gateways.
    """
    try:
        wanted = Load(gateways, meters, rounds, milliseconds(interval) / 1000)
        patience = milliseconds(late) / 1000
    except ValueError as error:
        raise UsageFault(f"--interval, --late: {error}") from None
    if points is not None:
        write_points(wanted, points)
        click.echo(f"{gateways * meters} points; next: registry import {points} --config {config_file}", err=True)
        return
    verdict = carried_out(wanted, load_central(config_file), SystemClock(), patience)
    click.echo(str(verdict))
    if verdict.lost:
        raise CheckFailed(f"{verdict.lost} of {verdict.sent} batches are lost")


def write_points(wanted: Load, path: Path) -> None:
    """The points of all gateways. Raises Unreachable."""
    try:
        with path.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(HEADER)
            for number, (gateway, meter) in enumerate(wanted.all_meters, 1):
                rows.writerow(
                    [f"p-{meter}", number, "generic", "Bench", number, 1, 1, meter, number, PROFILE, gateway, 1, ""]
                )
    except OSError as error:
        raise Unreachable(f"--points {path}: {error.strerror}") from None


def carried_out(wanted: Load, config: CentralConfig, clock: Clock, late: float) -> Verdict:
    """Send everything, wait for the receipts, ask the series. Raises Unreachable for a broker that is away."""
    traffic = Traffic(wanted, config, clock)
    console = Console(stderr=True)
    with ExitStack() as stack:
        stack.callback(traffic.stop)
        traffic.connect()
        with console.status(_SoFar(traffic), refresh_per_second=2):
            traffic.send()
            traffic.settle(late)
    with console.status("asking the series for every value"):
        there = _stored(wanted, config, traffic.sent)
    return traffic.verdict(late, there)


class _SoFar:
    """How far the traffic is, for a person who waits."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def __rich__(self) -> str:
        sent, receipted = self._traffic.counted()
        return f"sent {sent} of {self._traffic.wanted.gateways * self._traffic.wanted.rounds}, receipted {receipted}"


class Traffic:
    """The gateways: what they sent, and the receipts that came."""

    def __init__(self, wanted: Load, config: CentralConfig, clock: Clock) -> None:
        self.wanted = wanted
        self.sent: dict[Key, Sent] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._looks = 0.0  # when it is looked again for batches without a receipt
        self._chance = random.Random(wanted.seed)
        self._digest = load_profile(PROFILE).digest
        self._spool = f"{self._chance.getrandbits(48):012x}"  # another one in each run: no batch is a repeat
        base = Settings.of(config.mqtt, "load")
        self._connections = [self._connection(replace(base, client_id=f"load-{n}"), n) for n in range(self._count)]

    @property
    def _count(self) -> int:
        return min(CONNECTIONS, self.wanted.gateways)

    def _connection(self, settings: Settings, number: int) -> Connection:
        mine = range(number, self.wanted.gateways, self._count)
        topics = [receipt_topic(self.wanted.gateway(gateway)) for gateway in mine]
        return Connection(settings, subscriptions=topics, on_message=self._receipt)

    def connect(self) -> None:
        """Raises Unreachable."""
        for connection in self._connections:
            connection.start()
        end = time.monotonic() + CONNECTED
        while not all(connection.connected for connection in self._connections):
            if time.monotonic() > end:
                raise Unreachable(f"the broker cannot be reached: {self._connections[0].why}")
            time.sleep(0.05)

    def stop(self) -> None:
        for connection in self._connections:
            connection.stop()

    def send(self) -> None:
        """Every gateway's batch of every round, each at its own instant."""
        begun = time.monotonic()
        plan = sorted(
            (begun + (turn + self._chance.random()) * self.wanted.interval, turn, number)
            for turn in range(self.wanted.rounds)
            for number in range(self.wanted.gateways)
        )
        for due, turn, number in plan:
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            self._first(number, turn, due)
            self._again()

    def settle(self, late: float) -> None:
        """Wait for receipts, and send again what has none."""
        end = time.monotonic() + late + 3 * AGAIN
        while time.monotonic() < end and self._open():
            self._again()
            time.sleep(0.1)

    def verdict(self, late: float, stored: set[Key]) -> Verdict:
        """What became of it all."""
        waits = sorted(item.receipted - item.due for item in self.sent.values() if item.receipted is not None)
        kept = {key for key, item in self.sent.items() if item.receipted is not None and key in stored}
        return Verdict(
            sent=len(self.sent),
            receipted=len(waits),
            stored=len(stored),
            lost=len(self.sent) - len(kept),
            late=sum(wait > late for wait in waits),
            refused=Counter(item.refused for item in self.sent.values() if item.refused),
            worst=waits[-1] if waits else 0.0,
            median=waits[len(waits) // 2] if waits else 0.0,
        )

    def counted(self) -> tuple[int, int]:
        """How many batches were sent so far, and how many of them are receipted."""
        with self._lock:
            return len(self.sent), sum(item.receipted is not None for item in self.sent.values())

    # ------------------------------------------------------------------------- one batch

    def _first(self, number: int, turn: int, due: float) -> None:
        key = Key(self.wanted.gateway(number), turn + 1)
        asked = self._clock.millis()
        payload = encode(self._batch(number, key, turn, asked))
        with self._lock:
            self.sent[key] = Sent(due, asked, payload, time.monotonic())
        self._publish(key, payload)

    def _batch(self, number: int, key: Key, turn: int, asked: int) -> Batch:
        snapshots = tuple(
            Snapshot(
                meter=self.wanted.meter(number, place), profile=PROFILE, purpose="interval", asked=asked + place,
                answered=asked + place + 40, registers=_registers(number, place, turn),
            )
            for place in range(self.wanted.meters)
        )  # fmt: skip
        return Batch(
            gateway=key.gateway, spool=self._spool, sequence=key.sequence, class_="interval", zone="Europe/Moscow",
            synced=True, profiles={PROFILE: self._digest}, snapshots=snapshots,
        )  # fmt: skip

    def _publish(self, key: Key, payload: bytes) -> None:
        number = int(key.gateway.rpartition("-")[2])
        self._connections[number % self._count].publish(readings_topic(key.gateway), payload)

    def _again(self) -> None:
        now = time.monotonic()
        if now < self._looks:
            return
        self._looks = now + 1.0
        for key, item in self._open():
            if now - item.last > AGAIN:
                item.last = now
                self._publish(key, item.payload)

    def _open(self) -> Sequence[tuple[Key, Sent]]:
        with self._lock:
            return [(key, item) for key, item in self.sent.items() if item.receipted is None and not item.refused]

    def _receipt(self, message: Message) -> None:
        message.acknowledge()
        try:
            receipt = decode_receipt(message.payload)
        except MessageFault:
            return  # not a receipt; what it was for stays open
        with self._lock:
            item = self.sent.get(Key(receipt.gateway, receipt.sequence))
            if item is None or receipt.spool != self._spool or item.receipted is not None:
                return
            if receipt.stored:
                item.receipted = time.monotonic()
            elif receipt.final or receipt.code == "unknown-gateway":
                item.refused = receipt.code or "refused"


def _registers(number: int, place: int, turn: int) -> dict[str, int]:
    """Registers of which the total is the sum, that grow from round to round."""
    used = 50_000_000 + number * 10_000 + place * 100 + turn * 10
    tariffs = {code: used // (index + 1) for index, code in enumerate(CODES[1:])}
    return {CODES[0]: sum(tariffs.values()), **tariffs}


def _stored(wanted: Load, config: CentralConfig, sent: dict[Key, Sent]) -> set[Key]:
    """The batches of which every value is in the series as it was sent; the centre is given time to get there."""
    if not sent:
        return set()
    end = time.monotonic() + DRAIN
    with ExitStack() as stack:
        store = open_store(config)
        stack.callback(store.close)
        receipted = sum(item.receipted is not None for item in sent.values())
        while True:
            found = _complete(wanted, sent, store.span(LIVE, None, *_span(wanted, sent)))
            if len(found) >= receipted or time.monotonic() > end:
                return found
            time.sleep(1.0)


def _span(wanted: Load, sent: dict[Key, Sent]) -> tuple[int, int]:
    times = [item.asked for item in sent.values()]
    return min(times), max(times) + wanted.meters


def _complete(wanted: Load, sent: dict[Key, Sent], rows: Iterator[Row]) -> set[Key]:
    there = {(meter, time, register): value for meter, time, register, value, _ in rows}
    found = set()
    for key, item in sent.items():
        number = int(key.gateway.rpartition("-")[2])
        if all(
            there.get((wanted.meter(number, place), item.asked + place, code)) == wh
            for place in range(wanted.meters)
            for code, wh in _registers(number, place, key.sequence - 1).items()
        ):
            found.add(key)
    return found
