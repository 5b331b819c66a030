"""Modbus frames on a serial line (RTU) and on TCP (MBAP): requests, the parsers of their answers, and the other side's.

pymodbus gives the PDUs of requests and refusals, and the checksum. The answer's registers are sliced, not decoded by
it: its decoder takes odd and short PDUs, and after our own checks of address, function, byte count, length and CRC
nothing is left to decode but a list of integers, where the raw bytes are wanted.

Sources: "Modbus over serial line" V1.02 (RTU), "Modbus messaging on TCP/IP" V1.0b (MBAP), "Modbus application protocol"
V1.1b3 (functions, exception codes).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu import ExceptionResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.dialogue import DamagedFrame, Done, DriverError, MeterRefused, More, Never, NoAnswer, NotInProfile, Parser

READ = {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}
MOST = 125  # registers in one answer (application protocol 6.3, 6.4)
LONGEST = 256  # bytes of a frame on a serial line (serial line 2.3)
FRAME = 5  # bytes of an answer beside its registers: address, function, byte count, CRC; and of a whole refusal
SHOWN = 64  # bytes of damage in an error's text: headers and a value or two, in a line that can be read
MBAP = 7  # bytes of the header: transaction, protocol, length, unit (messaging on TCP/IP 3.1.3)
LENGTH = range(3, 255)  # of what follows the length field: unit and a PDU of 2 to 253 bytes (application protocol 4.1)

UNITS = range(1, 248)  # 0 is everybody, 248 to 255 are reserved (Modbus over serial line V1.02, 2.2)
UNITS_TCP = range(256)  # a meter with its own socket has 255 or 0 (Modbus messaging on TCP/IP V1.0b, 4.4.2.1)

# Exception codes of application protocol V1.1b3, section 7, and what they mean to the operator.
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_SILENT = 1, 2, 3, 11
REFUSALS = {
    ILLEGAL_FUNCTION: "it does not know this function; check the profile's function (03 or 04)",
    ILLEGAL_ADDRESS: "it has no such registers; check that the profile is this meter's",
    ILLEGAL_VALUE: "it does not give so many registers at once; check the profile's most_registers",
    4: "it failed while it carried the request out; look at the meter's own display",
    5: "it has begun something that takes long; ask later",
    6: "it is busy; ask later, or ask less often",
    7: "it cannot carry this out",
    8: "its memory failed a parity check; the meter is to be replaced",
    10: "the gateway has no path to the meter; check the gateway's serial settings",
    TARGET_SILENT: "the gateway got no answer from the meter; check its address, wiring and power",
}


def unit_address(address: str, *, tcp: bool = False) -> int:
    """The address on the wire from its decimal text. Raises NotInProfile that says what was expected."""
    units = UNITS_TCP if tcp else UNITS
    if not (address.isascii() and address.isdigit() and len(address) <= 9 and int(address) in units):
        raise NotInProfile(f"address {address!r}: a Modbus address is a number from {units[0]} to {units[-1]}")
    return int(address)


def _crc(data: bytes) -> bytes:
    return FramerRTU.compute_CRC(data).to_bytes(2, "big")


def sealed(data: bytes) -> bytes:
    """`data` with its two check bytes (serial line 2.5.1.2)."""
    return data + _crc(data)


def _is_sealed(frame: bytes) -> bool:
    return _crc(frame[:-2]) == frame[-2:]


def enveloped(transaction: int, unit: int, pdu: bytes) -> bytes:
    """A PDU behind its MBAP header."""
    return transaction.to_bytes(2, "big") + bytes(2) + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit,)) + pdu


# ----------------------------------------------------------------------------- our side


@dataclass(frozen=True, slots=True)
class Question:
    """One read request: `count` registers of `unit` (the meter's address) from wire address `start` on."""

    unit: int
    function: int
    start: int
    count: int

    def pdu(self) -> bytes:
        """Function and data. Raises ValueError for a start or count beyond the protocol."""
        return bytes((self.function,)) + READ[self.function](address=self.start, count=self.count).encode()

    def rtu(self) -> bytes:
        """The request's frame on a serial line."""
        return sealed(bytes((self.unit,)) + self.pdu())

    def tcp(self, transaction: int) -> bytes:
        """The request's frame by TCP."""
        return enveloped(transaction, self.unit, self.pdu())

    def rtu_parser(self) -> Parser:
        """Parser of the answer on a serial line; `Done.frame` holds the registers' bytes."""
        return partial(_rtu_answer, self)

    def tcp_parser(self, transaction: int) -> Parser:
        """Parser of the answer by TCP; `Done.frame` holds the registers' bytes."""
        return partial(_tcp_answer, self, transaction)

    def __str__(self) -> str:
        return f"{self.count} registers from {self.start:04X} on (function {self.function:02X}) of meter {self.unit}"


def _refusal(question: Question, code: int) -> DriverError:
    """What an exception code means to the reader. A gateway's "target failed to respond" is the meter's silence."""
    meaning = REFUSALS.get(code, "a code that the protocol does not define; see the meter's manual")
    text = f"asked for {question}: exception {code:02X}, {meaning}"
    return NoAnswer(text) if code == TARGET_SILENT else MeterRefused(text, code)


def _damage(question: Question, what: str, came: bytes, *, whole: bool = False) -> Never:
    shown = came[:SHOWN].hex(" ") + (f" and {len(came) - SHOWN} bytes more" if len(came) > SHOWN else "")
    return Never(DamagedFrame(f"asked for {question}: {what}; came {shown}", whole=whole))


def _rtu_answer(question: Question, buffer: bytes) -> More | Done[bytes] | Never:
    """Find the answer in what came.

    Up to 256 bytes before it are passed over: a glitch of the line's drivers, an echo that nobody took off, at most
    the longest (damaged) frame of somebody else. Every place where the right header stands is tried, since a false
    header in noise may hide a sound frame behind it; none whose check fails is accepted.
    """
    size = FRAME + 2 * question.count
    answer = bytes((question.unit, question.function, 2 * question.count))
    refused = bytes((question.unit, question.function | 0x80))
    begun: dict[int, int] = {}  # where a frame has begun, and how many bytes it lacks
    broken: list[bytes] = []  # frames that ended and whose check failed
    at = buffer.find(question.unit)
    while 0 <= at <= LONGEST:
        head = buffer[at : at + 3]
        if head.startswith(refused):
            length = FRAME
        elif answer.startswith(head):
            length = size if len(head) > 1 else FRAME  # an address alone may begin either
        else:
            length = 0
        frame = buffer[at : at + length]
        if len(frame) < length:
            begun[at] = length - len(frame)
        elif length and not _is_sealed(frame):
            broken.append(frame)
        elif length == FRAME:
            return Never(_refusal(question, frame[2]))
        elif length:
            return Done(frame[3:-2], at + size)
        at = buffer.find(question.unit, at + 1)
    if 0 in begun:
        return More(min(begun[0], FRAME))  # what seems to have begun may be noise, and a refusal the answer
    foreign = _foreign(question, buffer)
    # What seems to begin inside a sound frame is a part of that frame.
    if hopes := [lacks for at, lacks in begun.items() if foreign is None or at not in foreign[0]]:
        return More(min(FRAME, *hopes))
    if foreign is not None:
        return _damage(question, foreign[1], buffer)
    if broken:
        # Only a frame that stands alone is surely the answer; a false header in noise is followed by the true one.
        whole = len(broken[0]) == len(buffer) == size
        return _damage(question, "the check (CRC) of the answer is wrong", buffer, whole=whole)
    if len(buffer) > LONGEST:
        return _damage(question, f"{len(buffer)} bytes without the beginning of an answer", buffer)
    return More(FRAME)


def _foreign(question: Question, buffer: bytes) -> tuple[range, str] | None:
    """A sound frame that is not the answer: where it lies, and what it says of who answered, or to what."""
    for at in range(min(len(buffer) - FRAME, LONGEST) + 1):
        unit, function, count = buffer[at : at + 3]
        if function & 0x7F not in READ:
            continue
        end = at + (FRAME if function & 0x80 else FRAME + count)
        if len(buffer) < end or not _is_sealed(buffer[at:end]):
            continue
        if unit != question.unit:
            text = f"address {unit} answered; two meters may share an address, or an answer came late"
        else:
            text = f"an answer to another question (function {function:02X}, {end - at - FRAME} bytes of registers)"
        return range(at, end), text
    return None


def _tcp_answer(question: Question, transaction: int, buffer: bytes) -> More | Done[bytes] | Never:
    """Find the answer among the messages that came; those of other transactions are late answers to older questions."""
    at = 0
    while True:
        match _message(buffer, at):
            case More() as more:
                return more
            case None:
                return _damage(question, "not a Modbus TCP message (protocol 0, length 3 to 254)", buffer[at:])
            case (number, unit, pdu, end):
                if number == transaction:
                    return _tcp_meaning(question, unit, pdu, buffer[at:end], end)
                at = end


def _tcp_meaning(question: Question, unit: int, pdu: bytes, message: bytes, used: int) -> Done[bytes] | Never:
    if unit != question.unit:
        return _damage(question, f"unit {unit} answered", message)
    if pdu[0] == question.function | 0x80 and len(pdu) == 2:
        return Never(_refusal(question, pdu[1]))
    count = 2 * question.count
    if pdu[0] != question.function or pdu[1] != count or len(pdu) != 2 + count:
        return _damage(question, f"not function {question.function:02X} with {count} bytes of registers", message)
    return Done(pdu[2:], used)


def _message(buffer: bytes, at: int) -> More | tuple[int, int, bytes, int] | None:
    """The MBAP message at `at`: transaction, unit, PDU, where it ends. None: there is no message."""
    head = buffer[at : at + MBAP]
    if any(head[2:4]):
        return None
    if len(head) < 6:
        return More(MBAP + 2 - len(head))  # the shortest PDU has two bytes
    length = int.from_bytes(head[4:6], "big")
    if length not in LENGTH:
        return None
    end = at + 6 + length
    if len(buffer) < end:
        return More(end - len(buffer))
    return int.from_bytes(head[:2], "big"), head[6], buffer[at + MBAP : end], end


# ----------------------------------------------------------------------------- the meter's side

# Bytes of each request on a serial line: fixed part with CRC, and which byte counts the rest (application protocol 6).
_REQUESTS = dict.fromkeys((1, 2, 3, 4, 5, 6, 8), (8, None)) | {
    **dict.fromkeys((7, 11, 12, 17), (4, None)),
    **dict.fromkeys((15, 16), (9, 6)),
    **dict.fromkeys((20, 21), (5, 2)),
    22: (10, None),
    23: (13, 10),
    24: (6, None),
    43: (7, None),
}


@dataclass(frozen=True, slots=True)
class Heard:
    """A request as a meter hears it. `transaction` only by TCP."""

    unit: int
    pdu: bytes
    transaction: int = 0


def rtu_request(buffer: bytes) -> More | Done[Heard | None]:
    """The first sound request in what came, with the rubbish before it used up.

    Broken requests, and other meters' answers, are passed over as a meter does. `Done.frame` None: rubbish alone, of
    which the last 256 bytes are left, since a request may have begun in them.
    """
    for at in range(len(buffer) - 3):
        fixed, counts = _REQUESTS.get(buffer[at + 1], (0, None))
        if not fixed or (counts is not None and len(buffer) <= at + counts):
            continue
        end = at + fixed + (0 if counts is None else buffer[at + counts])
        if end <= len(buffer) and _is_sealed(buffer[at:end]):
            return Done(Heard(buffer[at], buffer[at + 1 : end - 2]), end)
    if len(buffer) > 2 * LONGEST:
        return Done(None, len(buffer) - LONGEST)
    return More()


def tcp_request(buffer: bytes) -> More | Done[Heard] | Never:
    """The request in what came. After what is no Modbus message nothing on this connection can be trusted: `Never`."""
    match _message(buffer, 0):
        case More() as more:
            return more
        case None:
            return Never(DamagedFrame(f"not a Modbus TCP message: {buffer[:SHOWN].hex(' ')}"))
        case (transaction, unit, pdu, end):
            return Done(Heard(unit, pdu, transaction), end)


def registers_pdu(function: int, data: bytes) -> bytes:
    """The answer that gives registers."""
    return bytes((function, len(data))) + data


def refusal_pdu(function: int, code: int) -> bytes:
    """The answer that says no."""
    answer = ExceptionResponse(function, code)
    return bytes((answer.function_code,)) + answer.encode()
