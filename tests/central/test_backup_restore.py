"""`restore`: where it goes, what a crash leaves of it, and tables of other versions."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from collector.central import engine as engines
from collector.central.database import registry_log
from collector.central.engine import open_engine, writing
from collector.central.registry import Registry
from collector.central.restore import restore
from collector.clock import SystemClock
from collector.config import load_central
from collector.exits import UsageFault
from tests.central.building import Meterline, bring, central_yaml, point
from tests.central.databases import KINDS, database_url
from tests.central.drill import LEDGER_ROWS, NOW, building, empty, made, state
from tests.postgres import Cluster

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "millis", lambda _: NOW)


# ----------------------------------------------------------------------------- where a restore goes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return made(building(tmp_path / "here"), tmp_path / "centre.backup")


def untouched(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["data/central.db", "data/spool.db", "data/x", "data/out/2026-09/a", "elsewhere/a"])
def test_a_target_with_something_in_it_is_left_alone(
    tmp_path: Path, file: Path, meterline: Meterline, name: str
) -> None:
    empty(tmp_path / "there")
    yaml = tmp_path / "there/central.yaml"
    if name.startswith("elsewhere"):
        yaml.write_text(yaml.read_text() + "out: ./elsewhere\n")
    (tmp_path / "there" / name).parent.mkdir(parents=True)
    (tmp_path / "there" / name).write_text("mine")
    before = untouched(tmp_path / "there")
    answer = meterline("restore", file, "--config", yaml)
    assert (answer.status, "is not empty" in answer.err) == (2, True)
    assert untouched(tmp_path / "there") == before
    assert not list((tmp_path / "there").rglob(".restore"))


def test_a_disk_of_its_own_is_empty(tmp_path: Path, file: Path) -> None:
    config = empty(tmp_path / "there")
    (config.data / "lost+found").mkdir(parents=True)
    config.out.mkdir()
    restore(config, file, NOW, "olga")
    assert (config.data / "spool.db").exists()


def test_a_disk_without_room_is_said_before_anything_is_written(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(UsageFault, match="has no room for"):
        restore(empty(tmp_path / "there"), file, NOW, "olga")
    assert not (tmp_path / "there/data").exists()


def test_a_postgresql_with_rows_in_it_is_left_alone_and_one_with_empty_tables_is_taken(
    tmp_path: Path, file: Path, use: Callable[[str], None]
) -> None:
    use("postgresql")
    config = empty(tmp_path / "there")
    engine = open_engine(config)
    with writing(engine) as connection:
        connection.execute(insert(registry_log), {"at": 1, "who": "olga", "what": "{}"})
    with pytest.raises(UsageFault, match=r"the database postgresql.* is not empty \(table registry_log\)"):
        restore(config, file, NOW, "olga")
    assert not config.data.exists()
    with writing(engine) as connection:
        connection.exec_driver_sql("TRUNCATE registry_log")
        connection.exec_driver_sql("CREATE TABLE of_somebody_else (x int); INSERT INTO of_somebody_else VALUES (1)")
    restore(config, file, NOW, "olga")
    assert len(state(config)["ledger"]) == LEDGER_ROWS


def test_a_database_that_may_not_be_read_is_said(
    tmp_path: Path, file: Path, postgres: Cluster, use: Callable[[str], None], meterline: Meterline
) -> None:
    use("postgresql")
    yaml = central_yaml(tmp_path)
    postgres.execute("DROP ROLE IF EXISTS stranger")
    postgres.execute("CREATE ROLE stranger LOGIN")
    yaml.write_text(yaml.read_text().replace("meterline@", "stranger@"))
    answer = meterline("restore", file, "--config", yaml)
    assert (answer.status, answer.err.count("\n")) == (6, 1)
    assert "cannot be used: permission denied for table" in answer.err
    assert not (tmp_path / "data").exists()


def test_new_rows_get_new_numbers_after_a_restore(tmp_path: Path, file: Path, use: Callable[[str], None]) -> None:
    for kind in KINDS:
        use(kind)
        config = empty(tmp_path / kind)
        restore(config, file, NOW, "olga")
        engine = open_engine(config)
        before = Registry(engine).version()
        bring(engine, point(7))
        assert Registry(engine).version() == before + 1
        with engine.connect() as connection:
            last = connection.execute(select(registry_log.c.who).order_by(registry_log.c.id)).scalars().all()
        assert last[-2:] == ["olga", "olga"]


def test_the_registry_remembers_from_what_it_was_restored_and_by_whom(tmp_path: Path, file: Path) -> None:
    config = empty(tmp_path / "there")
    restore(config, file, NOW, "ivan")
    with open_engine(config).connect() as connection:
        row = connection.execute(select(registry_log).order_by(registry_log.c.id.desc())).first()
    assert row is not None
    assert (row.at, row.who) == (NOW, "ivan")
    assert json.loads(row.what)["restored"]["made"] == "2026-12-02T05:00:00.000Z"


# ----------------------------------------------------------------------------- cut off

CUT_OFF = """
import os, signal, sys
from pathlib import Path
from collector.central import archive, restore
from collector.config import load_central

