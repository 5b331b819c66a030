"""What a durable file is to the code that uses it: its layout, a connection, a transaction, and its three errors."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from collector.exits import Unreachable

VERSION = 1  # PRAGMA user_version of our files
# Bytes. Every commit changes some five pages beside its payload: most of what wears a gateway's flash. A day of 300
# meters (1152 batches of 25 snapshots) wrote 22 MB to an ext4 device with 1 KiB, 40 MB with the usual 4 KiB.
PAGE = 1024
BUSY = 10.0  # seconds to wait for another process' transaction; theirs take milliseconds, a stalled flash card seconds

# synchronous=FULL: rule 1.  secure_delete off: some builds overwrite what is deleted with zeros, which wears flash and
# protects nobody here.  temp_store in memory: a check must not need room on a full disk.  cell_size_check: damage is
# noticed when a page is read.  wal_autocheckpoint in pages: the log stays near 512 KiB, so that the ballast of a full
# disk (ballast.py) can hold it; twice as long a log would save 2 % of what is written.
PRAGMAS = ("synchronous=FULL", "secure_delete=OFF", "temp_store=MEMORY", "cell_size_check=ON", "wal_autocheckpoint=512")

# What every file knows of itself: `id`, what was found when it was made (`damage`, `aside`), and its owner's counters.
ABOUT = "CREATE TABLE about (name TEXT PRIMARY KEY, value) WITHOUT ROWID"


class SpoolUnusable(Unreachable):
    """A spool file cannot be opened, read or written for a reason that is not damage. The text says what to do."""


class SpoolFull(Exception):
    """There is no room for it, and nothing that may be deleted. Nothing was stored, nothing was lost."""


class Cursor(Protocol):
    """What is used of a cursor of the sqlite3 module."""

    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What is used of a connection of the sqlite3 module, in autocommit mode."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, parameters: Any = ..., /) -> Cursor: ...
    def executemany(self, sql: str, parameters: Any, /) -> Cursor: ...
    def close(self) -> None: ...


Connect = Callable[[Path], Connection]
Value = int | float | str | bytes | None
Row = tuple[Value, ...]


@dataclass(frozen=True)
class Layout:
    """What a kind of file holds.

    `columns` of `table` follow its integer primary key `id`. The first `key` of them are a reading's key (texts, then
    the sequence) under a unique index; the last two are `sha256` (32 bytes) and `payload`. The functions are given a
    row's values without its id, as they were found in a damaged file: `fits` says whether they have the table's types,
    `only_here` whether nobody else holds the row yet (`only_here_sql` is the same as a condition), and `torn` may put
    something in the place of such a row whose payload is lost.
    """

    application: int
    table: str
    columns: tuple[str, ...]
    key: int
    schema: tuple[str, ...]
    fits: Callable[[Row], bool]
    only_here: Callable[[Row], bool]
    only_here_sql: str
    torn: Callable[[Connection, int, Row], None]


def connect(path: Path) -> Connection:
    """A connection of the sqlite3 module: one for all threads, transactions are ours to begin."""
    return sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)


def prepare(connection: Connection) -> Connection:
    """The same connection with our settings."""
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Everything or nothing. Committed, and on the disk, when the block has been left without an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def digest(payload: bytes) -> bytes:
    """SHA-256: what a receipt names (in hex), and what proves a row."""
    return hashlib.sha256(payload).digest()


def proven(sha256: object, payload: object) -> bool:
    """The payload is, byte for byte, what was committed."""
    return isinstance(payload, bytes) and digest(payload) == sha256


# ------------------------------------------------------------------- errors of SQLite (sqlite.org/rescode.html)

_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


def means_full(error: sqlite3.Error) -> bool:
    """The disk has no room for the file, its log, or the log's index."""
    return getattr(error, "sqlite_errorcode", 0) in _FULL


def means_damage(error: sqlite3.Error) -> bool:
    """The file's bytes are wrong, or the disk cannot read them."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGED or code in _UNREADABLE


def in_words(error: sqlite3.Error, path: Path) -> SpoolFull | SpoolUnusable:
    """The same for the operator."""
    if means_full(error):
        return SpoolFull(f"{path}: the disk is full; free some room on it. Nothing that was stored is lost")
    return SpoolUnusable(
        f"{path}: {error}. Expected a file that this user may write, on a local disk that can be written; "
        "check its owner, the mount and the disk, then start again"
    )
