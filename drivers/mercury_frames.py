"""Frames of Mercury meters: requests, and the parsers of answers, which carry no code and are known by their length.

Rule 1. An answer of the 230 family is address, data, CRC: no code says what it answers (INC20 1.5.4). So it is what was
        asked for only if it comes in time, from that address, with exactly that many bytes; and after one that did not
        come in time the line is drained (`dialogue.exchange`).
Rule 2. Four bytes where more are expected are a status: the meter says no (INC20 table 1.3; only the low nibble
        counts). Where one byte is expected it is a status too. In the 200 family answers repeat address and command,
        and there are no refusals: what a meter does not know it does not answer (M206).
Rule 3. Noise before an answer, or an echo of the request, is passed over; none whose check fails is accepted. A request
        of six bytes has the form of an answer with three, so its echo is never taken for one: that was 5406 Hz once
        (github.com/Brokly/ESPHome-Mercury230 issue 19). The one answer that is the request itself is that to a channel
        test; whoever owns the wire tells the two apart (`dialogue.Receive.same`).

The check is the CRC-16 of Modbus, low byte first (INC20 1.5.1; M206 table 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from drivers.dialogue import DamagedFrame, Done, MeterRefused, More, Never, Parser
from drivers.mercury_bytes import WrongBytes
from drivers.mercury_requests import Family
from drivers.modbus_frames import sealed

BAD_REQUEST, BUSY, LEVEL, CORRECTED, CLOSED = 1, 2, 3, 4, 5
REFUSALS = {
    BAD_REQUEST: "it does not know this command or parameter; check that the profile is this meter's",
    BUSY: "an internal error, it is busy or broken; ask later, and look at its display for an error code",
    LEVEL: "the access level is too low for this; give the password of level 2, and say level: 2 in the profile",
    CORRECTED: "its clock was already corrected today; it allows that once a day",
    CLOSED: "the channel is not open; another master may have closed it, or the meter lost power",
}

TEST, OPEN = 0x00, 0x01  # codes of requests (INC20 2.1, 2.2.2)
STATUS = 4  # bytes of a status frame: address, status, CRC
PASSED_OVER = 32  # bytes of noise before an answer: the longest request's echo (13) and a glitch at each end of it
SHOWN = 64  # bytes of damage in an error's text


@dataclass(frozen=True, slots=True)
class Question:
    """One request. `address`: as on the wire; `body`: code and parameters; `size`: bytes of data in the answer."""

    family: Family
    address: bytes
    body: bytes
    size: int

    def frame(self) -> bytes:
        """The request with its check bytes."""
        return sealed(self.address + self.body)

    @property
    def head(self) -> bytes:
        """What its answer begins with."""
        return self.address if self.family == "230" else self.address + self.body[:1]

    @property
    def length(self) -> int:
        """Bytes of its answer."""
        return len(self.head) + self.size + 2

    def parser(self, check: Callable[[bytes], object] = bytes) -> Parser:
        """Parser of the answer; `Done.frame` is its data. `check` raises WrongBytes for data that cannot be."""
        return partial(_answer, self, check)

    @property
    def is_test(self) -> bool:
        """Whether it is the channel test, whose answer is the request's own bytes (INC20 2.1)."""
        return self.family == "230" and self.body == bytes((TEST,))

    @property
    def is_opening(self) -> bool:
        """Whether it opens a channel: then it holds the password, and so may what comes back (an echo)."""
        return self.family == "230" and self.body[0] == OPEN

    def __str__(self) -> str:
        shown = self.body[:2] if self.is_opening else self.body
        return f"{shown.hex(' ').upper()} of Mercury {int.from_bytes(self.address, 'big')}"


def is_sealed(frame: bytes) -> bool:
    """Whether its last two bytes are its check."""
    return len(frame) > 2 and sealed(frame[:-2]) == frame


def _answer(question: Question, check: Callable[[bytes], object], buffer: bytes) -> More | Done[bytes] | Never:
    """Find the answer in what came (rule 3)."""
    request = question.frame()
    if (echo := buffer.find(request)) >= 0 and not question.is_test:
        behind = echo + len(request)
        found = _answer(question, check, buffer[behind:])
        return Done(found.frame, behind + found.used) if isinstance(found, Done) else found
    head, length = question.head, question.length
    begun: list[int] = []  # bytes that a frame lacks which seems to have begun
    broken = False
    for at in range(min(len(buffer), PASSED_OVER + 1)):
        frame = buffer[at : at + length]
        if not head.startswith(frame[: len(head)]):
            continue
        if len(frame) == length and is_sealed(frame):
            return _meaning(question, check, frame, at + length)
        first = not begun and not broken  # inside another frame a status is chance
        if first and _may_refuse(question) and is_sealed(buffer[at : at + STATUS]):
            return Never(_status(question, buffer[at + 1], buffer))
        if len(frame) == length:
            broken = True
            continue
        begun.append(STATUS - len(frame) if _may_refuse(question) and len(frame) < STATUS else length - len(frame))
    if broken:
        # Five bytes of header and the right length are surely the answer. One byte is not: noise that began like an
        # answer was once followed by the answer, when the next question was on its way already.
        whole = len(head) > 1 and len(buffer) == length
        return _damage(question, "the check (CRC) of the answer is wrong", buffer, whole=whole)
    if is_sealed(buffer[:length]) and len(buffer) >= length:
        other = "another meter answered; two may share an address, or an answer came late"
        return _damage(question, other, buffer)
    if begun:
        return More(min(begun))
    if len(buffer) > PASSED_OVER:
        return _damage(question, f"{len(buffer)} bytes without the beginning of an answer", buffer)
    return More(STATUS if _may_refuse(question) else length)


def _may_refuse(question: Question) -> bool:
    return question.family == "230" and question.size > 1


def _meaning(question: Question, check: Callable[[bytes], object], frame: bytes, used: int) -> Done[bytes] | Never:
    data = frame[len(question.head) : -2]
    if question.family == "230" and question.size == 1 and data[0] & 0x0F:
        return Never(_status(question, data[0], frame))
    try:
        check(data)
    except WrongBytes as error:
        return _damage(question, str(error), frame, whole=True)
    return Done(data, used)


def _status(question: Question, status: int, buffer: bytes) -> MeterRefused | DamagedFrame:
    """What a status byte means to the reader."""
    code = status & 0x0F
    if not code:
        text = f"asked for {question}: the meter says that all is well, which answers another question"
        return DamagedFrame(f"{text}; {_came(question, buffer)}")
    meaning = REFUSALS.get(code, "a status that the manufacturer's document does not define")
    return MeterRefused(f"asked for {question}: status {status:02X}, {meaning}", code)


def _damage(question: Question, what: str, came: bytes, *, whole: bool = False) -> Never:
    return Never(DamagedFrame(f"asked for {question}: {what}; {_came(question, came)}", whole=whole))


def _came(question: Question, came: bytes) -> str:
    if question.is_opening:
        return f"came {len(came)} bytes, not shown since they may hold the password"
    return f"came {came[:SHOWN].hex(' ')}"
