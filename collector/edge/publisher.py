"""Carries batches from the spool to the centre and receipts back to the spool: custody, as docs/contract.md says it.

Rule 1. That a batch was published says nothing. Only a receipt with its key and its digest ends its time in the spool.
Rule 2. What waits for receipts is the window's matter, what is most urgent the spool's. Nothing else is remembered:
        after a crash the spool is asked again, and what comes twice is a no-op at the centre.
Rule 3. A final refusal parks a batch and the rest goes on; another refusal lets it wait. A receipt that cannot be read,
        or is about nothing we hold, changes nothing and is counted.
Rule 4. All of it happens in one thread; the MQTT thread only hands receipts over, as many as fit.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from collector.clock import Clock
from collector.edge.window import Key, Window
from collector.messages import MessageFault, decode_receipt, topic_of
from collector.model import Receipt
from collector.pulse import Pulse
from collector.spool import Entry, Outbox, SpoolFull, SpoolUnusable

log = logging.getLogger(__name__)

# Seconds between two looks at the spool when nothing wakes us: another process may have put something there
# (`gateway resend`); one indexed query, some 20,000 a day.
LOOK = 5.0
MOST_RECEIPTS = 256  # handed over and not worked off; more than a window can ask for, and what is dropped comes again


class Sender(Protocol):
    """What is needed of an MQTT connection."""

    @property
    def connected(self) -> bool: ...
    def publish(
        self, topic: str, payload: bytes, retain: bool = False, unheard: Callable[[], None] | None = None
    ) -> bool: ...


@dataclass(slots=True)
class Counts:
    """What happened since the start. `ignored`: receipts that could not be read or were about nothing we hold."""

    sent: int = 0
    stored: int = 0
    refused: int = 0
    ignored: int = 0


class Custody:
    """The rules without thread and clock: `now` is in seconds that never jump."""

    def __init__(self, gateway: str, outbox: Outbox, sender: Sender) -> None:
        self.counts = Counts()
        self.refusal = ""  # the last one, in words, until something is stored
        self.unheard = ""  # that nobody listens, in words, until somebody does
        self._gateway = gateway
        self._outbox = outbox
        self._sender = sender
        self._window = Window()
        self._unheard: queue.SimpleQueue[Key] = queue.SimpleQueue()  # of these the MQTT thread was told so

    def connected(self) -> None:
        """There is a new connection."""
        self._window.connected()

    @property
    def outstanding(self) -> int:
        """How many batches were sent and wait for their receipts."""
        return len(self._window)

    def step(self, now: float) -> float:
        """Send what is to be sent; when to come again at the latest. Raises SpoolUnusable."""
        self._hear_of_nobody()
        if not self._sender.connected:
            return now + LOOK
        room, rests = self._window.free(now), now < self._window.rests_until
        if room == 0 and not rests and self._kept_stands_outside() and self._window.make_way():
            room = 1
        for entry in self._outbox.pending(room, self._window.keys) if room else ():
            key = (entry.spool, entry.sequence)
            told = partial(self._unheard.put, key)
            if not self._sender.publish(topic_of(self._gateway, entry.payload), entry.payload, unheard=told):
                break
            self.counts.sent += 1
            self._window.sent(key, entry.sha256, kept=entry.class_ == "keep", now=now)
        instants = [now + LOOK, self._window.next_due(), self._window.rests_until]
        return min(at for at in instants if at is not None and at > now)

    def receive(self, payload: bytes, now: float) -> None:
        """Take a receipt. Raises SpoolFull and SpoolUnusable: then it changed nothing, and comes again."""
        self._hear_of_nobody()
        try:
            receipt = decode_receipt(payload)
        except MessageFault as fault:
            self._ignore(f"cannot be read: {fault}")
            return
        if receipt.gateway != self._gateway:
            self._ignore(f"is for {receipt.gateway}")
            return
        key = (receipt.spool, receipt.sequence)
        if receipt.stored:
            if self._outbox.settle(*key, receipt.sha256):
                self._window.over(key)
                self._answered()
                self.counts.stored += 1
                self.refusal = ""
            else:
                self._ignore(f"is about spool {key[0]} sequence {key[1]} with other bytes than ours")
            return
        if receipt.final:
            held = self._outbox.park(*key, receipt.sha256, receipt.code or "refused")
        else:
            held = self._window.refused(key, receipt.sha256, now)
        if held:
            self._answered()
            self._refused(receipt)
        else:
            self._ignore(f"refuses spool {key[0]} sequence {key[1]}, which does not wait here")

    def _hear_of_nobody(self) -> None:
        while not self._unheard.empty():
            if self._window.unheard(self._unheard.get()):
                self.unheard = (
                    "the broker says that nobody listens to our readings: is the centre running, and connected to this "
                    "broker? They wait here"
                )
                log.warning("%s", self.unheard)

    def _answered(self) -> None:
        self._window.answered()
        self.unheard = ""

    def _kept_stands_outside(self) -> bool:
        outside: list[Entry] = self._outbox.pending(1, self._window.keys)
        return bool(outside) and outside[0].class_ == "keep"

    def _refused(self, receipt: Receipt) -> None:
        if receipt.final:
            self._window.over((receipt.spool, receipt.sequence))
        self.counts.refused += 1
        self.refusal = f"the centre refuses batches: {receipt.code}: {receipt.reason or 'no reason given'}"
        log.warning("batch %d of spool %s: %s", receipt.sequence, receipt.spool, self.refusal)

    def _ignore(self, why: str) -> None:
        self.counts.ignored += 1
        if self.counts.ignored.bit_count() == 1:  # the 1st, 2nd, 4th, 8th ...: a flood must not fill the log
            log.warning("receipt ignored (%d so far): it %s", self.counts.ignored, why)


class Publisher:
    """The thread around `Custody`. `after`: called after each turn, for the status (same thread)."""

    def __init__(self, custody: Custody, clock: Clock, after: Callable[[], None]) -> None:
        self.custody = custody
        self.crashed: BaseException | None = None  # why the thread ended by itself; this is a bug
        self.trouble = ""  # why the spool cannot be used now
        self.pulse = Pulse("the publisher", clock.monotonic)
        self._clock = clock
        self._after = after
        self._receipts: queue.Queue[bytes] = queue.Queue(MOST_RECEIPTS)
        self._dropped = 0  # receipts for which there was no room
        self._connected = threading.Event()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to work, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present turn. Returns when it is done."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.pulse.end()

    def wake(self) -> None:
        """Something was committed. Any thread."""
        self._wake.set()

    def connected(self) -> None:
        """There is a new connection. Any thread."""
        self._connected.set()
        self._wake.set()

    def receipt(self, payload: bytes) -> None:
        """A receipt came. Any thread; dropped when too many wait, since it comes again."""
        try:
            self._receipts.put_nowait(payload)
        except queue.Full:
            self._dropped += 1
            if self._dropped.bit_count() == 1:  # as in `Custody._ignore`
                text = "more than %d receipts at once; the rest has to come again (%d so far)"
                log.warning(text, MOST_RECEIPTS, self._dropped)
        self._wake.set()

    def _live(self) -> None:
        try:
            while not self._stop.is_set():
                self.pulse.beat()
                again = self._turn()
                rest = max(0.0, again - self._clock.monotonic())
                self.pulse.beat(rest)
                self._wake.wait(rest)
                self._wake.clear()
        except BaseException as error:
            self.crashed = error
            log.critical("the publisher has ended by a bug, please report it: %r", error, exc_info=True)
            raise

    def _turn(self) -> float:
        now = self._clock.monotonic()
        try:
            if self._connected.is_set():
                self._connected.clear()
                self.custody.connected()
            while True:
                try:
                    self.custody.receive(self._receipts.get_nowait(), now)
                except queue.Empty:
                    break
            again = self.custody.step(now)
            self.trouble = ""
        except (SpoolUnusable, SpoolFull) as error:
            if not self.trouble:
                log.error("%s", error)
            self.trouble = str(error)
            again = now + LOOK
        self._after()
        return again
