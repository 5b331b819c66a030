"""A conversation on a wire as text: `read --trace` and `record` write it, `replay` and `profile proof` read it.

    # a remark; an empty line says nothing
    2026-10-31T21:01:02.120Z >> 01 04 00 48 00 02 f1 dd
    2026-10-31T21:01:02.151Z << 01 04 04 44 c7 08 52 98 14

Rule 1. A line is an instant (RFC 3339, milliseconds, Z), a direction and bytes: `>>` was said to the meter, `<<` came
        from it; each byte is two hex digits, between blanks. The instant is when the first of the bytes was handed
        over for sending, or when the last of them had come.
Rule 2. Lines stand in the order of the bytes. Several of one direction in a row are pieces of one message, unless what
        was said paused in between.
Rule 3. A byte of a password is `2a` (`*`), and so is a byte from which it could be found out.
Rule 4. `parse` takes what `written` gives, and gives the same back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from collector.localtime import rfc3339, to_millis
from drivers.strict_yaml import ConfigError

SAID, CAME = ">>", "<<"
MOST = 64 << 20  # bytes of a recording; a day of a busy line at 9600 baud has some 200 MB of text, nobody replays it
PAUSE = 100  # milliseconds: three characters at 300 baud; no client waits in a message, and none asks again so soon
SHOWN = 60  # characters of a line that is refused

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (>>|<<)((?: [0-9A-Fa-f]{2})+) *")


class Spoken(NamedTuple):
    """Bytes in one direction, `SAID` or `CAME`. `at`: milliseconds since 1970."""

    at: int
    direction: str
    data: bytes


class Turn(NamedTuple):
    """What was said, in pieces, and all that came until something was said again. Either may be empty."""

    said: tuple[Spoken, ...]
    came: tuple[Spoken, ...]

    @property
    def request(self) -> bytes:
        return b"".join(piece.data for piece in self.said)

    @property
    def answer(self) -> bytes:
        return b"".join(piece.data for piece in self.came)


def written(spoken: Spoken) -> str:
    """Its line, without an end of line."""
    return f"{rfc3339(spoken.at)} {spoken.direction} {spoken.data.hex(' ')}"


def parse(text: str, name: str) -> tuple[Spoken, ...]:
    """A recording from its text; `name` stands for the file in faults. Raises ConfigError with all that is wrong."""
    found: list[Spoken] = []
    faults: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        match _LINE.fullmatch(line):
            case None:
                faults.append(f"{name}:{number}: expected `2026-10-31T21:01:02.120Z >> 01 04`, here {line[:SHOWN]!r}")
            case parts:
                try:
                    at = to_millis(datetime.fromisoformat(parts[1]))
                except ValueError as error:
                    faults.append(f"{name}:{number}: {parts[1]}: {error}")
                    continue
                found.append(Spoken(at, parts[2], bytes.fromhex(parts[3])))
    if faults:
        raise ConfigError(faults)
    return tuple(found)


def load(path: Path) -> tuple[Spoken, ...]:
    """A recording from its file. Raises ConfigError, also where nothing is in it."""
    try:
        if path.stat().st_size > MOST:
            raise ConfigError([f"{path}: more than {MOST >> 20} MiB; cut out the part that is wanted"])
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is no character of a recording"]) from None
    found = parse(text, str(path))
    if not found:
        raise ConfigError([f"{path}: nobody says anything in it"])
    return found


def turns(recording: Iterable[Spoken]) -> Iterator[Turn]:
    """The conversation turn by turn: one has no request where the meter began, and no answer where none came."""
    said: list[Spoken] = []
    for direction, group in groupby(recording, key=lambda spoken: spoken.direction):
        pieces = tuple(group)
        if direction == CAME:
            yield Turn(tuple(said), pieces)
            said = []
            continue
        for piece in pieces:
            if said and piece.at - said[-1].at >= PAUSE:
                yield Turn(tuple(said), ())
                said = []
            said.append(piece)
    if said:
        yield Turn(tuple(said), ())
