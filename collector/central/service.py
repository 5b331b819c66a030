"""The centre as one daemon: connection, ingest, worker and housekeeping, started and ended together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from collector.central.engine import await_database, open_engine
from collector.central.ingest import Ingest
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.central.worker import Worker
from collector.clock import Clock
from collector.config import CentralConfig
from collector.exits import UsageFault
from collector.messages import ACTS_OF_ALL, READINGS_OF_ALL, STATUS_OF_ALL
from collector.mqtt import Connection, Message, Settings
from collector.spool import Inbox, SpoolFull, SpoolUnusable

log = logging.getLogger(__name__)

CLIENT_ID = (
    "meterline-centre"  # where no user name says who we are; a second centre of this name is thrown out, and says so
)
DAY = 86_400_000  # ms between two purges of the spool
FLUSH = 2.0  # seconds that receipts under way may take when we stop; those that do not arrive come again


class Centre:
    """The running centre. As a context it is started and stopped; every part of it may be looked at meanwhile.

    Raises Unreachable when a file or database cannot be opened, UsageFault for what is not built yet. A broker that is
    away raises nothing: the connection is tried again for ever.
    """

    def __init__(self, config: CentralConfig, clock: Clock) -> None:
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._clock = clock
        with ExitStack() as stack:
            engine = open_engine(config)
            stack.callback(engine.dispose)
            store = open_store(config)
            stack.callback(store.close)
            self.inbox = Inbox(config.data / "spool.db", keep_ms=config.spool.keep)
            stack.callback(self.inbox.close)
            registry = Registry(engine)
            self.worker = Worker(self.inbox, registry, store, clock)
            self.connection = Connection(
                _settings(config),
                subscriptions=(READINGS_OF_ALL, ACTS_OF_ALL, STATUS_OF_ALL),
                on_message=self._receive,
            )
            self.ingest = Ingest(self.inbox, registry, clock, self.connection, self._wake)
            self._open = stack.pop_all()
        self._threads = [
            self._thread("ingest", lambda: self.ingest.run(self._stop)),
            self._thread("worker", lambda: self.worker.run(self._stop, self._wake)),
            self._thread("purge", self._purge),
        ]

    def __enter__(self) -> Centre:
        for thread in self._threads:
            thread.start()
        self.connection.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End in the order of the road: nothing new, what was begun is finished, then the files."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()
        self.connection.stop(FLUSH)
        self._open.close()

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=work, name=name, daemon=True)

    def _receive(self, message: Message) -> None:
        self.ingest.offer(message)

    def _purge(self) -> None:
        """Once a day, and at start: batches go that were settled long ago."""
        while not self._stop.is_set():
            try:
                gone = self.inbox.purge(self._clock.millis())
            except (SpoolFull, SpoolUnusable) as error:
                log.warning("old batches could not be deleted: %s", error)
            else:
                log.info("%d old batches deleted", gone)
            self._clock.wait(self._clock.millis() + DAY, self._stop)


def run(config: CentralConfig, clock: Clock, stop: threading.Event) -> None:
    """Run the centre until `stop` is set. Raises as `Centre`; a PostgreSQL that does not answer is waited for."""
    await_database(config, stop)
    if stop.is_set():
        return
    with Centre(config, clock) as centre:
        log.info("the centre is running; data in %s, broker %s", config.data, config.mqtt.url)
        stop.wait()
        log.info("stopping; since the start: %s, %s", centre.ingest.counts, centre.worker.counts)


def _settings(config: CentralConfig) -> Settings:
    try:
        return Settings.of(config.mqtt, config.mqtt.username or CLIENT_ID)
    except ValueError as error:
        raise UsageFault(f"mqtt: {error}") from None
