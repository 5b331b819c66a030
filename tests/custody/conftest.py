"""What tests of damaged spools share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.custody.damaged import make


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of which the tests damage copies."""
    path = tmp_path_factory.mktemp("sound") / "spool.db"
    make(path)
    return path


@pytest.fixture
def path(tmp_path: Path, sound: Path) -> Path:
    shutil.copy(sound, tmp_path / "spool.db")
    return tmp_path / "spool.db"
