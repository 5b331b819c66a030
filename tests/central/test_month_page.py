"""docs/month.md: every check that can speak stands in its table, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from collector.central import ledger
from collector.central.building_sum import BUILDING
from collector.central.edge_value import UNCHECKED

ROOT = Path(__file__).resolve().parents[2]
# The act's own words for what it lacks are passed on by name.
BY_NAME = {BUILDING, UNCHECKED, ledger.REVISED, "no-final", "no-start"}


def spoken() -> set[str]:
    """The names of checks in the code of the close."""
    found = set(BY_NAME)
    for path in (ROOT / "collector" / "central").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"""Doubt\(\s*"([a-z-]+)\"""", text))
        for pair in re.findall(r"""Doubt\(\s*"([a-z-]+)" if [a-z ]+ else "([a-z-]+)\"""", text):
            found |= set(pair)
    return found


def test_every_check_is_explained_to_a_clerk_and_nothing_else_is() -> None:
    page = (ROOT / "docs" / "month.md").read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    explained = {name for cell in table for name in re.findall(r"`([a-z-]+)`", cell)}
    assert explained == spoken()
    assert len(explained) > 30
