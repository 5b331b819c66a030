"""The demo runs as a newcomer runs it, and what it prints and leaves behind is a bill."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path


def test_the_demo_bills_what_its_meters_held_and_explains_what_it_does_not_bill(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "collector", "demo", "--meters", "5", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "billed values are what the meters held, 0 are not" in done.stdout
    folder = out / "out" / "2026-10" / "generic" / "r1"
    manifest = json.loads((folder / "manifest.json").read_text())
    with (folder / "billing.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Flats of 1, 3, 2, 2 tariffs, and one of 3 whose meter falls silent before the edge.
    assert [manifest[key] for key in ("expected", "ready", "missing", "held")] == [11, 8, 3, 0]
    assert sum(row["status"] == "ready" for row in rows) == 8
    # The second meter froze its month, and hangs on a wire with Modbus meters; the fourth is read through a head.
    methods = {row["point"]: row["method"] for row in rows}
    assert (methods["lenina-12-kv1"], methods["lenina-12-kv2"], methods["lenina-12-kv4"]) == ("live", "frozen", "live")
    lines = (out / "gateway.yaml").read_text()
    assert "riser-1" in lines
    assert "head-1" in lines
    assert {row["point"] for row in rows if row["status"] == "missing"} == {"lenina-12-kv5"}
    with (folder / "findings.csv").open(newline="") as file:
        assert {row["point"] for row in csv.DictReader(file) if row["level"] == "hold"} == {"lenina-12-kv5"}


def test_the_demo_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "collector", "demo", "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not empty" in done.stderr