countdown = int(sys.argv[4])
original = {place}

def counting(*arguments):
    global countdown
    countdown -= 1
    if countdown < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)

{place} = counting
restore.restore(load_central(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), "olga")
"""

# Where, at which call, and whether registry and ledger are in then.
PLACES = [
    ("archive.Archive.extract", 0, False), ("archive.Archive.extract", 2, False), ("restore._Restore._prove", 0, False),
    ("restore._Restore._load", 0, False), ("restore._Restore._fill", 5, False), ("restore.migrate", 1, False),
    ("restore._Restore.finish", 0, True), ("restore._move", 1, True), ("restore._move", 3, True),
    ("restore._Restore.sweep", 1, True),
]  # fmt: skip


@pytest.mark.parametrize(("place", "calls", "committed"), PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_that_is_cut_off_counts_for_nothing_until_it_is_run_again(
    tmp_path: Path, file: Path, use: Callable[[str], None], meterline: Meterline,
    kind: str, place: str, calls: int, committed: bool,
) -> None:  # fmt: skip
    before = state(load_central(tmp_path / "here/central.yaml"))
    use(kind)
    database_url(tmp_path / "there" / "data" / "central.db", "template1")  # as createdb makes one
    config, yaml = empty(tmp_path / "there"), tmp_path / "there/central.yaml"
    command = [sys.executable, "-c", CUT_OFF.format(place=place), yaml, file, NOW, calls]
    ended = subprocess.run(list(map(str, command)), cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    answer = meterline("registry", "list", "--config", yaml)
    assert (answer.status, answer.out) == (6, "")
    assert "a restore was not finished; run the same `meterline restore` again" in answer.err
    other = made(empty(tmp_path / "other"), tmp_path / "other.backup")
    if committed:  # what has come in is no place for another one
        assert meterline("restore", other, "--config", yaml).status == 2
        assert config.data.joinpath("central.db").exists() == (kind == "sqlite")
    answer = meterline("restore", file, "--config", yaml)
    assert answer.status == 0
    assert answer.err.startswith("the restore that was cut off is finished" if committed else "restored")
    assert not list((tmp_path / "there").rglob(".restore"))
    assert state(config) == before


def test_a_restore_that_was_cut_off_early_makes_room_for_another(tmp_path: Path, file: Path) -> None:
    config = empty(tmp_path / "there")
    command = [sys.executable, "-c", CUT_OFF.format(place=PLACES[4][0]), tmp_path / "there/central.yaml", file, NOW, 5]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=False)
    assert (config.data / ".restore").exists()
    restore(config, made(empty(tmp_path / "other"), tmp_path / "other.backup"), NOW, "olga")
    assert Registry(open_engine(config)).histories() == {}


# ----------------------------------------------------------------------------- older and other tables


def test_a_backup_of_older_tables_is_brought_up_to_date(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[str], None]
) -> None:
    """A later Meterline, with one more migration, restores what this one has made."""
    migrations = tmp_path / "migrations"
    shutil.copytree(engines.MIGRATIONS, migrations)
    newest = engines.revisions()[0]
    (migrations / "versions" / "9000_later.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = '9000', '{newest}'\n"
        "def upgrade():\n    op.add_column('ledger', sa.Column('later', sa.Text(), server_default='new'))\n"
    )
    monkeypatch.setattr(engines, "MIGRATIONS", migrations)
    for kind in KINDS:
        use(kind)
        database_url(tmp_path / kind / "data" / "central.db", "template1")  # as createdb makes one
        config = empty(tmp_path / kind)
        restore(config, file, NOW, "olga")
        with open_engine(config).connect() as connection:
            counted = connection.exec_driver_sql("SELECT later, count(*) FROM ledger GROUP BY 1").all()
        assert counted == [("new", LEDGER_ROWS)]


def test_a_database_with_other_tables_than_the_backup_is_left_alone(
    tmp_path: Path, file: Path, use: Callable[[str], None]
) -> None:
    use("postgresql")
    config = empty(tmp_path / "there")
    engine = open_engine(config)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(UsageFault, match=r"has tables of version 0001, the archive of .*; give it a new database"):
        restore(config, file, NOW, "olga")
    assert not config.data.exists()
