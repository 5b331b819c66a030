"""Closes months by itself: each utility's, when its edge is past and what belongs to it has come in, then once a day.

Rule 1. The first close comes when nothing more can be expected in the ordinary way; a row that is missing then is news.
Rule 2. Every day after that the last two months are closed again: what came late is a revision, nothing new is no row.
        The older one comes first, because the newer one begins with its numbers.
Rule 3. A month is closed only if the registry knew some point of the utility when it ended.
Rule 4. What fails is said and tried again. Ingest goes on meanwhile, and whoever closes by hand is not in the way.
Rule 5. Nobody waits for a close when the service is to stop: it is given up between some hundred points and the next.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from collector import localtime
from collector.central import utility as utilities
from collector.central.closing import Books, NoPoints, close_month
from collector.central.edge_value import AFTER, MINUTE
from collector.central.engine import opened_engine
from collector.central.registry import Registry
from collector.central.rounds import MENDABLE
from collector.central.store import open_store
from collector.central.utility import Utility
from collector.config import CentralConfig

log = logging.getLogger(__name__)

WHO = "central service"  # in the ledger's chain
# A value that stands for the edge may be an hour late, its witness comes a quarter of an hour behind it, and as much
# again for the way here.
SETTLE = AFTER + 30 * MINUTE
AGAIN = 24 * 60 * MINUTE
# After a failure, a server that was away may be back; a fault in the configuration is said no oftener than this.
RETRY = 10 * MINUTE


class Stopped(Exception):
    """The service ends. What was not closed is closed after its next start."""


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


def close_due(config: CentralConfig, now: int, stop: threading.Event) -> int:
    """One round (`rounds`): close what has to be closed at `now`; when to come back.

    When `stop` is set, a close under way is given up, and nothing of it is written. Raises what kept the first month
    from being closed, after the others were tried.
    """
    due, failures = [now + AGAIN], list[Exception]()
    with opened_engine(config) as engine, closing(open_store(config)) as store, suppress(Stopped):
        books = Books(engine, store, config.out, require_act=config.require_act)
        for name, zones, known_since in billing(Registry(engine)):
            with _noted(name, failures):
                utility = utilities.load(name)
                due.append(next_end(utility, zones, now).at)
                for period in ended(utility, zones, known_since, now):
                    with _noted(f"{period} of {name}", failures):
                        _close(books, utility, period, now, stop)
    if failures:
        raise failures[0]
    return min(due)


@contextmanager
def _noted(what: str, failures: list[Exception]) -> Iterator[None]:
    try:
        yield
    except MENDABLE as error:
        log.error("%s could not be closed: %s", what, error)
        failures.append(error)


def _close(books: Books, utility: Utility, period: str, now: int, stop: threading.Event) -> None:
    def between() -> None:
        if stop.is_set():
            log.info("%s of %s is left as it was: the centre stops", period, utility.id)
            raise Stopped

    between()
    try:
        closed = close_month(books, period, utility, now, WHO, between=between)
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


def billing(registry: Registry) -> Iterator[tuple[str, list[str], int]]:
    """Each utility that bills or billed some point: its points' zones, and since when it has points (ms)."""
    known: dict[str, tuple[set[str], int]] = {}
    for history in registry.histories().values():
        for version in history:
            zones, since = known.get(version.utility, (set(), version.valid_from))
            zones.add(version.time_zone)
            known[version.utility] = (zones, min(since, version.valid_from))
    for name, (zones, since) in sorted(known.items()):
        yield name, sorted(zones), since
