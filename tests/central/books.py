"""A centre at the month's end for the tests of the close: a registry, a store, what meters were read, and the files.

Times are local wall time in Moscow as text, dials are kWh as text, as a clerk would write them down.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, update

from collector import localtime
from collector.central import closing, utility
from collector.central.closing import Books, Closed
from collector.central.database import evidence, ledger, segment
from collector.central.engine import writing
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import Sample
from collector.central.utility import Utility
from drivers import profile as profiles
from drivers.profile import Profile
from tests.central.building import GATEWAY, ZONE, bring, point
from tests.central.databases import open_database

GENERIC = utility.load("generic")
Kwh = Mapping[str, str]

__all__ = ["FIRST", "GENERIC", "SECOND", "Centre", "at", "own_utility", "point", "two_flats", "wh"]


def at(text: str, zone: str = ZONE) -> int:
    """`2026-11-01 00:00:02` on the wall to ms UTC."""
    naive = datetime.fromisoformat(text)
    return localtime.to_millis(naive.replace(tzinfo=localtime.zone(zone)))


def wh(kwh: str) -> int:
    """`1234.567` kWh to whole Wh."""
    return int(Decimal(kwh) * 1000)


def own_utility(**keys: str) -> Utility:
    """A utility profile of these keys, in YAML, over those of a plain one."""
    lines = {"schema": "1", "id": "generic", "title": "Own", "labels": "{1.8.0: total, 1.8.1: T1, 1.8.2: T2}", **keys}
    return utility.parse("\n".join(f"{key}: {value}" for key, value in lines.items()).encode(), "own.yaml")


FIRST, SECOND = {"1.8.1": "100.9", "1.8.2": "10.5"}, {"1.8.1": "150.1", "1.8.2": "22.4"}


class Centre:
    """Registry, series, evidence and files in a folder."""

    def __init__(self, folder: Path, *rows: dict[str, str], **books: Any) -> None:
        self.engine: Engine = open_database(folder / "data" / "central.db")
        self.store = EmbeddedStore(folder / "data" / "series.db")
        self.out = folder / "data" / "out"
        self.profiles: dict[str, Profile] = {}
        self.books = Books(self.engine, self.store, self.out, load_profile=self._profile, **books)
        self._sequence = 0
        if rows:
            bring(self.engine, *rows)

    def _profile(self, name: str) -> Profile:
        return self.profiles.get(name) or profiles.load(name)

    def read(
        self,
        meter: str,
        when: str,
        dials: Kwh,
        *,
        frozen: Mapping[str, Kwh] | None = None,
        kept: bool = False,
        quality: Sequence[str] = (),
    ) -> None:
        """One accepted asking. `kept`: a boundary snapshot, which is evidence; one with `frozen` values is too."""
        asked, values = at(when), {code: wh(dial) for code, dial in dials.items()}
        months = {month: {code: wh(dial) for code, dial in given.items()} for month, given in (frozen or {}).items()}
        samples = [Sample("live", meter, GATEWAY, asked, values)] if values else []
        for month, given in months.items():
            end = localtime.to_millis(localtime.month_end(month, ZONE))
            samples.append(Sample("frozen", meter, GATEWAY, end, given))
        self.store.write(samples)
        if kept or frozen:
            raw = {code: f"{value:08x}" for code, value in values.items()}
            snapshot = {"meter": meter, "profile": "abb-b23", "purpose": "boundary", "asked": asked}
            snapshot |= {"registers": values, "raw": raw} | ({"frozen": months} if months else {})
            snapshot |= {"quality": list(quality)} if quality else {}
            self._keep(meter, asked, json.dumps(snapshot))

    def _keep(self, meter: str, asked: int, snapshot: str) -> None:
        self._sequence += 1
        key = {"gateway": GATEWAY, "spool": "b7e3c1d09a44", "sequence": self._sequence, "position": 0}
        sha256 = hashlib.sha256(snapshot.encode()).hexdigest()
        row = {**key, "meter": meter, "asked": asked, "sha256": sha256, "zone": ZONE, "snapshot": snapshot}
        with writing(self.engine) as connection:
            connection.execute(evidence.insert(), row)

    def month_of(self, meter: str, month: str, dials: Kwh) -> None:
        """A quiet month's end: the dial at 23:45, at 00:00:02 (kept) and at 00:15, all the same."""
        edge = localtime.to_millis(localtime.month_end(month, ZONE))
        for offset, kept in ((-900_000, False), (2_000, True), (900_000, False)):
            moment = localtime.from_millis(edge + offset).astimezone(localtime.zone(ZONE))
            self.read(meter, f"{moment:%Y-%m-%d %H:%M:%S}", dials, kept=kept)

    def hang(self, where: str, meter: str, when: str, final: Kwh, initial: Kwh, serial_number: str = "77") -> None:
        """A replacement act: the point's meter ends with `final`, `meter` begins with `initial`."""
        moment = at(when)
        ends, begins = (json.dumps({code: wh(dial) for code, dial in act.items()}) for act in (final, initial))
        bring(self.engine, point(0, point=f"spare-{meter}", meter=meter, serial_number=serial_number))
        with writing(self.engine) as connection:
            connection.execute(update(segment).where(segment.c.point == where).values(to_ms=moment, final=ends))
            mine = update(segment).where(segment.c.meter == meter)
            connection.execute(mine.values(point=where, from_ms=moment, initial=begins))

    def close(self, period: str, *, now: str = "2027-12-31 00:00:00", by: Utility = GENERIC) -> Closed:
        """Close a month."""
        return closing.close_month(self.books, period, by, at(now))

    def billing(self, period: str, revision: int = 1, by: str = "generic") -> list[dict[str, str]]:
        """The rows of billing.csv."""
        return self._table(period, revision, by, "billing.csv")

    def findings(self, period: str, revision: int = 1, by: str = "generic") -> list[dict[str, str]]:
        """The rows of findings.csv."""
        return self._table(period, revision, by, "findings.csv")

    def checks(self, period: str, revision: int = 1) -> list[str]:
        """Which checks spoke, in the order of findings.csv."""
        return [row["check"] for row in self.findings(period, revision)]

    def _table(self, period: str, revision: int, by: str, name: str) -> list[dict[str, str]]:
        path = self.out / period / by / f"r{revision}" / name
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))

    def ledger(self) -> list[Any]:
        """All ledger rows, in the order in which they were added."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(ledger).order_by(ledger.c.id)))

    def files(self) -> dict[str, bytes]:
        """Every emitted file."""
        return {str(path.relative_to(self.out)): path.read_bytes() for path in self.out.rglob("*") if path.is_file()}


def two_flats(folder: Path) -> Centre:
    """Two flats with two tariffs; the first was read at the ends of September and October, the second never."""
    centre = Centre(folder, point(1), point(2))
    centre.month_of("m1", "2026-09", FIRST)
    centre.month_of("m1", "2026-10", SECOND)
    return centre
