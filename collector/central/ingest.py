"""MQTT messages into the centre's spool, and the receipts for them: the custody that docs/contract.md promises.

Rule 1. Store, then receipt, then acknowledge the message to the broker. Never another order.
Rule 2. A receipt speaks of the envelope only: is it whole, do topic, payload and registry agree, is its key new. What
        is wrong with a snapshot inside is the worker's matter.
Rule 3. A refused message is acknowledged too: the gateway holds the batch, the broker need not. Without a readable key
        there is nobody to answer: it is counted and its first 64 KiB are kept.
Rule 4. What cannot be stored now (a full disk, a full queue) is `busy`, never lost and never receipted as stored.
Rule 5. No payload ends the service. One that breaks our own code is kept as unreadable, and the rest goes on.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sqlalchemy.exc import DBAPIError

from collector.central.engine import DatabaseAway, writing
from collector.central.fresh import FreshFirst, is_fresh
from collector.central.opening import opened
from collector.central.registry import Registry
from collector.central.status import keep_statuses
from collector.clock import Clock
from collector.messages import (
    Envelope,
    Key,
    MessageFault,
    decode_status,
    encode,
    parse_topic,
    receipt_topic,
)
from collector.model import PASSING, Receipt, RefusalCode, Status
from collector.pulse import Pulse
from collector.spool import Inbox, Incoming, SpoolFull, SpoolUnusable

log = logging.getLogger(__name__)

# One commit for all that has come: at most so many messages, or bytes and one message, whose senders wait for it.
ROUND_MESSAGES = 256
ROUND_BYTES = 8 << 20
# What may wait between the MQTT thread and ours. A broker sends at most some 20 messages that are not acknowledged
# (mosquitto's max_inflight_messages), so that a full queue means a burst that nobody should hold in RAM.
QUEUE_MESSAGES = 2000
QUEUE_BYTES = 64 << 20
LOOK = 0.5  # seconds between two looks at `stop` when no message comes
# A broker has a limit of publications without PUBACK, often 20; a round has up to 256 receipts. They wait their turn:
# for so many seconds between two tries, and in all while the broker takes none.
TURN, PATIENCE = 0.002, 5.0
LOOK_UP_AGAIN = 1.0  # seconds between two looks into the registry for a gateway that it did not know


class Message(Protocol):
    """What is needed of an MQTT message."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    def acknowledge(self) -> None: ...


class Sender(Protocol):
    """What is needed of an MQTT connection."""

    @property
    def connected(self) -> bool: ...
    def publish(self, topic: str, payload: bytes) -> bool: ...


class Refusal(NamedTuple):
    """An envelope that is not stored: to whom the receipt goes, about which batch, why."""

    gateway: str
    key: Key
    code: RefusalCode
    reason: str


class Unreadable(NamedTuple):
    """A message that nobody can be answered about."""

    reason: str


class Batch(NamedTuple):
    """A batch to be stored. `fresh`: its readings are of this moment."""

    row: Incoming
    fresh: bool


class Ignored(NamedTuple):
    """A status that is not kept: it is health, not a reading, and the next one comes within ten minutes."""

    reason: str


Seen = Batch | Refusal | Unreadable | Status | Ignored


@dataclass(slots=True)
class Counts:
    """What came since the start. `lost_receipts`: those that the broker did not take; their batches come again."""

    stored: int = 0
    repeats: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    statuses: int = 0
    ignored: int = 0
    lost_receipts: int = 0


