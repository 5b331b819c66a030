"""Reads the centre's spool beside the daemon that owns it. Changes nothing, neither the file nor its log."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from collector.durable.layout import BUSY, SpoolUnusable, in_words, proven
from collector.inbox import LAYOUT, NEVER, Stored

_COLUMNS = "id, gateway, spool, sequence, payload, sha256, received, kind"


class InboxBeside:
    """What the file holds of readings. Raises SpoolUnusable.

    `torn` counts the batches met so far whose bytes are not what was committed; they are left out.
    """

    def __init__(self, path: Path) -> None:
        self.torn = 0
        self._path = path
        if not path.exists():
            raise SpoolUnusable(f"{path} is not there; check `data` in central.yaml")
        # mode=ro: the log stays as it is, also when we are the last to let go of the file.
        self._db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", timeout=BUSY, uri=True)
        try:
            ((application,),) = self._read("PRAGMA application_id")
            if application != LAYOUT.application:
                raise SpoolUnusable(f"{path} is no spool of a centre (application id {application})")
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> InboxBeside:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def count(self, since: int) -> int:
        """How many batches came at that time (milliseconds) or later."""
        ((count,),) = self._read("SELECT count(*) FROM inbox WHERE kind = 'readings' AND received >= ?", since)
        return int(count)

    def replay(self, after: int, since: int, limit: int) -> list[Stored]:
        """Batches behind row `after` that came at `since` (milliseconds) or later, in the order of their arrival."""
        where = "WHERE kind = 'readings' AND id > ? AND received >= ? ORDER BY id LIMIT ?"
        while rows := self._read(f"SELECT {_COLUMNS} FROM inbox {where}", after, since, limit):
            if sound := self._sound(rows):
                return sound
            after = rows[-1][0]
        return []

    def some_settled(self, count: int) -> list[Stored]:
        """So many of the newest batches whose sinks have answered, and so many from all over the file; once each."""
        settled = f"WHERE kind = 'readings' AND settled < {NEVER}"
        rows = self._read(f"SELECT {_COLUMNS} FROM inbox {settled} ORDER BY id DESC LIMIT ?", count)
        ((first, last),) = self._read("SELECT ifnull(min(id), 0), ifnull(max(id), 0) FROM inbox")
        for number in range(count):
            place = first + (last - first) * number // count
            rows += self._read(f"SELECT {_COLUMNS} FROM inbox {settled} AND id >= ? ORDER BY id LIMIT 1", place)
        return self._sound(sorted({row[0]: row for row in rows}.values()))

    def _sound(self, rows: list[tuple[Any, ...]]) -> list[Stored]:
        whole = [Stored(*row)._replace(sha256=row[5].hex()) for row in rows if proven(row[5], row[4])]
        self.torn += len(rows) - len(whole)
        return whole

    def _read(self, sql: str, *parameters: int) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise in_words(error, self._path) from error
