"""A small building for the centre's tests: its points.csv, its registry, and what its gateway sends."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine

from collector.central.points_csv import HEADER, parse
from collector.central.points_import import ImportReport, import_points
from collector.cli import main
from tests.central.databases import database_url

GATEWAY = "gw-lenina-12"
ZONE = "Europe/Moscow"
IMPORTED = 1_790_000_000_000  # 2026-09-21: before the snapshots of the tests


def point(number: int, **changed: str) -> dict[str, str]:
    """A sound row of points.csv: a two-tariff meter whose profile knows its serial number."""
    return {
        "point": f"kv{number}", "account": f"1000{number}", "utility": "generic", "address": "Lenina 12",
        "flat": f"{number}", "tariffs": "2", "receipt_order": "1", "meter": f"m{number}",
        "serial_number": f"0000{number}", "profile": "abb-b23", "gateway": GATEWAY, "ratio": "1", "time_zone": ZONE,
        **changed,
    }  # fmt: skip


def points_csv(rows: Iterable[dict[str, str]]) -> bytes:
    """The file of these rows."""
    out = io.StringIO()
    writer = csv.DictWriter(out, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def bring(
    engine: Engine, *rows: dict[str, str], now: int = IMPORTED, who: str = "olga", dry_run: bool = False
) -> ImportReport:
    """Import these rows as `registry import` does."""
    checked = parse(points_csv(rows), "points.csv", default_zone=ZONE, utilities={"generic", "other"})
    return import_points(engine, checked, "points.csv", now=now, who=who, dry_run=dry_run)


def central_yaml(folder: Path, broker: str = "mqtt://127.0.0.1:1883") -> Path:
    """The centre's configuration in this folder, its data beside it."""
    path = folder / "central.yaml"
    database = database_url(folder / "data" / "central.db")
    path.write_text(f"schema: 1\ndata: ./data\ntime_zone: {ZONE}\nmqtt: {{url: '{broker}'}}\ndatabase: '{database}'\n")
    return path


class Answer(NamedTuple):
    """What a command did: exit status, stdout, stderr."""

    status: int
    out: str
    err: str


class Meterline:
    """Runs the command in this process, as its entry point does."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Answer:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Answer(int(ended.value.code or 0), out, err)


SPOOL = "b7e3c1d09a44"
ASKED = 1_793_480_462_120  # 2026-11-01 00:01:02.120 in Moscow
PROFILE = "abb-b23"


def snapshot(number: int = 1, **changed: Any) -> dict[str, Any]:
    """What a healthy meter of this building says shortly after midnight."""
    return {
        "meter": f"m{number}", "serial_number": f"0000{number}", "profile": PROFILE, "purpose": "boundary",
        "asked": ASKED, "answered": ASKED + 90, "registers": {"1.8.0": 20044630, "1.8.1": 15023900, "1.8.2": 5020730},
        **changed,
    }  # fmt: skip


def batch(*snapshots: dict[str, Any], sequence: int = 1, **changed: Any) -> dict[str, Any]:
    """An envelope around these snapshots; a key that is changed to None is left out."""
    whole = {
        "schema": 1, "gateway": GATEWAY, "spool": SPOOL, "sequence": sequence, "class": "keep", "zone": ZONE,
        "synced": True, "profiles": {PROFILE: "sha256:" + "0" * 64}, "snapshots": list(snapshots), **changed,
    }  # fmt: skip
    return {key: value for key, value in whole.items() if value is not None}


def as_bytes(message: dict[str, Any]) -> bytes:
    """Its JSON."""
    return json.dumps(message, separators=(",", ":")).encode()


@dataclass
class Letter:
    """A message as the MQTT connection hands it over; remembers in `log` when it was acknowledged."""

    topic: str
    payload: bytes
    log: list[Any] = field(default_factory=list)
    acknowledged: bool = False

    def acknowledge(self) -> None:
        self.acknowledged = True
        self.log.append(("acknowledged", self.payload))


class SetClock:
    """A clock that shows what a test has set."""

    def __init__(self, now: int = ASKED + 5000) -> None:
        self.now = now

    def millis(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    def wait(self, until: int, wake: threading.Event) -> bool:
        return wake.wait(0.01)

    def busy(self) -> AbstractContextManager[object]:
        return nullcontext()
