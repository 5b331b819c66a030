"""Plays a recording as a meter: says what came then, when it is asked what was asked then.

Rule 1. Strict: everything is asked in the recorded order, byte by byte; anything else ends the play with both, in hex.
        Lenient: each request is answered as it was, in any order and as often as it comes; of several answers to the
        same request the next one each time, the last for ever. What is not in the recording is not answered.
Rule 2. At its own pace, each piece of an answer comes as long after the request as it did; else at once.
Rule 3. A masked password fits any (`drivers.passwords.fits`). By Modbus TCP the transaction is the client's own.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from collector.exits import CheckFailed
from collector.recording import Spoken, Turn, turns
from drivers import passwords
from hil.ports import Port

GAP = (
    1.5  # seconds inside a request after which its beginning is forgotten; no protocol lets characters be further apart
)
PERIOD = 2.0  # seconds between two telegrams of a meter that begins by itself, as of the simulated ones
TRANSACTION = 2  # bytes of a Modbus TCP message that are the client's numbering


@dataclass(frozen=True)
class Part:
    """What is asked, and what is said to it: pieces with their seconds after the request's first byte."""

    request: bytes
    answer: tuple[tuple[float, bytes], ...] = ()


def parts(recording: Iterable[Spoken]) -> tuple[Part, ...]:
    """The parts of a recording. One without a request is said by itself, where the meter began."""
    return tuple(_part(turn) for turn in turns(recording))


def _part(turn: Turn) -> Part:
    start = (turn.said or turn.came)[0].at
    return Part(turn.request, tuple(((piece.at - start) / 1000, piece.data) for piece in turn.came))


@dataclass
class Play:
    """What of a recording was asked so far. `told` hears, in words, of each request that was not answered.

    `tcp`: requests are Modbus TCP messages, whose first two bytes are the client's.
    """

    parts: tuple[Part, ...]
    strict: bool = True
    tcp: bool = False
    told: Callable[[str], None] = lambda _: None
    asked: int = 0
    _next: dict[int, int] = field(default_factory=dict)  # lenient: index of a request -> which answer is next

    @property
    def over(self) -> bool:
        """Whether all was asked; a lenient play is never over."""
        return self.strict and self.asked == len(self.parts)

    def unasked(self) -> Part | None:
        """The part that the meter begins by itself now, if the next one is one; a lenient play says them for ever."""
        own = [part for part in self.parts if not part.request]
        if not self.strict and own:
            self.asked += 1
            return own[(self.asked - 1) % len(own)]
        if self.asked < len(self.parts) and not self.parts[self.asked].request:
            self.asked += 1
            return self.parts[self.asked - 1]
        return None

    def hear(self, buffer: bytes) -> Part | None:
        """The part that a whole request begins; None while it may still become one.

        Raises CheckFailed, in a strict play, for anything else than the next request.
        """
        if not self.strict:
            return self._lenient(buffer)
        if self.over:
            raise CheckFailed(f"all {len(self.parts)} requests were asked, and now comes {buffer.hex(' ')}")
        wanted = self.parts[self.asked].request
        if self._fits(buffer, wanted):
            self.asked += 1
            return self.parts[self.asked - 1]
        if len(buffer) >= len(wanted) or not self._begins(buffer, wanted):
            raise CheckFailed(
                f"request {self.asked + 1} of {len(self.parts)} is {wanted.hex(' ')} in the recording; came "
                f"{buffer.hex(' ')}"
            )
        return None

    def forget(self, buffer: bytes) -> None:
        """The rest of a request did not come. Raises CheckFailed in a strict play."""
        if self.strict:
            wanted = self.parts[self.asked].request if not self.over else b""
            raise CheckFailed(f"request {self.asked + 1} broke off: {wanted.hex(' ')} expected; came {buffer.hex(' ')}")
        self.told(f"not in the recording, not answered: {buffer.hex(' ')}")

    def left(self) -> str:
        """What was not asked, in words; empty when all was."""
        if not self.strict or self.over:
            return ""
        wanted = self.parts[self.asked].request.hex(" ") or "what the meter says by itself"
        return f"{len(self.parts) - self.asked} of {len(self.parts)} requests were not asked; next was {wanted}"

    def _lenient(self, buffer: bytes) -> Part | None:
        """Noise before a request is passed over: the longest request that ends here."""
        found = [
            at
            for at, part in enumerate(self.parts)
            if part.request
            and len(buffer) >= len(part.request)
            and self._fits(buffer[len(buffer) - len(part.request) :], part.request)
        ]
        if not found:
            return None
        longest = max(len(self.parts[at].request) for at in found)
        same = [at for at in found if len(self.parts[at].request) == longest]
        turn = self._next.get(same[0], 0)
        self._next[same[0]] = turn + 1
        self.asked += 1
        return self.parts[same[min(turn, len(same) - 1)]]

    def _fits(self, came: bytes, recorded: bytes) -> bool:
        own = TRANSACTION if self.tcp else 0
        return passwords.fits(came[own:], recorded[own:])

    def _begins(self, came: bytes, recorded: bytes) -> bool:
        if not came.startswith(recorded[: len(came)]):
            own = TRANSACTION if self.tcp else 0
            hidden = {at for span in passwords.spans(recorded) for at in span} | set(range(own))
            return all(one == recorded[at] for at, one in enumerate(came) if at not in hidden)
        return True


