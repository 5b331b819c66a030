"""Starts the opponents: Modbus servers by pymodbus and by libmodbus, on TCP or on a device, as processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Meter:
    """What an opponent serves: 16-bit words by wire address."""

    unit: int = 1
    holding: Mapping[int, int] = field(default_factory=dict)
    input: Mapping[int, int] = field(default_factory=dict)


def words(address: int, data: bytes) -> dict[int, int]:
    """Bytes, most significant first, as words from `address` on."""
    return {address + n // 2: int.from_bytes(data[n : n + 2], "big") for n in range(0, len(data), 2)}


@contextmanager
def pymodbus(meter: Meter, device: str | None = None) -> Iterator[int]:
    """A pymodbus server on TCP (its port is given) or on `device`."""
    told = json.dumps({"unit": meter.unit, "holding": meter.holding, "input": meter.input})
    command = [sys.executable, str(HERE / "pymodbus_server.py"), *(("rtu", device) if device else ("tcp",))]
    with _serving(command, told + "\n") as port:
        yield port


@contextmanager
def libmodbus(program: Path, meter: Meter, device: str | None = None) -> Iterator[int]:
    """A libmodbus server on TCP (its port is given) or on `device`. `program`: from `compiled`."""
    lines = [f"h {at} {word}" for at, word in meter.holding.items()]
    lines += [f"i {at} {word}" for at, word in meter.input.items()]
    command = [str(program), "rtu" if device else "tcp", str(meter.unit), *((device,) if device else ())]
    with _serving(command, "\n".join([*lines, ".\n"])) as port:
        yield port


def compiled(folder: Path) -> Path:
    """The libmodbus server, compiled into `folder`. Skips the test where there is no compiler or no libmodbus."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc): the libmodbus server cannot be built; apt install gcc")
    program = folder / "libmodbus_server"
    source = str(HERE / "libmodbus_server.c")
    headers = ["-I/usr/include/modbus", "-I/usr/local/include/modbus"]
    command = ["cc", "-O1", "-Wall", *headers, "-o", str(program), source, "-lmodbus"]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    if "modbus.h: No such file" in built.stderr or "cannot find -lmodbus" in built.stderr:
        pytest.skip("libmodbus is not installed: apt install libmodbus-dev")
    assert built.returncode == 0, built.stderr
    return program


@contextmanager
def _serving(command: list[str], told: str) -> Iterator[int]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(told)
        process.stdin.flush()
        ready, _, port = process.stdout.readline().strip().partition(" ")
        assert ready == "ready", f"{command[0]} did not start; status {process.poll()}"
        yield int(port)
    finally:
        process.kill()
        process.communicate()
