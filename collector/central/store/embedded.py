"""Time series in one SQLite file: for the demo, the tests and a small centre. Keeps the rules of `series.py`.

One row holds what one asking of one meter gave of one kind, as JSON; later values of the same instant are merged in.
The rows of a meter lie together, by time: a month close reads a few pages a meter, however many years there are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.central.store.series import (
    KINDS,
    Around,
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
    meter INTEGER NOT NULL, kind INTEGER NOT NULL, time INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (meter, kind, time)
) WITHOUT ROWID;
"""
# A page of a meter's newest rows is written again with each of its readings: the longer the log may grow before it is
# copied into the file, the more of these writes become one. 16,000 pages are 64 MiB.
_LOG_PAGES = 16_000
_CACHE_KIB = 32 * 1024  # the newest page of each of 8,000 meters
_BUSY_SECONDS = 30  # while a command reads beside the daemon, or two processes open a new file
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}

_PUT = """
INSERT INTO sample (meter, kind, time, data) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET data = json_patch(data, excluded.data) WHERE data IS NOT excluded.data
"""
_BEFORE = "SELECT time, data FROM sample WHERE meter = ? AND kind = ? AND time >= ? AND time < ? ORDER BY time DESC"
_AFTER = "SELECT time, data FROM sample WHERE meter = ? AND kind = ? AND time >= ? AND time <= ? ORDER BY time"
_NEIGHBOURS = 2  # on each side: the chosen value and its witness

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class EmbeddedStore:
    """A `SeriesStore` in a file. Raises StoreAway when the file cannot be opened, read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[str, int] = {}
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
            self._db.executemany(
                _PUT,
                (
                    (ids[sample.meter], _NUMBER[sample.kind], sample.time, _encode(sample.values))
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
        query = (
            f"SELECT time, kind, data FROM sample WHERE meter = ? AND kind IN ({','.join('?' * len(numbers))})"
            " AND time >= ? AND time < ? ORDER BY time, kind"
        )
        with self._sqlite_says():
            for name, number in sorted(self._named(meters)):
                rows: list[Row] = []
                for time, kind, data in self._db.execute(query, (number, *numbers, start, end)):
                    if rows and rows[0].time != time:
                        yield from _in_order(rows)
                        rows.clear()
                    rows += (Row(name, time, code, value, KINDS[kind]) for code, value in json.loads(data).items())
                yield from _in_order(rows)

    def around(self, wanted: Mapping[str, Collection[str]], at: int, within_ms: int) -> dict[str, dict[str, Around]]:
        found: dict[str, dict[str, Around]] = {}
        with self._sqlite_says():
            for name, number in self._named(wanted):
                codes = wanted[name]
                live = _NUMBER["live"]
                before = _nearest(self._db.execute(_BEFORE, (number, live, at - within_ms, at)), codes)
                after = _nearest(self._db.execute(_AFTER, (number, live, at, at + within_ms)), codes)
                sides = {code: Around(tuple(before[code]), tuple(after[code])) for code in codes}
                if some := {code: around for code, around in sides.items() if around.before or around.after}:
                    found[name] = some
        return found

    def frozen(self, meters: Collection[str], month_end: int) -> dict[str, dict[str, int]]:
        with self._sqlite_says():
            stored = ((name, self._data(number, "frozen", month_end)) for name, number in self._named(meters))
            return {name: data for name, data in stored if data}

    def last(self, meters: Collection[str] | None) -> dict[str, Last]:
        query = "SELECT time, data FROM sample WHERE meter = ? AND kind = ? ORDER BY time DESC LIMIT 1"
        found = {}
        with self._sqlite_says():
            for name, number in self._named(meters):
                row = self._db.execute(query, (number, _NUMBER["live"])).fetchone()
                if row is not None:
                    found[name] = Last(row[0], json.loads(row[1]))
        return found

    def close(self) -> None:
        self._db.close()

    def _write_frozen(self, number: int, place: int, sample: Sample) -> Iterator[Conflict]:
        stored = self._data(number, "frozen", sample.time)
        fresh = {}
        for code, value in sample.values.items():
            if code not in stored:
                fresh[code] = value
            elif stored[code] != value:
                yield Conflict(place, code, stored[code], int(value))
        if fresh:
            self._db.execute(_PUT, (number, _NUMBER["frozen"], sample.time, _encode(fresh)))

    def _data(self, number: int, kind: Kind, time: int) -> dict[str, Any]:
        query = "SELECT data FROM sample WHERE meter = ? AND kind = ? AND time = ?"
        row = self._db.execute(query, (number, _NUMBER[kind], time)).fetchone()
        return {} if row is None else dict(json.loads(row[0]))

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
        query = "SELECT id FROM meter WHERE name = ?"
        found = ((name, self._db.execute(query, (name,)).fetchone()) for name in meters)
        return [(name, row[0]) for name, row in found if row is not None]

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
            self._ids.clear()  # numbers that were given in this transaction are gone with it
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _sqlite_says(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreAway(f"the embedded store {self._path}: {error}") from error


def _in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (obis.sort_key(row.register), KINDS.index(row.kind)))


def _nearest(rows: Iterable[tuple[int, str]], codes: Collection[str]) -> dict[str, list[TimedValue]]:
    """The first values of each register; reads no further than to the last one that is wanted."""
    found: dict[str, list[TimedValue]] = {code: [] for code in codes}
    missing = len(found) * _NEIGHBOURS
    for time, data in rows:
        values = json.loads(data)
        for code, chosen in found.items():
            if code in values and len(chosen) < _NEIGHBOURS:
                chosen.append(TimedValue(time, values[code]))
                missing -= 1
        if not missing:
            break
    return found
