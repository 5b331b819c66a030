"""The gateway's lines by name: made from its configuration, paused, and changed while they work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from collector.config import GatewayConfig
from collector.control import Reloaded
from collector.edge.asking import MeterSetup
from collector.edge.line import Line, LineSetup
from collector.edge.setup import meter_setup
from collector.exits import UsageFault

# What a gateway is, and to whom it speaks: changed by a new start alone.
IDENTITY = ("gateway", "time_zone", "mqtt", "spool", "log", "metrics")


def setups(config: GatewayConfig, zone: str) -> dict[str, LineSetup]:
    """What each line with meters needs to know; `zone` is the gateway's.

    Raises UsageFault when a password file cannot be read any more.
    """
    try:
        return {
            line.name: LineSetup(
                name=line.name,
                port=line.port,
                zone=zone,
                meters=tuple(meter_setup(meter) for meter in line.meters),
                silent_share=line.silent_share,
            )
            for line in config.lines
            if line.meters
        }
    except ValueError as error:
        raise UsageFault(f"a password file that could be read a moment ago: {error}") from None


class Lines:
    """Lines that work from `start` to `stop`. `make` gives a line. Any thread may look at `running`."""

    def __init__(self, config: GatewayConfig, make: Callable[[LineSetup], Line]) -> None:
        self._config = config
        self._make = make
        self._names = {line.name for line in config.lines}
        self._paused: set[str] = set()
        self._lock = threading.Lock()
        self._setups = setups(config, config.time_zone)
        self.running: Mapping[str, Line] = {name: make(setup) for name, setup in self._setups.items()}

    def start(self) -> None:
        """Start every line. Returns at once."""
        for line in self.running.values():
            line.start()

    def stop(self) -> None:
        """Stop every line, all at once. Returns when each has committed and let go."""
        with self._lock, ThreadPoolExecutor(max_workers=max(1, len(self.running))) as pool:
            list(pool.map(Line.stop, self.running.values()))

    def take(self, name: str, timeout: float) -> bool:
        """Have a line let go of its port. False when it has not within `timeout` s. Raises UsageFault for no line."""
        with self._lock:
            if name not in self._names:
                raise UsageFault(f"no line is called {name!r}; known are {', '.join(sorted(self._names)) or 'none'}")
            self._paused.add(name)
            line = self.running.get(name)
        return line is None or line.pause(timeout)

    def give(self, name: str) -> None:
        """Give a line its port again."""
        with self._lock:
            self._paused.discard(name)
            if (line := self.running.get(name)) is not None:
                line.resume()

    def reload(self, config: GatewayConfig) -> Reloaded:
        """Work by another configuration from now on, as far as that can be without a start. Raises UsageFault."""
        wanted = setups(config, self._config.time_zone)
        with self._lock:
            before, self._setups = self._setups, wanted
            gone = [line for name, line in self.running.items() if name not in wanted]
            self.running = {name: self._worked_by(setup) for name, setup in wanted.items()}
            self._names = {line.name for line in config.lines}
            for line in gone:
                line.stop()
        restart = [key for key in IDENTITY if getattr(config, key) != getattr(self._config, key)]
        restart += [
            f"line {name}: {key}"
            for name in before.keys() & wanted.keys()
            for key in ("port", "silent_share")
            if getattr(self.running[name].setup, key) != getattr(wanted[name], key)
        ]
        old, new = _meters(before), _meters(wanted)
        over = [name for name, meter in old.items() if name not in new or _ends(meter) < _ends(new[name])]
        return Reloaded(
            added=tuple(name for name in new if name not in old),
            changed=tuple(name for name in new if name in old and name not in over and new[name] != old[name]),
            ended=tuple(over),
            restart=tuple(sorted(restart)),
        )

    def _worked_by(self, setup: LineSetup) -> Line:
        """The line of this name, with these meters from its next turn on; a new one if there was none."""
        line = self.running.get(setup.name)
        if line is not None:
            line.change(setup.meters)
            return line
        line = self._make(setup)
        if setup.name in self._paused:
            line.pause(0.0)
        line.start()
        return line


def _ends(meter: tuple[str, MeterSetup]) -> bool:
    return meter[1].ended is not None


def _meters(lines: Mapping[str, LineSetup]) -> dict[str, tuple[str, MeterSetup]]:
    return {meter.id: (name, meter) for name, line in lines.items() for meter in line.meters}
