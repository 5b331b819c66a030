"""Carries a driver's steps out on one wire: silence before requests, time-outs by the baud rate, echo, late bytes.

Rule 1. Before each request the wire has been silent for 3.5 x 11 bit times (1.75 ms above 19200 baud) since the last
        byte seen or sent on it. Whatever comes meanwhile is nobody's: it is counted as stray, and the silence starts
        again. A wire that does not fall silent is not talked over: its request is damage without having been sent.
Rule 2. All time-outs are beyond the time that the characters themselves take, and count from when the last byte has
        left the wire. That instant is computed from speed and framing: a pseudo terminal, a USB adapter and a network
        say "sent" before it is.
Rule 3. A byte that has come is looked at, however late we were told: after a deadline the port is read once more
        before silence is believed. A busy machine is not a silent meter.
Rule 4. What begins with exactly the bytes just sent is an echo. It is taken off once and counted. Where the right
        answer may be those bytes too (`Receive.same`), adapters tell: one that echoes does so always. While no other
        answer has shown which kind ours is, the line is listened to for as long as an answer may take: an echo is
        followed by one, an answer is not; and what came sooner than characters travel is no answer.
Rule 5. Only `Transport.read` waits. Modbus TCP has no characters: silence and characters take no time on it.
Rule 6. A password is shown nowhere, nor the check bytes that are made of it. Both are masked in the trace of what is
        sent and, until the next request, in what comes: it may be an echo, in pieces, damaged (`drivers.passwords`).
        Only all that came shows that; so the trace is told of it at the end of each step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from collector.clock import Clock
from collector.edge.transport import Transport
from drivers import passwords
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
    Step,
    character_seconds,
    silence,
)

T = TypeVar("T")

# Called for every piece of bytes: ">>" (sent) or "<<" (came), the bytes, and Clock.monotonic() seconds.
Trace = Callable[[str, bytes, float], None]

CHUNK = 4096  # bytes read at once: what a Linux tty holds for its reader (N_TTY_BUF_SIZE)
USB_FRAMES = 0.002  # seconds, two frames of a full-speed bus: how much later than told an adapter may have sent
# A wire that does not fall silent within two of the longest Modbus frames (256 characters each) and a second for
# devices that talk in pieces is babbling. At most five seconds: at 1200 baud, the slowest that Modbus is used with, two
# frames have them; slower is an optical port, where light makes characters and the neighbours would wait for nothing.
BABBLE_CHARACTERS, BABBLE_SECONDS, BABBLE_MOST = 512, 1.0, 5.0
SHOWN = 64  # bytes of a damaged frame in an error's text
HELD = 65536  # bytes kept for the next Receive while a pause lasts; the longest readouts known are shorter


@dataclass(slots=True)
class Counts:
    """Since the wire was opened: requests and their echoes; bytes sent, received (all that came), stray (nobody's)."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    stray: int = 0
    echoes: int = 0


class Wire:
    """One wire, used by one thread. `heard`: what came since the last request, without its echo (for evidence)."""

    def __init__(self, transport: Transport, clock: Clock, trace: Trace | None = None) -> None:
        self.transport = transport
        self.counts = Counts()
        self.heard = b""
        self._now = clock.monotonic
        self._trace = trace
        self._set_times()
        # The wire may have been busy until this moment: the first request waits like all others.
        self._last = self._sent_end = self._now()  # last byte seen or sent; last byte sent
        self._rest = self._silence  # silence that the last byte asks for, at the speed it came with
        self._held = b""  # came, and belongs to the next Receive
        self._echo = b""  # what was sent and may still come back
        self._echoes: bool | None = None  # whether what is sent comes back here, as the last answer showed it
        self._spoken = self._secret = b""  # a message with a password, if such a one was sent last; the password
        self._after = b""  # what came behind it
        self._untold: list[tuple[int, float]] = []  # of that, the pieces that the trace does not have: bytes, instant
        self._babble: DamagedFrame | None = None  # why the last request was not sent

    def carry(self, dialogue: Dialogue[T]) -> T:
        """Carry all steps of a dialogue out and return its result, when the last byte sent has left the wire.

        Raises the DriverError that the dialogue ends with, and PortError when the port is lost.
        """
        try:
            step = next(dialogue)
            while True:
                try:
                    found = self._carry_out(step)
                except DriverError as error:
                    step = dialogue.throw(error)
                else:
                    step = dialogue.send(found)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            dialogue.close()
            if self._now() < self._sent_end:  # it ended by sending (B0), and the port may be closed now
                self._pause(self._sent_end + USB_FRAMES)

    def set_line(self, baudrate: int, framing: str) -> None:
        """Switch speed and framing, if they differ, after the last byte sent has left.

        Raises PortError, and NotInProfile where the port cannot be switched.
        """
        port = self.transport
        if port.tcp or (baudrate, framing) == (port.baudrate, port.framing):
            return
        if not port.can_switch:
            raise NotInProfile(
                f"{port.name} stays at {port.baudrate} {port.framing} and cannot be switched to {baudrate} {framing}, "
                "which this meter needs; use the converter's rfc2217:// service, or set all meters and the converter "
                "alike"
            )
        port.sent()
        self._pause(self._sent_end + USB_FRAMES)
        port.set_line(baudrate, framing)
        self._set_times()

    # ------------------------------------------------------------------------- steps

    def _carry_out(self, step: Step) -> Any:
        try:
            match step:
                case Send(data, secret, rest, reply):
                    self._send(data, secret, None if reply else rest)
                case Receive():
                    return self._receive(step)
                case SetLine(baudrate, framing):
                    self.set_line(baudrate, framing)
                case Pause(seconds):
                    self._pause(self._now() + seconds)
                case Drain(seconds):
                    self._drain(seconds)
        finally:
            self._tell()
        return None

    def _send(self, data: bytes, secret: bytes, rest: float | None) -> None:
        self._stray(self._held)
        self._held = self.heard = self._echo = b""
        self._babble = None if rest is None else self._fall_silent(rest)
        if self._babble is not None:
            return
        start = self._now()
        self._tell()
        self._spoken, self._secret, self._after = data if secret else b"", secret, b""
        self.transport.write(data)
        if self._trace is not None:
            self._trace(">>", passwords.masked(data, secret) if secret else data, start)
        self.counts.requests += 1
        self.counts.sent += len(data)
        self._last = self._sent_end = max(start + len(data) * self._character, self._now())
        self._rest = self._silence
        self._echo = b"" if self.transport.tcp else data

    def _receive(self, step: Receive) -> Any:
        if self._babble is not None:
            raise self._babble
        buffer, self._held = self._held, b""
        wanted, known = 1, 0  # bytes missing as the parser says, and of how many it said so
        deadline = max(self._last, self._now()) + step.first + self._character
        echoed = shown = False
        while True:
            if self._echo and buffer and not _proper_prefix(buffer, self._echo):
                if buffer.startswith(self._echo):
                    buffer += self._further(step, buffer)
                    if self._is_echo(step, buffer):
                        buffer, echoed = buffer[len(self._echo) :], True
                        self.counts.echoes += 1
                        deadline = self._last + step.first + self._character
                self._echo, shown = b"", echoed or not step.same
            self.heard = self._masked(buffer)
            if buffer and not self._echo and len(buffer) >= known + wanted:
                match step.parse(buffer):
                    case Done(frame, used):
                        self._held = buffer[used:]
                        self._echoes = echoed if shown else self._echoes
                        return frame
                    case Never(error):
                        raise error
                    case more:
                        wanted, known = max(more.wanted, 1), len(buffer)
                if known + wanted > step.most:
                    raise DamagedFrame(
                        f"{self.transport.name}: {known} bytes and no whole frame, {wanted} more would be needed; "
                        f"the longest answer here has {step.most}. It begins: {self._shown(buffer)}"
                    )
            missing = len(self._echo) - len(buffer) if self._echo else known + wanted - len(buffer)
            if buffer:
                deadline = self._last + step.between + missing * self._character
            came = self._listen(deadline)
            if not came:
                raise self._broken_off(step, buffer, missing) if buffer else self._no_answer(step, echoed)
            buffer += came

    def _further(self, step: Receive, buffer: bytes) -> bytes:
        """A further look at the line, where only what follows shows whether this is the echo or the answer."""
        if not step.same or buffer != self._echo or self._echoes is not None:
            return b""
        return self._listen(self._last + step.first + self._character)

    def _is_echo(self, step: Receive, buffer: bytes) -> bool:
        """Whether the request's own bytes, of which `buffer` begins, are the echo (rule 4)."""
        if not step.same:
            return True
        if self._echoes is not None:
            return self._echoes
        return len(buffer) > len(self._echo) or self._last < self._sent_end + len(self._echo) * self._character

    def _drain(self, seconds: float) -> None:
        end = self._now() + 10 * seconds  # the step's own limit
        while came := self._listen(min(self._now() + seconds, end)):
            self._stray(came)
            if self._now() >= end:
                return

    # ------------------------------------------------------------------------- the wire

    def _set_times(self) -> None:
        port = self.transport
        self._character = 0.0 if port.tcp else character_seconds(port.baudrate, port.framing)
        self._silence = 0.0 if port.tcp else silence(port.baudrate)

    def _listen(self, until: float) -> bytes:
        """What comes until then, as soon as something comes; at least one look at the port."""
        while True:
            came = self.transport.read(max(until - self._now(), 0.0), CHUNK)
            now = self._now()
            if came:
                self.counts.received += len(came)
                self._last = max(self._last, now)
                self._rest = self._silence
                if self._spoken:
                    self._after += came
                    self._untold.append((len(came), now))
                elif self._trace is not None:
                    self._trace("<<", came, now)
                return came
            if now >= until:
                return b""

    def _fall_silent(self, rest: float) -> DamagedFrame | None:
        """Wait for the silence before a request, the rule's or `rest`; why not, if the wire does not fall silent."""
        limit = self._now() + min(BABBLE_SECONDS + BABBLE_CHARACTERS * self._character, BABBLE_MOST)
        while came := self._listen(self._last + max(self._rest, self._silence, rest)):
            self._stray(came)
            if self._now() > limit:
                return DamagedFrame(
                    f"{self.transport.name}: not asked, the wire does not fall silent; last came {self._shown(came)}. "
                    "Does another master use it, is the speed wrong, are its wires open or swapped, does light fall "
                    "into the optical head?"
                )
        return None

    def _pause(self, until: float) -> None:
        """Wait; what comes belongs to the next Receive."""
        while came := self._listen(until):
            room = HELD - len(self._held)
            self._held += came[:room]
            self._stray(came[room:])

    def _tell(self) -> None:
        """Tell the trace of what came behind a password (rule 6)."""
        untold, self._untold = self._untold, []
        if self._trace is None or not untold:
            return
        shown = self._masked(self._after)[-sum(size for size, _ in untold) :]
        for size, at in untold:
            self._trace("<<", shown[:size], at)
            shown = shown[size:]

    def _masked(self, data: bytes) -> bytes:
        """What came, as it may be shown (rule 6)."""
        return passwords.masked_echo(data, self._spoken, self._secret) if self._spoken else data

    def _shown(self, data: bytes) -> str:
        """What came, for an error's text."""
        rest = f" and {len(data) - SHOWN} bytes more" if len(data) > SHOWN else ""
        return self._masked(data)[:SHOWN].hex(" ") + rest

    def _stray(self, data: bytes) -> None:
        self.counts.stray += len(data)

    # ------------------------------------------------------------------------- what went wrong

    def _no_answer(self, step: Receive, echoed: bool) -> NoAnswer:
        port = self.transport
        text = f"{port.name}: no answer in {step.first:g} s"
        if port.tcp:
            return NoAnswer(f"{text}; check the meter's unit address, and the wire behind the gateway, if it is one")
        if echoed:
            return NoAnswer(f"{text}, but our own request came back (echo): the adapter works, look beyond it")
        settings = f"{port.baudrate} {port.framing}"
        return NoAnswer(f"{text} at {settings}; check the meter's address, speed and framing, and its two wires")

    def _broken_off(self, step: Receive, buffer: bytes, missing: int) -> DamagedFrame:
        return DamagedFrame(
            f"{self.transport.name}: the answer broke off: {len(buffer)} bytes came ({self._shown(buffer)}), at least "
            f"{missing} more were expected, none within {step.between:g} s beyond their own time"
        )


def _proper_prefix(buffer: bytes, request: bytes) -> bool:
    """Whether what came may yet become the echo of the request."""
    return len(buffer) < len(request) and request.startswith(buffer)
