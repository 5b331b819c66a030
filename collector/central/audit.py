"""Proves the ledger: every link of its chain, every row and decision that a link stands for, every emitted file.

What this cannot show from the inside is that the newest links were taken off together with their rows and folders: note
the last digest elsewhere, and ask for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from collector.central import chain, decisions, evidence, ledger, manual, responses
from collector.central.canonical import sha256
from collector.central.chain import Link
from collector.central.chained_rows import ChainedRows
from collector.central.database import close_run, ledger_link
from collector.central.database import ledger as ledger_table

_AT_ONCE = 1000  # rows in RAM: a ledger row has some kilobytes with its proof
_CHUNK = 1 << 20  # bytes of a file that are read at a time
# The rows that a link stands for, by its kind; those of a close are looked at one by one.
_CHAINED: Mapping[str, ChainedRows[Any]] = {
    rows.kind: rows for rows in (decisions.CHAINED, manual.CHAINED, responses.CHAINED)
}


@dataclass(slots=True)
class Verdict:
    """What was looked at, and every fault in words. `head`: the last digest of the chain, empty without one."""

    links: int = 0
    rows: int = 0
    folders: int = 0
    head: str = ""
    faults: list[str] = field(default_factory=list)


def verify(engine: Engine, out: Path, expected: str | None = None) -> Verdict:
    """Look at everything. `expected`: a digest that was noted and has to be in the chain."""
    verdict = Verdict()
    with engine.connect() as connection:
        digests = set()
        for link in _links(connection, verdict):
            digests.add(link.digest)
            verdict.faults += _faults_of(connection, link, verdict)
        verdict.faults += _unchained(connection)
        verdict.faults += _folders(connection, out, verdict)
    if expected is not None and expected not in digests:
        verdict.faults.append(f"the chain has no link with the digest {expected}: what was done then is gone")
    return verdict


def _links(connection: Connection, verdict: Verdict) -> Iterator[Link]:
    previous = chain.FIRST
    for link in list(chain.links(connection)):
        verdict.links += 1
        if link.id != verdict.links:
            verdict.faults.append(f"link {verdict.links} is not there; the next one is {link.id}")
            verdict.links = link.id
        if link.previous != previous:
            verdict.faults.append(
                f"link {link.id} does not follow the one before it: {link.previous} is not its digest"
            )
        if link.computed != link.digest:
            verdict.faults.append(f"link {link.id} was altered: its digest is {link.computed}, it says {link.digest}")
        previous = verdict.head = link.digest
        yield link


def _faults_of(connection: Connection, link: Link, verdict: Verdict) -> Iterator[str]:
    """Whether what a link stands for is what it was."""
    what = json.loads(link.what)
    if link.kind == "close":
        name = f"{what['period']}, {what['utility']}, r{what['revision']}"
        rows = []
        for key, fault in _rows(connection, what):
            verdict.rows += 1
            rows.append(key)
            if fault is not None:
                yield f"{name}: {fault}"
        run = next((run for run in ledger.runs(connection, what["period"], what["utility"])
                    if run.revision == what["revision"]), None)  # fmt: skip
        content = "" if run is None else chain.content_of_run(rows, run.manifest)
    else:
        name = f"link {link.id} ({link.kind})"
        content = _CHAINED[link.kind].content_of(connection, link.id)
        verdict.rows += what["rows"]
    if content != link.content:
        done = f"{name}: its rows are not those that were there when {link.who or 'it'} did this"
        yield f"{done}: one was changed, added or taken out"


def _rows(connection: Connection, what: dict[str, Any]) -> Iterator[tuple[tuple[str, str, str], str | None]]:
    """(point, register, digest) of each row that a run added, and what is wrong with it."""
    names = ("period", "utility", "point", "register", "revision")
    columns = [ledger_table.c[name] for name in names]
    where = [ledger_table.c[name] == what[name] for name in ("period", "utility", "revision")]
    query = select(*columns, *ledger.STORED).where(*where)
    for some in connection.execution_options(yield_per=_AT_ONCE).execute(query).partitions():
        unread: list[tuple[tuple[str, str, str], list[Mapping[str, Any]]]] = []
        for found in some:
            key = (found.point, found.register, found.digest)
            if ledger.digest_of(found.row, found.evidence, found.carried) != found.digest:
                yield key, f"{found.point} {found.register} was altered: it does not have its digest {found.digest}"
                continue
            row = json.loads(found.row)
            if wrong := [name for name in names if row[name] != getattr(found, name)]:
                yield key, f"{found.point} {found.register} is filed under another {', '.join(wrong)} than it says"
                continue
            unread.append((key, list(ledger.references(json.loads(found.evidence)))))
        kept = evidence.referred(connection, (item for _, named in unread for item in named))
        for key, named in unread:
            lost = any(item["snapshot"] not in kept for item in named)
            yield key, f"{key[0]} {key[1]}: a snapshot that proves it was altered or taken out" if lost else None


def _unchained(connection: Connection) -> Iterator[str]:
    """Rows that no link stands for."""
    closes = {tuple(json.loads(what).values()) for (what,) in connection.execute(
        select(ledger_link.c.what).where(ledger_link.c.kind == "close"))}  # fmt: skip
    for table in (ledger_table, close_run):
        columns = (table.c.period, table.c.revision, table.c.utility)
        for found in connection.execute(select(*columns).distinct()):
            if tuple(found) not in closes:
                yield f"{table.name}: {found.period}, {found.utility}, r{found.revision} is in no link of the chain"
    for rows in _CHAINED.values():
        links = select(ledger_link.c.id).where(ledger_link.c.kind == rows.kind)
        strange = select(func.count()).where(rows.table.c.link.not_in(links))
        if count := connection.execute(strange).scalar_one():
            yield f"{rows.table.name}: {count} rows are in no link of the chain"


def _folders(connection: Connection, out: Path, verdict: Verdict) -> Iterator[str]:
    """Emitted folders against the ledger's manifests; one that is not there is no fault, a close writes it again."""
    query = select(close_run.c.period, close_run.c.utility, close_run.c.revision, close_run.c.manifest)
    manifests = {tuple(found[:3]): found.manifest for found in connection.execute(query)}
    for folder in sorted(out.glob("*/*/r*")):
        if not re.fullmatch(r"r[1-9][0-9]*", folder.name) or not folder.is_dir():
            continue
        verdict.folders += 1
        manifest = manifests.get((folder.parts[-3], folder.parts[-2], int(folder.name[1:])))
        if manifest is None:
            yield f"{folder} was emitted, and the ledger knows nothing of it"
            continue
        try:
            if sha256((folder / "manifest.json").read_text(encoding="utf-8")) != sha256(manifest):
                yield f"{folder / 'manifest.json'} is not the one that was emitted"
                continue
            for item in json.loads(manifest)["files"]:
                if _digest(folder / item["name"]) != item["sha256"]:
                    yield f"{folder / item['name']} is not the file that was emitted"
        except (OSError, UnicodeDecodeError) as error:
            yield f"{folder}: a file that was emitted cannot be read: {error}"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()
