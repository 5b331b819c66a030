"""Which batches wait for a receipt, and when each is due again. Pure: the time is passed in, in seconds.

Rule 1. At most `MOST` batches wait at once. A batch whose time is over waits no more: its place goes to whatever the
        spool holds to be the most urgent, which may be the same batch again.
Rule 2. The same batch, sent again and again, waits longer each time: `FIRST`, doubling to `LONGEST`.
Rule 3. A new connection is a reason to hope: waiting times begin anew, and still nothing is sent twice within `FIRST`.
Rule 4. A kept batch does not queue behind readings that get no answer: it takes the place of one that was sent in vain.
Rule 5. Of what the broker says nobody heard, no receipt can come: it waits no more. From then until the centre's next
        word one batch at a time is sent, which asks whether somebody listens now: after `SOON`, doubling to `FIRST`.
        (MQTT 5, 3.4.2.1: reason code 10, no matching subscribers. Older brokers do not say it.)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

Key = tuple[str, int]  # spool id, sequence

MOST = 8  # docs/contract.md, Custody; at 256 KiB each 2 MiB of RAM at the most
FIRST, LONGEST = 60.0, 900.0  # docs/contract.md, Custody
# Seconds: a centre that is started together with its gateways has subscribed by then; the publisher looks as often.
SOON = 5.0


@dataclass(slots=True)
class _Waiting:
    sha256: str
    kept: bool
    sent: float
    tries: int
    due: float


class Window:
    """The batches that wait for receipts, by key."""

    def __init__(self) -> None:
        self._waiting: dict[Key, _Waiting] = {}
        self._tries: dict[Key, int] = {}  # of those whose time was over and whose place is not given away yet
        self.rests_until = 0.0  # before that nothing is sent (rule 5)
        self._unheard = 0  # how many were sent since it turned out that nobody listens, and the one that showed it

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def keys(self) -> Collection[Key]:
        """What waits."""
        return list(self._waiting)

    def free(self, now: float) -> int:
        """How many more may be sent now; whose time is over waits no more."""
        if now < self.rests_until:
            return 0
        self._tries = {key: it.tries for key, it in self._waiting.items() if it.due <= now}
        for key in self._tries:
            del self._waiting[key]
        room = MOST - len(self._waiting)
        return min(room, 1) if self._unheard else room

    def sent(self, key: Key, sha256: str, *, kept: bool, now: float) -> None:
        """This batch was given to the broker."""
        tries = self._tries.get(key, 0) + 1
        self._waiting[key] = _Waiting(sha256, kept, now, tries, now + _patience(tries))
        if self._unheard:
            self._unheard += 1
            self.rests_until = now + min(FIRST, SOON * 2.0 ** min(self._unheard - 1, 8))

    def unheard(self, key: Key) -> bool:
        """The broker says that nobody heard this one. True when that is news."""
        it = self._waiting.pop(key, None)
        if it is None or self._unheard:
            return False
        self._unheard, self.rests_until = 1, it.sent + SOON
        return True

    def answered(self) -> None:
        """A word of the centre came: somebody listens."""
        self._unheard, self.rests_until = 0, 0.0

    def over(self, key: Key) -> None:
        """It was stored, or refused for good."""
        self._waiting.pop(key, None)

    def refused(self, key: Key, sha256: str, now: float) -> bool:
        """It was refused for now: it keeps its place and waits. False when it is not one that waits."""
        it = self._waiting.get(key)
        if it is None or it.sha256 != sha256:
            return False
        it.due = now + _patience(it.tries)
        return True

    def make_way(self) -> bool:
        """Give up the place of a batch that may be evicted and was sent in vain; False when there is none."""
        vain = [key for key, it in self._waiting.items() if not it.kept and it.tries > 1]
        if not vain:
            return False
        del self._waiting[max(vain, key=lambda key: self._waiting[key].due)]
        return True

    def connected(self) -> None:
        """There is a new connection."""
        for it in self._waiting.values():
            it.tries = 1
            it.due = min(it.due, it.sent + FIRST)
        self._unheard = min(self._unheard, 1)
        self.rests_until = 0.0

    def next_due(self) -> float | None:
        """When the next waiting time is over; None when nothing waits."""
        return min((it.due for it in self._waiting.values()), default=None)


def _patience(tries: int) -> float:
    return min(LONGEST, FIRST * 2.0 ** min(tries - 1, 8))
