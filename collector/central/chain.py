"""The hash chain over everything that a bill rests on: closes, decisions, readings by hand, responses; who, when.

Rule 1. Whatever adds rows adds one link in the same transaction. A link's `content` is a SHA-256 over those rows, its
        `digest` one over the link with the digest of the link before it.
Rule 2. So no row can be changed, taken out or put in between without every later link being made anew, and the last
        digest, noted elsewhere, shows that too.
Rule 3. One link at a time, in all processes: they are numbered without holes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, insert, select

from collector.central.canonical import canonical, sha256
from collector.central.database import Alone, alone, ledger_link

Kind = Literal["close", "decision", "manual", "response"]
FIRST = ""  # what stands for the digest before the first link


class Link(NamedTuple):
    """One thing that was done. `what`: canonical JSON; `content`, `previous`, `digest`: lower-case hex SHA-256."""

    id: int
    at: int
    who: str
    kind: str
    what: str
    content: str
    previous: str
    digest: str

    @property
    def computed(self) -> str:
        """The digest that it must have."""
        fields = {name: value for name, value in self._asdict().items() if name != "digest"}
        return sha256(canonical(fields))


def add(connection: Connection, kind: Kind, what: Mapping[str, Any], content: str, *, now: int, who: str) -> Link:
    """Add a link behind the last one, inside the transaction that adds its rows."""
    last = newest(connection, lock=True)
    bare = Link(
        last.id + 1 if last else 1, now, who, kind, canonical(what), content, last.digest if last else FIRST, ""
    )
    link = bare._replace(digest=bare.computed)
    connection.execute(insert(ledger_link), link._asdict())
    return link


def newest(connection: Connection, *, lock: bool = False) -> Link | None:
    """The last link. `lock`: nobody else adds one until the transaction ends."""
    if lock:
        alone(connection, Alone.CLOSE)
    columns = [ledger_link.c[name] for name in Link._fields]
    found = connection.execute(select(*columns).order_by(ledger_link.c.id.desc()).limit(1)).first()
    return None if found is None else Link(*found)


def links(connection: Connection) -> Iterator[Link]:
    """All of them, oldest first."""
    columns = [ledger_link.c[name] for name in Link._fields]
    for found in connection.execution_options(yield_per=1000).execute(select(*columns).order_by(ledger_link.c.id)):
        yield Link(*found)


def content_of_run(rows: Iterable[tuple[str, str, str]], manifest: str) -> str:
    """The content of a close: (point, register, digest) of its rows, and its manifest's text."""
    digest = hashlib.sha256()
    for *_, row in sorted(rows):
        digest.update(f"{row}\n".encode())
    digest.update(sha256(manifest).encode())
    return digest.hexdigest()
