"""What people decided about rows that are not ready: kept for ever, chained, and found again when a month is closed."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from collector.central.case import Decision
from collector.central.chained_rows import ChainedRows
from collector.central.database import among, decision

CHAINED = ChainedRows("decision", decision, Decision)


def of(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Decision]]:
    """point -> register -> the newest decision, with those before it, of these points."""
    found: dict[str, dict[str, Decision]] = {}
    where = (decision.c.period == period, among(connection, decision.c.point, points))
    for item in CHAINED.read(connection, *where):
        registers = found.setdefault(item.point, {})
        before = registers.get(item.register)
        earlier = () if before is None else (before._replace(earlier=()), *before.earlier)
        registers[item.register] = item._replace(earlier=earlier)
    return found
