"""Says whether this computer's clock can be trusted: whether somebody who knows the time has set it.

A box without a battery clock wakes up in the past, and what it reads then must not be billed by its time. The kernel
knows: whatever keeps the time (systemd-timesyncd, chrony, ntpd, ptp4l) tells it by adjtimex(2), and it forgets within a
day when nobody does any more. A guest of a hypervisor has the time of its host, which alone knows whether it is right.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path

# The state that adjtimex(2) returns for a clock that nobody synchronises (Linux uapi, timex.h).
TIME_ERROR = 5

# Seconds for which a clock that was right runs on by itself: a crystal of 100 ppm is then off by less than the 60 s
# within which a boundary reading counts as taken on time.
HOLD = 6 * 86_400.0

# Seconds between two looks: lines ask before each meter, and nobody sets a clock more often.
LOOK = 10.0

# What to look at, in the status.
ADVICE = (
    "nobody synchronises this computer's clock, so that its readings cannot be billed: see `timedatectl`, "
    "allow NTP; chrony needs `rtcsync` in its configuration"
)

# Touched by systemd-timesyncd each time it has compared the clock, at least every 34 minutes, and never taken away
# (systemd-timesyncd.service(8), timesyncd.conf(5)).
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
FRESH = 86_400.0  # seconds for which that mark is a sign: as long as the kernel remembers, about
_CPUINFO = Path("/proc/cpuinfo")
_XEN = Path("/sys/hypervisor/type")


class Timekeeping:
    """Whether the clock is right now; it stays so for `HOLD` after the last sign that it was.

    `known`: whether somebody synchronises the clock at this moment. `monotonic`: seconds that never jump.
    """

    def __init__(self, known: Callable[[], bool], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._known = known
        self._monotonic = monotonic
        self._last: float | None = None
        self._looked: float | None = None

    def synced(self) -> bool:
        """Whether the clock can be trusted. Any thread."""
        now = self._monotonic()
        if self._looked is None or now - self._looked >= LOOK:
            self._looked = now
            if self._known():
                self._last = now
        return self._last is not None and now - self._last < HOLD


def of_this_computer() -> Timekeeping:
    """What this computer knows."""
    guest = _is_guest()
    return Timekeeping(lambda: guest or _kernel_synchronised() or _touched_lately(_TIMESYNCD))


def _touched_lately(mark: Path) -> bool:
    try:
        return abs(time.time() - mark.stat().st_mtime) < FRESH
    except OSError:
        return False


def _kernel_synchronised() -> bool:
    """What adjtimex(2) says. Reading needs no rights. False where there is no such call."""
    try:
        call = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return False
    record = ctypes.create_string_buffer(512)  # struct timex: modes 0 (read), at most 208 bytes
    state: int = call(record)
    return 0 <= state < TIME_ERROR


def _is_guest() -> bool:
    try:
        flags = next((line for line in _CPUINFO.read_text().splitlines() if line.startswith("flags")), "")
    except OSError:
        flags = ""
    return " hypervisor" in flags or _XEN.exists()
