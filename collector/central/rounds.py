"""A thread that makes its round, waits until the next one is due, and goes on after a failure: one way for all of them.

Rule 1. What a round raises ends that round and not the service. What an operator can mend is said in a sentence; what
        is a fault of ours is in the log with its traceback too.
Rule 2. A failure that goes on is said once, and so is its end.
Rule 3. A round that may be long looks at `stop`, for whoever ends the thread waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from collector.clock import Clock
from collector.exits import CheckFailed, Unreachable, UsageFault
from collector.spool import SpoolFull
from drivers.strict_yaml import ConfigError

log = logging.getLogger(__name__)

# A server that is away, a full disk, an altered file, a fault in the configuration: an operator can mend these.
MENDABLE = (Unreachable, UsageFault, ConfigError, CheckFailed, SpoolFull, SQLAlchemyError, OSError)


class Rounds:
    """A thread of a daemon. As a context it is started and, when that is left, ended between or within rounds.

    `work(now, stop)` makes one round, told the time (ms), and returns when the next one is due. `failing` says in words
    what a round that fails leaves undone; the next one is then tried after `retry` ms.
    """

    def __init__(
        self, name: str, work: Callable[[int, threading.Event], int], clock: Clock, *, failing: str, retry: int
    ) -> None:
        self.name = name
        self.trouble = ""  # what fails and why, in words; empty when all is well
        self._work = work
        self._clock = clock
        self._failing = failing
        self._retry = retry
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._clock.busy():
                due = self._round(self._clock.millis())
            self._clock.wait(due, self._stop)

    def _round(self, now: int) -> int:
        try:
            due = self._work(now, self._stop)
        except Exception as error:  # rule 1
            if not isinstance(error, MENDABLE):
                log.exception("a fault of ours in %s", self.name)
            self._say(f"{self._failing}: {error}")
            return now + self._retry
        self._say("")
        return due

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("%s", trouble) if trouble else log.info("%s: all is well again", self.name)
            self.trouble = trouble
