"""Frames of IEC 62056-21: sign-on, identification, option select, blocks and commands with their check character.

Everything here is seven-bit characters (`iec62056_21_characters`): a byte above 7F is a damaged one.

Rule 1. What stands before a frame (DEL and NUL that heads make, an echo of what we said, line ends) is passed over;
        what stands inside it is damage.
Rule 2. A block ends by its first ETX and the check character behind it, which may itself be 03. A readout without
        STX ends by its "!" and is unproven.
Rule 3. How the check character is made is the profile's to say. Frames exist that fit both ways by chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Any, Literal

from drivers.dialogue import DamagedFrame, Done, More, Never

SOH, STX, ETX, EOT, ACK, NAK = b"\x01", b"\x02", b"\x03", b"\x04", b"\x06", b"\x15"
END = b"\r\n"

Check = Literal["xor", "sum"]


def _xor(characters: bytes) -> int:
    return reduce(xor, characters, 0) & 0x7F


def _sum(characters: bytes) -> int:
    return sum(characters) & 0x7F


# Over all characters behind the first SOH or STX up to and with ETX. xor: IEC 62056-21, BCC; checked against the LEM
# EM4TII manual V1.0, p. 27. sum: Energomera (wirenboard/wb-mqtt-serial, iec_common.cpp; vectors of its CE102M test).
CHECKS: dict[Check, Callable[[bytes], int]] = {"xor": _xor, "sum": _sum}

# ----------------------------------------------------------------------------- sign-on and identification

ADDRESS = re.compile(r"[A-Za-z0-9 ]{0,32}")  # at most 32 characters of digits, letters, blanks (62056-21, unread)


def sign_on(address: str = "") -> bytes:
    """`/?address!`, to every meter that hears it where the address is empty."""
    return b"/?" + address.encode("ascii") + b"!" + END


# 62056-21 Z characters. Mode C (and E): codes 0-6. Mode B: the same rates by letters, switched to without a word.
MODE_C = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
MODE_B = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200}
RATE_CODE = {rate: code for code, rate in MODE_C.items()}

Mode = Literal["A", "B", "C"]


@dataclass(frozen=True, slots=True)
class Identification:
    """`/XXXZident`: manufacturer, speed character, and the rest, with its escapes (`\\2`, `\\@`) as they came."""

    manufacturer: str
    speed: str
    text: str

    def __str__(self) -> str:
        return f"{self.manufacturer}{self.speed}{self.text}"

    def to_bytes(self) -> bytes:
        return f"/{self}".encode("ascii") + END

    @property
    def mode(self) -> Mode:
        """How the session goes on: A at the same speed, B switches by itself, C asks for an option select.

        Mode E meters are mode C ones that offer more (`offers_hdlc`); mode D ones push and are not asked at all.
        """
        if self.speed in MODE_B:
            return "B"
        return "C" if self.speed.isdigit() else "A"

    @property
    def baudrate(self) -> int | None:
        """What the meter offers to switch to; None in mode A, and for the codes 7 to 9, which are reserved."""
        return MODE_C.get(self.speed) or MODE_B.get(self.speed)

    @property
    def offers_hdlc(self) -> bool:
        """`\\2`: the meter can speak mode E, which is HDLC and not read here."""
        return "\\2" in self.text[:4]

    @property
    def reaction(self) -> float:
        """Seconds that a meter needs before it hears again: 20 ms where the third letter is lower case, else 200 ms.

        pwitab/iec62056-21 client.py; volkszaehler/vzlogger MeterD0.cpp.
        """
        return 0.02 if self.manufacturer[2].islower() else 0.2


# The standard allows 16 characters of identification; LZQJ and others send more with their escapes. Brackets are of
# data sets (`0.3.0(6.00*Imp/kWh)`), in whose midst we may begin to listen. "/?" is our echo.
_IDENTIFICATION = re.compile(rb"/([A-Za-z]{3})([\x21-\x27\x2a-\x7e])([\x20-\x27\x2a-\x2e\x30-\x7e]{0,64}?)[ ]*\r?\n")
_LINE = re.compile(rb"(?:^|[\r\n\x00\x7f])(/(?!\?)[^\n]*\n)")


def parse_identification(characters: bytes) -> More | Done[Identification] | Never:
    """An identification somewhere in what came; noise and our own echo before it are passed over."""
    if found := _IDENTIFICATION.search(characters):
        manufacturer, speed, text = (part.decode("ascii") for part in found.groups())
        return Done(Identification(manufacturer, speed, text), found.end())
    if line := _LINE.search(characters):
        return Never(
            DamagedFrame(
                "an identification like /LGZ4ZMF100AC.M23 was expected; damaged is what came: "
                f"{characters[line.start(1) :].hex(' ')}"
            )
        )
    return More()


def option_select(code: str, option: str) -> bytes:
    """ACK 0 Z Y: normal protocol, at the speed of code Z; option 0 readout, 1 programming mode, 6-9 the maker's own."""
    return ACK + f"0{code}{option}".encode("ascii") + END


