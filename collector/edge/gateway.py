"""The gateway: lines, spool, publisher and broker put together, from start to a clean stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

from collector.clock import Clock
from collector.config import GatewayConfig
from collector.edge import health, timekeeping
from collector.edge.line import Line, LineSetup
from collector.edge.publisher import Custody, Publisher
from collector.edge.setup import meter_setup
from collector.exits import UsageFault
from collector.messages import Group, encode, receipt_topic, split, status_topic, tombstone
from collector.model import Batch, Snapshot, Status
from collector.mqtt import Connection, Message, Settings
from collector.spool import Outbox, SpoolUnusable

log = logging.getLogger(__name__)

FAREWELL = 5.0  # seconds that a stop waits for the broker to take our last words; then the will says the same


def run(
    config: GatewayConfig, clock: Clock, stop: threading.Event, *, synced: Callable[[], bool] | None = None
) -> None:
    """Work until `stop`. `synced`: whether our clock can be trusted (default: what this computer knows).

    Raises SpoolUnusable when the spool cannot be opened, UsageFault when a password file cannot be read any more,
    RuntimeError when a part of it has ended by a bug.
    """
    gateway = Gateway(config, clock, synced or timekeeping.of_this_computer().synced)
    gateway.start()
    try:
        while not stop.wait(1.0):
            gateway.check()
    finally:
        gateway.stop()


class Gateway:
    """One gateway. After `start` everything happens in threads of its own."""

    def __init__(self, config: GatewayConfig, clock: Clock, synced: Callable[[], bool]) -> None:
        self._config = config
        self._clock = clock
        self._synced = synced
        self._version = metadata.version("meterline")
        self._digests = {
            meter.id: (meter.profile.id, meter.profile.digest) for line in config.lines for meter in line.meters
        }
        try:
            broker = Settings.of(config.mqtt, config.gateway)
            setups = [
                LineSetup(
                    name=line.name,
                    port=line.port,
                    zone=config.time_zone,
                    meters=tuple(meter_setup(meter) for meter in line.meters),
                    silent_share=line.silent_share,
                )
                for line in config.lines
                if line.meters
            ]
        except ValueError as error:
            raise UsageFault(f"a password file that could be read a moment ago: {error}") from None
        self._outbox = Outbox(
            config.spool.path,
            max_bytes=config.spool.max_mb << 20,
            keep_ms=config.spool.keep,
            tombstone=tombstone(config.gateway),
        )
        will = health.farewell(config.gateway, self._version, clock.millis())
        self._connection = Connection(
            broker,
            will=(status_topic(config.gateway), encode(will)),
            subscriptions=[receipt_topic(config.gateway)],
            on_message=self._received,
            on_change=self._changed,
        )
        self._custody = Custody(config.gateway, self._outbox, self._connection)
        self._reporter = health.Reporter(self._status, self._report)
        self._publisher = Publisher(self._custody, clock, lambda: self._reporter.step(clock.monotonic()))
        self._lines = [Line(setup, clock, self._commit, synced) for setup in setups]

    def start(self) -> None:
        """Start everything. Returns at once."""
        self._publisher.start()
        self._connection.start()
        for line in self._lines:
            line.start()

    @property
    def unreceipted(self) -> int:
        """How many batches wait for the centre's word."""
        return self._outbox.state(self._clock.millis()).unreceipted

    def check(self) -> None:
        """Raise RuntimeError if what carries everything has ended: who starts us again loses nothing."""
        if self._publisher.crashed is not None:
            raise RuntimeError("the publisher has ended") from self._publisher.crashed

    def stop(self) -> None:
        """Commit what is in hand, say goodbye, let go of ports and spool. Returns when it is done."""
        with ThreadPoolExecutor(max_workers=max(1, len(self._lines))) as pool:
            list(pool.map(Line.stop, self._lines))
        self._publisher.stop()
        words = health.farewell(self._config.gateway, self._version, self._clock.millis())
        self._report(encode(words))
        self._connection.stop(FAREWELL)
        self._outbox.close()

    # ------------------------------------------------------------------------- lines -> spool

    def _commit(self, snapshots: Sequence[Snapshot], synced: bool) -> None:
        """Snapshots of one class, as few batches as fit. Raises SpoolFull; what was stored by then may come twice."""
        for group in split(snapshots):
            self._append(group, synced)
        self._publisher.wake()

    def _append(self, group: Group, synced: bool) -> None:
        profiles = dict(self._digests[snapshot.meter] for snapshot in group.snapshots)

        def batch(spool: str, sequence: int) -> bytes:
            return encode(
                Batch(
                    gateway=self._config.gateway,
                    spool=spool,
                    sequence=sequence,
                    class_=group.class_,
                    zone=self._config.time_zone,
                    synced=synced,
                    profiles=profiles,
                    snapshots=group.snapshots,
                )
            )

        self._outbox.append(
            group.class_,
            batch,
            count=len(group.snapshots),
            first=group.first,
            last=group.last,
            now=self._clock.millis(),
        )

    # ------------------------------------------------------------------------- broker

    def _received(self, message: Message) -> None:
        self._publisher.receipt(message.payload)
        message.acknowledge()

    def _changed(self, connected: bool, why: str) -> None:
        if connected:
            self._reporter.connected()
            self._publisher.connected()

    def _report(self, payload: bytes) -> bool:
        return self._connection.publish(status_topic(self._config.gateway), payload, retain=True)

    # ------------------------------------------------------------------------- status

    def _status(self) -> tuple[Status, bool]:
        now, synced = self._clock.millis(), self._synced()
        found, state, only_keep_left = self._warnings(synced), None, False
        try:
            spool = self._outbox.state(now)
            state, only_keep_left = health.spool_state(spool), spool.only_keep_left
        except SpoolUnusable as error:
            found.append(str(error))  # a status without its spool says more than none
        if only_keep_left:
            found.append("the spool is full of readings that may not be lost: interval readings are not asked any more")
        status = Status(
            gateway=self._config.gateway,
            online=True,
            at=now,
            version=self._version,
            time_zone=self._config.time_zone,
            synced=synced,
            spool=state,
            lines={line.setup.name: line.state() for line in self._lines},
            meters={name: state for line in self._lines for name, state in line.meters().items()},
            warnings=tuple(found) or None,
        )
        return status, only_keep_left

    def _warnings(self, synced: bool) -> list[str]:
        found = [*self._config.warnings]
        if not synced:
            found.append(timekeeping.ADVICE)
        found += [text for text in (self._publisher.trouble, self._custody.refusal) if text]
        if self._custody.counts.ignored:
            found.append(f"{self._custody.counts.ignored} receipts were ignored, see the log")
        return [*found, *(text for line in self._lines for text in line.warnings())]
