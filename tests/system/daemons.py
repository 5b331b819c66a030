"""Real daemons for tests: meters that never say a value twice, and the processes of a gateway and a centre."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers import modbus, profile
from drivers.meter_side import Held, MeterSide, Wiring
from drivers.profile import Profile
from tests.broker import PATIENCE

PROFILE = "orno-we-517"  # whole hundredths of a kWh: a counter in steps of 10 Wh travels exactly
ROOT = Path(__file__).resolve().parent.parent.parent


class Register:
    """What all meters of a test have said: each value once, growing."""

    def __init__(self) -> None:
        self._next = itertools.count(1)
        self._lock = threading.Lock()
        self.said: dict[tuple[str, str], list[int]] = {}

    def say(self, meter: str, code: str) -> int:
        """A new value, larger than every one before it."""
        with self._lock:
            value = next(self._next) * 10
            self.said.setdefault((meter, code), []).append(value)
            return value


class _Saying(Mapping[str, Any]):
    def __init__(self, register: Register, meter: str, codes: tuple[str, ...]) -> None:
        self._register, self._meter, self._codes = register, meter, codes

    def __getitem__(self, code: str) -> Any:
        if code not in self._codes:
            raise KeyError(code)
        return self._register.say(self._meter, code)

    def __contains__(self, code: object) -> bool:
        return code in self._codes

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


@dataclass(frozen=True)
class CountingMeter:
    """A simulated meter whose every answer holds values that no answer held before."""

    id: str
    address: str
    serial_number: str
    register: Register
    profile: Profile

    @classmethod
    def make(cls, number: int, register: Register, *, address: int | None = None) -> CountingMeter:
        return cls(f"m-{number}", str(address or number), str(1000 + number), register, profile.load(PROFILE))

    def side(self, usual: Wiring) -> MeterSide:
        """As hil's meters."""
        return modbus.meter(self.profile, self.address, usual)

    def held(self, millis: int) -> Held:
        """As hil's meters."""
        return Held(_Saying(self.register, self.id, self.profile.energy_codes), self.serial_number)


# `meterline` with other constants: what happens every ten seconds happens twice a second.
HURRIED = """
import importlib, json, sys
from collector.cli import main
for name, value in json.loads(sys.argv[1]).items():
    module, _, constant = name.rpartition(".")
    place = importlib.import_module(module)
    assert hasattr(place, constant), name
    setattr(place, constant, value)
main(sys.argv[2:])
"""


class Daemon:
    """A process of `meterline`, killed and started as a test wants it. `constants`: `module.NAME` -> another value."""

    def __init__(self, folder: Path, *arguments: str | Path, constants: Mapping[str, float] | None = None) -> None:
        program = ["-c", HURRIED, json.dumps(constants)] if constants else ["-m", "collector"]
        self._arguments = [sys.executable, *program, *map(str, arguments)]
        self._log = folder / f"{arguments[0]}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._born = 0  # where the log of its present life begins

    @property
    def log(self) -> str:
        """What all its lives have written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def said(self, words: str) -> bool:
        """Whether it has logged these words since it was started last."""
        return words in self.log[self._born :]

    def start(self) -> None:
        self._born = len(self.log)
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._arguments, stdout=out, stderr=out, cwd=ROOT, env={**os.environ})

    def kill(self) -> None:
        """SIGKILL, at whatever line it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends by itself; its exit status."""
        assert self._process is not None
        status = self._process.wait(PATIENCE)
        self._process = None
        return status


def run(*arguments: str | Path) -> str:
    """Run a command of `meterline` to its end; what it printed. Fails when its exit status is not 0."""
    command = [sys.executable, "-m", "collector", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a query gives on a spool file that a daemon may have open. Empty while there is no such file or table."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def chance(seed: int | None = None) -> random.Random:
    """A source of chance that says where it started, so that a failure can be repeated."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    print(f"seed {seed}")
    return random.Random(seed)
