"""How long a meter takes to begin its answer, measured on the wire: what its requests are planned with.

A profile says what is usual. What counts is the meter's own time and that of the adapter in front of it: with 20 ms
assumed where there are 5, requests are planned too long, and a pass takes five per cent more than it must.
"""

from __future__ import annotations

from collector.edge.transport import Transport
from collector.edge.wire import Trace
from drivers.dialogue import character_seconds

# Seconds. Plans are made for multiples of it: shorter than the 8 characters of a request at 9600 baud, so that no plan
# is off by more than half a request; and a meter's requests stay the same from one asking to the next.
STEP = 0.005

SHARE = 0.2  # of a new measurement in what is believed: five askings to learn, one odd one changes nothing


class Reaction:
    """Listens to a wire (it is a `Trace`). `fastest`: seconds from the end of a request to its answer's beginning."""

    def __init__(self, then: Trace | None) -> None:
        self.fastest: float | None = None
        self._then = then
        self._port: Transport | None = None
        self._sent: float | None = None

    def begin(self, port: Transport) -> None:
        """Forget what was measured: another meter is asked at this port."""
        self.fastest = self._sent = None
        self._port = port

    def __call__(self, direction: str, data: bytes, at: float) -> None:
        """Take note of a piece of bytes on the wire."""
        if direction == ">>":
            self._sent = at + self._seconds(data)
        elif self._sent is not None:
            # The piece was under way for its characters' time. Below zero it is an echo of the request.
            seconds = at - self._seconds(data) - self._sent
            self._sent = None
            if seconds >= 0 and (self.fastest is None or seconds < self.fastest):
                self.fastest = seconds
        if self._then is not None:
            self._then(direction, data, at)

    def _seconds(self, data: bytes) -> float:
        """How long bytes are on the wire, at its present speed."""
        port = self._port
        return 0.0 if port is None or port.tcp else len(data) * character_seconds(port.baudrate, port.framing)


def believed(before: float | None, measured: float) -> float:
    """What is believed of a meter after another measurement."""
    return measured if before is None else before + SHARE * (measured - before)


def planned(seconds: float) -> float:
    """The turnaround to plan with."""
    return max(1, round(seconds / STEP)) * STEP
