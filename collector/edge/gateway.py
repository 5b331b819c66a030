"""The gateway: lines, spool, publisher, broker and control put together, from start to a clean stop."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib import metadata
from typing import NamedTuple

from collector.clock import Clock
from collector.config import GatewayConfig
from collector.edge import health, timekeeping
from collector.edge.control import Answer, Control, Holds, Request, seconds_of
from collector.edge.line import Line
from collector.edge.lines import Lines
from collector.edge.publisher import Counts, Custody, Publisher
from collector.exits import Unreachable, UsageFault
from collector.messages import Group, encode, receipt_topic, split, status_topic, tombstone
from collector.model import Batch, MeterState, Snapshot, Status
from collector.mqtt import Connection, Message, Settings
from collector.pulse import Pulse
from collector.spool import Outbox, OutboxState, SpoolFull, SpoolUnusable
from collector.watchdog import Watchdog

log = logging.getLogger(__name__)

FAREWELL = 5.0  # seconds that a stop waits for the broker to take our last words; then the will says the same


Reread = Callable[[], GatewayConfig]


class Figures(NamedTuple):
    """What there is to measure at one moment. `meters`: by line; `paused`: lines that have let go of their port."""

    status: Status
    spool: OutboxState | None
    counts: Counts
    outstanding: int
    snapshots: int
    values: int
    connected: bool
    meters: Mapping[str, Mapping[str, MeterState]]
    paused: Mapping[str, int]


def run(
    config: GatewayConfig,
    clock: Clock,
    stop: threading.Event,
    *,
    synced: Callable[[], bool] | None = None,
    reread: Reread | None = None,
) -> None:
    """Work until `stop`. `synced`: whether our clock can be trusted (default: what this computer knows).

    `reread` gives the configuration as its files say it now, or raises ConfigError; without it there is no reload.
    Raises SpoolUnusable when the spool cannot be opened, UsageFault when a password file cannot be read any more,
    Unreachable when nobody can listen for Prometheus, RuntimeError when a part of it has ended by a bug.
    """
    gateway = Gateway(config, clock, synced or timekeeping.of_this_computer().synced, reread)
    watchdog = Watchdog(gateway.pulses)
    with ExitStack() as stack:
        stack.callback(gateway.stop)
        if config.metrics is not None:
            from collector.edge.metrics import families  # a gateway that is not measured does without their memory
            from collector.metrics import Exposition

            stack.enter_context(Exposition(config.metrics, lambda: families(gateway.figures())))
        gateway.start()
        watchdog.ready(f"{len(config.lines)} lines, spool {config.spool.path}")
        while not stop.wait(1.0):
            gateway.check()
            watchdog.step()
        watchdog.stopping()


class Gateway:
    """One gateway. After `start` everything happens in threads of its own."""

    def __init__(
        self, config: GatewayConfig, clock: Clock, synced: Callable[[], bool], reread: Reread | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._synced = synced
        self._reread = reread
        self._version = metadata.version("meterline")
        self._digests = _digests(config)
        self._about_files = config.warnings
        self._deaf = ""  # why nobody can ask for a pause
        self._snapshots = self._values = 0
        self._counting = threading.Lock()  # lines count in threads of their own
        try:
            broker = Settings.of(config.mqtt, config.gateway)
        except ValueError as error:
            raise UsageFault(f"a password file that could be read a moment ago: {error}") from None
        self._lines = Lines(config, lambda setup: Line(setup, clock, self._commit, synced))
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
        self._holds = Holds(self._lines.take, self._lines.give, clock)
        self._control = Control(
            config.spool.path,
            {
                "pause": lambda asked: self._holds.pause(str(asked.get("line")), seconds_of(asked)),
                "resume": lambda asked: {"resumed": self._holds.resume(str(asked.get("line")), asked.get("hold"))},
                "reload": self._reload,
                "resend": self._resend,
                "status": self._tell,
            },
        )

    def start(self) -> None:
        """Start everything. Returns at once."""
        self._publisher.start()
        self._connection.start()
        self._lines.start()
        try:
            self._control.start()
        except Unreachable as error:  # no reason not to read meters
            log.error("%s", error)
            self._deaf = str(error)

    def pulses(self) -> list[Pulse]:
        """Of every thread without which nothing is read or sent."""
        return [self._publisher.pulse, *(line.pulse for line in self._lines.running.values())]

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
        self._control.stop()
        self._holds.close()
        self._lines.stop()
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
            with self._counting:
                self._snapshots += len(group.snapshots)
                self._values += sum(len(snapshot.registers) for snapshot in group.snapshots)
        self._publisher.wake()

    def _append(self, group: Group, synced: bool) -> None:
        profiles = {name: self._digests[name] for name in {snapshot.profile for snapshot in group.snapshots}}

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

    def figures(self) -> Figures:
        """What there is to measure now. Any thread."""
        status, spool = self._state()
        meters = {name: line.meters() for name, line in self._lines.running.items()}
        counts, outstanding = self._custody.counts, self._custody.outstanding
        paused, connected = self._holds.all(), self._connection.connected
        return Figures(status, spool, counts, outstanding, self._snapshots, self._values, connected, meters, paused)

    def _status(self) -> tuple[Status, bool]:
        status, spool = self._state()
        return status, spool is not None and spool.only_keep_left

    def _state(self) -> tuple[Status, OutboxState | None]:
        now, synced, lines = self._clock.millis(), self._synced(), self._lines.running
        found, spool = self._warnings(synced), None
        try:
            spool = self._outbox.state(now)
        except (SpoolUnusable, SpoolFull) as error:
            found.append(str(error))  # a status without its spool says more than none
        if spool is not None and spool.only_keep_left:
            found.append("the spool is full of readings that may not be lost: interval readings are not asked any more")
        status = Status(
            gateway=self._config.gateway,
            online=True,
            at=now,
            version=self._version,
            time_zone=self._config.time_zone,
            synced=synced,
            spool=None if spool is None else health.spool_state(spool),
            lines={name: line.state() for name, line in lines.items()},
            meters={name: state for line in lines.values() for name, state in line.meters().items()},
            warnings=tuple(found) or None,
        )
        return status, spool

    def _warnings(self, synced: bool) -> list[str]:
        found = [*self._about_files]
        if not synced:
            found.append(timekeeping.ADVICE)
        words = (self._publisher.trouble, self._custody.refusal, self._custody.unheard, self._deaf)
        found += [text for text in words if text]
        if self._custody.counts.ignored:
            found.append(f"{self._custody.counts.ignored} receipts were ignored, see the log")
        return [*found, *(text for line in self._lines.running.values() for text in line.warnings())]

    # ------------------------------------------------------------------------- control

    def _reload(self, _asked: Request) -> Answer:
        if self._reread is None:
            raise UsageFault("this gateway was not started from a file; it cannot read it again")
        config = self._reread()
        self._digests = self._digests | _digests(config)  # before a line can bring a reading by them
        reloaded = self._lines.reload(config)
        self._about_files = config.warnings
        log.info("the configuration was read again: %s", reloaded)
        return reloaded._asdict()

    def _resend(self, asked: Request) -> Answer:
        since = asked.get("since")
        count = self._outbox.resend(None if since is None else int(since))
        log.info("%d batches are sent again", count)
        self._publisher.wake()
        return {"count": count}

    def _tell(self, _asked: Request) -> Answer:
        return {"status": json.loads(encode(self._state()[0])), "paused": self._holds.all()}


def _digests(config: GatewayConfig) -> dict[str, str]:
    return {meter.profile.id: meter.profile.digest for line in config.lines for meter in line.meters}
