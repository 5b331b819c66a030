"""The folder `submissions/` of an emitted month: every file that the utility's profile names, and what they leave out.

`remarks.csv` lists that: file, account, point, register, whether it is in the file, and why. Nothing is left out in
silence.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from collector.central.spreadsheet import guarded
from collector.central.submissions import FORMS, Output
from collector.central.submissions.rows import REMARKS, Head, Row, Writer

_HEADER = ("file", "account", "point", "register", "sent", "reason")


class _Open(NamedTuple):
    name: str
    file: BinaryIO
    writer: Writer


class Submissions:
    """The files in the making, in an empty folder. `add` gets rows in the order of billing.csv. A context."""

    def __init__(self, folder: Path, head: Head, outputs: Sequence[Output]) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._account: list[Row] = []
        self._open: list[_Open] = []
        self._remarks: list[tuple[str, ...]] = []
        for output in outputs:
            name = output.name(head)
            file = self._stack.enter_context((folder / name).open("wb"))
            form: Any = FORMS[output.format]  # its `write` takes its own `Output`, which no type can say here
            self._open.append(_Open(name, file, form.write(output, head, file)))

    def add(self, rows: Iterable[Row]) -> None:
        """The next rows; an account is written when the next one begins."""
        if not self._open:
            return
        for account, found in groupby(rows, key=lambda row: row.reading.account):
            if self._account and self._account[0].reading.account != account:
                self._write()
            self._account += found

    def finish(self) -> list[dict[str, Any]]:
        """All on disk; and what the manifest says of each file."""
        self._write()
        files = []
        for name, file, writer in self._open:
            files.append(self._entry(name, file, writer.finish()))
        if self._open:
            files.append(self._write_remarks())
        return files

    def close(self) -> None:
        """Let go of the files."""
        self._stack.close()

    def _write(self) -> None:
        if self._account:
            for name, _, writer in self._open:
                for remark in writer.add(self._account):
                    names = (guarded(remark.account), guarded(remark.point), remark.register)
                    self._remarks.append((name, *names, "yes" if remark.sent else "no", guarded(remark.reason)))
            self._account.clear()

    def _write_remarks(self) -> dict[str, Any]:
        path = self._folder / REMARKS
        self._remarks.sort(key=lambda remark: remark[0])  # stable: accounts stay in order
        with path.open("w", encoding="utf-8", newline="") as text:
            csv.writer(text, lineterminator="\n").writerows([_HEADER, *self._remarks])
        with path.open("rb") as file:
            return self._entry(REMARKS, file, len(self._remarks))

    def _entry(self, name: str, file: BinaryIO, rows: int) -> dict[str, Any]:
        if file.writable():
            file.flush()
        os.fsync(file.fileno())
        with (self._folder / name).open("rb") as again:
            digest = hashlib.file_digest(again, "sha256").hexdigest()
        return {"name": f"{self._folder.name}/{name}", "rows": rows, "sha256": digest}
