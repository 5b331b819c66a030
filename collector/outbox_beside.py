"""A gateway's spool as another process beside the daemon uses it: adds what must be kept, reads what was stored last.

Rule 1. What is added gets its number in the same transaction as everything that the daemon appends (SQLite's write
        lock), so numbers have no holes and none is given twice. The daemon finds it at its next look.
Rule 2. Nothing is taken away here, and what stands there is never changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from collector import outbox
from collector.durable.layout import BUSY, SpoolUnusable, connect, digest, in_words, prepare, proven, transaction
from collector.outbox import KEEP, WAITING, Entry


def append_beside(path: Path, encode: Callable[[str, int], bytes], now: int) -> Entry:
    """Commit what `encode(spool, sequence)` gives, class `keep`. Durable on return, whether a daemon runs or not.

    Raises SpoolUnusable where there is no spool yet, or it cannot be written; SpoolFull when the disk is full.
    """
    if not path.exists():
        raise SpoolUnusable(f"{path} is not there yet: the gateway makes it when it starts; check spool.path")
    try:
        with closing(connect(path)) as connection:
            _check(connection.execute("PRAGMA application_id").fetchone()[0], path)
            with transaction(prepare(connection)):
                spool = str(connection.execute("SELECT value FROM about WHERE name = 'id'").fetchone()[0])
                sequence = outbox.next_sequence(connection, spool)
                payload = encode(spool, sequence)
                columns = (spool, sequence, KEEP, WAITING, now, 0, now, now, len(payload), None, None)
                connection.execute(outbox.INSERT, (*columns, digest(payload), payload))
    except sqlite3.Error as error:
        raise in_words(error, path) from error
    return Entry(spool, sequence, "keep", payload, digest(payload).hex())


def newest_payloads(path: Path) -> Iterator[bytes]:
    """Every batch that the spool holds, the newest first; those whose bytes are damaged are left out."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", timeout=BUSY, uri=True)) as db:
            _check(db.execute("PRAGMA application_id").fetchone()[0], path)
            for sha256, payload in db.execute("SELECT sha256, payload FROM outbox ORDER BY id DESC"):
                if proven(sha256, payload):
                    yield payload
    except sqlite3.Error as error:
        raise in_words(error, path) from error


def _check(application: int, path: Path) -> None:
    # What the daemon's own layout writes; the tombstone that `layout` takes is made by nobody here.
    wanted = outbox.layout(lambda *_: b"").application
    if application != wanted:
        raise SpoolUnusable(f"{path} is no spool of a gateway (application id {application})")
