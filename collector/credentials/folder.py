"""Files of secrets: made once, whole or not at all, and for their owner alone.

Rule 1. What is there already is never changed.
Rule 2. Files are 0600 in folders 0700. No secret is printed or stands in an argument or an environment.
Rule 3. A file appears whole or not at all: temporary name, write, fsync, rename.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

# Folder of deploy/variable -> whom its files belong to: the user and group of that container in docker-compose.yml.
# mosquitto, influxdb, postgres and grafana have these numbers in their published images; 10001 is our Dockerfile's.
OWNERS = {"mosquitto": 1883, "influxdb": 1000, "postgres": 999, "centre": 10001, "grafana": 472, "gateways": 10001}


class Trouble(Exception):
    """What the operator must look at; its text says what to do."""


class Folder:
    """A folder of secrets and what goes with them.

    `owners`: part of it -> the user and group its files belong to. `say`: tells the operator what was made.
    """

    def __init__(self, root: Path, owners: Mapping[str, int] | None = None, say: Callable[[str], None] = print) -> None:
        self.root = root
        self.say = say
        self._owners = owners or {}
        self._made: set[Path] = set()

    def path(self, name: str) -> Path:
        """Where a file stands, its folders made."""
        path = self.root / name
        for folder in reversed([p for p in path.parents if p == self.root or self.root in p.parents]):
            self._own_folder(folder)
        return path

    def put(self, name: str, content: bytes) -> None:
        """Write a file whole, for its owner alone."""
        path = self.path(name)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._give(Path(temporary))
        Path(temporary).replace(path)
        fsync_folder(path.parent)
        self.say(f"made {name}")

    def get(self, name: str) -> bytes | None:
        """A file's content; None where it is not there."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def secret(self, name: str) -> str:
        """The secret in this file, made of 256 random bits if it is not there."""
        if self.get(name) is None:
            self.put(name, secrets.token_urlsafe(32).encode() + b"\n")
        text = (self.get(name) or b"").decode().split("\n", 1)[0]
        if not text:
            raise Trouble(f"{self.root / name} is empty: delete it, run this again")
        return text

    def copy(self, source: str, name: str) -> None:
        """A file that is the same as another one."""
        content = self.get(source)
        assert content is not None
        if self.get(name) != content:
            self.put(name, content)

    def _own_folder(self, folder: Path) -> None:
        # A folder that is there may be one that the container engine made for a mount, as root's and open.
        if folder not in self._made:
            self._made.add(folder)
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_mode & 0o777 != 0o700:
                folder.chmod(0o700)
            self._give(folder)

    def _give(self, path: Path) -> None:
        """To the user of the container that reads it. Only root may give away; else it stays ours."""
        owner = self._owners.get(path.relative_to(self.root).parts[0] if path != self.root else "")
        if owner is not None and os.geteuid() == 0 and path.stat().st_uid != owner:
            os.chown(path, owner, owner)


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
