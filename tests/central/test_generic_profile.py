"""A building whose meters have no profile of their own: imported, read, closed and checked by a generic one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from collector.central.live_findings import live_findings
from collector.central.points_csv import parse
from collector.central.registry import Registry
from collector.central.worker import Worker
from collector.spool import Inbox, Incoming
from drivers.profile import load
from drivers.strict_yaml import ConfigError
from tests.central.books import Centre, at, wh
from tests.central.building import GATEWAY, SPOOL, ZONE, SetClock, as_bytes, batch, point, points_csv

READOUT, PUSH = "generic-iec62056-21", "generic-iec62056-21-push"
Kwh = Mapping[str, str]


class Building(Centre):
    """A centre whose readings come in as a gateway's batches do."""

    def __init__(self, folder: Path, *rows: dict[str, str]) -> None:
        super().__init__(folder, *rows)
        self.inbox = Inbox(folder / "spool.db", keep_ms=1000)
        self._batches = 0

    def asked(self, meter: str, profile: str, when: int, dials: Kwh, **also: Any) -> None:
        """A boundary snapshot of a meter, carried by the worker."""
        said = {"meter": meter, "profile": profile, "purpose": "boundary", "asked": when, "answered": when}
        said |= {"registers": {code: wh(dial) for code, dial in dials.items()}, **also}
        self._batches += 1
        whole = batch(said, sequence=self._batches, profiles={profile: load(profile).digest})
        rows = [Incoming(GATEWAY, SPOOL, self._batches, "readings", as_bytes(whole))]
        assert self.inbox.put(rows, when) == ["stored"]
        worker = Worker(self.inbox, Registry(self.engine), self.store, SetClock())
        assert worker.round() == 1
        assert worker.counts.quarantined == 0

    def edge(self, meter: str, profile: str, ends: str, dials: Kwh) -> None:
        """What is asked round the midnight at which this day and its month end."""
        midnight = at(f"{ends} 00:00:00") + 86_400_000
        for offset in (-900_000, 2_000, 900_000):
            self.asked(meter, profile, midnight + offset, dials)


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    building = Building(
        tmp_path,
        point(1, profile=READOUT),
        point(2, profile=READOUT, tariffs="3"),
        point(3, profile=PUSH, tariffs="1"),
    )
    yield building
    building.inbox.close()
    building.store.close()
    building.engine.dispose()


def imported(profile: str, tariffs: str) -> int:
    """How many rows of a file with one meter are taken."""
    rows = points_csv([point(1, profile=profile, tariffs=tariffs)])
    return len(parse(rows, "points.csv", default_zone=ZONE, utilities={"generic"}))


@pytest.mark.parametrize("profile", [READOUT, PUSH])
@pytest.mark.parametrize("tariffs", ["1", "2", "3", "4"])
def test_a_meter_that_may_give_any_register_may_be_billed_by_any_number_of_tariffs(profile: str, tariffs: str) -> None:
    assert imported(profile, tariffs) == 1


def test_a_meter_whose_profile_lists_its_registers_is_still_held_to_them() -> None:
    for profile, tariffs in (("eastron-sdm630", "2"), ("gavazzi-em340", "3")):
        with pytest.raises(ConfigError, match=f"{profile} has no 1.8."):
            parse(
                points_csv([point(1, profile=profile, tariffs=tariffs)]), "p", default_zone=ZONE, utilities={"generic"}
            )
    summed = points_csv([point(1, profile="mercury-200", tariffs="1")])
    assert len(parse(summed, "points.csv", default_zone=ZONE, utilities={"generic"})) == 1


def test_a_month_of_meters_without_a_profile_of_their_own_is_billed(building: Building) -> None:
    for ends, first, second, third in (
        ("2026-09-30", ("300.9", "200.5", "100.4"), ("60.0", "10.0", "20.0", "30.0"), "7.25"),
        ("2026-10-31", ("420.9", "300.5", "120.4"), ("67.2", "12.2", "22.5", "32.5"), "9.75"),
    ):
        building.edge("m1", READOUT, ends, dict(zip(("1.8.0", "1.8.1", "1.8.2"), first, strict=True)))
        building.edge("m2", READOUT, ends, dict(zip(("1.8.0", "1.8.1", "1.8.2", "1.8.3"), second, strict=True)))
        building.edge("m3", PUSH, ends, {"1.8.0": third})
    building.close("2026-09", now="2026-10-02 00:00:00")
    building.close("2026-10", now="2026-11-02 00:00:00")
    billed = [(row["point"], row["register"], row["end_kwh"], row["status"]) for row in building.billing("2026-10")]
    assert billed == [
        ("kv1", "1.8.1", "300", "ready"),
        ("kv1", "1.8.2", "120", "ready"),
        ("kv2", "1.8.1", "12", "ready"),
        ("kv2", "1.8.2", "22", "ready"),
        ("kv2", "1.8.3", "32", "ready"),
        ("kv3", "1.8.0", "9", "ready"),
    ]


def test_a_frozen_month_that_a_generic_meter_stamped_is_billed(building: Building) -> None:
    months = {"2026-10": {"1.8.1": 300_000, "1.8.2": 120_000}}
    dials = {"1.8.1": "300.1", "1.8.2": "120.1"}
    for when in ("2026-11-01 00:05:00", "2026-11-01 00:07:00"):
        building.asked("m1", READOUT, at(when), dials, frozen=months)
    building.close("2026-10", now="2026-11-02 00:00:00")
    rows = [row for row in building.billing("2026-10") if row["point"] == "kv1"]
    assert [(row["method"], row["end_kwh"]) for row in rows] == [("frozen", "300"), ("frozen", "120")]


def test_tariffs_that_do_not_add_up_are_said_at_the_door_and_in_the_bill(building: Building) -> None:
    building.edge("m1", READOUT, "2026-09-30", {"1.8.0": "300.9", "1.8.1": "200.5", "1.8.2": "100.4"})
    building.edge("m2", READOUT, "2026-09-30", {"1.8.0": "60.1", "1.8.1": "10.0", "1.8.2": "20.0", "1.8.3": "25.1"})
    with building.engine.connect() as connection:
        said = {(found.meter, found.check, found.text) for found in live_findings(connection, 0)}
    text = "the 3 tariffs of m2 add up to 55.100 kWh, its total is 60.100 kWh; they may differ by 0.300 kWh"
    assert said == {("m2", "tariff-sum", text)}
    building.close("2026-09", now="2026-10-02 00:00:00")
    found = [row for row in building.findings("2026-09") if row["check"] == "tariff-sum"]
    assert [(row["point"], row["level"], row["text"]) for row in found] == [("kv2", "warn", text)]