class Player:
    """A play at a port. `at_once`: without the recorded times."""

    def __init__(self, play: Play, port: Port, *, at_once: bool = False) -> None:
        self.play = play
        self.name = port.name
        self._port = port
        self._at_once = at_once
        self._stop_read, self._stop_write = os.pipe()
        self._early = b""  # what was said while an answer was under way

    def stop(self) -> None:
        """End `run`; from any thread or signal."""
        os.write(self._stop_write, b"x")

    def run(self) -> None:
        """Play until all is played and the client is content, or until it is stopped.

        Raises CheckFailed where a strict play is not followed.
        """
        buffer, last, begins = b"", time.monotonic(), 0.0
        while not self._stopped():
            if self._port.taken and time.monotonic() >= begins and (part := self.play.unasked()) is not None:
                self._say(part, time.monotonic(), b"")
                last = time.monotonic()
                begins = last if self.play.strict else last + PERIOD
            due = last + GAP if buffer or self.play.over else None
            came = self._hear(PERIOD if due is None else max(due - time.monotonic(), 0.0))
            if not came and due is not None and time.monotonic() >= due:
                if not buffer:
                    return
                self.play.forget(buffer)
                buffer = b""
            for at in range(len(came)):
                last = time.monotonic()
                buffer += came[at : at + 1]
                if (part := self.play.hear(buffer)) is not None:
                    self._early = came[at + 1 :] + self._early
                    self._say(part, last, buffer)
                    buffer, last = b"", time.monotonic()
                    break

    def close(self) -> None:
        """Give the port back."""
        self._port.close()
        for end in (self._stop_read, self._stop_write):
            os.close(end)

    def _hear(self, seconds: float | None) -> bytes:
        if self._early:
            came, self._early = self._early, b""
            return came
        return self._port.wait(seconds, self._stop_read)[0]

    def _say(self, part: Part, begun: float, request: bytes) -> None:
        for after, data in self._numbered(part, request):
            if not self._at_once and self._rest(begun + after):
                return
            self._port.give(data)

    def _numbered(self, part: Part, request: bytes) -> Iterator[tuple[float, bytes]]:
        """The answer's pieces, by TCP with the client's transaction in the place of the recorded one."""
        if not self.play.tcp or not part.answer:
            yield from part.answer
            return
        whole = b"".join(data for _, data in part.answer)
        yield part.answer[-1][0], whole.replace(part.request[:TRANSACTION], request[:TRANSACTION], 1)

    def _rest(self, until: float) -> bool:
        """Wait, while the client may speak too soon; whether the play was stopped in the meantime."""
        while (left := until - time.monotonic()) > 0:
            self._early += self._port.wait(left, self._stop_read)[0]
            if self._stopped():
                return True
        return False

    def _stopped(self) -> bool:
        return bool(select.select([self._stop_read], [], [], 0)[0])
