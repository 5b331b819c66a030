"""Readings by hand: kept for ever, chained, and found again when a month is closed. The newest of a register counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, insert, select

from collector.central import chain
from collector.central.case import Entered
from collector.central.database import ledger_link, manual_reading, names_in_chunks

CHAINED = ("period", "point", "register", "meter", "wh", "taken", "source", "reason")


def of(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Entered]]:
    """point -> register -> the reading that counts, with those that it replaced, of these points."""
    columns = [manual_reading.c[name] for name in CHAINED]
    query = (
        select(*columns, ledger_link.c.at, ledger_link.c.who)
        .join_from(manual_reading, ledger_link, manual_reading.c.link == ledger_link.c.id)
        .where(manual_reading.c.period == period)
        .order_by(manual_reading.c.id)
    )
    found: dict[str, dict[str, Entered]] = {}
    for names in names_in_chunks(points):
        for row in connection.execute(query.where(manual_reading.c.point.in_(names))):
            registers = found.setdefault(row.point, {})
            before = registers.get(row.register)
            earlier = () if before is None else (*before.earlier, before.wh)
            registers[row.register] = Entered(*tuple(row))._replace(earlier=earlier)
    return found


def add(connection: Connection, entered: Sequence[Entered], *, now: int, who: str) -> None:
    """Add readings, all entered by one person at one time. `at`, `who` and `earlier` of each are passed over."""
    rows = [{name: getattr(item, name) for name in CHAINED} for item in entered]
    content = chain.content_of(tuple(row.values()) for row in rows)
    link = chain.add(connection, "manual", {"rows": len(rows)}, content, now=now, who=who)
    connection.execute(insert(manual_reading), [{**row, "link": link.id} for row in rows])


def content_of(connection: Connection, link: int) -> str:
    """What the chain must say of the readings of a link."""
    columns = [manual_reading.c[name] for name in CHAINED]
    rows = connection.execute(select(*columns).where(manual_reading.c.link == link).order_by(manual_reading.c.id))
    return chain.content_of(map(tuple, rows))
