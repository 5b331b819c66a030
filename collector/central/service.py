"""The centre as one daemon: connection, ingest, worker and housekeeping, started and ended together."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from collector.central import emission, month_ends
from collector.central.acts import ActStore
from collector.central.acts_drain import ActDrain
from collector.central.emission import Emission
from collector.central.engine import await_database, open_engine
from collector.central.fresh import FreshFirst
from collector.central.ingest import Counts as IngestCounts
from collector.central.ingest import Ingest
from collector.central.month_ends import close_due
from collector.central.own_status import EVERY, OwnStatus, write
from collector.central.registry import Registry
from collector.central.rounds import Rounds
from collector.central.store import open_store
from collector.central.worker import Counts as WorkerCounts
from collector.central.worker import Worker
from collector.clock import Clock
from collector.config import CentralConfig
from collector.exits import UsageFault
from collector.messages import ACTS_OF_ALL, READINGS_OF_ALL, STATUS_OF_ALL
from collector.mqtt import Connection, Message, Settings
from collector.spool import Inbox, InboxState, SpoolFull, SpoolUnusable
from collector.watchdog import Watchdog

log = logging.getLogger(__name__)

CLIENT_ID = (
    "meterline-centre"  # where no user name says who we are; a second centre of this name is thrown out, and says so
)
# Batches come and go by the hundred thousand objects, all of which are let go by their counts. Looking at them for
# circles after each 700, as Python does, is a tenth of the daemon's CPU; after so many it is nothing.
SELDOM = (50_000, 20, 20)
DAY = 86_400_000  # ms between two purges of the spool
FLUSH = 2.0  # seconds that receipts under way may take when we stop; those that do not arrive come again


class Figures(NamedTuple):
    """What there is to measure at one moment, `at` (ms).

    `trouble`: part -> what is wrong with it, or "". `heard`: gateway -> its last message (ms). `broker`: the state of
    the connection in words.
    """

    at: int
    version: str
    ingest: IngestCounts
    worker: WorkerCounts
    spool: InboxState | None
    trouble: dict[str, str]
    heard: dict[str, int]
    connected: bool
    broker: str


class Centre:
    """The running centre. As a context it is started and stopped; every part of it may be looked at meanwhile.

    Raises Unreachable when a file or database cannot be opened, UsageFault for settings that no broker takes. A broker
    that is away raises nothing: the connection is tried again for ever.
    """

    def __init__(self, config: CentralConfig, clock: Clock) -> None:
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._clock = clock
        self._version = metadata.version("meterline")
        with ExitStack() as stack:
            engine = open_engine(config)
            stack.callback(engine.dispose)
            store = open_store(config)
            stack.callback(store.close)
            self.inbox = Inbox(config.data / "spool.db", keep_ms=config.spool.keep)
            stack.callback(self.inbox.close)
            registry = Registry(engine)
            drained = FreshFirst(self.inbox)
            acts = ActDrain(self.inbox, ActStore(registry, store, config.time_zone), clock)
            self.worker = Worker(drained, registry, store, clock, acts)
            self.connection = Connection(
                _settings(config),
                subscriptions=(READINGS_OF_ALL, ACTS_OF_ALL, STATUS_OF_ALL),
                on_message=self._receive,
            )
            self.ingest = Ingest(self.inbox, registry, clock, self.connection, self._wake, drained)
            self._open = stack.pop_all()
        self._threads = [
            threading.Thread(target=self.ingest.run, args=(self._stop,), name="ingest", daemon=True),
            threading.Thread(target=self.worker.run, args=(self._stop, self._wake), name="worker", daemon=True),
        ]
        self._rounds = [Rounds("purge", self._purge, clock, failing="old batches could not be deleted", retry=DAY)]
        self._going = ExitStack()

    def __enter__(self) -> Centre:
        for thread in self._threads:
            thread.start()
        self.connection.start()
        for rounds in self._rounds:
            self._going.enter_context(rounds)
        return self

    def __exit__(self, *_: object) -> None:
        """End in the order of the road: nothing new, what was begun is finished, then the files."""
        self._stop.set()
        self._wake.set()
        self._going.close()
        for thread in self._threads:
            thread.join()
        self.connection.stop(FLUSH)
        self._open.close()

    def also(self, rounds: Rounds) -> None:
        """Rounds that begin and end with the centre, and whose trouble is told as its own. Before it is started."""
        self._rounds.append(rounds)

    def figures(self) -> Figures:
        """What there is to measure now. Any thread."""
        spool, trouble = None, {"ingest": self.ingest.trouble, "worker": self.worker.trouble, "spool": ""}
        trouble |= {rounds.name: rounds.trouble for rounds in self._rounds}
        try:
            spool = self.inbox.state()
        except (SpoolFull, SpoolUnusable) as error:
            trouble["spool"] = str(error)
        return Figures(
            at=self._clock.millis(),
            version=self._version,
            ingest=self.ingest.counts,
            worker=self.worker.counts,
            spool=spool,
            trouble=trouble,
            heard=dict(self.ingest.heard),
            connected=self.connection.connected,
            broker=self.connection.why,
        )

    def _receive(self, message: Message) -> None:
        self.ingest.offer(message)

    def _purge(self, now: int, _stop: threading.Event) -> int:
        """Once a day, and at start: batches go that were settled long ago."""
        log.info("%d old batches deleted", self.inbox.purge(now))
        return now + DAY


def run(config: CentralConfig, clock: Clock, stop: threading.Event) -> None:
    """Run the centre until `stop` is set. A PostgreSQL that does not answer is waited for.

    Raises as `Centre`, and Unreachable when nobody can listen for Prometheus.
    """
    gc.set_threshold(*SELDOM)
    await_database(config, stop)
    if stop.is_set():
        return
    with ExitStack() as stack:
        centre = Centre(config, clock)
        for rounds in _billing(config, centre.connection, clock):
            centre.also(rounds)
        if config.metrics is not None:
            from collector.central.metrics import families
            from collector.metrics import Exposition

            stack.enter_context(Exposition(config.metrics, lambda: families(centre.figures())))
        stack.enter_context(centre)
        watchdog = Watchdog(lambda: (centre.ingest.pulse, centre.worker.pulse))
        log.info("the centre is running; data in %s, broker %s", config.data, config.mqtt.url)
        watchdog.ready(f"data in {config.data}")
        told = Telling(config.data, clock)
        while not stop.wait(1.0):
            watchdog.step()
            told.step(centre.figures)
        watchdog.stopping()
        log.info("stopping; since the start: %s, %s", centre.ingest.counts, centre.worker.counts)
        told.over(centre.figures)


def _billing(config: CentralConfig, broker: Connection, clock: Clock) -> Iterator[Rounds]:
    """What goes on beside the road of a reading: months are closed, and told to who wants them."""
    yield Rounds(
        "month-ends", partial(close_due, config), clock, failing="months could not be closed", retry=month_ends.RETRY
    )
    if config.publish_billing:
        told = Emission(config.out, broker.publish, lambda: broker.connected)
        yield Rounds("emission", told.round, clock, failing="emitted months cannot be read", retry=emission.EVERY)


class Telling:
    """Writes the centre's own status for `fleet`, every few seconds."""

    def __init__(self, data: Path, clock: Clock) -> None:
        self._data, self._clock = data, clock
        self._next = 0.0
        self._silent = False  # the file could not be written, and that was said

    def step(self, figures: Callable[[], Figures]) -> None:
        """Write when it is time to."""
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            self._write(figures(), running=True)

    def over(self, figures: Callable[[], Figures]) -> None:
        """The last word of a clean stop."""
        self._write(figures(), running=False)

    def _write(self, figures: Figures, *, running: bool) -> None:
        state = figures.spool
        status = OwnStatus(
            at=figures.at,
            running=running,
            connected=figures.connected,
            broker=figures.broker,
            trouble=tuple(text for text in figures.trouble.values() if text),
            unsettled=0 if state is None else state.unsettled,
            oldest=None if state is None else state.oldest,
            damage=None if state is None else state.damage,
        )
        try:
            write(self._data, status)
            self._silent = False
        except OSError as error:  # a full disk: no reason to stop, and `fleet` will say that nothing comes
            if not self._silent:
                log.warning("the centre's own status cannot be written: %s", error)
            self._silent = True


def _settings(config: CentralConfig) -> Settings:
    try:
        return Settings.of(config.mqtt, config.mqtt.username or CLIENT_ID)
    except ValueError as error:
        raise UsageFault(f"mqtt: {error}") from None
