"""Makes the gateway's status and says when it is to go out: at each change of health, not too often, not too seldom."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from collector.messages import MAX_PAYLOAD, encode
from collector.model import SpoolState, Status
from collector.spool import OutboxState

# Seconds (docs/contract.md): a flapping line is no flood, and silence of eleven minutes means that nobody is there.
LEAST, MOST = 60.0, 600.0


class Pace:
    """When a status is due. Pure; `now` is in seconds that never jump."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._health: Hashable = None
        self._owed = True

    def owe(self) -> None:
        """The broker may hold an older one (a new connection, our own will): the next one is news in any case."""
        self._owed = True

    def due(self, health: Hashable, now: float) -> bool:
        """Whether a status with this health is to go out now."""
        if self._last is None:
            return True
        since = now - self._last
        return since >= MOST or (since >= LEAST and (self._owed or health != self._health))

    def sent(self, health: Hashable, now: float) -> None:
        """It went out."""
        self._last, self._health, self._owed = now, health, False


def farewell(gateway: str, version: str, at: int) -> Status:
    """What the broker says for us when we vanish, and what we say when we stop. `at`: milliseconds since 1970."""
    return Status(gateway=gateway, online=False, at=at, version=version)


def spool_state(state: OutboxState) -> SpoolState:
    """What the status says of the spool."""
    return SpoolState(
        id=state.id,
        next=state.next,
        unreceipted=state.unreceipted,
        refused=state.refused,
        evicted=state.evicted,
        fill=round(state.fill, 3),
        days_left=None if state.days_left is None else round(state.days_left, 1),
        damage=state.damage,
    )


def health(status: Status, only_keep_left: bool) -> Hashable:
    """What of a status is health: not what changes with every pass of a line, nor with every batch."""
    spool = status.spool
    return (
        status.synced,
        spool and (spool.id, spool.refused, spool.evicted, spool.damage),
        only_keep_left,
        tuple((name, line.meters, line.answering) for name, line in (status.lines or {}).items()),
        tuple((name, meter.boundary, meter.stranger > 0) for name, meter in (status.meters or {}).items()),
        status.warnings,
    )


def fitting(status: Status) -> bytes:
    """The status as it is sent. One of thousands of meters that would not fit goes without what it says of each."""
    payload = encode(status)
    if len(payload) <= MAX_PAYLOAD:
        return payload
    text = f"{len(status.meters or ())} meters are too many to say something of each in one message"
    return encode(status.model_copy(update={"meters": None, "warnings": (text, *(status.warnings or ())[:20])}))


class Reporter:
    """Sends the status when its pace says so.

    `make` gives the status of this moment and whether only kept batches are left; `send` is False when it was not
    taken. `look`: seconds between two looks, since making a status of hundreds of meters costs something.
    """

    def __init__(
        self, make: Callable[[], tuple[Status, bool]], send: Callable[[bytes], bool], look: float = 5.0
    ) -> None:
        self._make, self._send, self._look = make, send, look
        self._pace = Pace()
        self._looked: float | None = None

    def connected(self) -> None:
        """There is a new connection."""
        self._pace.owe()

    def step(self, now: float) -> None:
        """Send a status if one is due."""
        if self._looked is not None and now - self._looked < self._look:
            return
        self._looked = now
        status, only_keep_left = self._make()
        state = health(status, only_keep_left)
        if self._pace.due(state, now) and self._send(fitting(status)):
            self._pace.sent(state, now)
