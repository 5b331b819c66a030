"""A line's wire while its port is open, and when to try again while it is not."""

from __future__ import annotations

import logging
from collections.abc import Callable

from collector.clock import Clock
from collector.edge.schedule import growing
from collector.edge.transport import PortError
from collector.edge.wire import Wire

log = logging.getLogger(__name__)

# Milliseconds between two tries to open a port. One second: an unplugged adapter is back under its name in one or two.
# One minute: a converter that restarts takes about as long, and a port that is not there costs nothing but a log line.
FIRST, MOST = 1_000, 60_000


class Connection:
    """Opens the port by `open_wire`, and again, with growing pauses, when it was lost."""

    def __init__(self, line: str, open_wire: Callable[[], Wire], clock: Clock) -> None:
        self.wire: Wire | None = None
        self.why = "the port was not opened yet"
        self.again = 0  # milliseconds since 1970: not opened before then
        self._line = line
        self._open_wire = open_wire
        self._clock = clock
        self._tries = 0

    def open(self) -> Wire | None:
        """The wire; None while the port cannot be had, `why` says what is wrong. Tries only when it is time to."""
        now = self._clock.millis()
        if self.wire is None and not now < self.again <= now + MOST:
            try:
                self.wire = self._open_wire()
                log.info("line %s: %s is open", self._line, self.wire.transport.name)
            except PortError as error:
                self._note(error, now)
        return self.wire

    def lost(self, error: PortError) -> None:
        """The port is lost: close what is left of it."""
        self._shut()
        self._note(error, self._clock.millis())

    def answered(self) -> None:
        """A meter answered, so the port is good: the next pause is a short one again."""
        self._tries = 0

    def close(self, why: str) -> None:
        """Let go of the port; the next `open` opens it at once."""
        self._shut()
        self.why, self.again, self._tries = why, 0, 0

    def _shut(self) -> None:
        if self.wire is not None:
            self.wire.transport.close()
            self.wire = None

    def _note(self, error: PortError, now: int) -> None:
        self.again = now + growing(self._tries, FIRST, MOST)
        self._tries += 1
        if str(error) != self.why:
            log.error("line %s: %s", self._line, error)
        self.why = str(error)
