"""The steps of a dialogue with a meter, and the errors whose class says what happens next.

Rule 1. A driver's `read()` is a generator of steps. It never touches a port, a clock or a log: whoever owns the wire
        carries the steps out and sends back what a `Receive` found.
Rule 2. A parser has three outcomes: `More` (bytes are missing), `Done` (a sound frame), `Never` (no further byte can
        make this right). It is called again with the whole buffer each time bytes arrive, and keeps no state.
Rule 3. A frame ends by its length or its end character, never by silence.
Rule 4. Trouble reaches the driver as a `DriverError` thrown into the generator at its `Receive`. The class says what
        to do next; the text says what was expected, what came (hex) and what the operator should do.
Rule 5. After an answer that did not come in time, the meter is given silence before it is asked anything else, so that
        its late answer is never taken for the answer to another question (`exchange`). It holds for answers that come
        up to three times later than they should.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# ----------------------------------------------------------------------------- errors


class DriverError(Exception):
    """Trouble with one meter. Subclasses say what happens next."""

    kind = "damaged"  # one of the contract's failure.kind


class DamagedFrame(DriverError):
    """Noise or a foreign frame. Flush the line, ask again.

    `whole`: by its header and length the answer has come, only its check is wrong. Else it may still be under way.
    """

    kind = "damaged"

    def __init__(self, text: str, *, whole: bool = False) -> None:
        super().__init__(text)
        self.whole = whole


class NoAnswer(DriverError):
    """Silence. Ask once more, then leave the meter for this round."""

    kind = "no-answer"


class MeterRefused(DriverError):
    """A sound answer that says no. Do not ask again this round. `code` is the meter's own code of the refusal."""

    kind = "refused"

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Stranger(DriverError):
    """A sound answer from another meter than the one asked (serial number). Its values are nobody's."""

    kind = "stranger"


class NotInProfile(DriverError):
    """The profile promises a register that this meter does not have. The profile or the configuration is wrong."""

    kind = "profile"


# ----------------------------------------------------------------------------- a parser's outcomes


