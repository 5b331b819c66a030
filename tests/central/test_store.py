"""The contract of a store of time series, kept by each store alike: in a file, and in a real InfluxDB."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import KINDS, Around, Conflict, Last, Row, Sample, SeriesStore, StoreAway
from tests.influxdb import Bucket, Influxd

T0 = 1_793_480_400_000  # 2026-11-01 00:00 in Moscow
MINUTE = 60_000
Open = Callable[[], SeriesStore]


@pytest.fixture(params=["embedded", "influxdb"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Open]]:
    """Makes new stores, each of which can be opened again and again."""
    server: Influxd | None = request.getfixturevalue("influxd") if request.param == "influxdb" else None
    opened: list[SeriesStore] = []
    buckets: list[Bucket] = []
    numbers = itertools.count()

    def new() -> Open:
        path = tmp_path / f"series-{next(numbers)}.db"
        buckets.extend([] if server is None else [server.bucket()])
        bucket = buckets[-1] if buckets else None

        def open_store() -> SeriesStore:
            opened.append(EmbeddedStore(path) if not (server and bucket) else server.store(tmp_path, bucket))
            return opened[-1]

        return open_store

    yield new
    for store in opened:
        store.close()
    for bucket in buckets:
        assert server is not None
        server.drop(bucket)


@pytest.fixture
def reopen(fresh: Callable[[], Open]) -> Open:
    """Opens the same store again and again."""
    return fresh()


@pytest.fixture
def store(reopen: Open) -> SeriesStore:
    return reopen()


def live(time: int, values: dict[str, int], meter: str = "m1", gateway: str = "gw") -> Sample:
    return Sample("live", meter, gateway, time, values)


def frozen(time: int, values: dict[str, int], meter: str = "m1") -> Sample:
    return Sample("frozen", meter, "gw", time, values)


def all_rows(store: SeriesStore) -> list[Row]:
    return list(store.span(KINDS, None, 0, 1 << 45))


def test_what_was_written_is_read_back_exactly_also_after_opening_again(reopen: Open) -> None:
    big = (1 << 53) - 1
    store = reopen()
    result = store.write(
        [
            live(T0, {"1.8.0": big, "1.8.1": 0}),
            Sample("quantity", "m1", "gw", T0, {"32.7.0": 230.1, "16.7.0": -12.5}),
            frozen(T0, {"1.8.0": 20044610}),
        ]
    )
    assert (result.rejected, result.conflicts) == ([], [])
    store.close()
    rows = all_rows(reopen())
    assert rows == [
        Row("m1", T0, "1.8.0", big, "live"),
        Row("m1", T0, "1.8.0", 20044610, "frozen"),
        Row("m1", T0, "1.8.1", 0, "live"),
        Row("m1", T0, "16.7.0", -12.5, "quantity"),
        Row("m1", T0, "32.7.0", 230.1, "quantity"),
    ]
    assert [type(row.value) for row in rows] == [int, int, int, float, float]


def test_writing_the_same_samples_twice_changes_nothing(store: SeriesStore) -> None:
    samples = [live(T0, {"1.8.0": 5}), frozen(T0, {"1.8.0": 4}), Sample("quantity", "m1", "gw", T0, {"32.7.0": 230.1})]
    store.write(samples)
    before = all_rows(store)
    result = store.write(samples)
    assert all_rows(store) == before
    assert result.conflicts == []


def test_a_live_value_written_later_for_the_same_instant_wins(store: SeriesStore) -> None:
    store.write([live(T0, {"1.8.0": 5, "1.8.1": 3})])
    store.write([live(T0, {"1.8.0": 6})])
    assert [(row.register, row.value) for row in all_rows(store)] == [("1.8.0", 6), ("1.8.1", 3)]


def test_a_meter_that_comes_through_another_gateway_is_one_meter(store: SeriesStore) -> None:
    for gateway, offsets in (("g1", (0, 1, 2)), ("g2", (2, 3)), ("g1", (4,))):
        store.write([live(T0 + n, {"1.8.0": n}, gateway=gateway) for n in offsets])
    assert [row.value for row in all_rows(store)] == [0, 1, 2, 3, 4]
    (around,) = store.around({"m1": ["1.8.0"]}, T0 + 2, MINUTE)["m1"].values()
    assert ([value for _, value in around.before], [value for _, value in around.after]) == ([1, 0], [2, 3])
    assert store.around({"m1": ["1.8.0"]}, T0 + 2, 3000 * MINUTE)["m1"]["1.8.0"] == around
    assert store.last(None) == {"m1": Last(T0 + 4, {"1.8.0": 4})}
    store.write([live(T0 + 4, {"1.8.1": 7}, gateway="g2")])
    assert store.last(["m1"]) == {"m1": Last(T0 + 4, {"1.8.0": 4, "1.8.1": 7})}


def test_where_two_gateways_differ_one_value_counts_for_every_question(store: SeriesStore) -> None:
    """The registry allows no such thing; nothing may hang on luck all the same."""
    store.write([live(T0, {"1.8.0": 5}, gateway="g1"), live(T0, {"1.8.0": 6}, gateway="g2")])
    (row,) = all_rows(store)
    assert row.value in (5, 6)
    near, far = (store.around({"m1": ["1.8.0"]}, T0, width)["m1"]["1.8.0"] for width in (MINUTE, 3000 * MINUTE))
    assert near == far == Around((), ((T0, row.value),))
    assert store.last(None)["m1"].values == {"1.8.0": row.value}


def test_a_frozen_value_through_another_gateway_does_not_replace_the_first(store: SeriesStore) -> None:
    store.write([Sample("frozen", "m1", "g1", T0, {"1.8.0": 100})])
    result = store.write([Sample("frozen", "m1", "g2", T0, {"1.8.0": 101, "1.8.1": 7})])
    assert result.conflicts == [Conflict(0, "1.8.0", 100, 101)]
    assert store.frozen(["m1"], T0) == {"m1": {"1.8.0": 100, "1.8.1": 7}}


def test_the_later_of_two_samples_in_one_write_wins(store: SeriesStore) -> None:
    store.write([live(T0, {"1.8.0": 5}), live(T0, {"1.8.0": 6})])
    assert [row.value for row in all_rows(store)] == [6]


def test_registers_of_one_instant_that_come_apart_are_put_together(store: SeriesStore) -> None:
    store.write([live(T0, {"1.8.0": 5})])
    store.write([live(T0, {"1.8.1": 3})])
    assert store.last(["m1"]) == {"m1": Last(T0, {"1.8.0": 5, "1.8.1": 3})}


def test_the_first_frozen_value_stays_and_another_one_is_a_conflict(store: SeriesStore) -> None:
    store.write([frozen(T0, {"1.8.0": 100})])
    result = store.write([live(T0, {"1.8.0": 105}), frozen(T0, {"1.8.0": 101, "1.8.1": 7})])
    assert result.conflicts == [Conflict(1, "1.8.0", 100, 101)]
    assert store.frozen(["m1"], T0) == {"m1": {"1.8.0": 100, "1.8.1": 7}}


def test_two_frozen_values_in_one_write_conflict_as_in_two(store: SeriesStore) -> None:
    result = store.write([frozen(T0, {"1.8.0": 100}), frozen(T0, {"1.8.0": 101})])
    assert [(conflict.stored, conflict.offered) for conflict in result.conflicts] == [(100, 101)]
    assert store.frozen(["m1"], T0) == {"m1": {"1.8.0": 100}}


def test_frozen_values_are_found_by_the_end_of_their_month_alone(store: SeriesStore) -> None:
    store.write([frozen(T0, {"1.8.0": 100}), live(T0, {"1.8.0": 105}), frozen(T0 + 1, {"1.8.0": 9}, "m2")])
    assert store.frozen(["m1", "m2", "unheard-of"], T0) == {"m1": {"1.8.0": 100}}


def test_a_span_takes_its_start_and_leaves_its_end(store: SeriesStore) -> None:
    store.write([live(T0 + n, {"1.8.0": n}) for n in range(5)])
    assert [row.value for row in store.span(["live"], ["m1"], T0 + 1, T0 + 3)] == [1, 2]


def test_a_span_is_sorted_by_meter_time_and_register_as_numbers(store: SeriesStore) -> None:
    values = {"15.8.0": 1, "2.8.0": 2, "1.8.10": 3, "1.8.2": 4}
    store.write(
        [live(T0 + 1, values, "b"), live(T0, values, "b"), live(T0 + 2, values, "B"), live(T0 + 3, values, "a")]
    )
    registers = ["1.8.2", "1.8.10", "2.8.0", "15.8.0"]
    expected = [(meter, time, code) for meter, time in (("B", 2), ("a", 3), ("b", 0), ("b", 1)) for code in registers]
    assert [(row.meter, row.time - T0, row.register) for row in store.span(["live"], None, 0, 1 << 45)] == expected


def test_a_span_holds_only_the_kinds_and_meters_asked_for(store: SeriesStore) -> None:
    store.write([live(T0, {"1.8.0": 1}), frozen(T0, {"1.8.0": 2}), live(T0, {"1.8.0": 3}, "m2")])
    assert [row.value for row in store.span(["frozen"], None, 0, 1 << 45)] == [2]
    assert [row.value for row in store.span(["live"], ["m2", "unheard-of"], 0, 1 << 45)] == [3]
    assert list(store.span(["live"], [], 0, 1 << 45)) == []


def test_the_neighbours_of_an_instant_are_the_two_nearest_on_each_side(store: SeriesStore) -> None:
    store.write([live(T0 + n * MINUTE, {"1.8.0": 100 + n}) for n in range(-4, 5)])
    found = store.around({"m1": ["1.8.0"]}, T0, 60 * MINUTE)
    assert found == {
        "m1": {"1.8.0": Around(((T0 - MINUTE, 99), (T0 - 2 * MINUTE, 98)), ((T0, 100), (T0 + MINUTE, 101)))}
    }


def test_neighbours_are_no_further_away_than_asked_and_that_far_they_are(store: SeriesStore) -> None:
    store.write([live(T0 + n * MINUTE, {"1.8.0": 100 + n}) for n in (-10, -5, 5, 10)])
    (around,) = store.around({"m1": ["1.8.0"]}, T0, 5 * MINUTE)["m1"].values()
    assert [value for _, value in around.before + around.after] == [95, 105]


def test_a_register_that_is_missing_in_the_nearest_asking_is_looked_for_further_away(store: SeriesStore) -> None:
    store.write([live(T0 + n, {"1.8.1": n}) for n in range(1, 50)])
    store.write([live(T0 + n, {"1.8.0": n}) for n in (60, 70, 80)])
    found = store.around({"m1": ["1.8.0", "1.8.1"]}, T0, MINUTE)["m1"]
    assert [value for _, value in found["1.8.0"].after] == [60, 70]
    assert [value for _, value in found["1.8.1"].after] == [1, 2]
    assert found["1.8.0"].before == ()


def test_neighbours_are_live_values_of_the_registers_asked_for_and_of_no_others(store: SeriesStore) -> None:
    store.write([live(T0, {"1.8.0": 1, "2.8.0": 2}), frozen(T0, {"1.8.0": 3}), frozen(T0, {"1.8.0": 4}, "m2")])
    found = store.around({"m1": ["1.8.0", "1.8.4"], "m2": ["1.8.0"], "unheard-of": ["1.8.0"]}, T0, MINUTE)
    assert found == {"m1": {"1.8.0": Around((), ((T0, 1),))}}


def test_the_last_of_a_fleet_is_its_newest_live_sample_whatever_came_later(store: SeriesStore) -> None:
    store.write([live(T0 + 5, {"1.8.0": 5}), live(T0, {"1.8.0": 1}), live(T0 + 1, {"1.8.0": 2}, "m2")])
    store.write([frozen(T0 + 9, {"1.8.0": 4}), Sample("quantity", "m3", "gw", T0, {"32.7.0": 230.1})])
    assert store.last(None) == {"m1": Last(T0 + 5, {"1.8.0": 5}), "m2": Last(T0 + 1, {"1.8.0": 2})}
    assert store.last(["m2", "unheard-of"]) == {"m2": Last(T0 + 1, {"1.8.0": 2})}


def test_the_last_sample_holds_what_that_asking_gave_and_nothing_older(store: SeriesStore) -> None:
    store.write([live(T0, {"1.8.0": 5, "1.8.1": 3}), live(T0 + 1, {"1.8.1": 4})])
    store.write([live(T0, {"1.8.0": 5, "1.8.1": 3}, "m2"), live(T0 + 1, {"1.8.0": 6}, "m2")])
    assert store.last(None) == {"m1": Last(T0 + 1, {"1.8.1": 4}), "m2": Last(T0 + 1, {"1.8.0": 6})}


def test_neighbours_are_found_however_many_days_lie_between(store: SeriesStore) -> None:
    day = 86_400_000
    store.write([live(T0 + n * day + 5, {"1.8.0": 1000 + n}) for n in (-400, -61, -30, 0, 45, 60, 400)])
    (around,) = store.around({"m1": ["1.8.0"]}, T0, 62 * day)["m1"].values()
    assert [value for _, value in around.before] == [970, 939]
    assert [value for _, value in around.after] == [1000, 1045]
    assert [row.value for row in store.span(["live"], None, 0, 1 << 45)] == [600, 939, 970, 1000, 1045, 1060, 1400]
    assert store.last(None)["m1"].values == {"1.8.0": 1400}


@pytest.mark.parametrize("width", [1, 3_599_999, 3_600_000, 86_400_000, 2 * 86_400_000, 5 * 86_400_000])
def test_a_span_of_any_width_holds_what_lies_in_it(store: SeriesStore, width: int) -> None:
    times = [T0 + n * 1_200_001 for n in range(-400, 400)]
    store.write([live(time, {"1.8.0": abs(time - T0)}) for time in times])
    for start in (T0 - width, T0 - width // 2, T0):
        seen = [row.time for row in store.span(["live"], ["m1"], start, start + width)]
        assert seen == [time for time in times if start <= time < start + width]


def test_ten_thousand_meters_are_asked_for_in_one_call(store: SeriesStore) -> None:
    names = [f"m{n}" for n in range(10_000)]
    store.write([live(T0, {"1.8.0": n}, name) for n, name in enumerate(names)])
    assert len(store.last(names)) == len(store.around({name: ["1.8.0"] for name in names}, T0, 1)) == 10_000


def test_a_reader_beside_the_writer_sees_what_is_committed(reopen: Open) -> None:
    writer, reader = reopen(), reopen()
    writer.write([live(T0 + n, {"1.8.0": n}) for n in range(2000)])
    rows = reader.span(["live"], None, 0, 1 << 45)
    first = next(rows)
    writer.write([live(T0 - 1, {"1.8.0": 7})])  # a long reading does not hold up the writer
    assert first.value == 0
    assert len(list(rows)) == 1999
    assert len(all_rows(reader)) == 2001


_codes = st.sampled_from(["1.8.0", "1.8.1", "2.8.0"])
_samples = st.lists(
    st.builds(
        lambda kind, meter, time, values: Sample(kind, meter, f"gateway-of-{meter}", time, values),
        st.sampled_from(["live", "frozen"]),
        st.sampled_from(["m1", "m2"]),
        st.integers(T0, T0 + 3),
        st.dictionaries(_codes, st.integers(0, 1 << 53), min_size=1),
    ),
    max_size=12,
)


@given(_samples, st.integers(0, 12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_store_is_a_dictionary_by_kind_meter_register_and_time(
    fresh: Callable[[], Open], samples: list[Sample], cut: int
) -> None:
    store = fresh()()
    expected: dict[tuple[str, str, int, str], float] = {}
    conflicts = 0
    for sample in samples:
        for code, value in sample.values.items():
            key = (sample.kind, sample.meter, sample.time, code)
            if sample.kind == "frozen" and expected.get(key, value) != value:
                conflicts += 1
            else:
                expected[key] = value
    seen = [store.write(part) for part in (samples[:cut], samples[cut:])]
    held = {(row.kind, row.meter, row.time, row.register): row.value for row in all_rows(store)}
    store.close()
    assert held == expected
    assert sum(len(result.conflicts) for result in seen) == conflicts


# ------------------------------------------------------------------------------------- the embedded store alone


def test_a_write_that_fails_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "series.db")
    impossible = Sample("quantity", "new-meter", "gw", T0, {"32.7.0": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        store.write([live(T0, {"1.8.0": 1}, "new-meter"), impossible])
    assert all_rows(store) == []
    store.write([live(T0, {"1.8.0": 1}, "new-meter")])
    assert [row.meter for row in all_rows(store)] == ["new-meter"]


def test_a_full_disk_is_an_absent_store_and_loses_nothing_stored(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "series.db")
    store.write([live(T0, {"1.8.0": 1})])
    store._db.execute("PRAGMA max_page_count=8")  # SQLite's own way to say that the disk is full
    with pytest.raises(StoreAway, match="full"):
        store.write([live(T0 + n, {"1.8.0": n}, f"m{n}") for n in range(5000)])
    assert [row.value for row in all_rows(store)] == [1]
    store._db.execute("PRAGMA max_page_count=4294967294")
    store.write([live(T0 + n, {"1.8.0": n}, f"m{n}") for n in range(5000)])
    assert len(store.last(None)) == 5000


def test_a_file_that_is_no_store_is_an_absent_store(tmp_path: Path) -> None:
    (tmp_path / "series.db").write_bytes(os.urandom(8192))
    with pytest.raises(StoreAway, match=r"series\.db"):
        EmbeddedStore(tmp_path / "series.db")


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    EmbeddedStore(tmp_path / "series.db").close()
    with sqlite3.connect(tmp_path / "series.db") as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StoreAway, match="version 99"):
        EmbeddedStore(tmp_path / "series.db")


def test_a_store_that_another_holds_for_long_is_away_and_comes_back(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "series.db")
    store._db.execute("PRAGMA busy_timeout=10")
    blocker = sqlite3.connect(tmp_path / "series.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreAway, match="locked"):
        store.write([live(T0, {"1.8.0": 1})])
    blocker.execute("ROLLBACK")
    store.write([live(T0, {"1.8.0": 1})])
    assert len(all_rows(store)) == 1


def test_two_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    faults: list[Exception] = []

    def open_one() -> None:
        try:
            EmbeddedStore(tmp_path / "series.db").close()
        except StoreAway as error:
            faults.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
