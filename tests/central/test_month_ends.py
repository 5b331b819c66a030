"""The centre closes months by itself: when, which ones, again for what came late, and on with it after a failure."""

from __future__ import annotations

import csv
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from collector import localtime
from collector.central import chain, closing, month_ends
from collector.central.database import point_version
from collector.central.engine import writing
from collector.central.month_ends import AGAIN, SETTLE, WHO, close_due, ended, next_end
from collector.central.store.series import StoreAway
from collector.clock import SystemClock
from collector.config import CentralConfig, load_central
from drivers.strict_yaml import ConfigError
from tests.central.books import FIRST, GENERIC, SECOND, Centre, at, own_utility, point
from tests.central.building import Meterline, bring, central_yaml

MOSCOW = ["Europe/Moscow"]
MINUTE = 60_000


def test_a_month_is_due_when_its_edge_has_settled_and_the_one_before_goes_first() -> None:
    edge = at("2026-11-01 00:00:00")
    assert ended(GENERIC, MOSCOW, 0, edge + SETTLE) == ["2026-09", "2026-10"]
    assert ended(GENERIC, MOSCOW, 0, edge + SETTLE - 1) == ["2026-08", "2026-09"]
    assert next_end(GENERIC, MOSCOW, edge).at == edge + SETTLE
    assert next_end(GENERIC, MOSCOW, edge + SETTLE).period == "2026-11"


def test_a_month_that_ended_before_the_registry_knew_a_point_is_left_alone() -> None:
    now = at("2026-11-10 00:00:00")
    assert ended(GENERIC, MOSCOW, at("2026-10-15 00:00:00"), now) == ["2026-10"]
    assert ended(GENERIC, MOSCOW, at("2026-11-05 00:00:00"), now) == []


def test_an_edge_inside_the_month_and_points_in_four_zones_wait_for_the_last_of_them() -> None:
    early = own_utility(edge="{day: 20, time: '00:00'}")
    zones = ["Asia/Kamchatka", "Asia/Yekaterinburg", "Europe/Kaliningrad", "Europe/Moscow"]
    last = at("2026-10-20 00:00:00", "Europe/Kaliningrad")
    assert ended(early, zones, 0, last + SETTLE) == ["2026-09", "2026-10"]
    assert ended(early, zones, 0, last + SETTLE - 1)[-1] == "2026-09"


@given(st.integers(at("2020-01-01 00:00:00"), at("2040-01-01 00:00:00")), st.sampled_from([1, 2, 15, 28]))
def test_whatever_time_it_is_the_next_month_is_due_later_and_follows_the_last(now: int, day: int) -> None:
    utility = own_utility(edge=f"{{day: {day}, time: '00:00'}}")
    coming = next_end(utility, MOSCOW, now)
    assert coming.at > now
    before, last = ended(utility, MOSCOW, 0, now)
    assert localtime.next_month(before) == last == localtime.next_month(coming.period, -1)


# ----------------------------------------------------------------------------- on a real centre


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path, point(1), point(2))
    centre.month_of("m1", "2026-09", FIRST)
    centre.month_of("m1", "2026-10", SECOND)
    yield centre
    centre.store.close()
    centre.engine.dispose()


@pytest.fixture
def config(tmp_path: Path) -> CentralConfig:
    return load_central(central_yaml(tmp_path))


def round_(config: CentralConfig, now: int) -> int:
    """One round of a service that goes on."""
    return close_due(config, now, threading.Event())


def who(centre: Centre) -> list[str]:
    with centre.engine.connect() as connection:
        return [link.who for link in chain.links(connection)]


@pytest.mark.usefixtures("database")
def test_each_day_brings_what_came_late_and_nothing_where_nothing_came(centre: Centre, config: CentralConfig) -> None:
    first = at("2026-11-01 00:00:00") + SETTLE
    assert round_(config, first) == first + AGAIN
    assert [(row["point"], row["status"]) for row in centre.billing("2026-10")][::2] == [
        ("kv1", "ready"),
        ("kv2", "missing"),
    ]
    files = centre.files()
    round_(config, first + AGAIN)
    assert centre.files() == files
    centre.month_of("m2", "2026-10", FIRST)
    round_(config, first + 2 * AGAIN)
    assert [row["status"] for row in centre.billing("2026-10", 2)][2:] == ["held", "held"]
    assert set(who(centre)) == {WHO}


def test_it_comes_back_for_the_edge_when_that_is_nearer_than_a_day(centre: Centre, config: CentralConfig) -> None:
    now = at("2026-10-31 20:00:00")
    assert round_(config, now) == at("2026-11-01 00:00:00") + SETTLE
    assert not (centre.out / "2026-10").exists()


