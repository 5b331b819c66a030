"""The answers of an act in the making: each on the disk before the next question, so that a dead battery costs nothing.

One JSON list a line: the name of the answer and its value, or the name alone, which takes it back. A later line of the
same name counts. A last line that was cut off in the middle was never acknowledged, and is passed over.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from collector.acts.durable_files import sync_folder
from collector.exits import UsageFault

SUFFIX = ".answers"


class Journal:
    """A file of answers. `answers` holds what is known so far; what `put` and `drop` do is durable on return.

    Raises UsageFault where the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            sync_folder(path.parent)
            self._load(path.read_bytes())
        except OSError as error:
            raise UsageFault(f"{path}: answers cannot be kept here: {error.strerror}") from None

    def _load(self, data: bytes) -> None:
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                name, *value = json.loads(line)
            except (ValueError, TypeError):
                raise UsageFault(f"{self.path}:{number}: not a line of answers; the file was changed") from None
            self._take(name, value)
        if whole < len(data):
            os.ftruncate(self._handle, whole)

    def put(self, name: str, value: Any) -> None:
        """Remember an answer."""
        self._write(name, [value])

    def drop(self, name: str) -> None:
        """Take an answer back: it is asked for again."""
        if name in self.answers:
            self._write(name, [])

    def _write(self, name: str, value: list[Any]) -> None:
        os.write(self._handle, (json.dumps([name, *value], ensure_ascii=False) + "\n").encode())
        os.fsync(self._handle)
        self._take(name, value)

    def _take(self, name: str, value: list[Any]) -> None:
        if value:
            self.answers[name] = value[0]
        else:
            self.answers.pop(name, None)

    def close(self) -> None:
        """Let go of the file; it stays."""
        os.close(self._handle)

    def finish(self) -> None:
        """The act is made: its answers are in it, and the file goes."""
        self.close()
        self.path.unlink(missing_ok=True)
