"""One MQTT connection for ever: made again with back-off, acknowledging late, queueing nothing a spool should hold.

Rule 1. Each attempt is a new paho client with a clean slate: nothing that an old connection had under way is sent again
        by the library. What must survive is in a spool, and its owner sends it again when the receipt does not come.
Rule 2. `publish` takes a message only while connected, and only so many that wait for the broker's word.
Rule 3. A received message is acknowledged when its owner says so, on the connection it came by, or not at all.
Rule 4. Connected means: the broker accepted us and every subscription. Every other state has a reason in words.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from collector.mqtt_attempt import ANSWER, Attempt, Message, Settings

__all__ = ["Connection", "Message", "Settings"]

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0  # seconds between attempts, doubling; a batch waits as long for its receipt
STEADY = 60.0  # a connection that stood so long ends a series of failures; a shorter one is another failure


class Connection:
    """A connection that is kept up by its own thread between `start` and `stop`.

    `will`: topic and payload the broker publishes, retained, when we vanish. `on_message` is called in that thread and
    must not wait. `on_change(connected, why)` is called there at each change. `clean`: the broker forgets us between
    connections; else it keeps subscriptions and unacknowledged messages for a day.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        will: tuple[str, bytes] | None = None,
        subscriptions: Sequence[str] = (),
        on_message: Callable[[Message], None] | None = None,
        on_change: Callable[[bool, str], None] | None = None,
        clean: bool = True,
        first_delay: float = FIRST_DELAY,
        longest_delay: float = LONGEST_DELAY,
    ) -> None:
        self.settings = settings
        self._will = will
        self._subscriptions = tuple(subscriptions)
        self._on_message = on_message
        self._on_change = on_change
        self._clean = clean
        self._delays = (first_delay, longest_delay)
        self._legacy = settings.protocol == "3.1.1"  # whether the next attempt speaks 3.1.1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mqtt {settings.client_id}", daemon=True)
        self._attempt: Attempt | None = None  # the one that is connected
        self._said: tuple[bool, str] = (False, "")

    def start(self) -> None:
        """Start connecting. Returns at once."""
        self._thread.start()

    def stop(self, flush: float = 0.0) -> None:
        """End the connection in good order (no will), after waiting up to `flush` seconds for unacknowledged words."""
        end = time.monotonic() + flush
        while self.connected and self.waiting and time.monotonic() < end:
            time.sleep(0.02)
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * ANSWER)

    @property
    def connected(self) -> bool:
        """Whether messages can go out now."""
        return self._attempt is not None

    @property
    def why(self) -> str:
        """The present state in words."""
        return self._said[1]

    @property
    def waiting(self) -> int:
        """How many publications have no PUBACK yet."""
        attempt = self._attempt
        return 0 if attempt is None else attempt.waiting

    def publish(
        self, topic: str, payload: bytes, retain: bool = False, unheard: Callable[[], None] | None = None
    ) -> bool:
        """Give a message (QoS 1) to the broker; False when it was not taken and is to be offered again later.

        True says that it is under way, never that anybody has it. `unheard` is called, in the connection's thread, when
        the broker says that nobody is subscribed to it (MQTT 5).
        """
        attempt = self._attempt
        return attempt is not None and attempt.publish(topic, payload, retain, unheard)

    # ------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            attempt: Attempt | None = None
            try:
                # That may fail too: a client has a socket pair from its beginning, and handles may run out.
                attempt = Attempt(self.settings, legacy=self._legacy, will=self._will, clean=self._clean)
                why = attempt.run(self._subscriptions, self._stop, self._up, self._on_message)
            except Exception:
                # A fault in somebody's on_message must not end the connection for ever.
                log.exception("a fault while connected or connecting; no message under way was acknowledged")
                why = "connecting again after a fault of ours, see the log"
            finally:
                self._attempt = None
                if attempt is not None:
                    attempt.close()
            if self._stop.is_set():
                break
            failures = 1 if attempt is not None and attempt.stood >= STEADY else failures + 1
            if attempt is not None and attempt.unspoken and self.settings.protocol == "auto":
                self._legacy = not self._legacy
                if failures == 1 and self._legacy:
                    log.info("%s; trying MQTT 3.1.1", why)
                    continue
            self._change(False, why)
            first, longest = self._delays
            # Half of it by chance: a thousand gateways that lost their broker together do not come back together.
            self._stop.wait(min(longest, first * 2 ** min(failures - 1, 16)) * random.uniform(0.5, 1.0))
        self._change(False, "stopped")

    def _up(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._change(True, f"connected to {self.settings.url} with MQTT {'3.1.1' if self._legacy else '5'}")

    def _change(self, connected: bool, why: str) -> None:
        if (connected, why) == self._said:
            return
        self._said = (connected, why)
        log.log(logging.INFO if connected or self._stop.is_set() else logging.WARNING, "%s", why)
        if self._on_change is not None:
            self._on_change(connected, why)
