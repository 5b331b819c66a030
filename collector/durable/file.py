"""A durable file while it is in use: one owner, one connection guarded for threads, and what helps when it fails."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from collector.durable.healing import close, open_file
from collector.durable.layout import (
    PAGE,
    Connect,
    Connection,
    Cursor,
    Layout,
    SpoolUnusable,
    in_words,
    means_damage,
    means_full,
    transaction,
)

T = TypeVar("T")
log = logging.getLogger(__name__)


class DurableFile:
    """An open file.

    `make_room` is called when the disk is full; True says that trying again makes sense. Raises SpoolFull,
    SpoolUnusable.
    """

    def __init__(self, path: Path, layout: Layout, connect: Connect, make_room: Callable[[], bool]) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._layout, self._connect, self._make_room = layout, connect, make_room
        self._holder: int | None = _hold(path)
        self._open = False
        self.connection: Connection
        try:
            self.guarded(lambda: None)
        except BaseException:
            self.close()
            raise

    def transact(self, work: Callable[[], T]) -> T:
        """Do `work` in one transaction; from its beginning once more where room was made or the file was healed.

        Raises what `work` raises, SpoolFull when the disk stays full, SpoolUnusable.
        """

        def whole() -> T:
            with transaction(self.connection):
                return work()

        return self.guarded(whole)

    def guarded(self, work: Callable[[], T]) -> T:
        """The same without a transaction, for reading."""
        with self.lock:
            if self._holder is None:
                raise SpoolUnusable(f"{self.path} was closed")
            try:
                return self._opened(work)
            except sqlite3.Error as error:
                self._help(error)
            try:
                return self._opened(work)
            except sqlite3.Error as error:
                raise in_words(error, self.path) from error

    def close(self) -> None:
        """Let go of the file; nothing happens the second time."""
        with self.lock:
            if self._open:
                close(self.connection)
            self._open = False
            if self._holder is not None:
                os.close(self._holder)
            self._holder = None

    def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        """One statement. Like all that follows, for what runs in `transact` or `guarded`."""
        return self.connection.execute(sql, parameters)

    def about(self, name: str) -> Any:
        """What the file knows of itself, or None."""
        row = self.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def damage(self) -> str | None:
        """What was found wrong when this file was made, as long as the file that was set aside is there."""
        aside = self.about("aside")
        there = aside is not None and any(self.path.with_name(aside + end).exists() for end in ("", "-wal"))
        return self.about("damage") if there else None

    def live_bytes(self) -> int:
        """Bytes of the pages in use, an open transaction's included."""
        return self.file_bytes() - self._pragma("freelist_count") * PAGE

    def file_bytes(self) -> int:
        """Bytes of the file as it will be after the next checkpoint."""
        return self._pragma("page_count") * PAGE

    def _opened(self, work: Callable[[], T]) -> T:
        if not self._open:
            self.connection = open_file(self.path, self._layout, self._connect)
            self._open = True
        return work()

    def _help(self, error: sqlite3.Error) -> None:
        """Do what makes another try worth while, or raise the error for the operator."""
        if means_full(error) and self._make_room():
            log.warning("%s: the disk is full, making room", self.path)
        elif means_damage(error) and self._open:
            log.error("%s broke while it was used: %s", self.path, error)
            close(self.connection)
            self._open = False  # opening it heals it; where that fails, the next call tries again
        else:
            raise in_words(error, self.path) from error

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])


def _hold(path: Path) -> int:
    """An exclusive lock beside the file, until the handle is closed. Raises SpoolUnusable."""
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SpoolUnusable(f"{lock}: {error.strerror}; check the directory, its owner and the mount") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise SpoolUnusable(f"{path} is in use by another process; is the daemon running already?") from None
    return handle
