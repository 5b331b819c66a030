"""A channel to one Mercury meter: opening it, opening it again where it closed, and asking through it.

Rule 1. The channel of the 230 family closes 240 s after the last sound request (INC20 2.2.2). It is taken for open
        while the meter answered us within `TRUSTED`; where that was wrong, its "not open" opens it once and the
        question is put again. To open it each time would cost a seventh of an asking.
Rule 2. It is left to close by itself: closing it costs a request and spares the next asking nothing.
Rule 3. A password is tried once: whether meters lock themselves after some wrong ones, no document says.
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.dialogue import Ask, Dialogue, MeterRefused, NotInProfile, Pause, Receive, Send, exchange
from drivers.mercury_address import on_the_wire
from drivers.mercury_frames import BUSY, CLOSED, OPEN, REFUSALS, TEST, Question
from drivers.mercury_places import MercuryProfile
from drivers.mercury_requests import silence

TRUSTED = 200.0  # seconds of the 240: an asking may take some, and clocks differ
AGAIN, REST = 2, 0.5  # how often, and after how many seconds, a busy meter is asked again; no document says


class Session:
    """One meter and its channel. `is_open`: as far as we know."""

    def __init__(self, profile: MercuryProfile, ask: Ask) -> None:
        self._settings = profile.mercury
        self._first = profile.line.timeout
        self._address = on_the_wire(self._settings.family, ask.address)
        self._silence = silence(self._settings.family, ask.baudrate, ask.framing)
        self._password = self._settings.default_password.encode() if ask.password is None else ask.password
        self.is_open = ask.since is not None and 0 <= ask.since < TRUSTED

    def ask(
        self, body: bytes, size: int, check: Callable[[bytes], object] = bytes, *, session: bool
    ) -> Dialogue[bytes]:
        """The data of one answer; `session`: it needs an open channel. Raises DriverError."""
        question = Question(self._settings.family, self._address, body, size)
        if session and not self.is_open:
            yield from self._open()
        reopened = False
        while True:
            try:
                return (yield from self._exchange(question, check))
            except MeterRefused as error:
                if error.code != CLOSED or reopened:
                    raise
            reopened = True
            yield from self._open()

    def write(self, body: bytes) -> Dialogue[None]:
        """Open the channel and have one thing written, once: after silence or damage nobody knows whether it was done.

        Raises DriverError.
        """
        yield from self._open()
        question = Question(self._settings.family, self._address, body, 1)
        yield Send(question.frame(), silence=self._silence)
        yield Receive(question.parser(), self._first, self._first)

    def _open(self) -> Dialogue[None]:
        password = password_bytes(self._password, self._settings.password)
        body = bytes((OPEN, self._settings.level)) + password
        question = Question(self._settings.family, self._address, body, 1)
        try:
            yield from self._exchange(question, bytes, secret=password)
        except MeterRefused as error:
            if error.code == BUSY:
                raise
            raise MeterRefused(
                f"the channel of {_meter(question)} was not opened (status {error.code}): the password of level "
                f"{self._settings.level} is another, or its form is (here: {self._settings.password}); a meter with D "
                "in its type wants ASCII: give 313131313131 for 111111"
            ) from None
        self.is_open = True

    def _exchange(self, question: Question, check: Callable[[bytes], object], secret: bytes = b"") -> Dialogue[bytes]:
        """One question, put again to a busy meter."""
        busy = 0
        while True:
            try:
                # `between` as long as `first`: a glitch before the answer must not cut the meter's time short.
                data: bytes = yield from exchange(
                    question.frame(),
                    question.parser(check),
                    first=self._first,
                    between=self._first,
                    secret=secret,
                    silence=self._silence,
                )
                return data
            except MeterRefused as error:
                if error.code != BUSY:
                    raise
                if busy == AGAIN:
                    raise MeterRefused(
                        f"asked {busy + 1} times for {question}: status 2, {REFUSALS[BUSY]}", BUSY
                    ) from None
            busy += 1
            yield Pause(REST)


def password_bytes(password: bytes, form: str) -> bytes:
    """The six bytes of a password.

    Six characters are taken in the form of the profile ("digits": the byte 01 for 1; "ascii": 31); twelve hex digits
    are the bytes themselves. Raises NotInProfile.
    """
    text = password.decode("ascii", "replace")
    if len(text) == 6 and form == "ascii" and text.isascii():
        return password
    if len(text) == 6 and text.isascii() and text.isdecimal():
        return bytes(map(int, text))
    try:
        found = bytes.fromhex(text) if len(text) == 12 else b""
    except ValueError:
        found = b""
    if len(found) != 6:
        raise NotInProfile(
            "the password of a Mercury is six digits such as 111111, or its six bytes in hex such as 010101010101"
        )
    return found


def _meter(question: Question) -> str:
    return f"Mercury {int.from_bytes(question.address, 'big')}"


def channel_test(address: str, *, first: float, baudrate: int = 9600, framing: str = "8N1") -> Dialogue[None]:
    """Whether a meter of the 230 family is there: the channel test, whose answer is the request itself (INC20 2.1).

    `first`: seconds until it may begin to answer. Raises DriverError.
    """
    question = Question("230", on_the_wire("230", address), bytes((TEST,)), 1)
    yield from exchange(
        question.frame(),
        question.parser(),
        first=first,
        between=first,
        silence=silence("230", baudrate, framing),
        same=True,
    )
