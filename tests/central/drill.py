"""A centre for the drills of backup and restore: two closed months, a revision, doubts, and batches that wait."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from sqlalchemy import select

from collector.central.backup import back_up
from collector.central.database import metadata as tables
from collector.central.engine import open_engine
from collector.central.registry import Registry
from collector.central.worker import Worker
from collector.config import CentralConfig, load_central
from collector.spool import Inbox, Incoming
from tests.central.books import Centre, at, point
from tests.central.building import SetClock, as_bytes, batch, bring, central_yaml, snapshot

LEDGER_ROWS = 16  # two months of five registers, and six new versions of rows
NOW = at("2026-12-02 08:00:00")
FIRST, SECOND, THIRD = (
    {"1.8.1": one, "1.8.2": two} for one, two in (("100.9", "10.5"), ("150.1", "22.4"), ("210.7", "31.0"))
)


def building(folder: Path) -> CentralConfig:
    """A centre with readings, doubts, two closed months, a revision, and batches that wait; nobody has it open."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_central(central_yaml(folder))
    centre = Centre(folder, point(1), point(2), point(3, tariffs="1", address="Ленина 12, кв. \U0001f3e0"))
    for month, dials in (("2026-09", FIRST), ("2026-10", SECOND)):
        centre.month_of("m1", month, dials)
    centre.close("2026-09")
    centre.close("2026-10")
    centre.month_of("m2", "2026-09", FIRST)
    bring(centre.engine, point(1, account="moved-in"), now=at("2026-11-05 00:00:00"))
    inbox = Inbox(config.data / "spool.db", keep_ms=config.spool.keep)
    worker = Worker(inbox, Registry(centre.engine), centre.store, SetClock())
    receive(inbox, batch(snapshot(1), snapshot(2, registers={"1.8.0": -1}), snapshot(9), sequence=1))
    while worker.round():
        pass
    centre.close("2026-09")
    centre.close("2026-10")
    receive(inbox, batch(snapshot(2), sequence=2))
    inbox.close()
    centre.store.close()
    centre.engine.dispose()
    return config


def receive(inbox: Inbox, *batches: dict[str, Any]) -> None:
    batches = tuple({**item, "spool": "0123456789ab"} for item in batches)  # not that of what `Centre.read` keeps
    rows = [Incoming(item["gateway"], item["spool"], item["sequence"], "readings", as_bytes(item)) for item in batches]
    inbox.put(rows, SetClock().now)


def empty(folder: Path) -> CentralConfig:
    """A centre that nobody has started."""
    folder.mkdir(parents=True, exist_ok=True)
    return load_central(central_yaml(folder))


def state(config: CentralConfig) -> dict[str, Any]:
    """All that a centre knows."""
    with ExitStack() as stack:
        engine = open_engine(config)
        stack.callback(engine.dispose)
        with engine.connect() as connection:
            rows = {
                name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
                for name, table in tables.tables.items()
            }
        rows["registry_log"] = [row for row in rows["registry_log"] if "restored" not in row[3]]
        inbox = Inbox(config.data / "spool.db", keep_ms=config.spool.keep)
        stack.callback(inbox.close)
        with closing(sqlite3.connect(config.data / "series.db")) as series:
            names = [name for (name,) in series.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            samples = {name: series.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in names}
        return {**rows, "spool": (inbox.replay(0, 1000), inbox.unsettled("readings", 10)), "series": samples,
                "out": emitted(config)}  # fmt: skip


def emitted(config: CentralConfig) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(config.out)): path.read_bytes() if path.is_file() else None
        for path in config.out.rglob("*")
    }


def made(config: CentralConfig, target: Path) -> Path:
    back_up(config, config.data.parent / "central.yaml", target, NOW)
    return target
