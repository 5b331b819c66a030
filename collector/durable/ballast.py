"""A file that only takes up room, to be given up when the disk is full: deleting from a database needs room first."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# The log at its checkpoint (512 KiB), the largest batch (256 KiB), and the pages that deleting changes.
SIZE = 1 << 20


class Ballast:
    """`SIZE` bytes beside a spool file, if `held`. A file system that fails at it is told of by the spool itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._possible = True
        self.held = path.exists() and path.stat().st_blocks * 512 >= SIZE

    def give_up(self) -> bool:
        """True if there was something to give up."""
        was_held, self.held = self.held, False
        return self._remove() and was_held

    def restore(self) -> bool:
        """Take the room again if the disk has twice as much. True when it has, with a ballast or without."""
        if self.held:
            return True
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return False
        if disk.f_bavail * disk.f_frsize < 2 * SIZE:
            return False
        if self._possible:
            self._take()
        return True

    def _take(self) -> None:
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(handle, 0, SIZE)
                self.held = True
            finally:
                os.close(handle)
        except OSError as error:
            self._remove()
            # A file system that cannot set room aside is not asked again: a full disk will be harder to leave there.
            self._possible = error.errno == errno.ENOSPC

    def _remove(self) -> bool:
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return False
        return True
