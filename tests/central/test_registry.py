"""The registry: what an import adds and changes, what it refuses, and what is known at an instant."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import DatabaseError

from collector.central.database import meter, point_version, registry_log, segment
from collector.central.engine import writing
from collector.central.points_import import Change
from collector.central.registry import Binding, Meter, Registry, Segment
from drivers.strict_yaml import ConfigError
from tests.central.building import GATEWAY, IMPORTED, ZONE, bring, point
from tests.central.databases import open_database, refuse_inserts

LATER = IMPORTED + 86_400_000
pytestmark = pytest.mark.usefixtures("database")
BY_HAND = {"meter": "", "serial_number": "", "profile": "", "gateway": ""}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(tmp_path / "central.db")
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return Registry(engine)


def log(engine: Engine) -> list[tuple[int, str, dict[str, object]]]:
    with engine.connect() as connection:
        rows = connection.execute(select(registry_log).order_by(registry_log.c.id)).all()
    return [(row.at, row.who, json.loads(row.what)) for row in rows]


def test_an_import_makes_points_meters_and_segments_known(engine: Engine, registry: Registry) -> None:
    report = bring(engine, point(1, ratio="40.50"), point(2, **BY_HAND))
    assert (report.new, report.changes, report.unchanged) == (["kv1", "kv2"], [], 0)
    (one, two) = registry.points(LATER)
    assert (one.point, one.account, one.ratio, one.time_zone) == ("kv1", "10001", Decimal("40.5"), ZONE)
    assert two.point == "kv2"
    bound = Segment("kv1", "m1", "00001", "abb-b23", GATEWAY, None, None, None, None)
    assert registry.segments() == {"kv1": (bound,)}
    assert registry.meters() == {"m1": Meter("m1", "00001", (Binding(IMPORTED, "abb-b23", GATEWAY),))}
    assert registry.gateways() == {GATEWAY}
    assert registry.zones() == {"m1": ZONE}


def test_an_import_says_who_added_what(engine: Engine) -> None:
    bring(engine, point(1), who="olga")
    ((at, who, what),) = log(engine)
    assert (at, who, what["point"], what["before"]) == (IMPORTED, "olga", "kv1", None)
    assert what["after"] == {key: value for key, value in point(1).items() if key != "point"}


def test_the_same_rows_again_do_nothing(engine: Engine, registry: Registry) -> None:
    bring(engine, point(1), point(2))
    before = (registry.version(), registry.histories(), registry.meters(), log(engine))
    report = bring(engine, point(2, ratio="1.000"), point(1, serial_number="0000 1"), now=LATER, who="ivan")
    assert (report.new, report.changes, report.unchanged) == ([], [], 2)
    assert (registry.version(), registry.histories(), registry.meters(), log(engine)) == before


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("account", "77"), ("utility", "other"), ("address", "Mira 1"), ("flat", "9"), ("tariffs", "4"),
        ("receipt_order", "2"), ("ratio", "20"), ("time_zone", "Asia/Omsk"),
    ],
)  # fmt: skip
def test_a_changed_field_of_a_point_counts_from_now_on_and_is_logged(
    engine: Engine, registry: Registry, column: str, value: str
) -> None:
    bring(engine, point(1), point(2))
    report = bring(engine, point(1, **{column: value}), point(2), now=LATER, who="ivan")
    assert report.changes == [Change(2, "kv1", column, point(1)[column], value)]
    assert report.unchanged == 1
    for at, expected in ((0, point(1)[column]), (LATER - 1, point(1)[column]), (LATER, value), (LATER + 1, value)):
        assert str(getattr(registry.points(at)[0], column)) == expected
    before, after = {column: point(1)[column]}, {column: value}
    assert log(engine)[-1] == (LATER, "ivan", {"point": "kv1", "before": before, "after": after})


@pytest.mark.parametrize(("column", "value"), [("gateway", "gw-new"), ("profile", "inepro-pro380")])
def test_another_gateway_or_profile_of_a_meter_counts_from_now_on_and_is_logged(
    engine: Engine, registry: Registry, column: str, value: str
) -> None:
    bring(engine, point(1))
    bring(engine, point(1, **{column: value}), now=LATER)
    old, new = registry.meters(["m1"])["m1"].bindings
    assert (old.valid_from, getattr(old, column)) == (IMPORTED, point(1)[column])
    assert (new.valid_from, getattr(new, column)) == (LATER, value)
    assert getattr(registry.segments()["kv1"][0], column) == value
    assert log(engine)[-1][2] == {"point": "kv1", "before": {column: point(1)[column]}, "after": {column: value}}
    assert len(registry.histories()["kv1"]) == 1
    if column == "gateway":
        assert registry.gateways() == {GATEWAY, "gw-new"}  # what the old one still holds will come


def test_a_missing_row_changes_nothing(engine: Engine, registry: Registry) -> None:
    bring(engine, point(1), point(2))
    bring(engine, point(2), now=LATER)
    assert [item.point for item in registry.points(LATER)] == ["kv1", "kv2"]


def test_a_clock_that_was_set_back_does_not_hide_a_change(engine: Engine, registry: Registry) -> None:
    bring(engine, point(1))
    bring(engine, point(1, account="77", gateway="gw-new"), now=IMPORTED - 86_400_000)
    assert registry.points(LATER)[0].account == "77"
    assert registry.meters()["m1"].bindings[-1].gateway == "gw-new"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"meter": "m9", "serial_number": "9"},
            "meter: point 'kv1' has 'm1' in the registry, 'm9' here; replace the meter",
        ),
        (BY_HAND, "meter: point 'kv1' has 'm1' in the registry, no meter here; remove the meter with an act"),
        (
            {"serial_number": "9"},
            "serial_number: meter 'm1' is bound to '00001' for ever, not '9'; replace the meter with",
        ),
        ({"point": "kv9"}, "meter: 'm1' hangs at point 'kv1'; move it with acts"),
        ({"point": "kv9", "meter": "m9"}, "serial_number: '00001' is bound to meter 'm1', not 'm9'"),
        (
            {"point": "KV1", "meter": "m9", "serial_number": "9"},
            "point: 'KV1' differs from 'kv1' in the registry only in",
        ),
        (
            {"point": "kv9", "meter": "M1", "serial_number": "9"},
            "meter: 'M1' differs from 'm1' in the registry only in case",
        ),
        (
            {"gateway": GATEWAY.upper()},
            f"gateway: '{GATEWAY.upper()}' differs from '{GATEWAY}' in the registry only in case",
        ),
    ],
)
def test_what_takes_an_act_or_cannot_be_right_is_refused_by_line(
    engine: Engine, registry: Registry, change: dict[str, str], told: str
) -> None:
    bring(engine, point(1))
    with pytest.raises(ConfigError) as refused:
        bring(engine, point(5, gateway="gw-mira-1"), point(1, **change), now=LATER)
    (fault,) = refused.value.faults
    assert fault.startswith("points.csv:3: ")
    assert told in fault
    assert list(registry.histories()) == ["kv1"]  # the sound row beside it did not come in either


def test_a_meter_at_a_point_that_is_read_by_hand_takes_an_act(engine: Engine) -> None:
    bring(engine, point(1, **BY_HAND))
    with pytest.raises(ConfigError, match="has no meter in the registry, 'm1' here; commission the meter with an act"):
        bring(engine, point(1), now=LATER)


def test_a_removed_meter_is_not_brought_elsewhere_by_an_import(engine: Engine) -> None:
    bring(engine, point(1))
    with writing(engine) as connection:
        connection.execute(update(segment).values(to_ms=LATER))
    with pytest.raises(ConfigError, match="'m1' hung at point 'kv1'; move it with acts"):
        bring(engine, point(1, point="kv2"), now=LATER)


def test_all_faults_against_the_registry_are_told_at_once(engine: Engine) -> None:
    bring(engine, point(1), point(2), point(3))
    with pytest.raises(ConfigError) as refused:
        bring(engine, point(1, serial_number="9"), point(2), point(3, serial_number="8"), now=LATER)
    assert [fault.split(" ")[0] for fault in refused.value.faults] == ["points.csv:2:", "points.csv:4:"]


def test_a_dry_run_reports_the_same_and_changes_nothing(engine: Engine, registry: Registry) -> None:
    bring(engine, point(1))
    rows = (point(1, account="77"), point(2))
    dry = bring(engine, *rows, now=LATER, dry_run=True)
    assert (list(registry.histories()), len(log(engine))) == (["kv1"], 1)
    assert bring(engine, *rows, now=LATER) == dry


def test_a_failure_in_the_middle_of_writing_leaves_nothing_half_imported(
    engine: Engine, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(engine) as connection:  # segments come after points and meters: writing them will fail
        refuse_inserts(connection, "segment")
    with pytest.raises(Exception, match="full"):
        bring(engine, point(1))
    with engine.connect() as connection:
        assert [connection.execute(select(table)).all() for table in (point_version, meter, registry_log)] == [
            [],
            [],
            [],
        ]


def test_two_points_of_an_account_with_the_same_order_are_pointed_out(engine: Engine) -> None:
    report = bring(engine, point(1, account="7"), point(2, account="7"), point(3, account="7", receipt_order="2"))
    assert report.warnings == ["account 7 of generic has 2 points with receipt_order 1; they are sorted by name"]


def test_points_are_sorted_by_their_bytes_and_chosen_by_utility(engine: Engine, registry: Registry) -> None:
    bring(engine, point(1, point="b"), point(2, point="Z"), point(3, point="a", utility="other"))
    assert [item.point for item in registry.points(LATER)] == ["Z", "a", "b"]
    assert [item.point for item in registry.points(LATER, "other")] == ["a"]


def test_every_change_moves_the_version(engine: Engine, registry: Registry) -> None:
    seen = [registry.version()]
    for rows in ([point(1)], [point(1, account="7")], [point(1, account="7", gateway="gw-new")]):
        bring(engine, *rows, now=LATER)
        seen.append(registry.version())
    assert seen == sorted(set(seen))


def test_only_the_meters_asked_for_are_looked_up_however_many(engine: Engine, registry: Registry) -> None:
    bring(engine, point(1), point(2))
    names = ["m2", *(f"unheard-of-{number}" for number in range(25_000))]
    assert list(registry.meters(names)) == ["m2"]
    assert registry.meters([]) == {}


def test_segments_follow_each_other_in_time_and_carry_their_acts_readings(engine: Engine, registry: Registry) -> None:
    bring(engine, point(1), point(2))
    with writing(engine) as connection:
        connection.execute(update(segment).where(segment.c.meter == "m1").values(to_ms=LATER, final='{"1.8.0": 5}'))
        moved = (
            update(segment).where(segment.c.meter == "m2").values(point="kv1", from_ms=LATER, initial='{"1.8.0": 7}')
        )
        connection.execute(moved)
    first, second = registry.segments()["kv1"]
    assert (first.meter, first.from_ms, first.to_ms, first.final) == ("m1", None, LATER, {"1.8.0": 5})
    assert (second.meter, second.from_ms, second.to_ms, second.initial) == ("m2", LATER, None, {"1.8.0": 7})


def test_two_imports_at_once_wait_for_each_other(tmp_path: Path) -> None:
    faults: list[Exception] = []
    open_database(tmp_path / "central.db").dispose()

    start = threading.Barrier(4)

    def work(number: int) -> None:
        engine = open_database(tmp_path / "central.db")
        try:
            for turn in range(5):
                start.wait()
                # The point that all of them bring is new to one of them.
                bring(engine, point(number, account=f"{turn}"), point(10 + turn))
        except (ConfigError, DatabaseError, threading.BrokenBarrierError) as error:
            faults.append(error)
            start.abort()  # else the others would wait for this one
        finally:
            engine.dispose()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine = open_database(tmp_path / "central.db")
    assert faults == []
    histories = Registry(engine).histories()
    assert [len(histories[f"kv{number}"]) for number in range(1, 5)] == [5, 5, 5, 5]
    assert [len(histories[f"kv{10 + turn}"]) for turn in range(5)] == [1, 1, 1, 1, 1]
    engine.dispose()