def test_a_month_that_cannot_be_closed_does_not_keep_others_from_it(
    centre: Centre, config: CentralConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, now = closing.close_month, at("2026-11-01 00:00:00") + SETTLE

    def away(books: closing.Books, period: str, *rest: Any, **named: Any) -> closing.Closed:
        if period == "2026-09":
            raise StoreAway("no answer")
        return close(books, period, *rest, **named)

    monkeypatch.setattr(month_ends, "close_month", away)
    with pytest.raises(StoreAway):
        round_(config, now)
    assert (centre.out / "2026-10" / "generic" / "r1").is_dir()


def test_a_utility_whose_profile_is_gone_is_said_and_does_not_keep_others_from_it(
    centre: Centre, config: CentralConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with writing(centre.engine) as connection:
        connection.execute(update(point_version).where(point_version.c.point == "kv2").values(utility="a-gone"))
    now = at("2026-11-01 00:00:00") + SETTLE
    with pytest.raises(ConfigError, match="utility 'a-gone' is not known"):
        round_(config, now)
    assert [record.getMessage().partition(":")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "a-gone could not be closed"
    ]
    assert (centre.out / "2026-10" / "generic" / "r1").is_dir()


class StopsAfter(threading.Event):
    """Set when it has been looked at so often."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_wherever_a_close_is_given_up_each_month_is_there_whole_or_not_at_all(
    centre: Centre, config: CentralConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "_AT_ONCE", 1)
    now, before = at("2026-11-01 00:00:00") + SETTLE, -1
    for looks in range(1000):
        stop = StopsAfter(looks)
        close_due(config, now, stop)
        runs = {name.rpartition("/")[0] for name in centre.files()}
        assert [f"{row.period}/{row.utility}" for row in centre.ledger()] == sorted(
            run.removesuffix("/r1") for run in runs for _ in range(4)
        )
        assert len(runs) >= before
        before = len(runs)
        assert not list(centre.out.rglob(".*"))
        if stop.looks >= 0:
            break
    assert runs == {"2026-09/generic/r1", "2026-10/generic/r1"}
    # In the end September is looked at once and for each point, October the same and for the rows of each point.
    assert looks == (1 + 2) + (1 + 2 + 2)
    files = centre.files()
    round_(config, now)
    assert centre.files() == files


def test_a_utility_whose_points_all_went_to_another_closes_what_was_its_own_and_nothing_more(
    centre: Centre, config: CentralConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collector.central import utility

    shipped = tmp_path / "utilities"
    shipped.mkdir()
    generic = (utility.UTILITIES / "generic.yaml").read_text()
    (shipped / "generic.yaml").write_text(generic)
    (shipped / "other.yaml").write_text(generic.replace("id: generic", "id: other"))
    monkeypatch.setattr(utility, "UTILITIES", shipped)
    bring(centre.engine, point(1, utility="other"), point(2, utility="other"), now=at("2026-10-10 00:00:00"))
    now = at("2026-11-01 00:00:00") + SETTLE
    round_(config, now)
    emitted = sorted(path.parent.relative_to(centre.out).as_posix() for path in centre.out.rglob("r1"))
    assert emitted == ["2026-09/generic", "2026-10/other"]


# ----------------------------------------------------------------------------- who has to be visited


def test_the_walking_list_goes_from_house_to_house_and_names_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meterline: Meterline
) -> None:
    nobody = {"meter": "", "serial_number": "", "profile": "", "gateway": ""}
    centre = Centre(
        tmp_path,
        point(1, address="Lenina 10"),
        point(2, address="Lenina 2", flat="10"),
        point(3, address="Lenina 2", flat="9", tariffs="1", **nobody),
        point(4, address="Lenina 2", flat="11"),
        point(5, address="Lenina 2", flat="12", tariffs="1", **nobody),
    )
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-10-22 12:00:00"))
    centre.read("m1", "2026-10-20 12:00:00", FIRST)
    centre.read("m4", "2026-10-22 11:45:00", FIRST)
    config = central_yaml(tmp_path)
    assert meterline("manual", "enter", "10005", "2026-10", "7", "--config", config).status == 0

    def walk() -> list[tuple[str, ...]]:
        out = meterline("walk", "2026-10", "--config", config, "--format", "csv").out
        rows = csv.DictReader(out.splitlines())
        return [tuple(row[name] for name in ("address", "flat", "registers", "why")) for row in rows]

    assert walk() == [
        ("Lenina 2", "9", "total", "read by hand"),
        ("Lenina 2", "10", "T1 T2", "the meter never answered"),
        ("Lenina 10", "1", "T1 T2", "the meter is silent"),
    ]
    centre.month_of("m1", "2026-10", FIRST)
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 12:00:00"))
    assert walk() == [
        ("Lenina 2", "9", "total", "no value at the edge"),
        ("Lenina 2", "10", "T1 T2", "no value at the edge"),
        ("Lenina 2", "11", "T1 T2", "no value at the edge"),
    ]


def test_a_walking_list_on_paper_has_the_time_of_the_place_and_one_for_programs_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meterline: Meterline
) -> None:
    centre = Centre(tmp_path, point(1), point(2, time_zone="Asia/Yekaterinburg"))
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-10-22 12:00:00"))
    for meter in ("m1", "m2"):
        centre.read(meter, "2026-10-20 12:00:00", FIRST)

    def times(form: str) -> list[str]:
        out = meterline("walk", "2026-10", "--config", central_yaml(tmp_path), "--format", form).out
        return re.findall(r"2026-10-20[ T][0-9:.]+Z?", out)

    assert times("table") == ["2026-10-20 12:00", "2026-10-20 14:00"]
    assert times("csv") == ["2026-10-20T09:00:00.000Z"] * 2
