"""Writing small files so that a power cut leaves the old state or the new one, and never half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from collector.exits import UsageFault


class Draft:
    """A file in the making beside its place. `file` takes the bytes; then `replace` or `link_new`."""

    def __init__(self, file: BinaryIO, name: Path, place: Path) -> None:
        self.file = file
        self._name, self._place = name, place

    def replace(self) -> None:
        """Give it its name, whoever had that before."""
        self._sync()
        self._name.replace(self._place)
        sync_folder(self._place.parent)

    def link_new(self) -> bool:
        """Give it its name unless that is taken; whether it got it."""
        self._sync()
        try:
            os.link(self._name, self._place)
        except FileExistsError:
            return False
        sync_folder(self._place.parent)
        return True

    def _sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def draft(path: Path) -> Iterator[Draft]:
    """A hidden file beside its place, swept away at the end. Raises UsageFault where the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, text = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        name = Path(text)
        try:
            with os.fdopen(handle, "wb") as file:
                name.chmod(0o640)  # the owner and the group; names and addresses are in it
                yield Draft(file, name, path)
        finally:
            name.unlink(missing_ok=True)
    except OSError as error:
        text = f"{path}: cannot be written: {error.strerror}; check the folder, its owner and the disk"
        raise UsageFault(text) from None


def put(path: Path, data: bytes) -> None:
    """The file with these bytes, durable. Raises UsageFault."""
    with draft(path) as new:
        new.file.write(data)
        new.replace()


def put_new(path: Path, data: bytes) -> bool:
    """The same under a name that nobody has; False, and nothing changed, where it is taken. Raises UsageFault."""
    with draft(path) as new:
        new.file.write(data)
        return new.link_new()


def sync_folder(folder: Path) -> None:
    """The names in this folder are on the disk. Windows, which a laptop may have, does that by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
