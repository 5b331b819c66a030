"""A building in the words of a clerk (tests/golden/close), closed for two months, against the files that must come out.

points.csv is what the registry takes, readings.txt what the meters showed. `expected/<month>` holds billing.csv without
its last column, the digests, which the ledger's tests prove, and findings.csv.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from collector.central import utility
from collector.central.database import binding, meter, segment
from collector.central.engine import writing
from collector.central.points_csv import parse
from collector.central.points_import import import_points
from tests.central.books import Centre, at, wh
from tests.central.building import ZONE

pytestmark = pytest.mark.usefixtures("database")
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "close"
READING = re.compile(
    r"(?P<when>[-\d]+ [:\d]+) +(?P<kept>\*)? +(?P<meter>\w+) +(?P<live>[^f]+?)(?: frozen (?P<frozen>.*))?"
)
ACT = re.compile(
    r"act (?P<when>[-\d]+ [:\d]+) +(?P<point>\w+) +(?P<old>\w+) ends (?P<final>\S+) +"
    r"(?P<new>\w+) begins (?P<initial>\S+) +serial (?P<serial>\w+)"
)


def dials(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split())


def take(centre: Centre, line: str) -> None:
    """One line of readings.txt."""
    if (act := ACT.fullmatch(line)) is not None:
        replace(centre, **act.groupdict())
        return
    reading = READING.fullmatch(line)
    assert reading is not None, line
    frozen = None
    if reading["frozen"]:
        month, values = reading["frozen"].split(": ")
        frozen = {month: dials(values)}
    centre.read(reading["meter"], reading["when"], dials(reading["live"]), frozen=frozen, kept=bool(reading["kept"]))


def replace(
    centre: Centre, *, when: str, point: str, old: str, final: str, new: str, initial: str, serial: str
) -> None:
    """What an act of replacement leaves in the registry."""
    moment = at(when)
    ends, begins = (json.dumps({code: wh(kwh) for code, kwh in dials(act).items()}) for act in (final, initial))
    with writing(centre.engine) as connection:
        connection.execute(segment.update().where(segment.c.meter == old).values(to_ms=moment, final=ends))
        connection.execute(meter.insert().values(meter=new, serial_number=serial))
        connection.execute(
            binding.insert().values(meter=new, valid_from=moment, profile="abb-b23", gateway="gw-lenina-12")
        )
        connection.execute(segment.insert().values(point=point, meter=new, from_ms=moment, initial=begins))


@pytest.fixture
def building(tmp_path: Path) -> Centre:
    centre = Centre(tmp_path)
    rows = parse((GOLDEN / "points.csv").read_bytes(), "points.csv", default_zone=ZONE, utilities=utility.known())
    import_points(centre.engine, rows, "points.csv", now=at("2026-08-20 12:00:00"), who="olga", dry_run=False)
    for line in (GOLDEN / "readings.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            take(centre, line)
    return centre


def without_digests(text: str) -> str:
    return "".join(f"{line.rpartition(',')[0]}\n" for line in text.splitlines())


@pytest.mark.parametrize("month", ["2026-09", "2026-10"])
def test_a_building_closes_as_a_clerk_worked_it_out(building: Centre, month: str) -> None:
    for closed in ("2026-08", "2026-09", "2026-10"):
        building.close(closed)
    folder, expected = building.out / month / "generic" / "r1", GOLDEN / "expected" / month
    billing = without_digests((folder / "billing.csv").read_bytes().decode())
    assert billing == (expected / "billing.csv").read_bytes().decode()
    assert (folder / "findings.csv").read_bytes().decode() == (expected / "findings.csv").read_bytes().decode()


def test_a_month_closed_without_the_one_before_gives_the_same_numbers(building: Centre) -> None:
    building.close("2026-10")
    expected = (GOLDEN / "expected" / "2026-10" / "billing.csv").read_text(encoding="utf-8").splitlines()
    assert building.billing("2026-10") == [
        {**row, "digest": found["digest"]}
        for row, found in zip(csv.DictReader(expected), building.billing("2026-10"), strict=True)
    ]
