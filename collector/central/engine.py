"""Opens the database of registry and ledger, durable, and brings its tables up to date before anybody uses them.

Rule 1. A commit that has returned is on the disk, whatever the server's own defaults say.
Rule 2. A database that is away is `DatabaseAway`: nothing is known of what was under way, which is whole or undone, and
        the same may be done again. Any other error of it speaks of what was to be written.
Rule 3. No text of ours holds a password or the values of a row.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError

from collector.central.database import Alone, alone
from collector.config import CentralConfig
from collector.exits import Unreachable, UsageFault

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
# A folder in `data` while `restore` works there (collector.central.restore): what it stands for is not whole yet.
UNFINISHED = ".restore"

# How long a statement waits for another process's transaction (an import beside the daemon); ours take far less.
BUSY_SECONDS = 30
# PostgreSQL. Seconds until a host that does not answer counts as away; a server that is only busy answers in one. The
# same for a connection on which nothing comes any more: five probes, five seconds apart, after ten quiet ones.
CONNECT_SECONDS = 10
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 5, "tcp_user_timeout": 35_000}
# Seconds between two tries of a daemon that waits for its database, doubling: its return is not met by a storm.
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
_WRITES = "meterline_writes"
# Primary result codes (sqlite.org/rescode.html): somebody else writes for too long, the disk is full or fails.
_SQLITE_AWAY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


class DatabaseAway(Unreachable):
    """The database does not answer, went away in the middle, or has no room. Do the same again later."""


def open_engine(config: CentralConfig) -> Engine:
    """The database that central.yaml names, its tables made or up to date.

    Raises Unreachable, DatabaseAway for a PostgreSQL that does not answer, UsageFault for a password that cannot be
    read.
    """
    unfinished = config.data / UNFINISHED
    if unfinished.exists():
        raise Unreachable(f"{unfinished}: a restore was not finished; run the same `meterline restore` again")
    if config.database.url == "sqlite":
        return open_sqlite(config.data / "central.db")
    return open_postgresql(postgresql_url(config))


@contextmanager
def opened_engine(config: CentralConfig) -> Iterator[Engine]:
    """The same for as long as it is needed."""
    engine = open_engine(config)
    try:
        yield engine
    finally:
        engine.dispose()


def open_sqlite(path: Path) -> Engine:
    """The database in this file, made if it is not there, its tables up to date. Raises Unreachable."""
    engine = sqlite_engine(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        upgrade(engine)
    except (OSError, DatabaseError) as error:
        raise Unreachable(f"the database {path} cannot be opened: {getattr(error, 'orig', None) or error}") from error
    return engine


def open_postgresql(url: URL) -> Engine:
    """The database at this URL, which has to be there, its tables made or up to date. Raises as `open_engine`."""
    engine = postgresql_engine(url)
    try:
        check_server(engine)
        upgrade(engine)
    except DatabaseError as error:
        raise Unreachable(f"the database {engine.url} cannot be used: {_words(error.orig)}") from error
    return engine


def await_database(config: CentralConfig, stop: threading.Event) -> None:
    """Return when the database answers, or `stop` is set: a daemon does not end because it is away.

    Raises as `open_engine` for what waiting does not help.
    """
    wait, said = FIRST_WAIT, ""
    while not stop.is_set():
        try:
            open_engine(config).dispose()
        except DatabaseAway as error:
            if str(error) != said:
                said = str(error)
                log.error("nothing is taken in until the database answers: %s", said)
        else:
            return
        stop.wait(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def writing(engine: Engine) -> AbstractContextManager[Connection]:
    """One transaction that will write: committed at the end, undone by an exception.

    On SQLite it takes the write lock at once: a transaction that reads first and then wants to write fails without
    waiting when somebody wrote in between (SQLITE_BUSY_SNAPSHOT), however long the timeout. On PostgreSQL writers go
    side by side, and what must not does `collector.central.database.alone`.
    """
    return engine.execution_options(**{_WRITES: True}).begin()


# ----------------------------------------------------------------------------- tables


def upgrade(engine: Engine) -> None:
    """Bring the tables to the newest version. Raises Unreachable when a newer Meterline has written them."""
    with engine.connect() as connection:
        current = revision(connection)
    known = revisions()
    if current == known[0]:
        return
    if current is not None and current not in known:
        raise Unreachable(
            f"the database {engine.url.render_as_string()} has tables of version {current}, which this Meterline does "
            "not know: it was written by a newer one; install that one again"
        )
    with writing(engine) as connection:
        migrate(connection)


def migrate(connection: Connection, to: str = "head") -> None:
    """Bring the tables to a version, in this transaction. Several processes may want to: one does."""
    alone(connection, Alone.MIGRATION)
    config = _alembic()
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, to)


def revision(connection: Connection) -> str | None:
    """The version of the tables; None where there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions() -> list[str]:
    """The versions that this Meterline knows, the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()]


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


# ----------------------------------------------------------------------------- SQLite


def sqlite_engine(path: Path) -> Engine:
    """The database in this file, as it is."""
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)
    event.listen(engine, "connect", _sqlite_durable)
    event.listen(engine, "begin", _sqlite_begin)
    event.listen(engine, "handle_error", _away_in_words)
    return engine


def _sqlite_durable(connection: Any, _record: object) -> None:
    # Transactions are begun by `_sqlite_begin`; sqlite3's own scheme begins none for reads and tables.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _sqlite_begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


# ----------------------------------------------------------------------------- PostgreSQL


def postgresql_url(config: CentralConfig) -> URL:
    """Where the database is, with its password. Raises UsageFault when that cannot be read."""
    url = make_url(config.database.url)
    try:
        password = config.database.password()
    except ValueError as error:
        raise UsageFault(f"database: {error}") from None
    return url if password is None else url.set(password=password)


def postgresql_engine(url: URL) -> Engine:
    """The database at this URL, as it is.

    Connections that stood a while are looked at before they are used (`pool_pre_ping`): a server that was restarted
    meanwhile costs a look, and no failure.
    """
    options = {"application_name": "meterline", "connect_timeout": CONNECT_SECONDS, **KEEPALIVES}
    options["options"] = f"-c lock_timeout={BUSY_SECONDS}s"
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=options)
    event.listen(engine, "connect", _postgresql_durable)
    event.listen(engine, "handle_error", _away_in_words)
    return engine


def check_server(engine: Engine) -> None:
    """Raises Unreachable for a database that cannot hold our texts; warns of a server that may lose what it says."""
    with engine.connect() as connection:
        encoding, fsync = connection.exec_driver_sql(
            "SELECT current_setting('server_encoding'), current_setting('fsync')"
        ).one()
    if encoding != "UTF8":
        raise Unreachable(
            f"the database {engine.url} has the encoding {encoding}, UTF8 is needed; make it anew: "
            "createdb --encoding=UTF8 --template=template0"
        )
    if fsync != "on":
        log.warning("the database server runs with fsync=%s: a power cut may take what it has said is stored", fsync)


def _postgresql_durable(connection: Any, _record: object) -> None:
    # `off` may have been set for the server, a role or the database; stronger settings than `on` stay.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.commit()


def _away_in_words(context: ExceptionContext) -> None:
    """Raise DatabaseAway for what is no fault of what was asked: no connection, no room, no lock, a shutdown."""
    error, dbapi = context.original_exception, context.dialect.loaded_dbapi
    if context.dialect.name == "sqlite":  # whose OperationalError may also be a fault in what was asked
        away = getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_AWAY
    else:
        away = context.is_disconnect or isinstance(error, (dbapi.OperationalError, dbapi.InterfaceError))
    if away and not context.is_pre_ping:
        url = context.engine.url if context.engine is not None else "of central.yaml"
        raise DatabaseAway(f"the database {url} cannot be used now: {_words(error)}") from error


def _words(error: BaseException | None) -> str:
    """What a driver says, in one line."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
