"""Characters of IEC 62056-21 on a port that is open for 8N1: seven bits, and a parity bit that is ours.

Inside the driver a sound character is 00-7F. A damaged one keeps bit 7, so no frame, digit or bracket matches it:
damage survives until somebody says what was damaged. A frame keeps its length, byte by byte.
"""

from __future__ import annotations

# Framing as configured -> how the port is opened. 7E1 and 8N1 characters have the same ten bits (start, eight, stop).
PORT = "8N1"
PARITY = {"7E1": 0, "7O1": 1}  # what all eight bits of a sound character add up to, modulo 2
STRIPPED = "8N1"  # somebody on the way (an adapter, a converter) takes the parity bit off and puts it on

DAMAGED = 0x80  # set in every character that is damaged


def _ones(byte: int) -> int:
    return byte.bit_count() & 1


_ON_WIRE = {
    framing: bytes((byte & 0x7F) | (0x80 if _ones(byte & 0x7F) != odd else 0) for byte in range(256))
    for framing, odd in PARITY.items()
}
_OFF_WIRE = {
    framing: bytes(byte & 0x7F if _ones(byte) == odd else byte | DAMAGED for byte in range(256))
    for framing, odd in PARITY.items()
}
_OFF_WIRE[STRIPPED] = bytes(range(256))
_ON_WIRE[STRIPPED] = bytes(range(256))


def port_framing(framing: str) -> str:
    """How the port is opened for meters of this framing. Raises ValueError, with what would be right."""
    if framing not in _ON_WIRE:
        raise ValueError(
            "IEC 62056-21 has characters of 7E1 (7O1 in odd meters); 8N1 is for adapters that take the parity bit off"
        )
    return PORT


def on_wire(characters: bytes, framing: str) -> bytes:
    """Seven-bit characters with their parity bits. Law: `off_wire(on_wire(x, f), f) == x`."""
    return characters.translate(_ON_WIRE[framing])


def off_wire(data: bytes, framing: str) -> bytes:
    """The characters of what came, as many as bytes; bit 7 is set in those whose parity is wrong.

    Without parity (8N1) bit 7 of a seven-bit character is 0, and one that has it is damaged, or has a parity bit.
    """
    return data.translate(_OFF_WIRE[framing])


def sound(characters: bytes) -> bool:
    """Whether no character is damaged."""
    return characters.isascii()


def damaged_in_words(characters: bytes, framing: str) -> str:
    """What is wrong with the characters, and what it may come from; only for characters that are not sound."""
    found = [at for at, character in enumerate(characters) if character & DAMAGED]
    which = f"{len(found)} of {len(characters)} characters"
    first = f"first {characters[found[0]]:02x} at {found[0] + 1}"
    if framing == STRIPPED:
        return (
            f"{which} have bit 7 set ({first}), though {framing} says that somebody takes the parity off: if nobody "
            "does, the framing is 7E1"
        )
    return f"{which} have a wrong parity bit ({first}) for {framing}"
