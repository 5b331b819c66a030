"""What the centre's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from collector.central.engine import open_sqlite
from collector.central.store.embedded import EmbeddedStore
from tests.central.building import Meterline


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """The registry's database, where `central_yaml` puts it."""
    engine = open_sqlite(tmp_path / "data" / "central.db")
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
