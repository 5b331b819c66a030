"""The files of an emitted month: billing.csv, findings.csv, manifest.json, written whole into a folder r<N> by rename.

The bytes depend on the rows alone: no clock, no path, no version. So a folder that a crash kept from appearing, or
that somebody removed, is written again from the ledger and is the same.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

from collector.central.building_sum import BuildingSums
from collector.central.ledger import Entry
from collector.central.spreadsheet import guarded
from collector.central.submissions import Output
from collector.central.submissions.folder import Submissions
from collector.central.submissions.rows import Head, Row
from collector.localtime import rfc3339
from collector.model import SCHEMA, BillingReading, Finding

BILLING = (
    "period", "utility", "account", "point", "meter", "serial_number", "register", "label", "start_time", "start_kwh",
    "end_time", "end_kwh", "ratio", "consumption_kwh", "status", "method", "quality", "revision", "digest",
)  # fmt: skip
FINDINGS = ("period", "account", "point", "meter", "register", "time", "check", "level", "quality", "text")
_LOOK_AGAIN = 0.1  # seconds: short beside a close, long beside a look
_PIECE = 1 << 16  # characters that are written and added to the digest at a time
STATUSES = ("ready", "held", "missing", "estimated")


@contextmanager
def folder_lock(folder: Path, between: Callable[[], None]) -> Iterator[None]:
    """Nobody else writes into this folder meanwhile, in any process. Makes the folder, durably.

    `between` is called while somebody else has it: what it raises ends the waiting.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        _sync(path.parent)
    handle = os.open(folder, os.O_RDONLY)
    try:
        while not _locked(handle):
            between()
            time.sleep(_LOOK_AGAIN)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Draft:
    """A folder r<N> in the making, beside its place. A context: what is not finished when it ends is swept away."""

    def __init__(self, folder: Path, head: Head, outputs: Sequence[Output], flats: int | None = None) -> None:
        """`flats`: by how many percent those of a building may differ from its meter; None: nobody asks."""
        self.place = folder / f"r{head.revision}"
        self._draft = folder / f".r{head.revision}"
        named = {"period": head.period, "utility": head.utility, "revision": head.revision}
        self._head = {"schema": SCHEMA, **named}
        self._counts: Counter[str] = Counter()
        self._said: list[tuple[str, Finding]] = []
        self._manifest: str | None = None
        self._sweep()  # what a crash left of it
        (self._draft / "submissions").mkdir(parents=True)
        self._billing = _Table(self._draft / "billing.csv", BILLING)
        self._findings = _Table(self._draft / "findings.csv", FINDINGS)
        self._buildings = None if flats is None else BuildingSums(flats)
        self._outputs = bool(outputs)
        self._submissions = Submissions(self._draft / "submissions", head, outputs)

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._billing.close()
        self._findings.close()
        self._submissions.close()
        if kind is not None or self._manifest is None:
            self._sweep()

    def add(self, entries: Iterable[Entry]) -> None:
        """The next rows, in the order of the files, and what is said of them; all rows of a point at once."""
        for entry in entries:
            reading = entry.reading
            if self._said and self._said[0][1].point != reading.point:
                self._say()
            self._counts[reading.status] += 1
            self._billing.write(billing_cells(reading, entry.digest))
            if self._outputs:
                self._submissions.add([Row(reading, *entry.place)])
            if self._buildings is not None:
                self._buildings.add(entry)
            self._said += [(reading.account, finding) for finding in entry.findings]

    def finish(self, previous: str | None) -> str:
        """The manifest, when all rows are there. `previous`: the manifest of the revision before."""
        self._say()
        if self._buildings is not None:
            self._said += self._buildings.findings()
            self._say()
        files = [*(table.finish() for table in (self._billing, self._findings)), *self._submissions.finish()]
        link = None if previous is None else hashlib.sha256(previous.encode()).hexdigest()
        counts = {status: self._counts[status] for status in STATUSES}
        whole = {**self._head, "expected": self._counts.total(), **counts, "files": files, "previous": link}
        self._manifest = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
        return self._manifest

    def publish(self) -> None:
        """Put the finished folder into its place, durable."""
        assert self._manifest is not None, "finish comes before publish"
        path = self._draft / "manifest.json"
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(self._manifest)
            file.flush()
            os.fsync(file.fileno())
        _sync(self._draft / "submissions")
        _sync(self._draft)
        self._draft.rename(self.place)
        _sync(self.place.parent)

    def _sweep(self) -> None:
        shutil.rmtree(self._draft, ignore_errors=True)

    def _say(self) -> None:
        """Write what is said of the point: of the point as a whole, which each of its rows repeats, only once."""
        for account, finding in dict.fromkeys(self._said):
            self._findings.write(_finding_cells(str(self._head["period"]), account, finding))
        self._said.clear()


class _Table:
    """A CSV file in the making: RFC 4180, line feeds, its digest taken on the way."""

    def __init__(self, path: Path, header: tuple[str, ...]) -> None:
        self._name = path.name
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._rows = -1  # the header is none
        self._buffer = StringIO(newline="")
        self._csv = csv.writer(self._buffer, lineterminator="\n")
        self.write(header)

    def write(self, cells: Iterable[Any]) -> None:
        """The next record."""
        self._csv.writerow(cells)
        self._rows += 1
        if self._buffer.tell() > _PIECE:
            self._write_out()

    def _write_out(self) -> None:
        piece = self._buffer.getvalue().encode()
        self._buffer.seek(0)
        self._buffer.truncate()
        self._digest.update(piece)
        self._file.write(piece)

    def finish(self) -> dict[str, Any]:
        """On disk; and what the manifest says of it."""
        self._write_out()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return {"name": self._name, "rows": self._rows, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def billing_cells(reading: BillingReading, digest: str) -> list[Any]:
    """A row as it stands in billing.csv, in the order of BILLING."""
    return [
        reading.period,
        guarded(reading.utility),
        guarded(reading.account),
        guarded(reading.point),
        guarded(reading.meter),
        guarded(reading.serial_number),
        reading.register_,
        guarded(reading.label),
        _time(reading.start_time),
        _number(reading.start_kwh),
        _time(reading.end_time),
        _number(reading.end_kwh),
        _number(reading.ratio),
        _number(reading.consumption_kwh),
        reading.status,
        reading.method,
        reading.quality,
        reading.revision,
        digest,
    ]


def _finding_cells(period: str, account: str, finding: Finding) -> list[Any]:
    names = (account, finding.point, finding.meter)
    how = (finding.check, finding.level, finding.quality)
    return [period, *map(guarded, names), finding.register_, _time(finding.time), *how, guarded(finding.text)]


@lru_cache(maxsize=256)  # the rows of a point mostly share their two instants
def _time(millis: int | None) -> str:
    return "" if millis is None else rfc3339(millis)


def _number(value: Decimal | None) -> str:
    return "" if value is None else f"{value:f}"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
