"""The health of gateways as they say it themselves: kept as it comes, read back for the fleet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, select

from collector.central.database import gateway_status, insert_or_replace
from collector.model import Status


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
