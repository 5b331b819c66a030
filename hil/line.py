"""A multi-drop wire of simulated meters, which takes the time that a wire would take.

What the client writes is on the wire for its characters' time; a meter thinks for `turnaround` or for what its protocol
says; its answer arrives character by character (in pieces of a few milliseconds, as a serial adapter hands them over).
Every meter hears the client with its own speed and framing, and the client hears every meter with the port's.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from drivers.meter_side import Reaction, Wiring
from hil.characters import Setting, received
from hil.head import Head
from hil.ports import Converter, Port, Pty, Rfc2217
from hil.station import Answering, Station

Kind = Literal["pty", "socket", "rfc2217"]
PORTS: dict[Kind, Callable[[Setting, tuple[str, int]], Port]] = {
    "pty": lambda setting, _: Pty(setting),
    "socket": Converter,
    "rfc2217": Rfc2217,
}
LOOK_UP = 0.2  # seconds between two looks at a silent wire's head: somebody may have put it into the sun
PIECE = 0.004  # seconds of answer handed over at once; USB serial adapters gather for 1 to 16 ms


class Millis(Protocol):
    """The part of a clock that the bench needs."""

    def millis(self) -> int: ...


class Wire:
    """One simulated wire. `path` is what a client opens; `mute` holds addresses that do not answer.

    `baudrate`, `framing`: how meters are set that do not say otherwise, and the serial side of a converter before a
    client sets it. `kind`: a pseudo terminal, a transparent converter (`socket://`), one that can be set (`rfc2217://`).
    `listen`: where a converter does. `echo`: the client's adapter hears what it sends.
    """

    def __init__(
        self,
        meters: Sequence[Answering],
        clock: Millis,
        *,
        baudrate: int = 9600,
        framing: str = "8N1",
        turnaround: float = 0.005,
        kind: Kind = "pty",
        listen: tuple[str, int] = ("127.0.0.1", 0),
        echo: bool = False,
    ) -> None:
        self.meters = list(meters)
        self.mute: set[str] = set()
        self.turnaround = turnaround
        self.echo = echo
        self.answers = 0
        self.head = Head()
        self._clock = clock
        self._stations = [Station(meter, Wiring(baudrate, framing)) for meter in meters]
        opened = self._stations[0].side.framing if self._stations else framing
        self._port: Port = PORTS[kind](Setting(baudrate, opened), listen)
        self.path = self._port.name
        self._early: list[tuple[bytes, Setting]] = []  # what came while a meter was speaking
        self._stop_read, self._stop_write = os.pipe()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name=f"wire {self.path}", daemon=True)

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        self._port.close()
        for end in (self._stop_read, self._stop_write):
            os.close(end)
        if self._failed is not None:
            raise RuntimeError(f"the simulated wire {self.path} had ended by a bug") from self._failed

    def _live(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._failed = error
            raise

    def _run(self) -> None:
        free = 0.0  # when the wire has carried everything that was written so far
        while not self._stopped():
            data, sent = self._early.pop(0) if self._early else self._port.wait(self._patience(), self._stop_read)
            begun = max(free, time.monotonic())
            millis = self._clock.millis()
            if data:
                free = begun + len(data) * sent.character
                if self.echo:
                    self._port.give(data)
                through = self.head.through(data)
                free = self._spoken([(s, s.hear(through, sent, begun, free, millis)) for s in self._stations], free)
            else:
                self._shine()
                woken = [s for s in self._stations if s.side.wakes is not None and s.side.wakes <= begun]
                free = self._spoken([(s, s.react(begun, millis)) for s in woken], begun)

    def _patience(self) -> float:
        """Seconds until something is due though nothing comes."""
        now = time.monotonic()
        due = [station.side.wakes - now for station in self._stations if station.side.wakes is not None]
        due += [self.head.glare] if self.head.glare is not None else []
        return max(0.0, min(due, default=LOOK_UP))

    def _shine(self) -> None:
        if light := self.head.light():
            self._port.give(light)

    def _spoken(self, reactions: Sequence[tuple[Station, Reaction]], start: float) -> float:
        """Put what meters say on the wire; returns when the last character has arrived."""
        for station, reaction in reactions:
            if station.meter.address in self.mute:
                continue
            self.answers += bool(reaction)
            for say in reaction:
                start += self.turnaround if say.pause is None else say.pause
                start = self._say(say.data, Setting(say.baudrate, station.side.framing), start)
        return start

    def _say(self, data: bytes, sent: Setting, start: float) -> float:
        """Put one answer on the wire from `start` on; returns when its last character has arrived."""
        character = sent.character
        piece = max(1, int(PIECE / character))
        for begin in range(0, len(data), piece):
            end = min(begin + piece, len(data))
            if self._rest(start + end * character):
                break
            heard = received(self.head.through(data[begin:end]), sent, self._port.setting())
            if heard:
                self._port.give(heard)
        return start + len(data) * character

    def _rest(self, until: float) -> bool:
        """Wait, while a client may set its port or speak too soon; whether the wire was told to end in the meantime."""
        left = until - time.monotonic()
        while not self._stopped():
            data, sent = self._port.wait(max(0.0, left), self._stop_read)
            if data:
                self._early.append((data, sent))
            left = until - time.monotonic()
            if left <= 0:
                return False
        return True

    def _stopped(self) -> bool:
        """Whether the wire was told to end."""
        return bool(select.select([self._stop_read], [], [], 0)[0])
