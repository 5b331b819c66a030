"""A wire in small for IEC 62056-21 dialogues: a meter's answers by what it hears, and what was carried out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.dialogue import (
    DamagedFrame,
    Dialogue,
    Done,
    Drain,
    DriverError,
    Never,
    NoAnswer,
    NotInProfile,
    Pause,
    Receive,
    Send,
    SetLine,
)
from drivers.iec62056_21_characters import off_wire, on_wire

TELEGRAMS = Path(__file__).resolve().parent.parent / "data" / "telegrams"

Answer = Callable[[bytes, int], bytes]
"""Characters heard, and the speed they came with -> the bytes that the meter puts on the wire."""


@dataclass
class World:
    """Carries a dialogue out against `answer`, `piece` bytes at a time; characters of `framing`."""

    answer: Answer
    framing: str = "7E1"
    piece: int = 1
    can_switch: bool = True
    rate: int = 0
    said: list[bytes] = field(default_factory=list)
    """Characters that were sent."""
    rates: list[int] = field(default_factory=list)
    """The speed of each of them."""
    secrets: list[bytes] = field(default_factory=list)
    waited: float = 0.0
    receives: list[Receive] = field(default_factory=list)

    def carry(self, dialogue: Dialogue[Any]) -> Any:
        """The dialogue's result; raises what it raises."""
        queue = b""
        try:
            step = next(dialogue)
            while True:
                found, fault = None, None
                match step:
                    case Send(data, secret):
                        self.secrets += [secret] if secret else []
                        assert secret in data
                        heard = off_wire(data, self.framing)
                        assert heard.isascii(), "sent without its parity"
                        self.said.append(heard)
                        self.rates.append(self.rate)
                        queue = self.answer(heard, self.rate)
                    case Receive():
                        self.receives.append(step)
                        try:
                            found, queue = self._receive(step, queue)
                        except DriverError as error:
                            fault, queue = error, b""
                    case SetLine(rate, framing):
                        assert framing == "8N1"
                        if not self.can_switch and self.rate not in (0, rate):
                            fault = NotInProfile("cannot be switched")
                        self.rate = rate
                    case Pause(seconds):
                        self.waited += seconds
                    case Drain(seconds):
                        self.waited += seconds
                        queue = b""
                step = dialogue.send(found) if fault is None else dialogue.throw(fault)
        except StopIteration as end:
            return end.value

    def _receive(self, step: Receive, queue: bytes) -> tuple[Any, bytes]:
        """As a wire does it: silence is no answer, bytes that stop are damage."""
        end = 0
        while end < len(queue):
            end = min(end + self.piece, len(queue))
            match step.parse(queue[:end]):
                case Done(frame, used):
                    return frame, queue[used:]
                case Never(error):
                    raise error
            if end >= step.most:
                raise DamagedFrame(f"{end} bytes and no whole frame")
        raise DamagedFrame("the answer broke off") if queue else NoAnswer("no answer")


def meter(*pairs: tuple[bytes, bytes], framing: str = "7E1") -> Answer:
    """A meter that knows these messages, in whatever order, and is silent to all others."""
    known = dict(pairs)
    return lambda heard, rate: on_wire(known.get(heard, b""), framing)


def script(*answers: bytes, framing: str = "7E1") -> Answer:
    """A meter that gives these answers one after the other, whatever it hears, and then falls silent."""
    left = iter(answers)
    return lambda heard, rate: on_wire(next(left, b""), framing)


def xor(characters: bytes) -> int:
    """The check character, by a loop of its own."""
    result = 0
    for character in characters:
        result ^= character
    return result & 0x7F


def block(text: str | bytes) -> bytes:
    """STX, the text, ETX and check character."""
    body = (text.encode("ascii") if isinstance(text, str) else text) + b"\x03"
    return b"\x02" + body + bytes((xor(body),))


def lines(name: str) -> list[bytes]:
    """The lines of a capture without line ends, echo, control characters and the final "!"."""
    raw = (TELEGRAMS / f"{name}.txt").read_bytes()
    found = [line.strip(b"\x02\x03\x7f") for line in re.split(rb"[\r\n]+", raw)]
    return [line for line in found if line and line != b"!" and not line.startswith(b"/?")]


def framed(name: str, end: bytes = b"\r\n") -> tuple[bytes, bytes]:
    """A text capture with framing put around it: (identification line, block)."""
    ident, *sets = lines(name)
    if not ident.startswith(b"/"):
        ident, sets = b"", [ident, *sets]
    return ident + b"\r\n" if ident else b"", block(b"".join(line + end for line in sets) + b"!" + end)


def every_split(data: bytes) -> Iterable[tuple[bytes, bytes]]:
    """All ways to cut bytes in two."""
    return ((data[:at], data[at:]) for at in range(len(data) + 1))
