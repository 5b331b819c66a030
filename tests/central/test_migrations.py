"""The migrations: they make the tables that the code expects, on a new file and on an old one."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import DatabaseError

from collector.central import engine as engines
from collector.central.database import metadata, registry_log
from collector.central.engine import DatabaseAway, open_sqlite, writing
from collector.exits import Unreachable
from tests.central.databases import database_url, open_database


def opened(folder: Path) -> Engine:
    """The database of this folder, which begins without tables."""
    return open_database(folder / "central.db", template="template1")


def migrations_up_to(last: str, folder: Path) -> Path:
    """The migrations as they were when this one was the newest."""
    shutil.copytree(engines.MIGRATIONS, folder)
    for path in (folder / "versions").glob("*.py"):
        if path.name.split("_")[0] > last:
            path.unlink()
    return folder


@pytest.mark.usefixtures("database")
def test_the_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    engine = opened(tmp_path)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.usefixtures("database")
def test_opening_again_changes_nothing_and_keeps_what_is_there(tmp_path: Path) -> None:
    engine = opened(tmp_path)
    with writing(engine) as connection:
        connection.execute(insert(registry_log).values(at=1, who="olga", what="{}"))
    engine.dispose()
    with opened(tmp_path).connect() as connection:
        assert [row.who for row in connection.execute(select(registry_log))] == ["olga"]


@pytest.mark.usefixtures("database")
def test_what_acts_said_of_ratios_before_is_noted_at_their_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(engines, "MIGRATIONS", migrations_up_to("0005", tmp_path / "migrations"))
        engine = opened(tmp_path)
    with writing(engine) as connection:
        ratios = {"a": '{"ratio": 40}', "b": '{"ratio": 1.50}', "held": '{"ratio": 7}', "removal": "null"}
        columns = "hash, number, kind, point, made, received, source, reason, state, document"
        for name, device in ratios.items():
            state = "held" if name == "held" else "taken"
            values = f"'{name}', '1', 'commissioning', '{name}', 0, 0, '', '', '{state}', '{{\"meter\": {device}}}'"
            connection.execute(text(f"INSERT INTO act ({columns}) VALUES ({values})".replace(":", r"\:")))
            connection.exec_driver_sql(
                f"INSERT INTO segment (point, meter, opened_by) VALUES ('{name}', 'm', '{name}')"
            )
    engine.dispose()
    with opened(tmp_path).connect() as connection:
        found = connection.exec_driver_sql("SELECT point, ratio FROM segment ORDER BY id").all()
    assert [tuple(row) for row in found] == [("a", "40"), ("b", "1.5"), ("held", None), ("removal", None)]


@pytest.mark.usefixtures("database")
def test_a_migration_that_fails_leaves_no_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations = tmp_path / "migrations"
    shutil.copytree(engines.MIGRATIONS, migrations)
    newest = max(path.name for path in (migrations / "versions").glob("*.py")).split("_")[0]
    (migrations / "versions" / "9000_broken.py").write_text(
        f"from alembic import op\nrevision, down_revision = '9000', '{newest}'\n"
        "def upgrade():\n    op.drop_table('segment')\n    raise RuntimeError('power cut')\n"
    )
    opened(tmp_path).dispose()
    with monkeypatch.context() as patched:
        patched.setattr(engines, "MIGRATIONS", migrations)
        with pytest.raises(RuntimeError, match="power cut"):
            opened(tmp_path)
    with opened(tmp_path).connect() as connection:
        assert connection.exec_driver_sql("SELECT * FROM segment").all() == []


@pytest.mark.usefixtures("database")
def test_several_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    faults: list[Exception] = []
    database_url(tmp_path / "central.db", "template1")

    def work() -> None:
        try:
            opened(tmp_path).dispose()
        except (Unreachable, DatabaseError) as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


@pytest.mark.usefixtures("database")
def test_tables_of_a_newer_meterline_are_left_alone(tmp_path: Path) -> None:
    engine = opened(tmp_path)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unreachable, match="written by a newer one"):
        opened(tmp_path)


def test_a_file_that_is_no_database_is_said_by_name(tmp_path: Path) -> None:
    (tmp_path / "central.db").write_bytes(b"not a database, but long enough to be read as the header of one" * 20)
    with pytest.raises(Unreachable, match=r"central\.db cannot be opened"):
        open_sqlite(tmp_path / "central.db")


def test_a_file_that_somebody_else_writes_to_for_too_long_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_SECONDS", 0.05)
    first, second = open_sqlite(tmp_path / "central.db"), open_sqlite(tmp_path / "central.db")
    with writing(first):
        with pytest.raises(DatabaseAway, match=r"central\.db cannot be used now: database is locked"), writing(second):
            pass
        with second.connect() as connection:  # who reads does not wait
            assert connection.execute(select(registry_log)).all() == []
    with writing(second) as connection:
        connection.execute(insert(registry_log).values(at=1, who="olga", what="{}"))


def test_every_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    with open_sqlite(tmp_path / "central.db").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
