"""What people decided about rows that are not ready: kept for ever, chained, and found again when a month is closed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, insert, select

from collector.central import chain
from collector.central.case import Decision
from collector.central.database import decision, ledger_link, names_in_chunks

CHAINED = ("period", "point", "register", "verdict", "subject", "reason")


def of(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Decision]]:
    """point -> register -> the newest decision, of these points."""
    columns = [decision.c[name] for name in CHAINED]
    query = (
        select(*columns, ledger_link.c.at, ledger_link.c.who)
        .join_from(decision, ledger_link, decision.c.link == ledger_link.c.id)
        .where(decision.c.period == period)
        .order_by(decision.c.id)
    )
    found: dict[str, dict[str, Decision]] = {}
    for names in names_in_chunks(points):
        for row in connection.execute(query.where(decision.c.point.in_(names))):
            found.setdefault(row.point, {})[row.register] = Decision(*tuple(row))
    return found


def add(connection: Connection, decided: Sequence[Decision], *, now: int, who: str) -> None:
    """Add decisions, all of one person at one time."""
    rows = [{name: getattr(item, name) for name in CHAINED} for item in decided]
    content = chain.content_of(tuple(row.values()) for row in rows)
    link = chain.add(connection, "decision", {"rows": len(rows)}, content, now=now, who=who)
    connection.execute(insert(decision), [{**row, "link": link.id} for row in rows])


def content_of(connection: Connection, link: int) -> str:
    """What the chain must say of the decisions of a link."""
    columns = [decision.c[name] for name in CHAINED]
    rows = connection.execute(select(*columns).where(decision.c.link == link).order_by(decision.c.id))
    return chain.content_of(map(tuple, rows))
