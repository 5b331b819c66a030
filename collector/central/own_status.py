"""How the centre itself is, in a file beside its spool: the daemon writes it, `fleet` reads it.

A file and not a row: that a database is away is the first thing it has to say.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from collector.central.edge_value import wall

NAME = "centre-status.json"
EVERY = 10.0  # seconds between two writings at the most
STALE = 60_000  # milliseconds: six writings that did not come are no busy moment
BEHIND = 3_600_000  # milliseconds that a batch may wait for its sinks before `fleet` speaks of it


class OwnStatus(NamedTuple):
    """The daemon's last word: when (ms), whether the broker is connected and its words on that, what is wrong.

    `unsettled` batches wait for their sinks, the oldest since `oldest` (ms). `running` is False after a clean stop.
    """

    at: int
    running: bool
    connected: bool
    broker: str
    trouble: tuple[str, ...]
    unsettled: int
    oldest: int | None
    damage: str | None


def write(data: Path, status: OwnStatus) -> None:
    """Replace the file whole. Raises OSError. It is not synced: after a power cut nobody is running."""
    path = data / NAME
    temporary = path.with_name(f".{NAME}.{os.getpid()}")
    temporary.write_text(json.dumps(status._asdict(), ensure_ascii=False))
    temporary.replace(path)


def read(data: Path) -> OwnStatus | None:
    """The last word; None where none can be read."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        held: dict[str, Any] = json.loads((data / NAME).read_text())
        return OwnStatus(**(held | {"trouble": tuple(held["trouble"])}))
    return None


def in_words(status: OwnStatus | None, now: int, zone: str) -> list[str]:
    """What the operator should know of the centre, a sentence each, in local time; nothing when all is well."""
    if status is None:
        return ["the centre has never run on this data folder"]
    if not status.running:
        return [f"the centre was stopped at {wall(status.at, zone)}"]
    if now - status.at > STALE:
        return [f"the centre is not running, or hangs: its last word is of {wall(status.at, zone)}"]
    found = list(status.trouble)
    if not status.connected:
        found.append(f"the broker is away: {status.broker}")
    if status.oldest is not None and now - status.oldest > BEHIND:
        found.append(f"{status.unsettled} batches wait for their stores, the oldest since {wall(status.oldest, zone)}")
    if status.damage:
        found.append(f"the spool: {status.damage}")
    return found
