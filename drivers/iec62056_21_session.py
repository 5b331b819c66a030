"""A session with an IEC 62056-21 meter: sign-on, speed, readout block, break. Our side. (`_programming`: its mode.)

Rule 1. Limits are to the first character, between two, and a count: never around the whole. A full readout at 300 baud
        takes four minutes.
Rule 2. Everything is repeated a bounded number of times; a password is said once. A refusal is final.
Rule 3. A readout is whole or none: what breaks off is damage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drivers.dialogue import (
    Ask,
    DamagedFrame,
    Dialogue,
    Done,
    Drain,
    DriverError,
    MeterRefused,
    More,
    Never,
    NoAnswer,
    NotInProfile,
    Parser,
    Pause,
    Receive,
    Send,
    SetLine,
)
from drivers.iec62056_21_characters import PARITY, PORT, STRIPPED, damaged_in_words, off_wire, on_wire, sound
from drivers.iec62056_21_frames import (
    BREAK,
    MODE_C,
    NAK,
    RATE_CODE,
    Block,
    Check,
    Identification,
    option_select,
    parse_end,
    parse_identification,
    parse_readout,
    sign_on,
)

T = TypeVar("T")

START = 300  # speed at which modes A, B, C and E begin (62056-21; pwitab/iec62056-21 client.py): from it one switches

# Between two characters at most 1500 ms (62056-21, unread; facts agree on no other); to the first one, the profile's.
BETWEEN = 1.5
IDENTIFICATION_MOST = 256  # bytes: an identification has at most 80, an echo 40; the rest is for noise before them
READOUT_MOST = 65536  # bytes: the longest readouts known (LZQJ, 261 s at 300 baud) have 8 KiB

# Behind an unproven readout: an ETX would come two characters later; the rest is for an adapter that packs.
TAIL = 0.2

SIGN_ONS = 3  # wirenboard/wb-mqtt-serial neva_device.cpp tries five times, each after a break
READOUTS = 3  # readouts at most in one asking, repeated by NAK or in a new session

# Battery-operated meters: NUL characters for 2.1 to 2.3 s at 300 baud, then 1.5 to 1.7 s nothing
# (pwitab/iec62056-21 client.py).
WAKE, WAKE_REST = bytes(66), 1.6

# From a switch back to 300 baud to the next sign-on; wirenboard/wb-mqtt-serial waits 200 ms before each, since some
# meters need them.
REST = 0.2


class WrongSpeed(DamagedFrame):
    """Characters came after a sign-on, and they are none: speed or framing are wrong. Ask again when they are right."""


class Babble(DamagedFrame):
    """Characters come without end: sunlight in the head, or somebody else who talks. Look at the head."""


class BrokenOff(DamagedFrame):
    """An answer that stopped in its middle: a head that was moved, a wire that broke. Ask again."""


class ModeE(MeterRefused):
    """The meter speaks HDLC only, which is not read here."""


class WrongMeter(NotInProfile):
    """A meter whose identification is not the profile's. The profile or the configuration is wrong."""


