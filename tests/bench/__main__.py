"""`make bench`: measures what docs/benchmarks.md holds and prints it as its table. Takes over twenty minutes."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

PARTS = (
    "line",
    "mercury",
    "optical",
    "gateway",
    "centre",
    "close",
    "acts",
    "latency",
    "outage",
    "submissions",
    "simulated",
)


def processor() -> str:
    """The processor's name as the system gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Measure the parts named on the command line, or all."""
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, Python {platform.python_version()}\n")
    print("| figure | measured | to reach | of what |\n|---|---|---|---|")
    for part in sys.argv[1:] or PARTS:
        for figure in import_module(f"tests.bench.{part}").figures():
            print(f"| {figure.name} | {figure.value} | {figure.target} | {figure.detail} |", flush=True)


if __name__ == "__main__":
    main()