# ----------------------------------------------------------------------------- blocks


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between STX and ETX (or EOT, where `more` blocks follow).

    `proven`: its check character fitted; False for a readout that has none.
    """

    body: bytes
    proven: bool = True
    more: bool = False

    def to_bytes(self, check: Check) -> bytes:
        covered = self.body + (EOT if self.more else ETX)
        return STX + covered + bytes((CHECKS[check](covered),))


_BLOCK = re.compile(rb"\x02([^\x03\x04]*)([\x03\x04])(.)", re.DOTALL)

# Before the STX that begins the data: another one, and a piece of a name. A character of the name has become an STX,
# and where what it cuts off adds up to nothing, the check fits and the name is another one.
_CUT = re.compile(rb"\x02[\x21-\x27\x2a-\x7e]+$")


def _block(characters: bytes) -> re.Match[bytes] | None:
    """The first block. Of several STX before the data the last begins it: heads and changes of speed make noise."""
    data = characters.find(b"(")
    start = characters.rfind(STX, 0, data) if data >= 0 else -1
    start = start if start >= 0 else characters.find(STX)
    return _BLOCK.match(characters, start) if start >= 0 else None


def parse_block(characters: bytes, check: Check) -> More | Done[Block] | Never:
    """STX ... ETX BCC, and nothing else: `Never` where the check character or a parity bit is wrong."""
    found = _block(characters)
    if found is None:
        return More(1 if STX in characters else 3)
    return _checked(found, check)


def _checked(found: re.Match[bytes], check: Check) -> Done[Block] | Never:
    body, end, given = found.groups()
    before = found.string[: found.start()]
    if b"(" in before:
        return Never(DamagedFrame(f"data sets before the block's STX; they are damaged: {before[:SHOWN].hex(' ')}"))
    if _CUT.search(before):
        text = f"an STX in the midst of the block's first name; one of its characters is damaged: {_begins(before)}"
        return Never(DamagedFrame(text, whole=True))
    if not found[0].isascii():
        bad = sum(character > 0x7F for character in found[0])
        return Never(
            DamagedFrame(
                f"the block's parity is wrong in {bad} of {len(found[0])} characters; {_near(found[0])}", whole=True
            )
        )
    wanted = CHECKS[check](body + end)
    if given[0] != wanted:
        return Never(
            DamagedFrame(
                f"the block's check character (BCC, {check}) must be {wanted:02x}, {given.hex()} came; "
                f"{_other_check(body + end, given[0], check)}the block has {len(body)} characters and begins: "
                f"{body[:SHOWN].hex(' ')}",
                whole=True,
            )
        )
    return Done(Block(body, more=end == EOT), found.end())


SHOWN = 32  # characters of a damaged frame in an error's text


def _near(frame: bytes) -> str:
    """The surroundings of the first damaged character."""
    at = next(at for at, character in enumerate(frame) if character > 0x7F)
    return f"first at {at + 1}: {frame[max(0, at - 8) : at + 8].hex(' ')}"


def _other_check(covered: bytes, given: int, check: Check) -> str:
    """A hint, where the meter seems to make its check character another way; never a reason to accept it."""
    other = next((name for name, make in CHECKS.items() if name != check and make(covered) == given), None)
    return f"by {other} it would fit (iec62056-21.check in the profile); " if other else ""


# Without STX: data sets, outside of whose brackets stands the "!", and a line end. Some push a CRC between the two.
_UNFRAMED = re.compile(
    rb"[\x00\x7f\r\n]*+((?:[^()!\x02\x03]*+\([^()]*+\))++[\r\n ]*+)!([0-9A-Fa-f]{4})?\r?\n", re.DOTALL
)
_TRAILING = b"\x00\x7f\r\n"


def _crc16(characters: bytes) -> int:
    """CRC-16 with polynomial A001 (reflected 8005), starting at 0: DSMR P1 companion standard 5.0.2, 6.2."""
    crc = 0
    for character in characters:
        crc ^= character
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def parse_readout(
    characters: bytes, check: Check, identification: Identification | None = None
) -> More | Done[Block] | Never:
    """A readout's block; one that has neither STX nor check character ends by "!" and a line end, and is unproven.

    A CRC behind the "!" covers the identification too: without one it cannot be checked, and the block is unproven.
    """
    framed = _block(characters)
    if framed is not None:
        return _checked(framed, check)
    if (start := characters.find(STX)) >= 0:
        return More(1 if ETX in characters[start:] or EOT in characters[start:] else 2)  # at least ETX and BCC
    ended = _UNFRAMED.match(characters)
    if ended is None:
        if b"\x03" in characters and b"(" in characters:
            return Never(DamagedFrame(f"ETX without STX: the beginning of the readout is lost; {_begins(characters)}"))
        return More()
    if not ended[0].isascii():
        return Never(DamagedFrame(f"the readout's parity is wrong; {_near(ended[0])}", whole=True))
    if ended[2] is None or identification is None:
        return Done(Block(ended[1], proven=False), ended.end())
    wanted = _crc16(identification.to_bytes() + characters[: ended.start(2)])
    if int(ended[2], 16) != wanted:
        text = f"the readout's CRC must be {wanted:04X}, {ended[2].decode()} came; {_begins(characters)}"
        return Never(DamagedFrame(text, whole=True))
    return Done(Block(ended[1]), ended.end())


def _begins(characters: bytes) -> str:
    return f"it begins: {characters[:SHOWN].hex(' ')}"


def parse_end(characters: bytes) -> More | Done[None] | Never:
    """What follows a readout without STX: nothing, or the next one. A check character shows that its STX was lost."""
    behind = characters.lstrip(_TRAILING)
    if not behind:
        return More()
    if behind.startswith(b"/"):
        return Done(None, len(characters) - len(behind))
    return Never(
        DamagedFrame(
            f"{characters[:SHOWN].hex(' ')} follows the end of a readout that had no STX: its beginning is damaged"
        )
    )


# ----------------------------------------------------------------------------- programming mode


@dataclass(frozen=True, slots=True)
class Command:
    """SOH, a command such as R1, and its data set between STX and ETX; without one for B0."""

    name: str
    data: str | None = None

    def to_bytes(self, check: Check) -> bytes:
        covered = self.name.encode("ascii")
        covered += b"" if self.data is None else STX + self.data.encode("ascii")
        covered += ETX
        return SOH + covered + bytes((CHECKS[check](covered),))


BREAK = Command("B0")


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """ACK, or (`repeat`) NAK: say it again."""

    repeat: bool = False


_COMMAND = re.compile(rb"\x01([A-Z][0-9])(?:\x02([^\x03]*))?\x03(.)", re.DOTALL)
_SINGLE = re.compile(rb"[^\x01\x02\x06\x15]*([\x06\x15])")


def parse_command(characters: bytes, check: Check) -> More | Done[Command] | Never:
    """SOH ... ETX BCC: the meter's P0, or a command on the meter's side."""
    found = _COMMAND.search(characters)
    if found is None:
        if not characters.isascii() and b"\x03" in characters[:-1]:
            return Never(DamagedFrame(f"the message's parity is wrong; {_near(characters)}", whole=True))
        return More(1 if b"\x01" in characters else 3)
    name, data, given = found.groups()
    if not found[0].isascii():
        return Never(DamagedFrame(f"the message's parity is wrong; {_near(found[0])}", whole=True))
    covered = found[0][1:-1]
    wanted = CHECKS[check](covered)
    if given[0] != wanted:
        text = f"the message's check character (BCC, {check}) must be {wanted:02x}; came {found[0].hex(' ')}"
        return Never(DamagedFrame(text, whole=True))
    return Done(Command(name.decode("ascii"), None if data is None else data.decode("ascii")), found.end())


def parse_reply(characters: bytes, check: Check) -> More | Done[Block | Command | Acknowledged] | Never:
    """A meter's answer in programming mode: a block, a command (B0, P0), ACK or NAK, whichever begins first."""
    starts = [(at, parse) for mark, parse in _REPLIES.items() if (at := characters.find(mark)) >= 0]
    if not starts:
        return More()
    at, parse = min(starts, key=lambda start: start[0])
    match parse(characters[at:], check):
        case Done(frame, used):
            return Done(frame, at + used)
        case other:
            return other


def _parse_single(characters: bytes, _check: Check) -> Done[Acknowledged]:
    return Done(Acknowledged(characters[:1] == NAK), 1)


_REPLIES: dict[bytes, Callable[[bytes, Check], More | Done[Any] | Never]] = {
    STX: parse_block,
    SOH: parse_command,
    ACK: _parse_single,
    NAK: _parse_single,
}
