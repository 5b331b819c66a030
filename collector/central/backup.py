"""The centre's whole state into one file, while it runs: spool, series, registry and ledger, emitted months.

Rule 1. Each part is one instant of its own, and they are taken in an order in which nothing is missing. The folder of
        emitted months before the ledger: what is emitted stands in it. The spool before its sinks: what it calls
        settled is in them. What a later part has more is only done once more.
Rule 2. Registry and ledger are lines of JSON, the same whichever database they come from, and go into either.
Rule 3. No secret is in it. What InfluxDB holds is not in it either, and we say so.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from sqlalchemy import Connection, Engine, Select, select

from collector.central.archive import Draft, Manifest, Spool, emitted_name
from collector.central.database import metadata as tables
from collector.central.engine import BUSY_SECONDS, opened_engine, revision
from collector.config import CentralConfig
from collector.exits import CheckFailed, Unreachable, UsageFault
from collector.localtime import rfc3339
from collector.spool import Inbox
from drivers import strict_yaml

_AT_ONCE = 1000  # rows in RAM: a ledger row has some kilobytes with its proof

_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def back_up(config: CentralConfig, config_file: Path, target: Path, now: int) -> Manifest:
    """Write the whole state into a new file. `now` in ms; the answer says what is in it.

    Raises UsageFault when `target` is taken or cannot be written, Unreachable, DatabaseAway, and CheckFailed for a file
    that is damaged: a copy of it would be of no use on the day it is needed.
    """
    with Draft(target) as draft, opened_engine(config) as engine, _beside(target) as folder:
        folders = _add_emitted(draft, config.out)
        with draft.member("central.yaml") as taken:
            taken.write(_without_secrets(config_file))
        spool = _add_spool(draft, config.data / "spool.db", folder / "spool.db", config.spool.keep)
        version = _add_tables(draft, engine)
        if config.store.influxdb is None:
            _add_series(draft, config.data / "series.db", folder / "series.db")
        manifest = Manifest(
            version=metadata.version("meterline"),
            made=rfc3339(now),
            database="sqlite" if engine.dialect.name == "sqlite" else "postgresql",
            revision=version,
            series="embedded" if config.store.influxdb is None else "influxdb",
            spool=spool,
            folders=folders,
            files=tuple(draft.files),
        )
        draft.publish(manifest)
    return manifest


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder for copies, where the archive will be: there is room for it, so there is for them."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        yield Path(name)


# ----------------------------------------------------------------------------- files


def _add_emitted(draft: Draft, out: Path) -> tuple[str, ...]:
    """Emitted months; the names of their folders. Drafts of a close that is under way are not emitted."""
    folders: list[str] = []
    for folder, inner, files in os.walk(out, onerror=_refuse):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        folders += (_emitted(out, Path(folder, name)) for name in inner)
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(folder, name)
                draft.add(_emitted(out, path), path)
    return tuple(folders)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # no month has been emitted yet
        raise error


def _emitted(out: Path, path: Path) -> str:
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise UsageFault(f"{path} is neither a file nor a folder, and its contents would be missing; move it away")
    try:
        return emitted_name(str(Path("out", path.relative_to(out))))
    except ValueError as error:
        raise UsageFault(f"{path}: {error}; move it to another place") from None


def _without_secrets(config_file: Path) -> bytes:
    """The configuration's keys and values; they name the files of secrets. Comments may hold anything, and stay out."""
    text: str = yaml.safe_dump(strict_yaml.load(config_file).data, allow_unicode=True, sort_keys=False)
    return text.encode()


def _add_spool(draft: Draft, source: Path, copy: Path, keep_ms: int) -> Spool | None:
    if not source.exists():
        return None
    _copy_sqlite(source, copy)
    inbox = Inbox(copy, keep_ms=keep_ms)  # as the daemon opens it: every batch that waits is held against its digest
    try:
        state, oldest = inbox.state(), inbox.replay(0, 1)
    finally:
        inbox.close()
    if state.damage is not None:
        raise CheckFailed(f"{source} is damaged; start the centre, which heals it, and back up then: {state.damage}")
    draft.add("spool.db", copy)
    copy.unlink()
    return Spool(unsettled=state.unsettled, since=oldest[0].received if oldest else None)


def _add_series(draft: Draft, source: Path, copy: Path) -> None:
    if not source.exists():
        return
    _copy_sqlite(source, copy)
    try:
        with closing(sqlite3.connect(copy)) as series:
            (found,) = series.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        found = error
    if found != "ok":
        raise CheckFailed(f"{source} is damaged: {found}; take the series from an older backup")
    draft.add("series.db", copy)
    copy.unlink()


def _copy_sqlite(source: Path, copy: Path) -> None:
    """One instant of a file that others write to meanwhile. Read-only: what a crash left of its log stays as it is."""
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as there,
            closing(sqlite3.connect(copy)) as here,
        ):
            there.backup(here)  # in one step, which is one transaction and keeps no writer waiting
    except sqlite3.Error as error:
        raise Unreachable(f"{source} cannot be copied: {error}") from error


# ----------------------------------------------------------------------------- registry and ledger


def _add_tables(draft: Draft, engine: Engine) -> str:
    """Every table as it is at one instant; the version of the tables."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        version = revision(connection)
        assert version is not None, "an open database has tables"
        for name, table in sorted(tables.tables.items()):
            query = select(table).order_by(*table.primary_key.columns)
            with draft.member(f"tables/{name}.ndjson") as taken:
                taken.rows = 0
                for line in _lines(connection, query):
                    taken.write(line)
                    taken.rows += 1
    return version


def _lines(connection: Connection, query: Select[Any]) -> Iterator[bytes]:
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(query):
        yield _line(dict(row._mapping)).encode() + b"\n"
