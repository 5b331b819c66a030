"""A file that a command is given: as much of it as may be taken."""

from __future__ import annotations

from pathlib import Path

from drivers.strict_yaml import ConfigError


def contents(path: Path, most: int) -> bytes:
    """Its bytes; of a larger one one more than `most`, so that whoever takes them sees that it is too large.

    Raises ConfigError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
