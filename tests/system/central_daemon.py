"""A centre in this process for tests of the system: on a real broker, with a clock that a test sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from collector.central.database import quarantine
from collector.central.service import Centre
from collector.clock import SystemClock
from collector.config import load_central
from tests.broker import eventually
from tests.central.building import (
    central_yaml,
)


class JumpingClock(SystemClock):
    """The wall clock as a test sets it; what must not jump does not."""

    def __init__(self, now: int) -> None:
        self.now = now

    def millis(self) -> int:
        return self.now


@contextmanager
def running_centre(folder: Path, url: str, clock: SystemClock | None = None) -> Iterator[Centre]:
    with Centre(load_central(central_yaml(folder, url)), clock or SystemClock()) as centre:
        eventually(lambda: centre.connection.connected, "the centre is connected")
        yield centre


def doubts(engine: Engine) -> dict[int, str]:
    """Sequence -> why it is in quarantine."""
    with engine.connect() as connection:
        return {row.sequence: row.reason for row in connection.execute(quarantine.select())}
