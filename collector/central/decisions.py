"""What people decided about rows that are not ready: kept for ever, chained, and found again when a month is closed."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from collector.central.case import Decision
from collector.central.chained_rows import ChainedRows
from collector.central.database import among, decision

CHAINED = ChainedRows("decision", decision, Decision)


def of(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Decision]]:
    """point -> register -> the newest decision, of these points."""
    found: dict[str, dict[str, Decision]] = {}
    where = (decision.c.period == period, among(connection, decision.c.point, points))
    for item in CHAINED.read(connection, *where):
        found.setdefault(item.point, {})[item.register] = item
    return found
