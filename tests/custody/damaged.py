"""Spool files for tests of damage: a sound one to spoil, and what is looked for when it was opened again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from collector.spool import Entry, Outbox
from tests.custody.boxes import append, outbox

SIZES = (50, 400, 3000, 12_000)


def make(path: Path, batches: int = 24) -> list[Entry]:
    """A spool with batches of all sizes and both classes; every fourth is receipted, the fifth is parked."""
    box = outbox(path)
    entries = [append(box, "keep" if n % 6 == 0 else "interval", size=SIZES[n % 4]) for n in range(batches)]
    for entry in entries[::4]:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    box.park(entries[5].spool, 6, entries[5].sha256, "schema")
    box.close()
    return entries


def aside(path: Path) -> Path:
    """The only file that was set aside."""
    (found,) = (other for other in path.parent.glob("*.damaged-*") if not other.name.endswith(("-wal", "-shm")))
    return found


def reopened(path: Path, fault: str) -> tuple[Outbox, str]:
    """The healed box and what it says; it must have found that fault."""
    box = outbox(path)
    assert box.damage is not None
    assert re.search(fault, box.damage), box.damage
    assert re.search(r"the old file is spool\.db\.damaged-\d{8}T\d{6}\.\d{6}Z$", box.damage)
    return box, box.damage


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def unchanged(row: dict[str, Any], before: dict[tuple[str, int], dict[str, Any]]) -> bool:
    return row == before[row["spool"], row["sequence"]]
