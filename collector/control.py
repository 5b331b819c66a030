"""Asks a running gateway for something: let go of a line, read the configuration again, send again, say how it is.

The gateway listens on a Unix socket beside its spool. One JSON object a line each way, answered in their order:

    {"do": "pause", "line": "riser-1", "seconds": 600}  ->  {"ok": true, "hold": "...", "until": 1793479500120}
    {"do": "resume", "line": "riser-1", "hold": "..."}  ->  {"ok": true, "resumed": true}
    {"do": "reload"}, {"do": "status"}, {"do": "resend", "since": null}

A refusal is `{"ok": false, "error": "in words"}`. What a request changes it has changed when the answer comes.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from collector.exits import Unreachable, UsageFault

# Seconds for an answer. A line lets go after the asking under way; the longest is an optical meter's readout at 300
# baud: 8 KiB of 10-bit characters are 273 s.
PATIENCE = 300.0
MOST = 1 << 20  # bytes of one line; a status of some thousand meters


class NotRunning(Unreachable):
    """No gateway listens there: its ports are free, and its files nobody's."""


class Refused(UsageFault):
    """The gateway says no; the text says why."""


class Reloaded(NamedTuple):
    """What a reload changed: meters by their id. `restart`: what has changed too and counts from the next start."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    ended: tuple[str, ...]
    restart: tuple[str, ...]


def socket_path(spool: Path) -> Path:
    """Where the gateway with this spool file listens."""
    return spool.with_name(spool.name + ".control")


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name of a socket's path for `bind` and `connect` that is never too long (108 bytes, unix(7))."""
    folder = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def ask(spool: Path, **request: Any) -> dict[str, Any]:
    """One request to the gateway with this spool. Raises NotRunning, Refused, Unreachable."""
    path = socket_path(spool)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(PATIENCE)
        try:
            with reachable(path) as name:
                connection.connect(name)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no gateway is running with the spool {spool} (nobody listens at {path})") from None
        except PermissionError:
            raise Unreachable(
                f"{path}: this user may not talk to the gateway; use its own, its group, or root"
            ) from None
        except OSError as error:
            raise Unreachable(f"{path}: {error}") from None
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline(MOST)
        except TimeoutError:
            raise Unreachable(f"the gateway at {path} gave no answer in {PATIENCE:.0f} s; see its log") from None
        except OSError as error:
            raise Unreachable(f"the gateway at {path} ended in the middle of an answer: {error}") from None
    try:
        answer = json.loads(line)
    except ValueError:
        raise Unreachable(f"the gateway at {path} ended in the middle of an answer") from None
    if not answer.pop("ok"):
        raise Refused(answer["error"])
    return dict(answer)


def pause(spool: Path, line: str, seconds: float) -> str:
    """Have a line let go of its port, for so long at the most; the hold that `resume` takes. The port is free now."""
    return str(ask(spool, do="pause", line=line, seconds=seconds)["hold"])


def resume(spool: Path, line: str, hold: str | None = None) -> bool:
    """Give a line its port again; None: whoever paused it. False when it is not paused (by that hold)."""
    return bool(ask(spool, do="resume", line=line, hold=hold)["resumed"])


@contextmanager
def paused(spool: Path, line: str, seconds: float) -> Iterator[None]:
    """While the block runs the line's port is free, for `seconds` at the most; also when no gateway is running."""
    try:
        hold = pause(spool, line, seconds)
    except NotRunning:
        yield
        return
    try:
        yield
    finally:
        with suppress(NotRunning):
            resume(spool, line, hold)


def reload(spool: Path) -> Reloaded:
    """Have it read gateway.yaml and gateway.d again. Raises Refused with every fault; then nothing has changed."""
    answer = ask(spool, do="reload")
    return Reloaded(*(tuple(answer[name]) for name in Reloaded._fields))


def status(spool: Path) -> dict[str, Any]:
    """The status as it goes to the centre (docs/contract.md), and under `paused` the lines that have let go."""
    return ask(spool, do="status")


def resend(spool: Path, since: int | None) -> int:
    """Send parked batches again and, if `since` (ms) is given, all appended from then on; how many."""
    return int(ask(spool, do="resend", since=since)["count"])
