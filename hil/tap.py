"""Sits between a client and a real line, carries every byte and change of speed through, and writes the recording.

Rule 1. Nothing waits for the recording: bytes go on first, and are written down afterwards.
Rule 2. A turn of the conversation (what was said, and what came) is written as a whole, when it is over: only then is
        it known where in it a password stands, and where that came back as an echo.
Rule 3. The line is set as the client sets its end, before the client's next byte is sent on; a pseudo terminal does
        not tell its framing, which then is the one that the line was opened with.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from types import TracebackType

from collector.clock import Clock
from collector.edge.transport import Transport
from collector.exits import Unreachable
from collector.recording import CAME, SAID, Spoken, written
from drivers import passwords
from hil.characters import Setting
from hil.ports import UNKNOWN, Port

LOOK = 0.005  # seconds between two looks at how the client has set its end; meters give it 20 ms and more for a change
WAIT = 0.1  # seconds of one waiting for the line, after which the end of the recording is noticed
MOST = 4096
OVER = 1500  # milliseconds after which a message has ended: no protocol here lets characters come further apart


class Recorder:
    """Writes a conversation down, turn by turn, without passwords. Used by several threads.

    `write` gets lines without their end, and raises Unreachable where they cannot be kept.
    """

    def __init__(self, write: Callable[[str], None], clock: Clock) -> None:
        self._write = write
        self._lock = threading.Lock()
        # One offset for the whole recording: a wall clock that is set meanwhile must not turn the order of bytes round.
        self._offset = clock.millis() - clock.monotonic() * 1000
        self._clock = clock
        self._turn: list[Spoken] = []
        self._before = b""  # what was said last in a turn that is written: its echo may still come

    def remark(self, text: str) -> None:
        """A line for people, behind what was said so far."""
        with self._lock:
            self._end()
            self._write(f"# {text}")

    def said(self, data: bytes) -> None:
        """The client has said this."""
        self._add(SAID, data)

    def came(self, data: bytes) -> None:
        """This came from the line."""
        self._add(CAME, data)

    def look(self) -> None:
        """Write a turn that is over."""
        with self._lock:
            if self._turn and self._now() - self._turn[-1].at >= OVER:
                self._end()

    def close(self) -> None:
        """Write what is left."""
        with self._lock:
            self._end()

    def _now(self) -> int:
        return int(self._clock.monotonic() * 1000 + self._offset)

    def _add(self, direction: str, data: bytes) -> None:
        with self._lock:
            if direction == SAID and self._turn and self._turn[-1].direction == CAME:
                self._end()
            self._turn.append(Spoken(self._now(), direction, data))

    def _end(self) -> None:
        for spoken in _without_passwords(self._turn, self._before):
            self._write(written(spoken))
        self._before = b"".join(it.data for it in self._turn if it.direction == SAID) or self._before
        self._turn = []


def _without_passwords(turn: list[Spoken], before: bytes) -> tuple[Spoken, ...]:
    """The turn's pieces; a password that was said in pieces is found in the whole, one said twice in each piece."""
    said = tuple(it for it in turn if it.direction == SAID)
    came = tuple(it for it in turn if it.direction == CAME)
    request, answer = (b"".join(it.data for it in pieces) for pieces in (said, came))
    shown = _cut(said, passwords.masked(request))
    hidden = tuple(it._replace(data=passwords.masked(it.data)) for it in shown)
    return (*hidden, *_cut(came, passwords.masked_echo(answer, request or before)))


def _cut(pieces: tuple[Spoken, ...], data: bytes) -> tuple[Spoken, ...]:
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + len(piece.data))
    return tuple(
        piece._replace(data=data[begin:end]) for piece, (begin, end) in zip(pieces, pairwise(ends), strict=True)
    )


class Tap:
    """Between `port`, which a client opens, and `line`, which leads to the meters; both are closed at the end.

    Use as a context: it carries while the context is open. `failed`: how the line, or the recording, was lost.
    """

    def __init__(self, port: Port, line: Transport, recorder: Recorder) -> None:
        self.failed: Unreachable | None = None
        self.ended = threading.Event()
        self._port, self._line, self._recorder = port, line, recorder
        self._set: Setting | None = None  # as the client has set its end, since it said something
        self._stop_read, self._stop_write = os.pipe()
        self._threads = [
            threading.Thread(target=self._guarded, args=(carry,), daemon=True, name=f"tap {line.name}")
            for carry in (self._to_the_line, self._to_the_client)
        ]

    def __enter__(self) -> Tap:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        for thread in self._threads:
            thread.join()
        try:
            self._recorder.close()
        except Unreachable as lost:
            self.failed = self.failed or lost
        self._port.close()
        self._line.close()
        for end in (self._stop_read, self._stop_write):
            os.close(end)

    def _end(self) -> None:
        self.ended.set()
        os.write(self._stop_write, b"x")

    def _guarded(self, carry: Callable[[], None]) -> None:
        try:
            while not self.ended.is_set():
                carry()
        except Unreachable as error:
            self.failed = error
        finally:
            if not self.ended.is_set():
                self._end()

    def _to_the_line(self) -> None:
        data, sent = self._port.wait(LOOK, self._stop_read)
        if data or self._set is not None:
            self._set_line(sent)
        if data:
            self._line.write(data)
            self._recorder.said(data)
        else:
            self._recorder.look()

    def _to_the_client(self) -> None:
        if data := self._line.read(WAIT, MOST):
            with suppress(OSError):  # a client that has gone away
                self._port.give(data)
            self._recorder.came(data)

    def _set_line(self, wanted: Setting) -> None:
        if wanted == self._set or wanted.baudrate == UNKNOWN:
            return
        self._set = wanted
        line = self._line
        framing = wanted.framing or line.framing
        if line.tcp or (line.baudrate, line.framing) == (wanted.baudrate, framing):
            return
        if not line.can_switch:
            self._recorder.remark(
                f"the client wants {wanted.baudrate} {framing}; this line stays at {line.baudrate} {line.framing}"
            )
            return
        line.sent()
        line.set_line(wanted.baudrate, framing)
        self._recorder.remark(f"{wanted.baudrate} {framing} from here on")
