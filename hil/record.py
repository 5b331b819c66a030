"""`meterline record`: sits between a client and a line, or only listens, and writes what is said into a text file."""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path
from threading import Event
from typing import Literal

import click

from collector import daemon
from collector.clock import SystemClock
from collector.config_fields import BAUDRATES, milliseconds
from collector.edge.transport import open_port, parse_port
from collector.exits import Unreachable, UsageFault
from hil.characters import Setting
from hil.ends import KINDS, LISTEN, Kind, client_end
from hil.ports import Port
from hil.tap import Recorder, Tap

FRAMINGS = [data + parity + stop for data in "87" for parity in "NEO" for stop in "12"]
LOOK = 0.2  # seconds between two looks at whether the line was lost


class Nobody:
    """In the place of a client, where a line is only listened to."""

    name = "nobody"
    taken = True

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._never = Event()

    def setting(self) -> Setting:
        return self._setting

    def wait(self, seconds: float | None, stop: int) -> tuple[bytes, Setting]:
        self._never.wait(seconds)
        return b"", self._setting

    def give(self, data: bytes) -> None:
        """Nobody hears it."""

    def close(self) -> None:
        """Nothing is open."""


@click.command(
    help="Write down what a client and the meters at PORT say, until SIGINT or SIGTERM; passwords are masked."
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--port", required=True, help="The real line: /dev/ttyUSB0, socket://, rfc2217://, tcp://host:port.")
@click.option(
    "--client",
    type=click.Choice([*KINDS, "none"]),
    help="What the client opens; its name is printed. none: listen only.  [default: pty; tcp for a tcp:// port]",
)
@LISTEN
@click.option(
    "--baudrate",
    type=click.Choice([str(rate) for rate in BAUDRATES]),
    default="9600",
    show_default=True,
    help="Of the line, until the client sets its end.",
)
@click.option(
    "--framing",
    type=click.Choice(FRAMINGS),
    default="8N1",
    show_default=True,
    help="Of the line; a pty does not tell the client's.",
)
@click.option("--for", "duration", metavar="10m", help="End by itself.")
def record(
    *,
    file: Path,
    port: str,
    client: Kind | Literal["none"] | None,
    listen: str,
    baudrate: str,
    framing: str,
    duration: str | None,
) -> None:
    """Ends with 0 when it is told to, with 6 when the line is lost. FILE must not exist: recordings are evidence."""
    clock = SystemClock()
    until = None if duration is None else clock.monotonic() + _seconds(duration)
    setting = Setting(int(baudrate), framing)
    kind: Kind | Literal["none"] = client or ("tcp" if parse_port(port).scheme == "tcp" else "pty")
    stop = daemon.until_signal()
    try:
        stream = file.open("xb", buffering=0)  # a line that the disk did not take is not tried again at the end
    except OSError as error:
        raise UsageFault(f"{file}: cannot be made: {error.strerror}") from None
    with stream:
        recorder = Recorder(_into(stream, file), clock)
        try:
            line = open_port(port, setting.baudrate, framing)
        except BaseException:
            file.unlink()
            raise
        end: Port = Nobody(setting) if kind == "none" else client_end(kind, listen, setting)
        recorder.remark(f"{port}, {baudrate} {framing}")
        with Tap(end, line, recorder) as tap:
            click.echo(f"meterline: writing {file}; end with Ctrl-C", err=True)
            click.echo(end.name)
            while not stop.wait(LOOK) and not tap.ended.is_set():
                if until is not None and clock.monotonic() >= until:
                    break
    if tap.failed is not None:
        raise tap.failed


def _into(stream: FileIO, file: Path) -> Callable[[str], None]:
    """What writes a line to the file. Raises Unreachable where the disk does not take the whole of it."""

    def write(line: str) -> None:
        data = f"{line}\n".encode("ascii")
        try:
            lost = "no room is left" if stream.write(data) < len(data) else ""
        except OSError as error:
            lost = error.strerror or str(error)
        if lost:
            raise Unreachable(f"{file}: {lost}; the recording ends in its last whole line, record again with room")

    return write


def _seconds(text: str) -> float:
    try:
        return milliseconds(text) / 1000
    except ValueError as error:
        raise UsageFault(f"--for: {error}") from None
