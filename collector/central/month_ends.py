"""Closes months by itself: each utility's, when its edge is past and what belongs to it has come in, then once a day.

Rule 1. The first close comes when nothing more can be expected in the ordinary way; a row that is missing then is news.
Rule 2. Every day after that the last two months are closed again: what came late is a revision, nothing new is no row.
        The older one comes first, because the newer one begins with its numbers.
Rule 3. A month is closed only if the registry knew some point of the utility when it ended.
Rule 4. What fails is said and tried again. Ingest goes on meanwhile, and whoever closes by hand is not in the way.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from sqlalchemy.exc import SQLAlchemyError

from collector import localtime
from collector.central import utility as utilities
from collector.central.closing import Books, NoPoints, close_month
from collector.central.edge_value import AFTER, MINUTE
from collector.central.engine import open_engine
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.central.utility import Utility
from collector.clock import Clock
from collector.config import CentralConfig
from collector.exits import CheckFailed, Unreachable, UsageFault
from drivers.strict_yaml import ConfigError

log = logging.getLogger(__name__)

WHO = "central service"  # in the ledger's chain
# A value that stands for the edge may be an hour late, its witness comes a quarter of an hour behind it, and as much
# again for the way here.
SETTLE = AFTER + 30 * MINUTE
AGAIN = 24 * 60 * MINUTE
# After a failure, a server that was away may be back; a fault in the configuration is said no oftener than this.
RETRY = 10 * MINUTE
_FAILURES = (Unreachable, UsageFault, ConfigError, CheckFailed, SQLAlchemyError, OSError)


class Due(NamedTuple):
    """A month of a utility, and when it may be closed for the first time (ms)."""

    utility: str
    period: str
    at: int


def ended(utility: Utility, zones: Sequence[str], known_since: int, now: int) -> list[str]:
    """The months of a utility to close now, at most two, oldest first. `zones`: of its points, one at least.

    `known_since`: when the registry learned of its first point (ms).
    """
    latest = _latest(utility, zones, now)
    found = (localtime.next_month(latest, -1), latest)
    return [period for period in found if _edge(utility, zones, period) > known_since]


def next_end(utility: Utility, zones: Sequence[str], now: int) -> Due:
    """The month that comes to be closed next."""
    period = localtime.next_month(_latest(utility, zones, now))
    return Due(utility.id, period, _edge(utility, zones, period) + SETTLE)


def _edge(utility: Utility, zones: Sequence[str], period: str) -> int:
    return max(utility.edge_of(period, zone).at for zone in zones)


def _latest(utility: Utility, zones: Sequence[str], now: int) -> str:
    """The last month of which the edge is past, and settled, in all zones."""
    year = localtime.from_millis(now)
    period = localtime.next_month(localtime.month_text(year.year, year.month))
    while _edge(utility, zones, period) + SETTLE > now:
        period = localtime.next_month(period, -1)
    return period


class MonthEnds:
    """A thread that closes. A context: it is started, and stopped between two months."""

    def __init__(self, config: CentralConfig, clock: Clock) -> None:
        self.trouble = ""  # what could not be closed and why, in words; empty when all is well
        self._config = config
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="month-ends", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            now = self._clock.millis()
            try:
                with self._clock.busy():
                    until = self.round(now)
            except Exception as error:  # rule 4: whatever it is, it ends one try and not the service
                if not isinstance(error, _FAILURES):
                    log.exception("a month could not be closed")
                self._say(f"months could not be closed: {error}")
                until = now + RETRY
            self._clock.wait(until, self._stop)

    def round(self, now: int) -> int:
        """Close what has to be closed at `now`; when to come back. Raises what kept the first one from being closed."""
        with ExitStack() as stack:
            engine = open_engine(self._config)
            stack.callback(engine.dispose)
            store = open_store(self._config)
            stack.callback(store.close)
            books = Books(engine, store, self._config.out, require_act=self._config.require_act)
            failed: Exception | None = None
            due = [now + AGAIN]
            for utility, zones, known_since in billing(Registry(engine)):
                due.append(next_end(utility, zones, now).at)
                for period in ended(utility, zones, known_since, now):
                    if self._stop.is_set():
                        return now
                    try:
                        self._close(books, utility, period, now)
                    except _FAILURES as error:
                        log.error("%s of %s could not be closed: %s", period, utility.id, error)
                        failed = failed or error
        if failed is not None:
            raise failed
        self._say("")
        return min(due)

    def _close(self, books: Books, utility: Utility, period: str, now: int) -> None:
        try:
            closed = close_month(books, period, utility, now, WHO)
        except NoPoints:  # they have gone to another utility, or come from one
            return
        if closed.changed:
            counts = ", ".join(f"{count} {status}" for status, count in closed.counts.items())
            log.info(
                "%s of %s is closed: %d rows are new in %s; %s",
                period,
                utility.id,
                closed.changed,
                closed.folder,
                counts,
            )

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("%s", trouble) if trouble else log.info("months are closed again")
            self.trouble = trouble


def billing(registry: Registry) -> Iterator[tuple[Utility, list[str], int]]:
    """Each utility that bills or billed some point: its profile, its points' zones, and since when it has points."""
    known: dict[str, tuple[set[str], int]] = {}
    for history in registry.histories().values():
        for version in history:
            zones, since = known.get(version.utility, (set(), version.valid_from))
            zones.add(version.time_zone)
            known[version.utility] = (zones, min(since, version.valid_from))
    for name, (zones, since) in sorted(known.items()):
        yield utilities.load(name), sorted(zones), since
