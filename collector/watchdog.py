"""Tells systemd that a daemon is ready, alive, stopping: sd_notify(3) without its library.

Rule 1. Alive is said only while every pulse keeps its word. When one does not, nothing more is said, and systemd ends
        the daemon and starts it again: what is in the spool is there after it.
Rule 2. Without NOTIFY_SOCKET nothing is said to anybody, and nothing else is different.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping

from collector.pulse import Pulse

log = logging.getLogger(__name__)


class Watchdog:
    """`pulses` gives those of all threads that live now. `step` is to be called about once a second."""

    def __init__(
        self,
        pulses: Callable[[], Iterable[Pulse]],
        environment: Mapping[str, str] = os.environ,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulses = pulses
        self._monotonic = monotonic
        self._address = environment.get("NOTIFY_SOCKET", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "0")
        # Twice within the time that systemd waits (sd_watchdog_enabled(3) says so).
        self._every = int(usec) / 2_000_000 if ours and usec.isdigit() and int(usec) else None
        self._next = 0.0
        self._late: frozenset[str] = frozenset()

    def ready(self, text: str) -> None:
        """Everything is open and works; `text` is shown by `systemctl status`."""
        self._say(f"READY=1\nSTATUS={text}")

    def stopping(self) -> None:
        """A clean end has begun."""
        self._say("STOPPING=1")

    def step(self) -> None:
        """Look at the pulses; feed the watchdog when its time has come and nobody is late."""
        now = self._monotonic()
        late = [pulse for pulse in self._pulses() if pulse.late]
        for pulse in late:
            if pulse.name not in self._late:
                log.critical("%s has not moved for too long (%.0f s over its time)", pulse.name, pulse.late)
        self._late = frozenset(pulse.name for pulse in late)
        if self._every is not None and not late and now >= self._next:
            self._next = now + self._every
            self._say("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        # An abstract socket's name begins with NUL, written as @ (sd_notify(3)).
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.settimeout(1.0)  # a manager that takes nothing must not hold us up
                end.sendto(text.encode(), address)
        except OSError as error:
            log.warning("systemd cannot be told anything (%s): %s", self._address, error)
