"""Emitted months on MQTT, for who wants them: the newest revision's manifest and files, retained.

Rule 1. A file goes as it is, under `meterline/billing/v1/<utility>/<period>/<file>`; the manifest last, so that who has
        heard it can have heard everything that it names. Every file's digest is in it, and no other file goes: an
        office program leaves its locks and copies where somebody looked into a table.
Rule 2. A file above 256 KiB does not go: the manifest names it, and it is fetched from the folder.
Rule 3. After each new connection all is told again: the broker may have lost what it held. Told twice is told once.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from collector.messages import MAX_PAYLOAD

log = logging.getLogger(__name__)

TOPIC = "meterline/billing/v1"
EVERY = 10_000  # ms between two looks at the folders; a month is closed once a day
MONTHS = 3  # of each utility: what may still be corrected; older ones are history, in their folders
_REVISION = re.compile(r"r([0-9]{1,9})")


def newest(out: Path) -> Iterator[tuple[str, str, Path]]:
    """(utility, period, folder of the newest revision) of the last months of each utility under `out`."""
    months: dict[str, int] = {}
    for period in sorted((path for path in out.glob("[0-9]*-[0-9]*") if path.is_dir()), reverse=True):
        for utility in sorted(path for path in period.iterdir() if path.is_dir()):
            months[utility.name] = months.get(utility.name, 0) + 1
            revisions = [int(match[1]) for path in utility.iterdir() if (match := _REVISION.fullmatch(path.name))]
            if revisions and months[utility.name] <= MONTHS:
                yield utility.name, period.name, utility / f"r{max(revisions)}"


def messages(utility: str, period: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """(topic, payload) of each file of a revision that is not too large, the manifest last. Raises OSError."""
    manifest = folder / "manifest.json"
    try:
        named = {folder / item["name"] for item in json.loads(manifest.read_bytes())["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{manifest} is not as it was emitted ({error}); `audit verify` says what else is not") from None
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path in named)
    for path in [*files, manifest]:
        if path.stat().st_size <= MAX_PAYLOAD:
            yield f"{TOPIC}/{utility}/{period}/{path.relative_to(folder).as_posix()}", path.read_bytes()


class Emission:
    """What was told of which folder. `publish(topic, payload, retain) -> bool` is the connection's."""

    def __init__(self, out: Path, publish: Callable[[str, bytes, bool], bool], connected: Callable[[], bool]) -> None:
        self._out = out
        self._publish = publish
        self._connected = connected
        self._told: dict[tuple[str, str], Path] = {}

    def round(self, now: int, stop: threading.Event) -> int:
        """One round (`rounds`): tell what is new. What could not be told is tried in the next one. Raises OSError."""
        if not self._connected():
            self._told.clear()
            return now + EVERY
        for utility, period, folder in newest(self._out):
            if self._told.get((utility, period)) == folder:
                continue
            for topic, payload in messages(utility, period, folder):
                if stop.is_set() or not self._publish(topic, payload, True):
                    return now + EVERY
            self._told[utility, period] = folder
            log.info("%s of %s, %s, is told on MQTT", period, utility, folder.name)
        return now + EVERY
