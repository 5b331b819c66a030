"""Makes, checks and heals a durable file: what happens between its path and a connection that can be relied on."""

from __future__ import annotations

import glob
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from collector.durable import salvage
from collector.durable.layout import (
    ABOUT,
    PAGE,
    PRAGMAS,
    VERSION,
    Connect,
    Connection,
    Layout,
    Row,
    SpoolUnusable,
    means_damage,
    means_full,
    prepare,
    proven,
    transaction,
)

log = logging.getLogger(__name__)

COPIED_AT_ONCE = 100  # rows in one transaction of a copy: at most some 25 MiB in RAM and in the log


def open_file(path: Path, layout: Layout, connect: Connect) -> Connection:
    """The file at `path`, made if it is missing, healed if it is damaged. Raises SpoolUnusable, sqlite3.Error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _finish_healing(path)
        fault = _fault_outside(path)
        if fault is None and not path.exists():
            _make(path, path.with_name(path.name + ".new"), layout, connect, _empty)
        connection = None
        if fault is None:
            connection, fault = _examine(path, layout, connect)
            if fault is None:
                return connection
        try:
            _heal(path, layout, connect, fault)
        finally:
            if connection is not None:
                close(connection)  # not before the log has been read: closing moves its pages into the file
        _finish_healing(path)
        connection, _ = _examine(path, layout, connect)
        return connection
    except OSError as error:
        raise SpoolUnusable(f"{path}: {error}; check the directory, its owner, the mount and the disk") from error


def close(connection: Connection) -> None:
    with suppress(sqlite3.Error):  # a file that broke may not close well; all that was promised is on the disk
        connection.close()


# ----------------------------------------------------------------------------- checking


def _fault_outside(path: Path) -> str | None:
    """What must be seen before SQLite opens the file, since it would pass it over in silence."""
    log_path = path.with_name(path.name + "-wal")
    if not path.exists():
        return "the file is gone and its write-ahead log is there" if _size(log_path) else None
    return "the file is empty" if _size(path) == 0 else salvage.log_fault(log_path)


def _examine(path: Path, layout: Layout, connect: Connect) -> tuple[Connection, str | None]:
    """An open connection, and what is wrong with the file behind it."""
    connection = connect(path)
    try:
        prepare(connection)
        return connection, _fault_inside(path, connection, layout)
    except sqlite3.Error as error:
        if means_damage(error):
            return connection, str(error)
        close(connection)
        raise
    except SpoolUnusable:
        close(connection)
        raise


def _fault_inside(path: Path, connection: Connection, layout: Layout) -> str | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != layout.application:
        if layout.table not in tables:
            raise SpoolUnusable(
                f"{path} is an SQLite file of something else (application id {application}, expected "
                f"{layout.application}); check the path in the configuration"
            )
        return "its header is wrong"
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SpoolUnusable(f"{path} has layout {version}, this program knows {VERSION}; install the newer one again")
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        return str(found).removeprefix("*** in database main ***").replace("\n", " ").strip()
    rows = connection.execute(f"SELECT sha256, payload FROM {layout.table} WHERE {layout.only_here_sql}")
    if torn := sum(not proven(sha256, payload) for sha256, payload in rows):
        return f"{torn} payloads do not have their digest"
    with transaction(connection):  # a file that may not be written is noticed now, not at the first reading
        pass
    return None


# ----------------------------------------------------------------------------- making


def _make(path: Path, draft: Path, layout: Layout, connect: Connect, fill: Callable[[Connection], None]) -> None:
    """A new file: made under another name, filled, synced, then renamed."""
    for end in ("", "-wal", "-shm", "-journal"):  # a draft that a power cut left: all it had copied stands elsewhere
        draft.with_name(draft.name + end).unlink(missing_ok=True)
    connection = connect(draft)
    try:
        for pragma in (f"page_size={PAGE}", "auto_vacuum=NONE", "journal_mode=WAL", *PRAGMAS):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        with transaction(connection):
            for statement in (ABOUT, *layout.schema):
                connection.execute(statement)
            connection.execute("INSERT INTO about VALUES ('id', ?)", (os.urandom(6).hex(),))
            connection.execute(f"PRAGMA application_id={layout.application}")
            connection.execute(f"PRAGMA user_version={VERSION}")
        fill(connection)
        # Closing would do this too, and say nothing when the disk is full: what stayed in the log would be lost.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        close(connection)
    _sync(draft)
    draft.rename(path)
    _sync(path.parent)


def _empty(fresh: Connection) -> None:
    """Filling for a file that begins."""


def _sync(path: Path) -> None:
    """The file's bytes, or the directory's names, have reached the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


