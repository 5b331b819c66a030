"""Opens the database of registry and ledger, durable, and brings its tables up to date before anybody uses them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from collector.config import CentralConfig
from collector.exits import Unreachable, UsageFault

MIGRATIONS = Path(__file__).resolve().parent / "migrations"

# How long a statement waits for another process's transaction (an import beside the daemon); ours take far less.
BUSY_SECONDS = 30
_WRITES = "meterline_writes"


def open_engine(config: CentralConfig) -> Engine:
    """The database that central.yaml names. Raises Unreachable, and UsageFault for one that is not built yet."""
    if config.database.url != "sqlite":
        raise UsageFault("database: PostgreSQL is not built yet; write `database: sqlite`")
    return open_sqlite(config.data / "central.db")


def open_sqlite(path: Path) -> Engine:
    """The database in this file, made if it is not there, its tables up to date. Raises Unreachable."""
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _sqlite_durable)
    event.listen(engine, "begin", _sqlite_begin)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        upgrade(engine)
    except (OSError, DatabaseError) as error:
        raise Unreachable(f"the database {path} cannot be opened: {getattr(error, 'orig', None) or error}") from error
    return engine


def writing(engine: Engine) -> AbstractContextManager[Connection]:
    """One transaction that will write: committed at the end, undone by an exception.

    On SQLite it takes the write lock at once: a transaction that reads first and then wants to write fails without
    waiting when somebody wrote in between (SQLITE_BUSY_SNAPSHOT), however long the timeout.
    """
    return engine.execution_options(**{_WRITES: True}).begin()


def upgrade(engine: Engine) -> None:
    """Bring the tables to the newest version. Raises Unreachable when a newer Meterline has written them."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise Unreachable(
            f"the database {engine.url.render_as_string()} has tables of version {current}, which this Meterline does "
            "not know: it was written by a newer one; install that one again"
        )
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def _sqlite_durable(connection: Any, _record: object) -> None:
    # Transactions are begun by `_sqlite_begin`; sqlite3's own scheme begins none for reads and tables.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _sqlite_begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
