"""What a running process has used, from /proc: CPU seconds, peak memory, bytes handed to the disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """CPU seconds (user and system), peak resident KiB, bytes written to the disk (whole pages)."""

    cpu: float
    peak_kib: int
    written: int


def usage(pid: int) -> Usage:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    status, io = Path(f"/proc/{pid}/status").read_text(), Path(f"/proc/{pid}/io").read_text()
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    written = re.search(r"^write_bytes: (\d+)", io, flags=re.MULTILINE)
    assert peak
    assert written
    return Usage((int(fields[11]) + int(fields[12])) / TICKS, int(peak[1]), int(written[1]))


@contextmanager
def meterline(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running `meterline` command, ended by SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "collector", *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
