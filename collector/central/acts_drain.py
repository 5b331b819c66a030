"""Drains the acts out of the centre's spool: each is taken, held with its reason, or refused; then it is settled."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

from collector.central.acts import MQTT, ActStore
from collector.central.engine import writing
from collector.central.evidence import keep
from collector.central.judge import whole_batch
from collector.central.worker import AWAY
from collector.clock import Clock
from collector.messages import open_envelope
from collector.spool import Stored

log = logging.getLogger(__name__)

ROUND = 64  # acts of one look into the spool; readings go on between two of them


class Source(Protocol):
    """What is drained."""

    def unsettled(self, kind: Literal["acts"], limit: int, /) -> list[Stored]: ...
    def settle(self, ids: list[int], now: int, /) -> None: ...


class ActDrain:
    """One at a time on a spool, in the thread of the worker. A sink that is away raises as in `ActStore.take`."""

    def __init__(self, inbox: Source, acts: ActStore, clock: Clock) -> None:
        self._inbox, self._acts, self._clock = inbox, acts, clock

    def round(self) -> int:
        """Settle the oldest acts; how many there were."""
        batches = self._inbox.unsettled("acts", ROUND)
        for batch in batches:
            self._take(batch)
            self._inbox.settle([batch.id], self._clock.millis())
        return len(batches)

    def _take(self, batch: Stored) -> None:
        try:
            data, source = open_envelope(batch.payload).act, f"{MQTT}{batch.gateway}"
            # The time of arrival, not of this look: an act is judged alike whenever that is.
            receipt = self._acts.take(data, source=source, gateway=batch.gateway, received=batch.received)
        except AWAY:
            raise
        except Exception as error:  # whatever it is, it ends one act and not the queue
            log.exception("an act of %s broke our code; it is in quarantine as it came", batch.gateway)
            self._set_aside(batch, f"it broke our code: {error!r}")
            return
        if receipt.outcome in ("held", "refused"):
            log.warning("act %s of %s is %s: %s", receipt.number, receipt.point, receipt.outcome, receipt.reason)
        if receipt.outcome == "refused":
            self._set_aside(batch, f"no act: {receipt.reason}")

    def _set_aside(self, batch: Stored, reason: str) -> None:
        """What is no act is in no table of acts: its bytes stay where all that is doubted stays."""
        with writing(self._acts.engine) as connection:
            keep(connection, [], [whole_batch(batch, reason)])
