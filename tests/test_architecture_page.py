"""The file table of docs/architecture.md is the tree: every name in it exists, and every module has its row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("drivers", "collector", "hil")
ROWS = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
NO_ROW = ("__init__.py", "__main__.py")


def places(cell: str) -> Iterator[tuple[str, set[Path]]]:
    """The names of a row and the modules that each stands for, a folder for all in it.

    The first name has a path, the others stand beside it or say where in `collector`; `_frames.py` goes on from the
    first name's stem, cut at an underscore if need be.
    """
    names = re.findall(r"`([^`]+)`", cell)
    first = Path(names[0])
    for name in names:
        if name.startswith("_"):
            parts = first.stem.split("_")
            candidates = [str(first.parent / ("_".join(parts[:count]) + name)) for count in range(len(parts), 0, -1)]
        elif name.split("/")[0] in PACKAGES:
            candidates = [name]
        else:
            candidates = [str(first.parent / name), f"collector/{name}"]
        yield name, next((found for one in candidates if (found := set(modules(one)))), set())


def modules(pattern: str) -> Iterator[Path]:
    for path in ROOT.glob(pattern):
        yield from path.rglob("*.py") if path.is_dir() else [path]


@pytest.mark.parametrize("cell", ROWS)
def test_a_row_of_the_table_names_files_that_are_there(cell: str) -> None:
    assert [name for name, found in places(cell) if not found] == []


def test_every_module_has_its_row() -> None:
    named = {path for cell in ROWS for _, found in places(cell) for path in found}
    all_modules = {path for package in PACKAGES for path in modules(package) if path.name not in NO_ROW}
    assert sorted(str(path.relative_to(ROOT)) for path in all_modules - named) == []
