"""What characters sent with one speed and framing are for a receiver that is set to another: bit by bit on the wire.

A UART sees the falling edge of a start bit, waits half a bit, and samples each bit in its middle. So 7E1 characters
come through a port that is open for 8N1 with their parity in bit 7, a wrong speed makes other characters, more or
fewer, and a wrong framing makes zeros where no stop bit is (Linux hands a framing error over as 00; parity is not
checked, as pyserial leaves INPCK off).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from drivers.dialogue import character_seconds


class Setting(NamedTuple):
    """How a port is set."""

    baudrate: int
    framing: str | None = None
    """None where the port cannot tell: it is then taken to be right."""

    @property
    def character(self) -> float:
        """Seconds that a character takes."""
        return character_seconds(self.baudrate, self.framing or "8N1")


def received(data: bytes, sent: Setting, heard: Setting) -> bytes:
    """`data`, sent back to back on a line that rests before and after, as a receiver of another setting has it."""
    ours, theirs = sent.framing or heard.framing or "8N1", heard.framing or sent.framing or "8N1"
    if (sent.baudrate, ours) == (heard.baudrate, theirs):
        return data
    levels = [level for character in data for level in _levels(character, ours)]
    return bytes(_sampled(levels, sent.baudrate / heard.baudrate, theirs))


def _levels(character: int, framing: str) -> Iterator[int]:
    """Start bit, data bits (least significant first), parity, stop bits."""
    bits = [character >> place & 1 for place in range(int(framing[0]))]
    yield 0
    yield from bits
    if framing[1] != "N":
        yield sum(bits) % 2 ^ (framing[1] == "O")
    yield from (1,) * int(framing[2])


def _sampled(levels: list[int], ratio: float, framing: str) -> Iterator[int]:
    """What a receiver makes of levels. `ratio`: how many of the sender's bits one of its own lasts."""
    size = int(framing[0])
    stop = 1 + size + (framing[1] != "N")  # the bit in which the first stop bit is due; a second one is not looked at

    def level(at: float) -> int:
        return levels[int(at)] if at < len(levels) else 1

    at = 0.0  # in levels of the sender
    while at < len(levels):
        if level(at):
            at = int(at) + 1.0
            continue
        bits = [level(at + (bit + 0.5) * ratio) for bit in range(stop + 1)]
        yield sum(bit << place for place, bit in enumerate(bits[1 : 1 + size])) if bits[stop] else 0
        at += (stop + 0.5) * ratio
        while not bits[stop] and at < len(levels) and not level(at):
            at = int(at) + 1.0  # after a framing error it waits for the line to rest
