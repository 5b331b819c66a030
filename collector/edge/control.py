"""The gateway's ear for people on its own computer: a Unix socket beside the spool (`collector.control` speaks to it).

Rule 1. Who may write to the socket (its owner and group) may ask. Nothing asked here deletes or changes a reading.
Rule 2. A pause has an end from its beginning: the line has its port again then, whatever became of who asked.
Rule 3. Whatever is asked, the gateway goes on: a fault is an answer.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from collector import control
from collector.clock import Clock
from collector.exits import Unreachable, UsageFault
from collector.localtime import rfc3339
from collector.spool import SpoolFull, SpoolUnusable
from drivers.strict_yaml import ConfigError

log = logging.getLogger(__name__)

LONGEST = 86_400.0  # seconds of a pause: a day has its boundary, and who works longer asks again
SILENCE = 60.0  # seconds after which a connection that says nothing is closed
MODE = 0o660  # owner and group; the folder of the spool says who gets that far

Request = Mapping[str, Any]
Answer = dict[str, Any]


class Holds:
    """Which lines are paused, by whom and until when. `take` and `give` pause and resume a line by its name.

    `take(line, timeout)` is False when the line did not let go within so many seconds. Any thread.
    """

    def __init__(self, take: Callable[[str, float], bool], give: Callable[[str], None], clock: Clock) -> None:
        self._take, self._give, self._clock = take, give, clock
        self._held: dict[str, _Hold] = {}
        self._lock = threading.Lock()

    def pause(self, line: str, seconds: float) -> Answer:
        """Begin a pause. Raises UsageFault when the line is paused already, or does not let go."""
        until = self._clock.millis() + round(1000 * seconds)
        hold = _Hold(secrets.token_hex(8), until, threading.Timer(seconds, lambda: self.resume(line, hold.id)))
        hold.timer.daemon = True
        with self._lock:
            if (other := self._held.get(line)) is not None:
                raise UsageFault(
                    f"line {line} is paused already, until {rfc3339(other.until)}; `gateway pause --resume` ends that"
                )
            self._held[line] = hold
        hold.timer.start()
        try:
            taken = self._take(line, control.PATIENCE - 5.0)
        except BaseException:
            self.resume(line, hold.id)  # a line of that name there is not
            raise
        if not taken:
            self.resume(line, hold.id)
            raise UsageFault(f"line {line} did not let go of its port; the asking under way takes too long. Try again")
        if self.until(line) != until:
            raise UsageFault(f"the pause of line {line} was over before its port was free; ask for a longer one")
        log.info("line %s is paused until %s", line, rfc3339(until))
        return {"hold": hold.id, "until": until}

    def resume(self, line: str, hold: str | None) -> bool:
        """End a pause; None: anybody's. False when there is none (of that hold)."""
        with self._lock:
            held = self._held.get(line)
            if held is None or hold not in (None, held.id):
                return False
            del self._held[line]
            self._give(line)  # under the lock: a pause that begins now must not be undone
        held.timer.cancel()
        log.info("line %s goes on", line)
        return True

    def until(self, line: str) -> int | None:
        """When its pause ends (milliseconds since 1970); None while it is not paused."""
        with self._lock:
            held = self._held.get(line)
        return None if held is None else held.until

    def all(self) -> dict[str, int]:
        """Every paused line, and when its pause ends."""
        with self._lock:
            return {line: held.until for line, held in self._held.items()}

    def close(self) -> None:
        """Forget them all: the gateway ends."""
        with self._lock:
            for held in self._held.values():
                held.timer.cancel()
            self._held.clear()


def seconds_of(asked: Request) -> float:
    """For how long a pause is asked. Raises UsageFault."""
    seconds = asked.get("seconds")
    if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise UsageFault(f"a pause lasts for a number of seconds up to {LONGEST:.0f}, not {seconds!r}")
    return float(seconds)


class _Hold(NamedTuple):
    id: str
    until: int
    timer: threading.Timer


class Control:
    """The socket and its threads. `answers`: what is done -> the function that does it and gives the answer's keys."""

    def __init__(self, spool: Path, answers: Mapping[str, Callable[[Request], Answer]]) -> None:
        self._path = control.socket_path(spool)
        self._server = _Server(self._path, answers)
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)

    def start(self) -> None:
        """Begin to listen. Who held the spool before us is gone, and so is who listened on a socket that was left."""
        bare = self._path.with_name(self._path.name + ".new")
        try:
            bare.unlink(missing_ok=True)
            with control.reachable(bare) as name:
                self._server.socket.bind(name)
            bare.chmod(MODE)
            self._server.server_activate()
            bare.replace(self._path)  # nobody finds it before it has its rights and an ear behind it
        except OSError as error:
            raise Unreachable(f"{self._path}: {error}; the gateway needs to make a socket there") from None
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
            self._path.unlink(missing_ok=True)
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    address_family = socket.AF_UNIX
    daemon_threads = True
    block_on_close = False  # a pause may wait for its line for minutes; a stop does not

    def __init__(self, path: Path, answers: Mapping[str, Callable[[Request], Answer]]) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.answers = answers

    def handle_error(self, request: object, client_address: object) -> None:
        log.warning("a connection to the control socket broke", exc_info=True)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    timeout = SILENCE

    def handle(self) -> None:
        try:
            while line := self.rfile.readline(control.MOST):
                self.wfile.write(json.dumps(self._answer(line)).encode() + b"\n")
        except (TimeoutError, ConnectionError):
            return

    def _answer(self, line: bytes) -> Answer:
        try:
            request = json.loads(line)
            work = self.server.answers.get(str(request["do"]))
        except (ValueError, KeyError, TypeError):
            return {"ok": False, "error": 'not understood; one JSON object a line is wanted, such as {"do": "status"}'}
        if work is None:
            return {"ok": False, "error": f"known are {', '.join(self.server.answers)}"}
        try:
            return {"ok": True, **work(request)}
        except (ConfigError, UsageFault, SpoolFull, SpoolUnusable) as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:  # rule 3
            log.exception("a request to the control socket found a bug, please report it: %r", request)
            return {"ok": False, "error": f"a bug of the gateway, see its log: {error!r}"}
