"""Emitted months on MQTT, for who wants them: the newest revision's manifest and files, retained.

Rule 1. A file goes as it is, under `meterline/billing/v1/<utility>/<period>/<file>`; the manifest last, so that who has
        heard it can have heard everything that it names. Every file's digest is in it.
Rule 2. A file above 256 KiB does not go: the manifest names it, and it is fetched from the folder.
Rule 3. After each new connection all is told again: the broker may have lost what it held. Told twice is told once.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from collector.clock import Clock
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
    """(topic, payload) of each file of a revision that is not too large, the manifest last."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    for path in [*files, folder / "manifest.json"]:
        if path.stat().st_size <= MAX_PAYLOAD:
            yield f"{TOPIC}/{utility}/{period}/{path.relative_to(folder).as_posix()}", path.read_bytes()


class Emission:
    """A thread that tells. `publish(topic, payload, retain) -> bool` is the connection's. A context."""

    def __init__(
        self, out: Path, publish: Callable[[str, bytes, bool], bool], connected: Callable[[], bool], clock: Clock
    ) -> None:
        self._out = out
        self._publish = publish
        self._connected = connected
        self._clock = clock
        self._told: dict[tuple[str, str], Path] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emission", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def round(self) -> None:
        """Tell what is new. What could not be told is tried in the next round."""
        if not self._connected():
            self._told.clear()
            return
        for utility, period, folder in newest(self._out):
            if self._told.get((utility, period)) == folder:
                continue
            if not all(self._publish(topic, payload, True) for topic, payload in messages(utility, period, folder)):
                return
            self._told[utility, period] = folder
            log.info("%s of %s, %s, is told on MQTT", period, utility, folder.name)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.round()
            except OSError as error:
                log.warning("emitted months cannot be read: %s", error)
            self._clock.wait(self._clock.millis() + EVERY, self._stop)
