"""Rows that stand behind a link of the hash chain: added with it, kept for ever, read back with its time and name.

Rule 1. What is added at once is one link's: its `content` is the SHA-256 over the canonical JSON of a list of its rows,
        each a list of its columns, in the order in which they were added.
Rule 2. Which columns, and in which order, is for ever: another one makes every ledger that is there look altered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, insert, select

from collector.central import chain
from collector.central.canonical import canonical, sha256
from collector.central.chain import Kind
from collector.central.database import ledger_link

Row = TypeVar("Row", bound=NamedTuple)


class ChainedRows(Generic[Row]):
    """The rows of a kind, and their table with its columns `id` and `link`.

    `row` begins with the columns under the digest, in their order; `at` and `who` follow, and `link` where it is
    wanted: they are the link's. What else it has comes last and has a default.
    """

    def __init__(self, kind: Kind, table: Table, row: type[Row]) -> None:
        self.kind = kind
        self.table = table
        self._row = row
        self._names = row._fields[: row._fields.index("at")]
        known = {**table.c, "at": ledger_link.c.at, "who": ledger_link.c.who}
        self._read = [known[name] for name in row._fields if name in known]

    def said(self, row: Row) -> tuple[Any, ...]:
        """What a row says: its columns under the digest."""
        return tuple(row[: len(self._names)])

    def add(self, connection: Connection, rows: Sequence[Row], *, now: int, who: str, **what: str) -> None:
        """Add rows, one at least, all of one person at one time (ms). `what`: of them all, for whoever reads the chain.

        What they say of their link is passed over: it is made here.
        """
        values = [self.said(row) for row in rows]
        link = chain.add(connection, self.kind, {"rows": len(rows), **what}, _content(values), now=now, who=who)
        columns = (*self._names, "link")
        connection.execute(insert(self.table), [dict(zip(columns, (*row, link.id), strict=True)) for row in values])

    def read(self, connection: Connection, *where: ColumnElement[bool]) -> Iterator[Row]:
        """The rows of which all of this is true, oldest first."""
        query = select(*self._read).join_from(self.table, ledger_link, self.table.c.link == ledger_link.c.id)
        for found in connection.execute(query.where(*where).order_by(self.table.c.id)):
            yield self._row(*found)

    def content_of(self, connection: Connection, link: int) -> str:
        """What the chain must say of the rows of a link: lower-case hex SHA-256."""
        columns = [self.table.c[name] for name in self._names]
        query = select(*columns).where(self.table.c.link == link).order_by(self.table.c.id)
        return _content([tuple(found) for found in connection.execute(query)])


def _content(rows: Sequence[tuple[Any, ...]]) -> str:
    return sha256(canonical(rows))
