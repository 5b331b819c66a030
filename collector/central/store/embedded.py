"""Time series in one SQLite file: for the demo, the tests and a small centre. Keeps the rules of `series.py`.

One row holds what one asking of one meter gave of one kind, as JSON; later values of the same instant are merged in.
The rows of an hour lie together, by meter: what comes in now goes into a few pages, however many meters there are, and
costs a quarter of what it would in an order by meter. Days on which a meter has rows are noted, so that a look far back
passes over those on which it has none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from collector.central.canonical import canonical, parsed
from collector.central.store.series import (
    KINDS,
    Around,
    Check,
    Conflict,
    Kind,
    Last,
    Row,
    Sample,
    StoreAway,
    TimedValue,
    WriteResult,
)
from drivers import obis

_VERSION = 1  # of the tables below, in the file's user_version
_TABLES = """
CREATE TABLE meter (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE sample (
    hour INTEGER NOT NULL, meter INTEGER NOT NULL, kind INTEGER NOT NULL, time INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (hour, meter, kind, time)
) WITHOUT ROWID;
CREATE TABLE day (
    meter INTEGER NOT NULL, kind INTEGER NOT NULL, day INTEGER NOT NULL,
    PRIMARY KEY (meter, kind, day)
) WITHOUT ROWID;
"""
_HOUR, _DAY = 3_600_000, 86_400_000  # ms; `hour` and `day` count them since 1970 UTC
# Pages are written again with each reading that goes into them: the longer the log may grow before it is copied into
# the file, the more of these writes become one. 4000 pages are 16 MiB.
_LOG_PAGES = 4000
_CACHE_KIB = 32 * 1024  # the pages of an hour of 100,000 meters
_BUSY_SECONDS = 30  # while a command reads beside the daemon, or two processes open a new file
_DAYS_KNOWN = 1 << 20  # notes of days in RAM, some 100 MiB at most; one that is forgotten is written again in vain
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}

_PUT = """
INSERT INTO sample (hour, meter, kind, time, data) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET data = json_patch(data, excluded.data) WHERE data IS NOT excluded.data
"""
_PUT_DAY = "INSERT INTO day (meter, kind, day) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_NEAR = 4 * _HOUR  # a look that takes few hours is one question for many meters; a far one goes meter by meter
_AT_ONCE = 10_000  # meters in one question: SQLite takes 32,766 parameters
_AT_ONE_TIME = "SELECT meter, data FROM sample WHERE hour = ? AND kind = ? AND time = ?"
_NEIGHBOURS = 2  # on each side: the chosen value and its witness
_LIVE, _FROZEN = _NUMBER["live"], _NUMBER["frozen"]

_T = TypeVar("_T")

_finite = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class EmbeddedStore:
    """A `SeriesStore` in a file. Raises StoreAway when the file cannot be opened, read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[str, int] = {}
        self._days: set[tuple[int, int, int]] = set()
        with self._sqlite_says():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
            self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._make_tables()

    def write(self, samples: Sequence[Sample]) -> WriteResult:
        result = WriteResult()
        with self._sqlite_says(), self._transaction():
            ids = self._known({sample.meter for sample in samples})
            self._note_days((ids[sample.meter], _NUMBER[sample.kind], sample.time // _DAY) for sample in samples)
            self._db.executemany(
                _PUT,
                (
                    (sample.time // _HOUR, ids[sample.meter], _NUMBER[sample.kind], sample.time, _encoded(sample))
                    for sample in samples
                    if sample.kind != "frozen"
                ),
            )
            for place, sample in enumerate(samples):
                if sample.kind == "frozen":
                    result.conflicts.extend(self._write_frozen(ids[sample.meter], place, sample))
        return result

    def span(self, kinds: Collection[Kind], meters: Collection[str] | None, start: int, end: int) -> Iterator[Row]:
        numbers = sorted(_NUMBER[kind] for kind in kinds)
        with self._sqlite_says():
            for name, meter in sorted(self._named(meters)):
                for day in self._days_of(meter, numbers, start, end):
                    rows = self._rows(meter, numbers, max(start, day * _DAY), min(end, (day + 1) * _DAY))
                    for _, together in groupby(rows, key=itemgetter(0)):
                        yield from _in_order(name, together)

    def around(self, wanted: Mapping[str, Collection[str]], at: int, within_ms: int) -> dict[str, dict[str, Around]]:
        found: dict[str, dict[str, Around]] = {}
        start, end = at - within_ms, at + within_ms + 1
        with self._sqlite_says():
            named = self._named(wanted)
            near = within_ms <= _NEAR
            earlier = self._nearest_rows([meter for _, meter in named], start, at, back=True) if near else {}
            later = self._nearest_rows([meter for _, meter in named], at, end, back=False) if near else {}
            for name, meter in named:
                codes = wanted[name]
                before = _nearest(earlier.get(meter, ()), codes)
                if not near or _lacking(before, earlier.get(meter, ())):
                    before = _nearest(self._live_rows(meter, start, at, back=True), codes)
                after = _nearest(later.get(meter, ()), codes)
                if not near or _lacking(after, later.get(meter, ())):
                    after = _nearest(self._live_rows(meter, at, end, back=False), codes)
                sides = {code: Around(tuple(before[code]), tuple(after[code])) for code in codes}
                if some := {code: around for code, around in sides.items() if around.before or around.after}:
                    found[name] = some
        return found

    def frozen(self, meters: Collection[str], month_end: int) -> dict[str, dict[str, int]]:
        with self._sqlite_says():
            names = {meter: name for name, meter in self._named(meters)}
            found = {}
            for some in _some(names):
                query = f"{_AT_ONE_TIME} AND meter IN ({_marks(some)})"
                for meter, data in self._db.execute(query, (month_end // _HOUR, _FROZEN, month_end, *some)):
                    found[names[meter]] = dict(json.loads(data))
            return found

    def last(self, meters: Collection[str] | None) -> dict[str, Last]:
        found = {}
        with self._sqlite_says():
            for name, meter in self._named(meters):
                query = "SELECT max(day) FROM day WHERE meter = ? AND kind = ?"
                (day,) = self._db.execute(query, (meter, _LIVE)).fetchone()
                if day is not None:
                    time, data = next(self._live_rows(meter, day * _DAY, (day + 1) * _DAY, back=True))
                    found[name] = Last(time, json.loads(data))
        return found

    @property
    def keeps(self) -> None:
        return None

    def check(self) -> Iterator[Check]:
        with self._sqlite_says():
            (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        yield Check("file", found == "ok", f"{self._path}: {found}")

    def close(self) -> None:
        self._db.close()

    def _live_rows(self, meter: int, start: int, end: int, *, back: bool) -> Iterator[tuple[int, str]]:
        """(time, data) of start <= time < end by time, read as they are asked for; backwards if `back`."""
        days, order = self._days_of(meter, [_LIVE], start, end), "DESC" if back else "ASC"
        for day in reversed(days) if back else days:
            first, last = max(start, day * _DAY), min(end, (day + 1) * _DAY)
            hours = _hours(first, last)
            # In the order of the primary key, so that nothing is read in vain.
            query = (
                f"SELECT time, data FROM sample WHERE hour IN ({_marks(hours)}) AND meter = ? AND kind = ? "
                f"AND time >= ? AND time < ? ORDER BY hour {order}, time {order}"
            )
            yield from self._db.execute(query, (*hours, meter, _LIVE, first, last))

    def _nearest_rows(
        self, meters: Collection[int], start: int, end: int, *, back: bool
    ) -> dict[int, list[tuple[int, str]]]:
        """meter -> the first rows of start <= time < end, at most two; backwards if `back`. In few questions."""
        found: dict[int, list[tuple[int, str]]] = {}
        hours, order = _hours(start, end), "DESC" if back else "ASC"
        for some in _some(meters):
            query = (
                "SELECT meter, time, data FROM (SELECT meter, time, data, "
                f"row_number() OVER (PARTITION BY meter ORDER BY time {order}) AS place FROM sample "
                f"WHERE hour IN ({_marks(hours)}) AND meter IN ({_marks(some)}) "
                "AND kind = ? AND time >= ? AND time < ?) "
                f"WHERE place <= {_NEIGHBOURS} ORDER BY meter, place"
            )
            for meter, time, data in self._db.execute(query, (*hours, *some, _LIVE, start, end)):
                found.setdefault(meter, []).append((time, data))
        return found

    def _rows(self, meter: int, kinds: Sequence[int], start: int, end: int) -> list[tuple[int, int, str]]:
        """(time, kind, data) of start <= time < end, by time and kind; within one day."""
        hours = _hours(start, end)
        query = (
            f"SELECT time, kind, data FROM sample WHERE hour IN ({_marks(hours)}) AND meter = ? "
            f"AND kind IN ({_marks(kinds)}) AND time >= ? AND time < ? ORDER BY time, kind"
        )
        return self._db.execute(query, (*hours, meter, *kinds, start, end)).fetchall()

    def _days_of(self, meter: int, kinds: Sequence[int], start: int, end: int) -> list[int]:
        """The days between two instants on which there may be rows of a meter."""
        first, last = start // _DAY, (end - 1) // _DAY
        if last - first <= 1:  # as near an edge: looking there is as cheap as looking up whether to
            return list(range(first, last + 1))
        chosen = f"meter = ? AND kind IN ({_marks(kinds)}) AND day BETWEEN ? AND ?"
        query = f"SELECT DISTINCT day FROM day WHERE {chosen} ORDER BY day"
        return [day for (day,) in self._db.execute(query, (meter, *kinds, first, last))]

    def _note_days(self, days: Iterable[tuple[int, int, int]]) -> None:
        """Note (meter, kind, day) of what is written. Inside a transaction."""
        new = {day for day in days if day not in self._days}
        if new:
            self._db.executemany(_PUT_DAY, new)
            if len(self._days) > _DAYS_KNOWN:
                self._days.clear()
            self._days |= new

    def _write_frozen(self, meter: int, place: int, sample: Sample) -> Iterator[Conflict]:
        stored = self._frozen_data(meter, sample.time)
        fresh = {}
        for code, value in sample.values.items():
            if code not in stored:
                fresh[code] = value
            elif stored[code] != value:
                yield Conflict(place, code, stored[code], int(value))
        if fresh:
            self._db.execute(_PUT, (sample.time // _HOUR, meter, _FROZEN, sample.time, canonical(fresh)))

    def _frozen_data(self, meter: int, time: int) -> dict[str, int]:
        rows = self._rows(meter, [_FROZEN], time, time + 1)
        return dict(json.loads(rows[0][2])) if rows else {}

    def _known(self, names: Iterable[str]) -> dict[str, int]:
        """The numbers of these meters; new ones are given one. Inside a transaction."""
        for name in names:
            if name not in self._ids:
                self._db.execute("INSERT INTO meter (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
                (number,) = self._db.execute("SELECT id FROM meter WHERE name = ?", (name,)).fetchone()
                self._ids[name] = number
        return self._ids

    def _named(self, meters: Collection[str] | None) -> list[tuple[str, int]]:
        """(name, number) of these meters (None: of all) as far as anything is stored of them."""
        if meters is None:
            return self._db.execute("SELECT name, id FROM meter").fetchall()
        found: dict[str, int] = {}
        for some in _some(meters):
            found.update(self._db.execute(f"SELECT name, id FROM meter WHERE name IN ({_marks(some)})", some))
        return [(name, found[name]) for name in meters if name in found]

    def _make_tables(self) -> None:
        with self._transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _TABLES.strip().split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={_VERSION}")
            elif version != _VERSION:
                raise StoreAway(f"{self._path} has tables of version {version}, this Meterline knows {_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._ids.clear()  # what was noted in this transaction is gone with it
            self._days.clear()
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _sqlite_says(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreAway(f"the embedded store {self._path}: {error}") from error


def _encoded(sample: Sample) -> str:
    """Its values as JSON. Raises ValueError for a quantity that is not finite, of which `canonical` would make null."""
    return _finite(sample.values) if sample.kind == "quantity" else canonical(sample.values)


def _hours(start: int, end: int) -> range:
    """The hours of start <= time < end."""
    return range(start // _HOUR, (end - 1) // _HOUR + 1)


def _marks(values: Collection[object]) -> str:
    return ",".join("?" * len(values))


def _some(items: Collection[_T]) -> Iterator[list[_T]]:
    """The items in lists that fit into one question."""
    listed = list(items)
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]


def _lacking(found: Mapping[str, Collection[TimedValue]], rows: Collection[tuple[int, str]]) -> bool:
    """Whether rows further away may hold what the nearest ones do not: an asking that lacked a register."""
    return len(rows) == _NEIGHBOURS and any(len(values) < _NEIGHBOURS for values in found.values())


def _in_order(name: str, rows: Iterable[tuple[int, int, str]]) -> list[Row]:
    """The values of one instant by register and kind."""
    found = [
        Row(name, time, code, value, KINDS[kind])
        for time, kind, data in rows
        for code, value in json.loads(data).items()
    ]
    return sorted(found, key=lambda row: (obis.sort_key(row.register), _NUMBER[row.kind]))


def _nearest(rows: Iterable[tuple[int, str]], codes: Collection[str]) -> dict[str, list[TimedValue]]:
    """The first values of each register; reads no further than to the last one that is wanted."""
    found: dict[str, list[TimedValue]] = {code: [] for code in codes}
    missing = len(found) * _NEIGHBOURS
    for time, data in rows:
        values = parsed(data)
        for code, chosen in found.items():
            if code in values and len(chosen) < _NEIGHBOURS:
                chosen.append(TimedValue(time, values[code]))
                missing -= 1
        if not missing:
            break
    return found