@dataclass(frozen=True, slots=True)
class More:
    """The frame is not complete. At least `wanted` further bytes must come (1 where the parser cannot know)."""

    wanted: int = 1


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A sound frame: its meaning, and how many bytes of the buffer it used (bytes behind it are not its own)."""

    frame: T
    used: int


@dataclass(frozen=True, slots=True)
class Never:
    """No further byte can make this a sound frame; `error` is what the reader is to know of it."""

    error: DriverError


Outcome = More | Done[T] | Never
Parser = Callable[[bytes], More | Done[Any] | Never]

# ----------------------------------------------------------------------------- steps


@dataclass(frozen=True, slots=True)
class Send:
    """Put `data` on the wire after the silence that the line rules ask for. Characters are 8 bits as on the wire.

    `secret`: the part of `data` that is a password, as it is on the wire. No trace and no evidence shows it.
    `silence`: seconds of it that the protocol asks for, where that is more than the line's rule. `reply`: said within a
    session to one who waits for it, after the protocol's own pause: the rule, which is for requests, is not kept.
    """

    data: bytes
    secret: bytes = b""
    silence: float = 0.0
    reply: bool = False


@dataclass(frozen=True, slots=True)
class Receive:
    """Receive until `parse` is content.

    `first` and `between` are seconds: to the first byte, and between two bytes, both beyond the time that the
    characters themselves take on the wire. `most` bytes at the most, else the frame is damage. The whole has no limit
    of its own: a full readout at 300 baud takes four minutes.

    What equals the request is an echo of it. `same`: the right answer may be the request's own bytes too (a channel
    test); whoever owns the wire then tells the two apart, by what follows and by what else it knows of the wire.
    """

    parse: Parser
    first: float
    between: float
    most: int = 512
    same: bool = False


@dataclass(frozen=True, slots=True)
class SetLine:
    """Switch the port to `baudrate` and `framing` ("8N1", "7E1", ...) after the last byte sent has left."""

    baudrate: int
    framing: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drain:
    """Throw away what still comes, until the line has been silent for `seconds` (at most ten times that)."""

    seconds: float


Step = Send | Receive | SetLine | Pause | Drain
Dialogue = Generator[Step, Any, T]


# After a whole frame with a wrong check nothing more is due; what an adapter still holds back comes within its latency
# (FTDI's USB timer is 16 ms by default, network converters pack for some tens of milliseconds).
SETTLE = 0.05

# The second asking leaves at the earliest 2 x `first` after the first one (one spent waiting, one draining). If what
# came then was the first one's late answer, the second one's follows as much later: it is given that and half again.
LATE = 3


def exchange(
    request: bytes,
    parse: Parser,
    *,
    first: float,
    between: float,
    most: int = 512,
    damaged_again: int = 2,
    late: float | None = None,
    secret: bytes = b"",
    silence: float = 0.0,
    same: bool = False,
) -> Dialogue[Any]:
    """One question and its answer, asked again as the error's class says.

    Damage is asked again `damaged_again` times (two: with one frame in ten damaged, one reading in a thousand is lost),
    silence once, a refusal never. While an answer may still be under way, the line is drained for `late` seconds before
    the same question, and `LATE` times that before whatever comes next (rule 5). `late` is `first` unless it is told;
    0 where an answer names its question. `secret`, `silence`: as in `Send`; `same`: as in `Receive`.

    Returns the frame; raises the last DriverError.
    """
    late = first if late is None else late
    answer, due = yield from _asked_again(
        Send(request, secret, silence), Receive(parse, first, between, most, same), damaged_again, late
    )
    if due and late:
        yield Drain(LATE * late)
    if isinstance(answer, DriverError):
        raise answer
    return answer


def _asked_again(send: Send, receive: Receive, damaged_again: int, late: float) -> Dialogue[tuple[Any, bool]]:
    """The frame, or the last error; and whether an answer may still be under way."""
    silences = damages = 0
    due = False
    while True:
        yield send
        try:
            return (yield receive), due
        except NoAnswer as error:
            silences, due = silences + 1, True
            if silences > 1:
                return error, due
            yield Drain(max(late, SETTLE))
        except DamagedFrame as error:
            damages, due = damages + 1, due or not error.whole
            if damages > damaged_again:
                return error, due
            yield Drain(SETTLE if error.whole else max(late, SETTLE))
        except DriverError as error:
            return error, due


# ----------------------------------------------------------------------------- the wire's arithmetic


def line_bits(framing: str) -> int:
    """Bits of one character on the wire: start bit, data bits, parity bit if any, stop bits. "8N1" -> 10."""
    return 1 + int(framing[0]) + (framing[1] != "N") + int(framing[2])


def character_seconds(baudrate: int, framing: str) -> float:
    """Seconds that one character takes on the wire."""
    return line_bits(framing) / baudrate


def silence(baudrate: int) -> float:
    """Seconds of silence before every request: 3.5 characters of 11 bits, fixed 1.75 ms above 19200 baud.

    Modbus over serial line V1.02, 2.5.1.1. Protocols that ask for none are not harmed by it, and share wires with it.
    """
    return 0.00175 if baudrate > 19200 else 3.5 * 11 / baudrate


# ----------------------------------------------------------------------------- what is asked and what came


@dataclass(frozen=True, slots=True)
class Ask:
    """What one meter is asked: our side, no port in sight.

    `codes` are OBIS codes of the profile, all when empty. `serial` and `clock`: read them too, where the profile has
    them. `frozen`: read the frozen registers too; where a question asks for one month, of the last `back` months (None:
    all that the profile knows). `refused` holds what this meter refused before (driver's own keys); it is not asked
    again. `baudrate`, `framing` and `turnaround` (seconds the meter thinks before it answers) are what requests are
    planned with. `tcp`: the port frames messages itself (Modbus TCP); `transaction` is where numbering
    of its requests starts, another for each asking, so that yesterday's answer is nobody's. `since`: seconds since
    this meter last answered us, None where nobody knows: what a session that may still be open is judged by.
    `can_switch`: whether the port can change its speed in the middle of an asking.
    """

    address: str
    codes: tuple[str, ...] = ()
    serial: bool = True
    clock: bool = True
    frozen: bool = False
    back: int | None = None
    password: bytes | None = None
    baudrate: int = 9600
    framing: str = "8N1"
    turnaround: float = 0.02
    refused: frozenset[str] = frozenset()
    tcp: bool = False
    transaction: int = 0
    can_switch: bool = True
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One value as the meter gave it.

    `value`: whole Wh, varh or VAh (int) for energy codes, else Decimal in the code's SI unit as text-exact as it came.
    `raw`: the value's own bytes as they came on the wire.
    """

    value: Any  # int for energy, Decimal otherwise
    unit: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class FrozenSet:
    """Registers as the meter froze them at a closing.

    `stamp`: the meter's own naive text of the closing ("2026-11-01T00:00:00"), where it says one; `back`: else the
    meter's counter, 1 for the last month that ended by the meter's clock. Who knows the clock makes the month of it.
    """

    registers: Mapping[str, Measured]
    stamp: str | None = None
    back: int | None = None


@dataclass(frozen=True, slots=True)
class Readout:
    """One asking of one meter. What the meter says is not available is absent from `registers`, never 0.

    `quality`: what its bytes lacked to show damage: "no-checksum" (a readout without a check character), "no-parity"
    (somebody on the way took the parity bits off). Such values are carried; what is billed from them is held.
    """

    registers: Mapping[str, Measured] = field(default_factory=dict)
    serial_number: str | None = None
    clock: str | None = None
    frozen: tuple[FrozenSet, ...] = ()
    refused: frozenset[str] = frozenset()
    absent: tuple[str, ...] = ()
    quality: tuple[str, ...] = ()