# ----------------------------------------------------------------------------- healing


def _heal(path: Path, layout: Layout, connect: Connect, fault: str) -> None:
    """Copy out what proves itself, into a file beside the damaged one whose name says what is left to do."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = f"{path.name}.damaged-{stamp}"
    pages = salvage.Pages(path)

    def fill(fresh: Connection) -> None:
        text = f"{path.name} was damaged ({fault}): {_copy(pages, layout, fresh)}; the old file is {aside}"
        with transaction(fresh):
            fresh.execute("INSERT INTO about VALUES ('aside', ?), ('damage', ?)", (aside, text))
        log.error("%s", text)

    try:
        draft = path.with_name(path.name + ".healing")
        _make(path.with_name(f"{path.name}.healed-{stamp}"), draft, layout, connect, fill)
    finally:
        pages.close()


def _finish_healing(path: Path) -> None:
    """Set the damaged file aside, with its log, and give its name to the healed one."""
    for healed in sorted(path.parent.glob(glob.escape(path.name) + ".healed-*Z")):
        aside = f"{path.name}.damaged-{healed.name.rpartition('.healed-')[2]}"
        for end in ("-wal", "-shm", ""):
            old = path.with_name(path.name + end)
            if old.exists():
                old.rename(path.with_name(aside + end))
        _sync(path.parent)
        healed.rename(path)
        _sync(path.parent)


def _copy(pages: salvage.Pages, layout: Layout, fresh: Connection) -> str:
    """Copy every proven row by its key; the answer says how many of how many.

    Rows that nobody else holds come first: when the disk fills up before all of those are copied, sqlite3.Error is
    raised and the damaged file stays where it is, until there is room.
    """
    listed = {entry[:-1] for entry in pages.index_entries() if _is_key(entry, layout)}
    seen: set[Row] = set()
    torn: dict[Row, tuple[int, Row]] = {}
    note = ""
    try:
        for only_here in (True, False):
            found = _fitting(pages, layout, listed, only_here)
            while some := list(islice(found, COPIED_AT_ONCE)):
                with transaction(fresh):
                    for rowid, values in some:
                        key = values[: layout.key]
                        if proven(*values[-2:]):
                            _insert(fresh, layout, rowid, values)
                            seen.add(key)
                        elif only_here:
                            torn[key] = rowid, values
            if only_here:
                with transaction(fresh):
                    for key in torn.keys() - seen:
                        layout.torn(fresh, *torn[key])
    except sqlite3.Error as error:
        if only_here or not means_full(error):
            raise
        note = ", then the disk was full; what is left is at the other end too"
    return f"{len(seen)} of {len(seen | listed | torn.keys())} rows copied out{note}"


def _fitting(pages: salvage.Pages, layout: Layout, listed: set[Row], only_here: bool) -> Iterator[tuple[int, Row]]:
    """The rows of our table. Older copies count only where the index still lists their key: the others were let go."""
    for rowid, values, live in pages.rows():
        values = values[1:]  # the primary key stands in the record as an empty first column
        if len(values) != len(layout.columns) or not layout.fits(values):
            continue
        if (live or values[: layout.key] in listed) and layout.only_here(values) == only_here:
            yield rowid, values


def _insert(fresh: Connection, layout: Layout, rowid: int, values: Row) -> None:
    marks = ", ".join("?" * (len(values) + 1))
    fresh.execute(
        f"INSERT OR IGNORE INTO {layout.table} (id, {', '.join(layout.columns)}) VALUES ({marks})", (rowid, *values)
    )


def _is_key(entry: Row, layout: Layout) -> bool:
    """An entry of the unique index: the key's columns, texts before the sequence, then the row's number."""
    return [type(value) for value in entry] == [str] * (layout.key - 1) + [int, int]
