"""Readings by hand: kept for ever, chained, and found again when a month is closed. The newest of a register counts."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from collector.central.case import Entered
from collector.central.chained_rows import ChainedRows
from collector.central.database import among, manual_reading

CHAINED = ChainedRows("manual", manual_reading, Entered)


def of(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Entered]]:
    """point -> register -> the reading that counts, with those that it replaced, of these points."""
    found: dict[str, dict[str, Entered]] = {}
    where = (manual_reading.c.period == period, among(connection, manual_reading.c.point, points))
    for item in CHAINED.read(connection, *where):
        registers = found.setdefault(item.point, {})
        before = registers.get(item.register)
        earlier = () if before is None else (*before.earlier, before.wh)
        registers[item.register] = item._replace(earlier=earlier)
    return found
