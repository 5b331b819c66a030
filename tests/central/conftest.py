"""What the centre's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from collector.central.store.embedded import EmbeddedStore
from tests.central.building import Meterline
from tests.central.databases import KINDS, VARIABLE, drop_all, make_template, open_database
from tests.influxdb import Influxd
from tests.postgres import Cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server for all tests of this process. Skips where there is none."""
    with Cluster() as cluster:
        make_template(cluster)
        yield cluster


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Runs a test once with SQLite, once with PostgreSQL, behind `open_database`."""
    if request.param == "sqlite":
        yield "sqlite"
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    monkeypatch.setenv(VARIABLE, cluster.local_url("{}"))
    yield "postgresql"
    drop_all(cluster)


@pytest.fixture(scope="session")
def influxd() -> Iterator[Influxd]:
    """An InfluxDB server for all tests of this process. Skips where there is none."""
    with Influxd() as server:
        yield server


@pytest.fixture
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The registry's database, where `central_yaml` puts it."""
    if "database" in request.fixturenames:  # else whichever stands first in a list of marks comes first
        request.getfixturevalue("database")
    engine = open_database(tmp_path / "data" / "central.db")
    yield engine
    engine.dispose()


@pytest.fixture
def series(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """The series, where `central_yaml` puts them."""
    store = EmbeddedStore(tmp_path / "data" / "series.db")
    yield store
    store.close()


@pytest.fixture
def meterline(capsys: pytest.CaptureFixture[str]) -> Meterline:
    """The command."""
    return Meterline(capsys)


@pytest.fixture
def use(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """From here on new centres are on this database."""
    used = set()

    def choose(kind: str) -> None:
        used.add(kind)
        if kind == "postgresql":
            monkeypatch.setenv(VARIABLE, request.getfixturevalue("postgres").local_url("{}"))
        else:
            monkeypatch.delenv(VARIABLE, raising=False)

    yield choose
    if "postgresql" in used:
        drop_all(request.getfixturevalue("postgres"))
