"""Watches a dialogue on a wire: what came before each sound frame, what behind it, what instead of it, and when.

The dialogue is the driver's own, and its parsers say what is sound. Nothing of what is only watched reaches it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from collector.clock import Clock
from collector.edge.transport import Transport
from collector.edge.wire import Trace, Wire
from drivers.dialogue import (
    Dialogue,
    Done,
    Drain,
    DriverError,
    MeterRefused,
    More,
    Never,
    Receive,
    Send,
    Step,
    character_seconds,
)

T = TypeVar("T")

# Seconds that are listened behind a sound frame. A second meter at the address answers as late as the first one did,
# up to 200 ms (IEC 62056-21), or right behind it; an optical meter waits 1.5 s for our next word.
BEHIND = 0.3
IDLE_MOST = 64  # bytes of noise: a line that babbles needs no more to be told
NOISE_MOST = 64  # bytes beside a frame that are looked at; parsers pass some hundred over


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and what came. Bytes are as on the wire, without the echo of the question.

    `answer`: the sound frame, or all that came in its place; `before`, `behind`: what was on the wire beside it.
    `second`: the meaning of a second sound frame behind it (None: there is none), `same`: it is the first one again.
    `error`: why there is no sound frame; a refusal is one. `short`: it broke off. `seconds`: from the end of the
    question to the first byte. `late`: what came after it had been given up.
    """

    request: bytes
    answer: bytes = b""
    before: bytes = b""
    behind: bytes = b""
    second: object | None = None
    same: bool = False
    echo: bool = False
    short: bool = False
    error: DriverError | None = None
    seconds: float | None = None
    late: bytes = b""

    @property
    def sound(self) -> bool:
        """Whether a whole frame came whose check is right, also one that says no."""
        return self.error is None or isinstance(self.error, MeterRefused)


class Watch:
    """One wire that is watched. `exchanges`: all so far; `heard`: all bytes that ever came."""

    def __init__(self, transport: Transport, clock: Clock, trace: Trace | None = None) -> None:
        self.exchanges: list[Exchange] = []
        self.heard = 0
        self._told = trace
        self._request = b""
        self._sent = self._first = 0.0  # when the question had left; when the first byte behind it came
        self._given_up = False  # whether what comes now comes too late
        self.wire = Wire(transport, clock, self._trace)

    def listen(self, seconds: float) -> bytes:
        """What comes though nobody is asked."""
        return self.wire.carry(_rest(seconds, IDLE_MOST))

    def ask(self, dialogue: Dialogue[T]) -> T:
        """Carry a dialogue out and keep its exchanges. Raises DriverError and PortError as it does."""
        try:
            return self.wire.carry(self._watched(dialogue))
        finally:
            self._given_up = False

    # ------------------------------------------------------------------------- the dialogue's steps

    def _watched(self, dialogue: Dialogue[T]) -> Dialogue[T]:
        """The steps of a dialogue. Before it goes on with anything but a further Receive, what is behind is heard."""
        answered: _Answered | None = None
        try:
            step: Step = next(dialogue)
            while True:
                if answered is not None and not isinstance(step, Receive):
                    yield from self._look_behind(answered)
                    answered = None
                    # Who asked twice waits for the other answer: what comes now is the one that was given up.
                    self._given_up = isinstance(step, Drain)
                try:
                    if isinstance(step, Receive):
                        found, answered = yield from self._receive(step)
                    else:
                        found = yield self._noted(step)
                except DriverError as error:
                    step = dialogue.throw(error)
                else:
                    step = dialogue.send(found)
        except StopIteration as end:
            if answered is not None:
                yield from self._look_behind(answered)
            result: T = end.value
            return result
        finally:
            dialogue.close()

    def _noted(self, step: Step) -> Step:
        if isinstance(step, Send):
            self._request, self._first, self._given_up = step.data, 0.0, False
        return step

    def _receive(self, step: Receive) -> Generator[Step, Any, tuple[Any, _Answered]]:
        seen, outcome = b"", _NOTHING

        def parse(buffer: bytes) -> More | Done[Any] | Never:
            nonlocal seen, outcome
            seen, outcome = buffer, step.parse(buffer)
            return outcome

        echoes = self.wire.counts.echoes
        try:
            found = yield replace(step, parse=parse)
        except DriverError as error:
            self.exchanges.append(
                Exchange(
                    self._request,
                    answer=self.wire.heard,
                    echo=self.wire.counts.echoes > echoes,
                    short=bool(self.wire.heard) and isinstance(outcome, More),
                    error=error,
                    seconds=self._delay(),
                )
            )
            self._given_up = not self.wire.heard
            raise
        assert isinstance(outcome, Done)
        start = _start(step, seen, outcome)
        exchange = Exchange(
            self._request,
            answer=seen[start : outcome.used],
            before=seen[:start],
            echo=self.wire.counts.echoes > echoes,
            seconds=self._delay(),
        )
        self.exchanges.append(exchange)
        return found, _Answered(step, outcome.frame)

    def _look_behind(self, answered: _Answered) -> Dialogue[None]:
        """What follows a sound frame, and whether that is another one."""
        # A second answer is as long as the first; light in the optical head would go on for ever.
        behind = yield from _rest(BEHIND, len(self.exchanges[-1].answer) + NOISE_MOST)
        if not behind:
            return
        second = answered.step.parse(behind)
        if isinstance(second, Never) and isinstance(second.error, MeterRefused):
            second = Done(second.error, len(behind))
        frame = second.frame if isinstance(second, Done) else None
        again = (
            isinstance(second, Done)
            and self.exchanges[-1].answer == behind[_start(answered.step, behind, second) : second.used]
        )
        self.exchanges[-1] = replace(self.exchanges[-1], behind=behind, second=frame, same=again)

    # ------------------------------------------------------------------------- the wire's bytes

    def _trace(self, direction: str, data: bytes, at: float) -> None:
        if self._told is not None:
            self._told(direction, data, at)
        if direction == ">>":
            port = self.wire.transport
            self._sent = at + (0.0 if port.tcp else len(data) * character_seconds(port.baudrate, port.framing))
            return
        self.heard += len(data)
        self._first = self._first or at
        if self._given_up and self.exchanges:
            last = self.exchanges[-1]
            self.exchanges[-1] = replace(last, late=last.late + data, seconds=last.seconds or at - self._sent)

    def _delay(self) -> float | None:
        return max(self._first - self._sent, 0.0) if self._first else None


@dataclass(frozen=True, slots=True)
class _Answered:
    """The step that a sound frame was the answer to, and the frame."""

    step: Receive
    frame: Any


_NOTHING: More | Done[Any] | Never = More()


def _rest(seconds: float, most: int) -> Dialogue[bytes]:
    """All that comes until the line has been silent for so long, or has shown that it will not be."""
    came = b""

    def keep(buffer: bytes) -> More | Done[None]:
        nonlocal came
        came = buffer
        return Done(None, len(buffer)) if len(buffer) >= most else More()

    with suppress(DriverError):
        yield Receive(keep, seconds, seconds, most)
    return came


def _start(step: Receive, buffer: bytes, outcome: Done[Any]) -> int:
    """Where the frame begins that the parser found: what stands before it, it passed over."""
    for start in range(min(outcome.used - 1, NOISE_MOST), 0, -1):
        match step.parse(buffer[start : outcome.used]):
            case Done(frame=frame) if frame == outcome.frame:
                step.parse(buffer)  # parsers of sessions keep what they saw last, for their texts
                return start
    step.parse(buffer)
    return 0
