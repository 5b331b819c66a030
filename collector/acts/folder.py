"""The folder of acts on a gateway or laptop: one file an act, its photos beside it, answers of acts in the making.

    acts/2026-000123.json              the act, canonical
    acts/2026-000123/plate.jpg         what it binds by SHA-256
    acts/2026-000123/scans.json        signed scans that were added later, each bound to the act's hash
    acts/2026-000124.answers           an act in the making

Rule 1. A file that is there is never changed: a correction is another act.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from collector.acts.durable_files import put_new
from collector.acts.journal import SUFFIX
from collector.exits import CheckFailed, UsageFault
from collector.model_act import Act
from collector.model_act_chain import ActFault, head, in_force, opened, written


class ActFolder:
    """The acts of one place. Methods raise CheckFailed for a file that is no act any more, UsageFault otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def acts(self) -> list[Act]:
        """All acts, by number."""
        return [self._open(path) for path in self.files()]

    def files(self) -> list[Path]:
        """The files of acts, sorted."""
        return sorted(self.path.glob("[!.]*.json"))

    def get(self, number: str) -> Act:
        """The act of this number."""
        path = self.place(number)
        if not path.exists():
            raise UsageFault(f"{path} is not there; `meterline act list` shows which acts are")
        return self._open(path)

    def find(self, number: str) -> Act | None:
        """The same, or None."""
        return self._open(self.place(number)) if self.place(number).exists() else None

    def of_point(self, point: str) -> list[Act]:
        """The acts of a point that count, oldest first."""
        return in_force(act for act in self.acts() if act.point == point)

    def head(self, point: str) -> Act | None:
        """The last act of the point's chain."""
        return head(act for act in self.acts() if act.point == point)

    def add(self, act: Act) -> bool:
        """Keep an act, durable on return; False when it was there already. Raises UsageFault for a taken number."""
        if put_new(self.place(act.number), written(act)):
            return True
        if self.get(act.number).hash != act.hash:
            raise UsageFault(f"{self.place(act.number)}: the number is taken by another act; give this one its own")
        return False

    def next_number(self, prefix: str) -> str:
        """The first number that no act here has, nor one in the making: `<prefix>-000124`."""
        taken = [path.stem for path in (*self.files(), *self.unfinished())]
        numbers = [
            int(match[1]) for name in taken if (match := re.fullmatch(re.escape(prefix) + r"-([0-9]{6,9})", name))
        ]
        return f"{prefix}-{max(numbers, default=0) + 1:06d}"

    def unfinished(self) -> list[Path]:
        """The answers of acts in the making, the newest last."""
        return sorted(self.path.glob(f"[!.]*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)

    def journal(self, number: str) -> Path:
        """Where the answers of an act in the making are."""
        return self.path / f"{number}{SUFFIX}"

    def beside(self, number: str) -> Path:
        """Where the photos and scans of an act are."""
        return self.path / number

    def place(self, number: str) -> Path:
        """Where an act is."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", number):
            raise UsageFault(f"{number!r} is no number of an act: letters, digits, dots, dashes, at most 80")
        return self.path / f"{number}.json"

    def _open(self, path: Path) -> Act:
        try:
            act = opened(path.read_bytes())
        except OSError as error:
            raise UsageFault(f"{path}: cannot be read: {error.strerror}") from None
        except ActFault as fault:
            raise CheckFailed(f"{path}: {fault}") from None
        if act.number != path.stem:
            raise CheckFailed(f"{path}: holds act {act.number}; the file has another's name")
        return act

    def faults(self) -> Iterator[str]:
        """What is wrong with single files, in words; the chain is another question (`chain_faults`)."""
        for path in self.files():
            try:
                self._open(path)
            except (CheckFailed, UsageFault) as fault:
                yield str(fault)
