"""What makes a gateway in this process quick to watch: a reading each second, a clock that shows what a test needs."""

from __future__ import annotations

from dataclasses import replace

from collector.clock import SystemClock
from collector.config import GatewayConfig

SECOND = 1000  # ms; gateway.yaml takes no less than five seconds, which is for the sake of real wires


def each_second(config: GatewayConfig) -> GatewayConfig:
    """The same configuration, and every meter is asked each second."""
    lines = (
        replace(line, meters=tuple(replace(meter, interval=SECOND) for meter in line.meters)) for line in config.lines
    )
    return replace(config, interval=SECOND, lines=tuple(lines))


class SetClock(SystemClock):
    """The computer's clock, set to `now` (ms since 1970) when the test began: what is due does not hang on the hour."""

    def __init__(self, now: int) -> None:
        self._ahead = now - super().millis()

    def millis(self) -> int:
        return super().millis() + self._ahead