class Ingest:
    """Takes messages in. Receipts go out by `sender`; `stored` is set when there is something new for the worker, and
    `drained`, which the worker takes from, is told what is fresh."""

    def __init__(  # noqa: PLR0917 - its five neighbours and a clock, each of another type
        self,
        inbox: Inbox,
        registry: Registry,
        clock: Clock,
        sender: Sender,
        stored: threading.Event,
        drained: FreshFirst,
    ) -> None:
        self.counts = Counts()
        self.pulse = Pulse("ingest", clock.monotonic)
        self.heard: dict[str, int] = {}  # known gateway -> when its last sound message came (ms)
        self.trouble = ""  # why nothing can be stored now, in words; empty when all is well
        self._inbox = inbox
        self._registry = registry
        self._clock = clock
        self._sender = sender
        self._stored = stored
        self._drained = drained
        self._known: frozenset[str] = frozenset()
        self._looked_up = -LOOK_UP_AGAIN
        self._blind = False  # the registry cannot be asked now
        self._queue: queue.Queue[Message] = queue.Queue(QUEUE_MESSAGES)
        self._waiting = 0  # bytes in the queue
        self._lock = threading.Lock()

    def offer(self, message: Message) -> None:
        """Hand a message over. Called in the MQTT thread; does not wait: what has no room is `busy` at once."""
        with self._lock:
            fits = self._waiting + len(message.payload) <= QUEUE_BYTES or not self._waiting
            if fits:
                try:
                    self._queue.put_nowait(message)
                except queue.Full:
                    fits = False
                else:
                    self._waiting += len(message.payload)
        if not fits:
            self._turn_away(message, "the centre has more messages than it can take; it will again")

    def run(self, stop: threading.Event) -> None:
        """Take what comes in until `stop` is set; what is in the queue then comes again from its gateways."""
        while not stop.is_set():
            self.pulse.beat()
            messages = self._collect()
            if messages:
                self.take(messages)

    def take(self, messages: Sequence[Message]) -> None:
        """Store, receipt and acknowledge some messages; all or each by itself."""
        try:
            self._take(messages)
        except Exception as error:  # rule 5: whatever it is, it ends one message and not the service
            if len(messages) > 1:
                log.warning("one of %d messages cannot be handled (%r); taking each by itself", len(messages), error)
                for message in messages:
                    self.take([message])
                return
            log.exception("a message on %s cannot be handled; its first 64 KiB are kept", messages[0].topic[:100])
            self._set_aside(messages[0], Unreadable(f"it broke our code: {error!r}"))
            messages[0].acknowledge()

    # ------------------------------------------------------------------------- one round

    def _collect(self) -> list[Message]:
        """The next message, and with it what else has come by now."""
        try:
            messages = [self._queue.get(timeout=LOOK)]
        except queue.Empty:
            return []
        size = len(messages[0].payload)
        while len(messages) < ROUND_MESSAGES and size < ROUND_BYTES:
            try:
                messages.append(self._queue.get_nowait())
            except queue.Empty:
                break
            size += len(messages[-1].payload)
        with self._lock:
            self._waiting -= size
        return messages

    def _take(self, messages: Sequence[Message]) -> None:
        seen = [self._look(message.topic, message.payload) for message in messages]
        receipts = self._store([item for item in seen if isinstance(item, Batch)])
        self._keep_statuses([item for item in seen if isinstance(item, Status)])
        for item, message in zip(seen, messages, strict=True):
            if isinstance(item, Unreadable):
                self._set_aside(message, item)
            elif isinstance(item, Ignored):
                self.counts.ignored += 1
                log.info("ignored: %s", item.reason)
            elif isinstance(item, Refusal):
                receipts.append(self._refuse(item, message.payload))
        self._send(receipts)
        for message in messages:
            message.acknowledge()

    def _look(self, topic: str, payload: bytes) -> Seen:
        """What a message is, by its topic, its envelope and the registry."""
        try:
            gateway, kind = parse_topic(topic)
        except ValueError as error:
            return Unreadable(str(error))
        try:
            if kind == "status":
                return self._look_at_status(gateway, payload)
            envelope = opened(payload)
        except MessageFault as fault:
            if fault.key is None:
                return Unreadable(f"{fault.code}: {fault}")
            return Refusal(gateway, fault.key, fault.code, str(fault))
        return self._look_at_batch(gateway, kind, envelope, payload)

    def _look_at_batch(self, gateway: str, kind: str, envelope: Envelope, payload: bytes) -> Seen:
        key = envelope.key
        if key.gateway != gateway:
            return Refusal(gateway, key, "mismatch", f"a batch of {key.gateway} came on the topic of {gateway}")
        if kind == "readings" and envelope.act is None:
            batch = Batch(Incoming(*key, "readings", payload), is_fresh(envelope, self._clock.millis()))
        elif kind == "acts" and envelope.act is not None:
            batch = Batch(Incoming(*key, "acts", payload), fresh=False)
        else:
            held = "an act" if envelope.act is not None else "readings"
            return Refusal(gateway, key, "mismatch", f"{held} came on the topic .../{kind}")
        if not self._is_known(gateway):
            if self._blind:
                return Refusal(gateway, key, "busy", "the registry, which knows the gateways, is away")
            return Refusal(gateway, key, "unknown-gateway", f"{gateway} is not in the registry")
        self.heard[gateway] = self._clock.millis()
        return batch

    def _look_at_status(self, gateway: str, payload: bytes) -> Seen:
        if not payload:
            return Ignored("an empty status: somebody has cleared a retained one")
        status = decode_status(payload)
        if status.gateway != gateway:
            return Ignored(f"a status of {status.gateway} came on the topic of {gateway}")
        if not self._is_known(gateway):
            return Ignored(f"a status of {gateway}, which the registry does not know, or which it cannot say now")
        self.heard[gateway] = self._clock.millis()
        return status

    def _is_known(self, gateway: str) -> bool:
        """Whether the registry knows it. Gateways are never taken out, so that only a strange name is looked up."""
        if gateway not in self._known and self._clock.monotonic() - self._looked_up >= LOOK_UP_AGAIN:
            self._looked_up = self._clock.monotonic()
            try:
                self._known, self._blind = self._registry.gateways(), False
            except (DatabaseAway, DBAPIError) as error:
                self._blind = True
                log.warning("whether %s is known cannot be looked up: %s", gateway, error)
        return gateway in self._known

    # ------------------------------------------------------------------------- what becomes of it

    def _store(self, batches: Sequence[Batch]) -> list[Receipt]:
        if not batches:
            return []
        rows = [batch.row for batch in batches]
        try:
            outcomes = self._inbox.put(rows, self._clock.millis())
        except (SpoolFull, SpoolUnusable) as error:
            self._say(f"batches are turned away: {error}")
            return [self._refuse(Refusal(row.gateway, Key(*row[:3]), "busy", str(error)), row.payload) for row in rows]
        self._say("")
        receipts = []
        for (row, fresh), outcome in zip(batches, outcomes, strict=True):
            if outcome == "conflict":
                reason = "another batch has this key: the spool was copied, or its file was put back"
                receipts.append(self._refuse(Refusal(row.gateway, Key(*row[:3]), "conflict", reason), row.payload))
            else:
                self.counts.stored += outcome == "stored"
                self.counts.repeats += outcome == "repeat"
                if fresh and outcome == "stored":
                    self._drained.note(Key(*row[:3]))
                digest = hashlib.sha256(row.payload).hexdigest()
                receipts.append(Receipt(**_named(*row[:3]), sha256=digest, stored=True))
        if "stored" in outcomes:
            self._stored.set()
        return receipts

    def _refuse(self, refusal: Refusal, payload: bytes) -> Receipt:
        self.counts.refused[refusal.code] = self.counts.refused.get(refusal.code, 0) + 1
        # To the name on the topic, which the broker's rule proves: who calls himself another is answered as himself.
        named = _named(refusal.gateway, refusal.key.spool, refusal.key.sequence)
        digest = hashlib.sha256(payload).hexdigest()
        final = refusal.code not in PASSING
        log.log(logging.WARNING if final else logging.INFO, "refused %s: %s: %s", named, refusal.code, refusal.reason)
        return Receipt(
            **named, sha256=digest, stored=False, code=refusal.code, final=final, reason=refusal.reason[:1000]
        )

    def _keep_statuses(self, statuses: Sequence[Status]) -> None:
        if not statuses:
            return
        try:
            with writing(self._registry.engine) as connection:
                keep_statuses(connection, statuses, self._clock.millis())
        except (DatabaseAway, DBAPIError) as error:
            # The next status comes within ten minutes.
            log.warning("%d statuses could not be kept: %s", len(statuses), getattr(error, "orig", error))
            return
        self.counts.statuses += len(statuses)

    def _set_aside(self, message: Message, unreadable: Unreadable) -> None:
        self.counts.unreadable += 1
        log.warning("a message on %r is not taken: %s", message.topic[:100], unreadable.reason)
        try:
            self._inbox.keep_unreadable(message.topic, message.payload, unreadable.reason, self._clock.millis())
        except (SpoolFull, SpoolUnusable) as error:
            self._say(f"an unreadable message was counted and not kept: {error}")

    def _turn_away(self, message: Message, reason: str) -> None:
        """Answer `busy` without storing anything."""
        seen = self._look(message.topic, message.payload)
        if isinstance(seen, Batch):
            seen = Refusal(seen.row.gateway, Key(*seen.row[:3]), "busy", reason)
        if isinstance(seen, Refusal):
            self._send([self._refuse(seen, message.payload)], patience=0.0)  # the MQTT thread must not wait
        message.acknowledge()

    def _send(self, receipts: Sequence[Receipt], patience: float = PATIENCE) -> None:
        """Give receipts to the broker. One that it does not take is lost: its batch comes again, and so does this."""
        for receipt in receipts:
            topic, payload = receipt_topic(receipt.gateway), encode(receipt)
            end = self._clock.monotonic() + patience
            while not self._sender.publish(topic, payload):
                if not self._sender.connected or self._clock.monotonic() >= end:
                    self.counts.lost_receipts += 1
                    patience = 0.0  # the others of this round do not wait again for a broker that takes nothing
                    break
                time.sleep(TURN)

    def _say(self, trouble: str) -> None:
        """Log a change of what is wrong, not each time that it is."""
        if trouble != self.trouble:
            log.error("%s", trouble) if trouble else log.info("batches are stored again")
            self.trouble = trouble


def _named(gateway: str, spool: str, sequence: int) -> dict[str, str | int]:
    return {"gateway": gateway, "spool": spool, "sequence": sequence}
