"""A file system under SQLite that notes every write and every sync, and can be cut off at any of them.

The real code runs on it through `connection`; SQLite's calls go to real files and into a journal of what was done.
`image` then makes the files as a power cut would leave them: what was synced is there; of what was not, each write (in
pieces of a sector) may be there or not, in any combination.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

SECTOR = 512  # bytes a disk writes whole or not at all


class Event(NamedTuple):
    """One call: `write` and `truncate` of a file, `sync` of one, `delete` of a name, or a `note` of the test's own."""

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""
    note: Any = None


class Disk:
    """The journal, and where it stopped refusing: `room` is the number of bytes that all files together may have."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.events: list[Event] = []
        self.room: int | None = None
        self.fail: Callable[[Event], None] = lambda event: None
        self._begin: dict[str, bytes] = {}
        self._vfs = _Vfs(self, name)

    def begin(self) -> None:
        """What stands in the directory now is on the disk; forget what led to it."""
        self._begin = {path.name: path.read_bytes() for path in self.directory.iterdir() if path.is_file()}
        self.events.clear()

    def note(self, note: Any) -> None:
        self.events.append(Event("note", "", note=note))

    def connection(self, path: Path) -> Connection:
        return Connection(path, self._vfs.name)

    def did(self, event: Event) -> None:
        self.fail(event)
        self.events.append(event)

    def check_room(self, path: Path, end: int) -> None:
        if self.room is not None:
            now = path.stat().st_size if path.exists() else 0
            used = sum(other.stat().st_size for other in self.directory.iterdir() if other.is_file())
            if end > now and used + end - now > self.room:
                raise apsw.FullError(f"no room on the simulated disk for {path.name}")

    def image(self, events: Iterable[Event], into: Path, chance: random.Random, kept: float) -> None:
        """The files that a power cut after `events` leaves; an unsynced sector is there with probability `kept`."""
        synced = {name: bytearray(data) for name, data in self._begin.items()}
        unsynced: dict[str, list[Event]] = {}
        for event in events:
            if event.kind in ("write", "truncate"):
                unsynced.setdefault(event.name, []).append(event)
            elif event.kind == "sync":
                data = synced.setdefault(event.name, bytearray())
                for done in unsynced.pop(event.name, []):
                    _do(data, done)
            elif event.kind == "delete":
                unsynced.pop(event.name, None)
                synced.pop(event.name, None)
        for name, waiting in unsynced.items():
            data = synced.setdefault(name, bytearray())
            for event in waiting:
                for piece in _sectors(event):
                    if chance.random() < kept:
                        _do(data, piece)
        for name, data in synced.items():
            (into / name).write_bytes(data)


def _do(data: bytearray, event: Event) -> None:
    if event.kind == "truncate":
        del data[event.offset :]
        data.extend(bytes(event.offset - len(data)))
        return
    if len(data) < event.offset:
        data.extend(bytes(event.offset - len(data)))
    data[event.offset : event.offset + len(event.data)] = event.data


def _sectors(event: Event) -> list[Event]:
    """A write in the pieces that reach the disk whole or not at all."""
    if event.kind != "write":
        return [event]
    pieces, at = [], 0
    while at < len(event.data):
        end = at + SECTOR - (event.offset + at) % SECTOR
        pieces.append(event._replace(offset=event.offset + at, data=event.data[at:end]))
        at = end
    return pieces


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk, name: str) -> None:
        self.name, self.disk = name, disk
        super().__init__(name, base="unix")

    def xOpen(self, name: Any, flags: list[int]) -> _File:
        return _File(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.disk.did(Event("delete", Path(filename).name))
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self.disk = disk
        self.path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.disk.check_room(self.path, offset + len(data))
        self.disk.did(Event("write", self.path.name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self.disk.did(Event("truncate", self.path.name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self.disk.did(Event("sync", self.path.name))
        # The journal decides what survives: the real disk need not be waited for.


class Connection:
    """A connection of apsw that behaves as one of the sqlite3 module to our code, errors included."""

    def __init__(self, path: Path, vfs: str) -> None:
        self._connection = apsw.Connection(str(path), vfs=vfs)
        self.execute("PRAGMA locking_mode=EXCLUSIVE")  # the log's index in RAM: apsw's files share no memory

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, parameters: Any = (), /) -> Rows:
        try:
            return self._run(lambda: self._connection.execute(sql, parameters).fetchall())
        except sqlite3.OperationalError as error:
            if sql == "COMMIT" and str(error).endswith(".db"):
                return (
                    Rows()
                )  # the commit is in the log; SQLite itself says nothing when the checkpoint behind it fails
            raise

    def executemany(self, sql: str, parameters: Any, /) -> Rows:
        return self._run(lambda: self._connection.executemany(sql, list(parameters)).fetchall())

    def close(self) -> None:
        def close() -> list[Any]:
            self._connection.close()
            return []

        self._run(close)

    def _run(self, work: Callable[[], list[Any]]) -> Rows:
        try:
            return Rows(work())
        except apsw.Error as error:
            translated = sqlite3.OperationalError(str(error))
            code = apsw.SQLITE_FULL if isinstance(error, apsw.FullError) else getattr(error, "extendedresult", 0)
            translated.sqlite_errorcode = code
            raise translated from error


class Rows(list[Any]):
    """What a cursor is asked for."""

    def fetchone(self) -> Any:
        return self[0] if self else None

    def fetchall(self) -> list[Any]:
        return list(self)
