"""The database under a test: SQLite, or a real PostgreSQL in which each file's path stands for a database of its own.

`open_database(folder / "central.db")` opens the same one again, in another process too, as the file would.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine, make_url

from collector.central.engine import open_postgresql, open_sqlite
from tests.postgres import Cluster

KINDS = ("sqlite", "postgresql")
VARIABLE = "METERLINE_TEST_POSTGRESQL"  # the cluster's URL, for the processes that a test starts as well
TEMPLATE = "migrated"  # where tables are made once


def make_template(cluster: Cluster) -> None:
    """What the databases of tests are copies of."""
    cluster.create(TEMPLATE)
    open_postgresql(make_url(cluster.local_url(TEMPLATE))).dispose()


def drop_all(cluster: Cluster) -> None:
    """Away with what a test has made."""
    for name in cluster.names():
        if name.startswith("at_"):
            cluster.drop(name)


def database_url(path: Path, template: str = TEMPLATE) -> str:
    """What central.yaml has under `database` for a test's database at this path; a new one is made."""
    server = os.environ.get(VARIABLE)
    if server is None:
        return "sqlite"
    name = "at_" + hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:20]
    where = server.replace("postgresql+psycopg", "postgresql").replace("{}", "postgres")
    with psycopg.connect(where, autocommit=True) as connection, contextlib.suppress(psycopg.errors.DuplicateDatabase):
        # Copying its files costs half of what it costs to write them by the log, as PostgreSQL does from version 15 on.
        by = " STRATEGY FILE_COPY" if connection.info.server_version >= 150_000 else ""
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}{by}".encode())
    return server.replace("{}", name)


def open_database(path: Path, template: str = TEMPLATE) -> Engine:
    """The database at this path, made if it is not there; `template1`: without tables, so that opening makes them."""
    url = database_url(path, template)
    if url != "sqlite":
        return open_postgresql(make_url(url))
    if template == TEMPLATE and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_sqlite_template(), path)
    return open_sqlite(path)


@functools.cache
def _sqlite_template() -> Path:
    """A file in which tables are made once for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="meterline-sqlite-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    open_sqlite(folder / "central.db").dispose()
    assert [path.name for path in folder.iterdir()] == ["central.db"], "all of it is in the one file"
    return folder / "central.db"


def refuse_inserts(connection: Connection, table: str) -> None:
    """From now on no row goes into this table; the fault says `full`."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD CONSTRAINT full_ CHECK (false) NOT VALID")
    else:
        connection.exec_driver_sql(
            f"CREATE TRIGGER full_ BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'full_'); END"
        )


def allow_changes(connection: Connection, table: str) -> None:
    """Take the triggers away that keep an append-only table as it is: what somebody may do who owns the database."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    else:
        connection.exec_driver_sql(f"DROP TRIGGER {table}_no_update")
        connection.exec_driver_sql(f"DROP TRIGGER {table}_no_delete")
