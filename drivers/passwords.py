"""Where a password stands in what is said to a meter, for whoever sees bytes and knows no profile.

Only the messages that open a channel are known: `P1` and `P2` of IEC 62056-21 (also with a parity bit in bit 7), and
request 01 of the Mercury 230 family (INC20 2.2.2). Whatever else a maker's own program sends is not looked through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from drivers.modbus_frames import sealed

MASK = b"*"
OPENING = 11  # bytes of a Mercury's opening: address, 01, level, six of the password, CRC
ALIKE = 3  # bytes in a row of a password that are taken for a part of its echo; an answer holds two alike by chance

# <SOH>P1<STX>(password)<ETX> and the check character, which is made of the password.
_IEC = re.compile(rb"\x01P[12]\x02\(([^()]*)\)?(?:\x03(.)?)?", re.DOTALL)


def spans(message: bytes, secret: bytes = b"") -> tuple[range, ...]:
    """The places in a message that are a password's own bytes, or check bytes by which it could be guessed.

    `secret`: the password in it, where the one who says it knows. In a message of a form that is not known here, all
    that follows it is hidden too: a check stands at the end.
    """
    found = tuple(dict.fromkeys((*_iec(message), *_mercury(message))))
    at = message.find(secret) if secret else -1
    if at < 0 or any(at in place and at + len(secret) - 1 in place for place in found):
        return found
    return (*found, range(at, len(message)))


def _iec(message: bytes) -> Iterator[range]:
    for found in _IEC.finditer(bytes(byte & 0x7F for byte in message)):
        for group in (1, 2):
            if found[group]:
                yield range(*found.span(group))


def _mercury(message: bytes) -> Iterator[range]:
    """Six digits and their CRC: of a million passwords some fifteen would be left."""
    for at in range(len(message) - OPENING + 1):
        frame = message[at : at + OPENING]
        alone = len(message) == OPENING  # its check may be wrong, or masked
        if frame[1] == 1 and frame[2] in (1, 2) and (alone or sealed(frame[:-2]) == frame):
            yield range(at + 3, at + OPENING)


def masked(message: bytes, secret: bytes = b"") -> bytes:
    """The message without its password; `secret` as in `spans`."""
    return _hidden(message, spans(message, secret))


def masked_echo(came: bytes, message: bytes, secret: bytes = b"") -> bytes:
    """What came after `message`, without the password where it is an echo of it: whole, in pieces or damaged."""
    found = spans(message, secret)
    if not found:
        return came
    hidden = [range(0)]
    alike = sum(one == other for one, other in zip(came, message, strict=False))
    if came and 2 * alike >= min(len(came), len(message)):
        hidden += found
    for span in found:
        secret = message[span.start : span.stop]
        for begin in range(max(1, len(secret) - ALIKE + 1)):
            piece = secret[begin : begin + ALIKE]
            at = came.find(piece)
            while at >= 0:
                hidden.append(range(at, at + len(piece)))
                at = came.find(piece, at + 1)
    return _hidden(came, hidden)


def _hidden(data: bytes, places: Iterator[range] | tuple[range, ...] | list[range]) -> bytes:
    kept = bytearray(data)
    for place in places:
        for at in place:
            if at < len(kept):
                kept[at] = MASK[0]
    return bytes(kept)


def fits(came: bytes, recorded: bytes) -> bool:
    """Whether what is said is what was recorded, whatever its password is: `recorded` may be masked."""
    return came == recorded or (
        len(came) == len(recorded) and bool(spans(recorded)) and masked(came) == masked(recorded)
    )
