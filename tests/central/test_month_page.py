"""docs/month.md: every check that can speak stands in its table, and no other; its commands do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from collector.central import ledger
from collector.central.building_sum import BUILDING
from collector.central.edge_value import UNCHECKED
from collector.clock import SystemClock
from tests.central.books import FIRST, Centre, at, point
from tests.central.building import Meterline, central_yaml

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


def test_the_commands_of_the_first_minute_work_as_they_are_typed(
    tmp_path: Path, meterline: Meterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the edge on 22 October, after it on 2 November; in between the centre has closed by itself."""
    config = central_yaml(tmp_path)
    nobody = {"meter": "", "serial_number": "", "profile": "", "gateway": ""}
    centre = Centre(tmp_path, point(2, tariffs="1", **nobody), point(3, tariffs="1", **nobody), point(12))
    centre.month_of("m12", "2026-10", FIRST)
    (tmp_path / "elder.csv").write_text("account,t1\n10003,77\n")
    (tmp_path / "answer.csv").write_text("account,verdict,reason\n10002,refused,no such account\n")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "month.md").read_text(encoding="utf-8")
    (block, *_) = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    today = "2026-10-22 10:00:00"
    monkeypatch.setattr(SystemClock, "millis", lambda _: at(today))
    ran = []
    for line in block.splitlines():
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "close":
            today = "2026-11-02 10:00:00"
            centre.close("2026-10")
        answer = meterline(*words, "--config", config)
        assert answer.status == 0, (line, answer.err)
        ran.append(" ".join(words[:2]))
    assert {"walk 2026-10", "manual import", "exceptions accept", "response import", "audit verify"} <= set(ran)
    rows = {(row["account"], row["register"]): row for row in centre.billing("2026-10", 2)}
    assert (rows["10003", "1.8.0"]["end_kwh"], rows["100012", "1.8.1"]["status"]) == ("77", "ready")
    centre.store.close()
    centre.engine.dispose()
