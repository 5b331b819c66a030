"""The centre's spool as the worker sees it: what was asked just now does not stand behind what has piled up.

Rule 1. Half of a round at most is out of its turn, the newest first; the other half are the oldest, so that what piled
        up goes on.
Rule 2. Which batches are fresh is a hint in RAM and no state: what is lost here, by a crash or for want of room, is
        taken in its turn.
Rule 3. A frozen value keeps its turn: of two different ones for a month the first that came stays in the series.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from collector.messages import BadSnapshot, Envelope, Key
from collector.spool import Inbox, Stored

# Milliseconds since the asking. Five minutes: whoever was cut off for less has nothing that could hold up the others,
# and whoever comes back after more has sent new readings before old ones.
FRESH = 300_000
# Keys that are remembered, some 2 MiB of RAM: of a quarter of an hour of 10,000 meters there are 700.
MOST = 10_000


class FreshFirst:
    """The worker's source. `note` may be called from any thread."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._fresh: deque[Key] = deque(maxlen=MOST)

    def note(self, key: Key) -> None:
        """This batch is stored, and is fresh."""
        self._fresh.append(key)

    def unsettled(self, kind: Literal["readings"], limit: int, /) -> list[Stored]:
        """At most so many batches that wait for their sinks. Raises SpoolFull, SpoolUnusable."""
        oldest = self._inbox.unsettled(kind, limit)
        if len(oldest) < limit:  # these are all there are
            self._fresh.clear()
            return oldest
        turned = {batch.id for batch in oldest}
        found = self._inbox.unsettled_of([self._fresh.pop() for _ in range(min(limit // 2, len(self._fresh)))])
        fresh = [batch for batch in found if batch.id not in turned]
        return oldest[: limit - len(fresh)] + fresh

    def settle(self, ids: Sequence[int], now: int, /) -> None:
        """As `Inbox.settle`."""
        self._inbox.settle(ids, now)


def is_fresh(envelope: Envelope, now: int) -> bool:
    """Whether a batch that comes now (milliseconds) was asked just now, and nothing in it has to keep its turn."""
    snapshots = [item for item in envelope.snapshots or () if not isinstance(item, BadSnapshot)]
    return any(now - item["asked"] < FRESH for item in snapshots) and not any(item.get("frozen") for item in snapshots)
