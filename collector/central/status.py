"""The health of gateways as they say it themselves: kept as it comes, read back for the fleet."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, select

from collector.central.database import gateway_status, insert_or_replace
from collector.model import Status

log = logging.getLogger(__name__)

# Milliseconds by which a word may be ahead of our clock: a synchronised clock is right to a second, a message comes in
# less than that, and a host that has just started is set right within minutes.
AHEAD = 300_000


class Health(NamedTuple):
    """What a gateway said last. `online` since `since`; `at`: when its last word came (all at the centre, ms).

    `status`: the last word with details; a will, which the broker speaks for a gateway that is gone, has none.
    """

    gateway: str
    online: bool
    since: int
    at: int
    status: Status


def keep_statuses(connection: Connection, statuses: Iterable[Status], now: int) -> None:
    """Keep these words, in the order in which they came. A word without details leaves a gateway's old ones."""
    words: dict[str, list[Status]] = {}
    for status in statuses:
        words.setdefault(status.gateway, []).append(status)
    chosen = select(gateway_status).where(gateway_status.c.gateway.in_(words))
    before = {row.gateway: row for row in connection.execute(chosen)}
    for gateway, said in words.items():
        known, newest = before.get(gateway), said[-1]
        if _is_ahead(newest, now) and not (known and _is_ahead(Status.model_validate_json(known.status), known.at)):
            text = "the synchronised clock of %s is %d s ahead of ours: is the centre's own clock right?"
            log.error(text, gateway, (newest.at - now) // 1000)
        detailed = next((status for status in reversed(said) if status.spool is not None), None)
        text = known.status if known and not detailed else (detailed or newest).model_dump_json(by_alias=True)
        since = known.since if known and bool(known.online) == newest.online else now
        row = {"gateway": gateway, "online": int(newest.online), "since": since, "at": now, "status": text}
        connection.execute(insert_or_replace(connection, gateway_status), row)


def healths(connection: Connection) -> list[Health]:
    """Every gateway that was ever heard, sorted by name."""
    rows = connection.execute(select(gateway_status).order_by(gateway_status.c.gateway))
    return [
        Health(row.gateway, bool(row.online), row.since, row.at, Status.model_validate_json(row.status)) for row in rows
    ]


def behind(healths: Iterable[Health]) -> str:
    """What speaks for it that our clock is behind, in words; empty when nothing does.

    Gateways whose clocks are synchronised and whose words are of our future, most of those online. What they read
    meanwhile is rejected as asked in the future from a day on, and may wait in quarantine until somebody looks.
    """
    synced = [it for it in healths if it.online and it.status.synced and it.status.spool]
    ahead = [(it.status.at - it.at, it.gateway) for it in synced if _is_ahead(it.status, it.at)]
    if 2 * len(ahead) <= len(synced):
        return ""
    off, most = max(ahead)
    return (
        f"the centre's clock seems to be wrong: {len(ahead)} of {len(synced)} gateways online, whose clocks are "
        f"synchronised, are ahead of it, {most} by {off // 60_000} min. Set it right: what is asked more than a "
        "day ahead of it is rejected"
    )


def _is_ahead(status: Status, now: int) -> bool:
    return bool(status.synced and status.spool) and status.at - now > AHEAD
