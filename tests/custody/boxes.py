"""What the tests of the spool share: an outbox with recognisable payloads, and what must be true of any spool file."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.durable.layout import Connect, connect
from collector.spool import Entry, Outbox

NOW = 1793479500000
DAY = 86_400_000


def tombstone(spool: str, sequence: int, snapshots: int, first: int, last: int) -> bytes:
    return f"tombstone {spool}/{sequence}: {snapshots} from {first} to {last}".encode()


def outbox(path: Path, *, max_bytes: int = 64 << 20, keep_ms: int = 40 * DAY, connect: Connect = connect) -> Outbox:
    return Outbox(path, max_bytes=max_bytes, keep_ms=keep_ms, tombstone=tombstone, connect=connect)


def payload_of(spool: str, sequence: int, size: int) -> bytes:
    """Bytes that name their key and are `size` long; the same whenever they are made again."""
    return f"{spool}/{sequence}/{size} ".encode() + random.Random(f"{spool}{sequence}").randbytes(size)


def encoder(size: int) -> Callable[[str, int], bytes]:
    return lambda spool, sequence: payload_of(spool, sequence, size)


def append(box: Outbox, class_: str = "interval", *, size: int = 3000, now: int = NOW, count: int = 10) -> Entry:
    return box.append(class_, encoder(size), count=count, first=now - 1000, last=now, now=now)


def keys(entries: list[Entry]) -> list[int]:
    return [entry.sequence for entry in entries]


def fill_until_evicted(box: Outbox, wanted: int = 1) -> list[Entry]:
    """Append interval batches until so many have been evicted; all that were appended."""
    made = []
    while box.state(NOW).evicted < 10 * wanted:
        made.append(append(box))
        assert len(made) < 2000
    return made


def rows(path: Path, table: str = "outbox") -> list[dict[str, Any]]:
    """The table as it stands in a file that nobody has open, or a running spool has committed."""
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")]
        for row in found:
            row |= {name: row[name].hex() for name in ("sha256", "original") if row.get(name) is not None}
    connection.close()
    return found


def check(path: Path) -> list[dict[str, Any]]:
    """Assert what must be true of every spool file, whatever happened to it; the answer is its rows."""
    found = rows(path)
    keys = [(row["spool"], row["sequence"]) for row in found]
    assert len(set(keys)) == len(keys)
    for row in found:
        assert hashlib.sha256(row["payload"]).hexdigest() == row["sha256"]
        assert len(row["payload"]) == row["size"]
        said = row["payload"].removeprefix(b"tombstone ").decode(errors="replace")
        assert said.startswith(f"{row['spool']}/{row['sequence']}")
        assert (row["kind"] == 2) == (row["original"] is not None) == row["payload"].startswith(b"tombstone")
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return found