class Session:
    """One session: at what speed, and what the meter called itself. `check`: how its check character is made."""

    def __init__(self, ask: Ask, *, first: float, check: Check, fastest: int, wake: bool = False) -> None:
        self.check: Check = check
        self.fastest = fastest
        self.reaction = 0.2  # seconds before we speak, until an identification says less
        self.meter: Identification | None = None
        self._ask, self._first, self._wake = ask, first, wake
        self._framing = ask.framing
        self._rate = ask.baudrate
        self._raw = self._heard = b""  # the bytes and characters of the last message, for texts
        self._refusal: DriverError | None = None  # why it was no frame, where the parser said so

    # ------------------------------------------------------------------------- the beginning

    def sign_on(self) -> Dialogue[Identification]:
        """Sign on until somebody says who he is. Silence is asked once more, damage twice."""
        silences = damages = 0
        damaged: DamagedFrame | None = None
        while True:
            yield from self._switch(self._ask.baudrate)
            if self._wake:
                yield Send(WAKE)
                yield Pause(WAKE_REST)
            yield Send(on_wire(sign_on(self._ask.address), self._framing))
            try:
                self.meter = yield from self.hear(parse_identification, most=IDENTIFICATION_MOST)
            except NoAnswer as error:
                silences += 1
                if silences > 1:
                    raise damaged or NoAnswer(
                        f"nobody signs on at {self._rate} {self._framing}; an optical head must sit well on the meter. "
                        f"{error}"
                    ) from None
            except DamagedFrame as error:
                damages, damaged = damages + 1, self._no_identification(error)
                if damages == SIGN_ONS or isinstance(damaged, Babble):
                    raise damaged from None
            else:
                self.reaction = self.meter.reaction
                return self.meter
            yield Drain(self._first)
            yield from self.leave()  # it may hang in a session that somebody left open

    def _begin(self, accept: Callable[[Identification], None]) -> Dialogue[None]:
        """Sign on, and let `accept` look at who it is. Whom it does not want is left: he would read out at 300 baud."""
        meter = yield from self.sign_on()
        try:
            accept(meter)
        except WrongMeter:
            yield from self.leave()
            raise

    def _no_identification(self, error: DamagedFrame) -> DamagedFrame:
        """What the characters that came instead of an identification point to."""
        at, heard = f"sign-on at {self._rate} {self._framing}", self._heard
        if not heard or len(heard) >= IDENTIFICATION_MOST // 2:  # not heard: the wire did not fall silent to be asked
            return Babble(f"{at}: characters come without end; shade the optical head from light. {error}")
        for other in (*PARITY, STRIPPED):
            if other != self._framing and isinstance(parse_identification(off_wire(self._raw, other)), Done):
                return WrongSpeed(f"{at}: what came is an identification with framing {other}; set framing: {other}")
        if not sound(heard):
            words = damaged_in_words(heard, self._framing)
            return WrongSpeed(f"{at}: speed or framing are wrong, or the line is noisy: {words}; came {heard.hex(' ')}")
        return WrongSpeed(f"{at}: no identification; wrong speed, or another protocol: {error}")

    def select(self, option: str, *, last: bool = False) -> Dialogue[None]:
        """Agree on what follows, and on its speed. `last`: another way than in the tries before."""
        meter = self._met()
        if meter.mode == "A":
            return
        rate = self._agreed(meter, last)
        if meter.mode == "C":
            code = RATE_CODE.get(rate, meter.speed)
            if rate != START and MODE_C.get(meter.speed, 0) < rate:
                code = meter.speed  # a line of one fixed speed; the meter knows no higher code
            yield from self.say(option_select(code, option))
            if rate != self._rate:
                # An adapter may still hold characters when it has said that it sent them (vzlogger's
                # baudrate_change_delay). The meter is silent for its reaction time, so half of that costs nothing.
                yield Pause(self.reaction / 2)
        if self._ask.can_switch or meter.mode == "B":
            yield from self._switch(rate)

    def _agreed(self, meter: Identification, last: bool) -> int:
        """The speed that is agreed on.

        It is the meter's, and at last the one of the sign-on, which every head keeps up with. A port that cannot switch
        stays there, and at last takes the meter's: some heads on the network follow the option select by themselves.
        """
        if self._ask.baudrate != START:
            return self._ask.baudrate  # a line of one speed, RS-485 at 9600: nothing is switched
        offered = min(meter.baudrate or START, self.fastest)
        if meter.mode == "B":
            return meter.baudrate or START
        return START if last == self._ask.can_switch else offered

    def _switch(self, rate: int) -> Dialogue[None]:
        if rate != self._rate and rate == self._ask.baudrate:
            yield SetLine(rate, PORT)
            yield Pause(REST)
        else:
            yield SetLine(rate, PORT)
        self._rate = rate

    def _met(self) -> Identification:
        assert self.meter is not None, "the meter has not been asked who it is"
        return self.meter

    # ------------------------------------------------------------------------- a readout

    def readout(self, accept: Callable[[Identification], None]) -> Dialogue[Block]:
        """The whole readout block, from the sign-on on. `accept` looks at the identification and may raise.

        A damaged block is asked for again by NAK, then in a new session, the last one without a change of speed.
        """
        repeat = False
        failed: NoAnswer | DamagedFrame | None = None
        for tries in range(1, READOUTS + 1):
            if repeat:
                yield from self.say(NAK)
            else:
                try:
                    yield from self._begin(accept)
                except (NoAnswer, DamagedFrame):
                    if failed is None:
                        raise
                    break  # what went wrong first says more: a head was lifted
                yield from self.select("0", last=tries == READOUTS)
            try:
                return (yield from self._block())
            except NoAnswer as error:
                failed = self._silent(error)
                repeat = False
            except DamagedFrame as error:
                failed = self._broken(error)
                repeat = failed.whole
                if not repeat:
                    yield Drain(BETWEEN)
        assert failed is not None, "else there is a block"
        raise self._refused_mode(failed)

    def pushed(self, accept: Callable[[Identification], None]) -> Dialogue[Block]:
        """The next whole readout of a meter that sends by itself (mode D), whatever is under way when we come."""
        for tries in range(1, READOUTS + 1):
            try:
                meter = self.meter = yield from self.hear(parse_identification, between=self._first, most=READOUT_MOST)
                accept(meter)
                return (yield from self._block())
            except DamagedFrame as error:
                if tries == READOUTS:
                    raise self._broken(error) from None
        raise AssertionError("unreachable")

    def _block(self) -> Dialogue[Block]:
        meter, check = self._met(), self.check
        block: Block = yield from self.hear(
            lambda characters: parse_readout(characters, check, meter), most=READOUT_MOST
        )
        if not block.proven:
            yield from self._nothing_follows()
        return block

    def _nothing_follows(self) -> Dialogue[None]:
        """Behind a readout without check character there is silence, else it had one and lost its beginning."""
        last: list[More | Done[Any] | Never] = []

        def parse(characters: bytes) -> More | Done[Any] | Never:
            last[:] = [parse_end(characters)]
            return last[0]

        try:
            yield from self.hear(parse, first=TAIL, between=TAIL)
        except NoAnswer:
            pass
        except DamagedFrame:
            if last and isinstance(last[0], Never):
                raise

    def _silent(self, error: NoAnswer) -> NoAnswer:
        return NoAnswer(
            f"{self.meter} called itself, and then nothing came at {self._rate} {self._framing}; was the optical head "
            f"moved? {error}"
        )

    def _broken(self, error: DamagedFrame) -> DamagedFrame:
        if error.whole or self._refusal is not None:
            return error
        if not sound(self._heard):
            words = damaged_in_words(self._heard, self._framing)
            return WrongSpeed(f"{self.meter} at {self._rate} {self._framing}: {words}; {error}")
        return BrokenOff(
            f"the answer of {self.meter} broke off: was the optical head moved? A part of a readout is no reading. "
            f"{error}"
        )

    def _refused_mode(self, failed: NoAnswer | DamagedFrame) -> NoAnswer | DamagedFrame | ModeE:
        if not self._met().offers_hdlc:
            return failed
        return ModeE(
            f"{self.meter} offers mode E (HDLC, DLMS/COSEM) and gave no readout in mode C; mode E is not read here: "
            f"switch the meter's port to mode C, or read it by Modbus or pulses. {failed}"
        )

    # ------------------------------------------------------------------------- the end, and characters

    def leave(self) -> Dialogue[None]:
        """End the session; nobody answers that."""
        yield from self.say(BREAK.to_bytes(self.check))

    def say(self, characters: bytes, *, secret: bytes = b"") -> Dialogue[None]:
        """Say characters with their parity to a meter that is in a session, and ready to hear them by `reaction`."""
        yield Pause(self.reaction)
        yield Send(on_wire(characters, self._framing), on_wire(secret, self._framing), reply=True)

    def hear(
        self, parse: Parser, *, first: float | None = None, between: float = BETWEEN, most: int = IDENTIFICATION_MOST
    ) -> Dialogue[Any]:
        """Receive a frame; its parity is verified. Keeps what came, for the texts of errors."""
        framing = self._framing
        self._raw = self._heard = b""
        self._refusal = None

        def parse_wire(data: bytes) -> More | Done[Any] | Never:
            self._raw, self._heard = data, off_wire(data, framing)
            outcome = parse(self._heard)
            self._refusal = outcome.error if isinstance(outcome, Never) else None
            return outcome

        return (yield Receive(parse_wire, self._first if first is None else first, between, most))
