"""A backup into an empty centre: everything that is in it or, after any fault or crash, nothing.

Rule 1. Every byte of the archive is held against its manifest before anything is touched, and the target is empty.
Rule 2. Files wait in a folder `.restore` beside their places, flushed to the disk, until registry and ledger are in.
        That commit decides: before it there is nothing, after it the files only have to be moved, and whoever runs the
        same restore again after a crash does what is missing.
Rule 3. As long as `.restore` is there, nobody opens the centre (collector.central.engine).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Engine, MetaData, Table, func, insert, inspect, select
from sqlalchemy.exc import DatabaseError, StatementError

from collector.central.archive import Archive, Manifest, Member, make_folder, sync
from collector.central.database import Alone, alone, metadata, registry_log
from collector.central.engine import (
    UNFINISHED,
    DatabaseAway,
    check_server,
    migrate,
    postgresql_engine,
    postgresql_url,
    revision,
    revisions,
    sqlite_engine,
    writing,
)
from collector.central.store.embedded import EmbeddedStore
from collector.config import CentralConfig
from collector.exits import Unreachable, UsageFault
from collector.spool import Inbox

_AT_ONCE = 1000  # rows of one statement: a ledger row has some kilobytes with its proof
# Bytes of a line: the largest is a batch that was set aside as a whole, 256 KiB that JSON makes six times as long.
_LONGEST = 16 << 20


class Restored(NamedTuple):
    """What was restored, and whether this was the end of a restore that had been cut off."""

    manifest: Manifest
    finished: bool


def restore(config: CentralConfig, path: Path, now: int, who: str) -> Restored:
    """Bring an archive into the empty centre that central.yaml describes. `now` in ms, for the registry's log.

    Raises UsageFault for an archive or a target that will not do, Unreachable, DatabaseAway; then the target is as it
    was, or the same restore can be run again.
    """
    with Archive(path) as archive:
        version = archive.manifest.revision
        if version not in revisions():
            raise archive.newer(archive.manifest.version, f"tables of version {version[:40]!r}")
        archive.verify()
        work = _Restore(config, archive, now, who)
        try:
            finished = work.is_committed()
            if not finished:
                work.check_target()
                work.sweep()
                work.stage_and_commit()
            work.finish()
        except OSError as error:
            raise UsageFault(f"{path} cannot be restored: {error}") from error
        except DatabaseError as error:
            raise Unreachable(f"the database {config.database.url} cannot be used: {_words(error)}") from error
        return Restored(archive.manifest, finished)


class _Restore:
    """One archive on its way into one centre."""

    def __init__(self, config: CentralConfig, archive: Archive, now: int, who: str) -> None:
        self._config = config
        self._archive = archive
        self._now, self._who = now, who
        self._data, self._out = config.data / UNFINISHED, config.out / UNFINISHED
        # The row of the registry's log by which a database says what it was restored from.
        self._note = json.dumps({"restored": {"made": archive.manifest.made, "manifest": archive.digest}})
        self._files = {"spool.db"} | ({"series.db"} if config.store.influxdb is None else set())

    # ------------------------------------------------------------------------- before

    def is_committed(self) -> bool:
        """Whether an earlier run has brought the database in and was cut off then."""
        if not self._data.exists() or (self._is_sqlite and not self._database.exists()):
            return False
        engine = self._engine()
        try:
            with engine.connect() as connection:
                if not inspect(connection).has_table(registry_log.name):
                    return False
                found = connection.execute(select(registry_log.c.id).where(registry_log.c.what == self._note))
                return found.first() is not None
        finally:
            engine.dispose()

    def sweep(self) -> None:
        """Away with what waits, when nothing of it counts yet, or no more."""
        for folder in (self._out, self._data):
            if folder.exists():
                shutil.rmtree(folder)

    def check_target(self) -> None:
        """Raises UsageFault where there is something already, or no room. What waits for a database is nothing."""
        for folder in (self._config.data, self._config.out):
            if found := _contents(folder, self._config.out):
                raise UsageFault(f"{folder} is not empty ({found.name}); a restore takes nothing's place, move it away")
        needed = sum(member.bytes for member in self._archive.manifest.files)
        place = next(folder for folder in (self._config.data, *self._config.data.parents) if folder.exists())
        if shutil.disk_usage(place).free < needed:
            raise UsageFault(f"{place} has no room for {needed >> 20} MiB; make some, or set `data` to another disk")
        if not self._is_sqlite:
            engine = self._engine()
            try:
                check_server(engine)
                with engine.connect() as connection:
                    self._check_empty(connection)
            finally:
                engine.dispose()

    def stage_and_commit(self) -> None:
        """Everything or nothing."""
        try:
            self.stage()
            self.commit()
        except DatabaseAway:
            raise  # whether it has committed is not known; the next run finds out
        except Exception:
            self.sweep()
            raise

    # ------------------------------------------------------------------------- the files

    def stage(self) -> None:
        """Put every file beside its place, on the disk, and see that we can open it."""
        make_folder(self._data)
        make_folder(self._out)
        for name in self._archive.manifest.folders:
            self._emitted(name).mkdir(parents=True, exist_ok=True)
        for member in self._archive.manifest.files:
            if member.name in self._files:
                self._archive.extract(member, self._data / member.name)
            elif member.name.startswith("out/"):
                target = self._emitted(member.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._archive.extract(member, target)
        self._prove()
        for root in (self._data, self._out):
            for folder, _, _ in os.walk(root):
                sync(Path(folder))

    def _emitted(self, name: str) -> Path:
        return self._out / name.removeprefix("out/")

    def _prove(self) -> None:
        """Raises UsageFault for a spool or series that this Meterline could not open afterwards."""
        spool, series = self._data / "spool.db", self._data / "series.db"
        try:
            if spool.exists():
                inbox = Inbox(spool, keep_ms=self._config.spool.keep)
                damage = inbox.state().damage
                inbox.close()
                if damage is not None:
                    raise UsageFault(f"the spool in the archive is damaged: {damage}")
            if series.exists():
                EmbeddedStore(series).close()
        except Unreachable as error:
            raise UsageFault(f"what is in the archive cannot be opened here: {error}") from error

    def finish(self) -> None:
        """Move every file that still waits to its place."""
        for name in self._files:
            _move(self._data / name, self._config.data / name)
        manifest = self._archive.manifest
        emitted = (*manifest.folders, *(member.name for member in manifest.files))
        for name in sorted({name.split("/")[1] for name in emitted if name.startswith("out/")}):
            _move(self._out / name, self._config.out / name)
        for folder in (self._config.out, self._config.data):
            sync(folder)
        self.sweep()
        sync(self._config.data)

    # ------------------------------------------------------------------------- registry and ledger

    @property
    def _is_sqlite(self) -> bool:
        return self._config.database.url == "sqlite"

    @property
    def _database(self) -> Path:
        return self._config.data / "central.db"

    def _engine(self) -> Engine:
        return sqlite_engine(self._database) if self._is_sqlite else postgresql_engine(postgresql_url(self._config))

    def commit(self) -> None:
        """Load registry and ledger; from here on the target is the restored centre."""
        waiting = self._data / self._database.name
        engine = sqlite_engine(waiting) if self._is_sqlite else self._engine()
        try:
            with writing(engine) as connection:
                self._load(connection)
        except (DatabaseError, StatementError, OverflowError, UnicodeError) as error:
            raise UsageFault(f"the tables in the archive do not go into {engine.url}: {_words(error)}") from error
        finally:
            engine.dispose()
        if self._is_sqlite:
            sync(waiting)
            waiting.rename(self._database)
            sync(self._config.data)

    def _load(self, connection: Connection) -> None:
        manifest = self._archive.manifest
        alone(connection, Alone.MIGRATION)
        if revision(connection) is None:
            migrate(connection, manifest.revision)
        self._check_empty(connection)
        schema = MetaData()
        schema.reflect(connection)
        members = {member.table: member for member in manifest.files if member.table is not None}
        if odd := members.keys() ^ set(self._tables(connection)):
            raise UsageFault(f"the tables in the archive are not those of version {manifest.revision}: {sorted(odd)}")
        for name, member in members.items():
            self._fill(connection, schema.tables[name], member)
        migrate(connection)
        note = {"at": self._now, "who": self._who, "what": self._note}
        connection.execute(insert(registry_log), note)

    def _check_empty(self, connection: Connection) -> None:
        """Raises UsageFault where some table has a row, or tables of another version are there."""
        here = revision(connection)
        if here is not None and here != self._archive.manifest.revision:
            raise UsageFault(
                f"the database {connection.engine.url} has tables of version {here}, the archive of "
                f"{self._archive.manifest.revision}; give it a new database, in which a restore makes them"
            )
        for name in self._tables(connection):
            if connection.execute(select(Table(name, MetaData(), autoload_with=connection)).limit(1)).first():
                text = f"the database {connection.engine.url} is not empty (table {name})"
                raise UsageFault(f"{text}; a restore takes nothing's place, give it a new one")

    def _tables(self, connection: Connection) -> list[str]:
        """Those of our tables that are there; the database may have others of others."""
        return [name for name in inspect(connection).get_table_names() if name in metadata.tables]

    def _fill(self, connection: Connection, table: Table, member: Member) -> None:
        count = 0
        for rows in self._rows(table, member):
            connection.execute(insert(table), rows)
            count += len(rows)
        if count != member.rows:
            raise UsageFault(f"{member.name} in the archive has {count} rows, its manifest names {member.rows}")
        if connection.dialect.name == "postgresql" and "id" in table.c:
            number = func.pg_get_serial_sequence(table.name, "id")
            newest = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
            connection.execute(select(func.setval(number, newest, False)))

    def _rows(self, table: Table, member: Member) -> Iterator[list[dict[str, Any]]]:
        """The rows of a member, some at a time, each with the columns and types of the table."""
        columns = {column.name: _types(column) for column in table.columns}
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(self._archive.lines(member, _LONGEST), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict) or row.keys() != columns.keys():
                raise UsageFault(f"{member.name} in the archive, line {number}: this is no row of {table.name}")
            for name, value in row.items():
                if type(value) not in columns[name]:
                    raise UsageFault(f"{member.name} in the archive, line {number}: {name} cannot be {value!r:.60}")
            rows.append(row)
            if len(rows) == _AT_ONCE:
                yield rows
                rows = []
        if rows:
            yield rows


def _types(column: Column[Any]) -> set[type]:
    return {column.type.python_type} | ({type(None)} if column.nullable else set())


def _contents(folder: Path, out: Path) -> Path | None:
    """Something that stands in a folder. The folder of emitted months, which is looked at by itself, is nothing."""
    out = out.resolve()
    for entry in sorted(folder.resolve().iterdir()) if folder.exists() else ():
        if entry == out or entry in out.parents:
            if entry != out and (found := _contents(entry, out)):
                return found
        elif entry.name not in (UNFINISHED, "lost+found"):  # the second where the folder is a disk of its own
            return entry
    return None


def _move(waiting: Path, place: Path) -> None:
    if waiting.exists():
        waiting.rename(place)


def _words(error: BaseException) -> str:
    """What the database says, without the values of the row."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]
