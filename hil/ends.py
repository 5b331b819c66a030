"""The end that `record` and `replay` give a client: which kinds there are, and how the command line names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import click

from collector.exits import Unreachable, UsageFault
from hil.characters import Setting
from hil.ports import Converter, ModbusTcp, Port, Pty, Rfc2217

Kind = Literal["pty", "socket", "rfc2217", "tcp"]
KINDS: tuple[Kind, ...] = ("pty", "socket", "rfc2217", "tcp")
NETWORK: dict[Kind, Callable[[Setting, tuple[str, int]], Port]] = {
    "socket": Converter,
    "rfc2217": Rfc2217,
    "tcp": ModbusTcp,
}

LISTEN: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="Where a network end listens; port 0 is any that is free.",
)


def client_end(kind: Kind, listen: str, setting: Setting) -> Port:
    """An end that a client can open; its name says how. Raises UsageFault, and Unreachable where it cannot listen."""
    if kind == "pty":
        return Pty(setting)
    host, colon, number = listen.rpartition(":")
    if not (host and colon and number.isascii() and number.isdigit() and int(number) < 1 << 16):
        raise UsageFault(f"--listen {listen}: expected HOST:PORT such as 127.0.0.1:4001")
    try:
        return NETWORK[kind](setting, (host, int(number)))
    except OSError as error:
        raise Unreachable(f"--listen {listen}: cannot listen there: {error.strerror or error}") from None
