"""What a real InfluxDB does when something is wrong with it, with its bucket, with our token or with a point."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.central.store import influx_query
from collector.central.store.influx import InfluxStore
from collector.central.store.influx_server import StoreStopped
from collector.central.store.series import KINDS, Around, Conflict, Kind, Rejected, Row, Sample, StoreAway
from tests.influxdb import DAY, Bucket, Influxd

T0 = 1_793_480_400_000  # 2026-11-01 00:00 in Moscow
MINUTE = 60_000
WEEK = 7 * DAY


@pytest.fixture
def bucket(influxd: Influxd) -> Iterator[Bucket]:
    bucket = influxd.bucket()
    yield bucket
    if any(known["id"] == bucket.id for known in influxd.call("GET", "/api/v2/buckets?limit=100")["buckets"]):
        influxd.drop(bucket)


@pytest.fixture
def store(influxd: Influxd, bucket: Bucket, tmp_path: Path) -> Iterator[InfluxStore]:
    store = influxd.store(tmp_path, bucket)
    yield store
    store.close()


def live(n: int, values: dict[str, Any] | None = None, *, time: int = T0, meter: str = "") -> Sample:
    return Sample("live", meter or f"m{n}", "gw", time, values or {"1.8.0": n})


def values(store: InfluxStore, kinds: tuple[Kind, ...] = KINDS) -> list[Row]:
    return list(store.span(kinds, None, 0, 1 << 45))


# ------------------------------------------------------------------------------------------------- points it refuses


def test_points_that_cannot_be_parsed_are_refused_alone_and_the_others_are_there(
    influxd: Influxd, bucket: Bucket, store: InfluxStore
) -> None:
    samples = [live(n) for n in range(300)]
    samples[17] = Sample("quantity", "m17", "gw", T0, {"32.7.0": float("nan")})
    samples[211] = live(211, {"1.8.0": 1 << 63})
    result = store.write(samples)
    assert [item.place for item in result.rejected] == [17, 211]
    assert "invalid" in result.rejected[0].reason
    assert "value out of range" in result.rejected[1].reason
    assert {row.meter for row in values(store)} == {f"m{n}" for n in range(300)} - {"m17", "m211"}
    assert len(influxd.lines(bucket)) == 298


def test_a_point_of_another_type_is_refused_alone_and_the_others_are_there(
    influxd: Influxd, bucket: Bucket, store: InfluxStore
) -> None:
    """InfluxDB stores the others of its request and answers 422."""
    influxd.write(bucket, f"energy,gateway=other,meter=other 1.8.4=1.5 {T0}")
    result = store.write([live(n, {"1.8.4": n} if n in (3, 77) else None) for n in range(100)])
    assert [item.place for item in result.rejected] == [3, 77]
    assert all("field type conflict" in item.reason for item in result.rejected)
    assert len(influxd.lines(bucket)) == 98 + 1


def test_points_beyond_retention_are_refused_with_a_reason_of_their_own(influxd: Influxd, tmp_path: Path) -> None:
    bucket = influxd.bucket(keeps_s=DAY // 1000)
    store = influxd.store(tmp_path, bucket, keep_ms=DAY // 2)
    now = int(time.time() * 1000)
    samples = [live(n, time=now - (3 * DAY if n % 3 == 0 else 0)) for n in range(90)]
    result = store.write(samples)
    assert sorted(item.place for item in result.rejected) == list(range(0, 90, 3))
    assert {item.reason.split(":")[0] for item in result.rejected} == {"beyond retention"}
    assert len(influxd.lines(bucket)) == 60


def test_where_both_are_in_one_request_neither_hides_the_other(influxd: Influxd, tmp_path: Path) -> None:
    """Of two kinds InfluxDB names one, and the points of the other kind are gone without a word."""
    bucket = influxd.bucket(keeps_s=DAY // 1000)
    store = influxd.store(tmp_path, bucket, keep_ms=DAY // 2)
    now = int(time.time() * 1000)
    influxd.write(bucket, f"energy,gateway=other,meter=other 1.8.4=1.5 {now}")
    samples = [live(0, time=now), live(1, {"1.8.4": 1}, time=now), live(2, time=now - 3 * DAY), live(3, time=now)]
    result = store.write(samples)
    reasons = dict(result.rejected)
    assert reasons.keys() == {1, 2}
    assert "field type conflict" in reasons[1]
    assert reasons[2].startswith("beyond retention: ")
    assert len(influxd.lines(bucket)) == 3


def test_a_name_that_no_series_can_have_is_refused_alone(store: InfluxStore) -> None:
    evil = 'm1 1.8.0=9i 1\nenergy,meter="x'
    frozen = Sample("frozen", evil, "gw", T0, {"1.8.0": 1})
    result = store.write([live(0), live(1, meter=evil), live(2), frozen])
    assert [item.place for item in result.rejected] == [1, 3]
    assert [row.meter for row in values(store)] == ["m0", "m2"]
    assert result.rejected[0] == Rejected(
        1, f"no point of InfluxDB can be made of it: {evil!r} can be no tag of a series"
    )


@pytest.mark.parametrize("name", ["m1/ or true)//", 'm1" or true or "', ".*", "m[0-9]", "${1}", "m1|m0", "", "m1\n"])
def test_a_question_means_the_names_in_it_and_nothing_else(store: InfluxStore, name: str) -> None:
    store.write([live(0), live(1)])
    assert list(store.span(KINDS, [name], 0, 1 << 45)) == []
    assert store.around({name: ["1.8.0"]}, T0, MINUTE) == {}
    assert store.around({"m1": [name]}, T0, MINUTE) == {}
    assert store.frozen([name], T0) == {}
    assert store.last([name]) == {}
    assert store.last([name, "m1"]).keys() == {"m1"}


def test_names_that_hold_each_other_are_different_names(store: InfluxStore) -> None:
    names = ["a.b", "aXb", "1a.b", "a.b1", "A.b"]
    codes = ["1.8.1", "11.8.1", "1.8.10", "1.81.1"]
    store.write([live(n, dict.fromkeys(codes, n), meter=name) for n, name in enumerate(names)])
    for name in names:
        assert store.last([name]).keys() == {name}
        assert {row.meter for row in store.span(KINDS, [name], 0, 1 << 45)} == {name}
        assert store.around({name: codes[:1]}, T0, MINUTE).keys() == {name}
        assert store.around({name: codes[:1]}, T0, MINUTE)[name].keys() == {codes[0]}


def test_a_bucket_may_have_any_name(influxd: Influxd, tmp_path: Path) -> None:
    for name in ("with blanks", "db/policy", "${1}", "\\x41", "é-ß-Ж", "a'b"):
        bucket = influxd.bucket(name=name)
        config = influxd.settings(tmp_path, Bucket(bucket.id, "token")).model_copy(update={"bucket": name})
        store = InfluxStore(config, DAY)
        assert store.write([live(1), Sample("frozen", "m1", "gw", T0, {"1.8.0": 1})]).rejected == []
        assert [row.value for row in values(store)] == [1, 1]
        assert store.last(None).keys() == {"m1"}
        assert all(item.good for item in store.check())
        store.close()
        influxd.drop(bucket)


# -------------------------------------------------------------------------------------- another writer in the bucket


def test_values_are_not_read_while_another_writers_type_hides_them(
    influxd: Influxd, bucket: Bucket, store: InfluxStore, tmp_path: Path
) -> None:
    """A float in one week makes InfluxDB answer with the floats of all weeks: ours would be missing, without a word."""
    store.write([live(1), Sample("quantity", "m1", "gw", T0, {"32.7.0": 230.1})])
    influxd.write(bucket, f"energy,meter=other 1.8.0=1.5 {T0 - 5 * WEEK}")
    assert not any(",1,1.8.0," in row for row in influxd.lines(bucket))  # that is how it answers
    asked = influxd.store(tmp_path, bucket)
    for ask in (
        lambda: asked.last(None),
        lambda: asked.around({"m1": ["1.8.0"]}, T0, MINUTE),
        lambda: list(asked.span(["live"], None, 0, 1 << 45)),
    ):
        with pytest.raises(
            StoreStopped, match=r"measurement energy that are not integer everywhere: 1\.8\.0 \(float, in"
        ):
            ask()
    assert asked.frozen(["m1"], T0) == {}
    assert [row.value for row in asked.span(["quantity"], None, 0, 1 << 45)] == [230.1]
    assert store.write([live(2)]).rejected == []  # writing goes on: the values are there, and seen when he is gone
    checks = {item.name: item for item in asked.check()}
    assert [name for name, item in checks.items() if not item.good] == ["types of energy"]
    asked.close()


def test_another_writers_own_fields_disturb_nobody(influxd: Influxd, bucket: Bucket, store: InfluxStore) -> None:
    influxd.write(bucket, f'energy,meter=m1 state="on" {T0}', f"other,meter=m1 1.8.0=1.5 {T0}", f"energy x=1 {T0}")
    store.write([live(1)])
    assert [row.value for row in values(store)] == [1]
    assert store.last(None).keys() == {"m1"}
    assert all(item.good for item in store.check())


# --------------------------------------------------------------------------------------------- bucket, token, rights


def test_a_bucket_that_keeps_for_less_than_the_spool_stops_the_writer_until_it_is_mended(
    influxd: Influxd, tmp_path: Path
) -> None:
    bucket = influxd.bucket(keeps_s=60 * DAY // 1000)
    store = influxd.store(tmp_path, bucket, keep_ms=60 * DAY)
    for _ in range(2):
        with pytest.raises(
            StoreStopped, match=r"drops values after 60 days and spool\.keep is 60 days: give .* longer"
        ):
            store.write([live(1)])
    assert influxd.lines(bucket) == []
    assert [item.name for item in store.check() if not item.good] == ["retention"]
    influxd.retain(bucket, 61 * DAY // 1000)
    now = int(time.time() * 1000)
    assert store.write([live(1, time=now)]).rejected == []
    assert len(influxd.lines(bucket)) == 1
    store.close()


def test_a_token_that_may_not_write_stops_the_writer(influxd: Influxd, bucket: Bucket, tmp_path: Path) -> None:
    config = influxd.settings(tmp_path, bucket, influxd.token(bucket, "read"))
    store = InfluxStore(config, DAY)
    with pytest.raises(StoreStopped, match=r"let it read and write bucket .* \(403 insufficient permissions for write"):
        store.write([live(1)])
    assert {item.name: item.good for item in store.check()} == {
        "server": True, "bucket": True, "retention": True, "access": False
    }  # fmt: skip


def test_a_token_that_may_not_read_stops_the_writer_before_it_writes_what_it_cannot_check(
    influxd: Influxd, bucket: Bucket, tmp_path: Path
) -> None:
    store = InfluxStore(influxd.settings(tmp_path, bucket, influxd.token(bucket, "write")), DAY)
    with pytest.raises(StoreStopped, match="or does not show it to the token"):
        store.write([live(1)])
    with pytest.raises(StoreAway):
        store.last(None)
    assert influxd.lines(bucket) == []


def test_a_revoked_token_stops_the_writer_until_there_is_a_new_one(
    influxd: Influxd, bucket: Bucket, tmp_path: Path
) -> None:
    token = influxd.token(bucket)
    config = influxd.settings(tmp_path, bucket, token)
    store = InfluxStore(config, DAY)
    store.write([live(1)])
    influxd.revoke(token)
    for ask in (lambda: store.write([live(2)]), lambda: store.last(None), lambda: list(store.check())[-1].text):
        try:
            text = str(ask())
        except StoreStopped as error:
            text = str(error)
        assert f"does not know the token in {config.token_file}; put a valid one there (401 " in text
    config.token_file.write_text(influxd.token(bucket).text)
    assert store.write([live(2)]).rejected == []
    assert len(influxd.lines(bucket)) == 2
    store.close()


@pytest.mark.parametrize("changed", [{"bucket": "no-such-bucket"}, {"org": "no-such-organisation"}])
def test_a_bucket_that_is_not_there_stops_the_writer(
    influxd: Influxd, bucket: Bucket, tmp_path: Path, changed: dict[str, str]
) -> None:
    config = influxd.settings(tmp_path, bucket).model_copy(update=changed)
    store = InfluxStore(config, DAY)
    with pytest.raises(StoreStopped, match=r"create it, .*or correct store\.influxdb in central\.yaml"):
        store.write([live(1)])
    with pytest.raises(StoreAway):
        store.last(None)


def test_a_bucket_that_was_emptied_is_written_again_and_said(
    influxd: Influxd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = influxd.bucket()
    store = InfluxStore(influxd.settings(tmp_path, first, influxd.operator), DAY)
    store.write([live(1)])
    influxd.drop(first)
    with pytest.raises(StoreStopped, match="404"):
        store.write([live(2)])
    second = influxd.bucket(name=first.name)
    assert store.write([live(2)]).rejected == []
    assert len(influxd.lines(second)) == 1
    assert caplog.text.count("is another one than before, and what was written until now is not in it") == 1
    assert "meterline store rebuild" in caplog.text
    influxd.drop(second)
    store.close()


# ------------------------------------------------------------------------------------------------ the server itself


def stopped(influxd: Influxd, ask: Callable[[], object]) -> str:
    """What is said while there is no server."""
    influxd.stop()
    try:
        with pytest.raises(StoreAway) as fault:
            ask()
    finally:
        influxd.start()
    return str(fault.value)


def test_a_server_that_was_killed_keeps_what_it_said_it_had(
    influxd: Influxd, bucket: Bucket, store: InfluxStore
) -> None:
    store.write([live(n) for n in range(500)])
    text = stopped(influxd, lambda: store.write([live(n) for n in range(500, 600)]))
    assert text.endswith("Connection refused")
    assert len(influxd.lines(bucket)) == 500
    assert store.write([live(n) for n in range(400, 600)]).rejected == []
    assert len(influxd.lines(bucket)) == 600


def test_a_server_that_answers_nothing_is_given_up_and_what_it_took_all_the_same_changes_nothing(
    influxd: Influxd, bucket: Bucket, tmp_path: Path
) -> None:
    influxd.own()
    store = influxd.store(tmp_path, bucket, timeout="1s")
    store.write([live(1)])
    influxd.freeze()
    try:
        for ask in (lambda: store.write([live(2)]), lambda: store.last(None)):
            with pytest.raises(StoreAway, match="no answer within 1 s"):
                ask()
    finally:
        influxd.thaw()
    store.close()
    patient = influxd.store(tmp_path, bucket)
    assert patient.write([live(2)]).rejected == []
    assert [row.value for row in values(patient)] == [1, 2]
    assert len(influxd.lines(bucket)) == 2
    patient.close()


def test_a_disk_that_is_full_costs_time_and_no_value(influxd: Influxd, bucket: Bucket, store: InfluxStore) -> None:
    """Its files may grow no further. InfluxDB 2.7 says so until it is restarted, also when there is room again."""
    influxd.own()
    store.write([live(n) for n in range(100)])
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(influxd.pid, resource.RLIMIT_FSIZE, (4096, unlimited))
    try:
        with pytest.raises(StoreAway, match=r"500 .*file too large"):
            for n in range(100, 10_000, 100):
                store.write([live(n + k) for k in range(100)])
    finally:
        influxd.stop()
        influxd.start()
    assert store.write([live(n) for n in range(10_000)]).rejected == []
    assert len(influxd.lines(bucket)) == 10_000


# ------------------------------------------------------------------------------------------------------- in pieces


def test_what_is_asked_in_pieces_is_the_same_as_at_once(store: InfluxStore, monkeypatch: pytest.MonkeyPatch) -> None:
    meters = [f"m{n:02d}" for n in range(30)]
    store.write(
        [
            live(week, {"1.8.0": 100 * week + n, "1.8.1": n}, time=T0 + week * WEEK + n * MINUTE, meter=meter)
            for n, meter in enumerate(meters)
            for week in range(-n % 5, 6)
        ]
    )
    wanted = {meter: ["1.8.0", "1.8.1"][: n % 3] for n, meter in enumerate(meters)}

    def answers() -> list[object]:
        spans = [values(store), list(store.span(["live"], meters[3:20], T0 - WEEK, T0 + 2 * WEEK))]
        return [*spans, store.around(wanted, T0 + WEEK, 3 * WEEK), store.last(meters), store.frozen(meters, T0)]

    whole = answers()
    for named, planned, page in ((1, 1, 1), (7, 3, 10), (29, 30, 25), (30, 7, 1000)):
        monkeypatch.setattr(influx_query, "NAMED", named)
        monkeypatch.setattr(influx_query, "PLANNED", planned)
        monkeypatch.setattr(influx_query, "PAGE", page)
        assert answers() == whole
    first = whole[0]
    assert isinstance(first, list)
    assert len(first) == 2 * sum(6 - -n % 5 for n in range(30))


_times = st.integers(-40, 40)


@given(
    st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from(["1.8.0", "1.8.1"]), _times), st.integers(0, 99)),
    _times,
    st.integers(0, 40),
    st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neighbours_are_those_that_anybody_would_pick(
    influxd: Influxd, tmp_path: Path, stored: dict[tuple[str, str, int], int], at: int, within: int, far: bool
) -> None:
    """`far`: hours instead of milliseconds, for which InfluxDB does the picking."""
    step = 3_600_000 if far else 1
    bucket = influxd.bucket()
    store = influxd.store(tmp_path, bucket)
    store.write([Sample("live", m, f"g{t % 2}", T0 + t * step, {code: v}) for (m, code, t), v in stored.items()])
    found = store.around({m: ["1.8.0", "1.8.1"] for m in "ab"}, T0 + at * step, within * step)
    store.close()
    influxd.drop(bucket)
    expected: dict[str, dict[str, Around]] = {}
    for m in "ab":
        for code in ("1.8.0", "1.8.1"):
            times = sorted(t for name, register, t in stored if (name, register) == (m, code) and abs(t - at) <= within)
            pairs = [(T0 + t * step, stored[m, code, t]) for t in times]
            before = [pair for pair in pairs if pair[0] < T0 + at * step][::-1][:2]
            after = [pair for pair in pairs if pair[0] >= T0 + at * step][:2]
            if pairs:
                expected.setdefault(m, {})[code] = Around(tuple(before), tuple(after))  # type: ignore[arg-type]
    assert found == expected


def test_a_second_frozen_value_is_found_after_a_restart_and_among_thousands(
    influxd: Influxd, bucket: Bucket, tmp_path: Path
) -> None:
    samples = [Sample("frozen", f"m{n}", "gw", T0 + n % 2 * DAY, {"1.8.0": n, "1.8.1": 1}) for n in range(3000)]
    first = influxd.store(tmp_path, bucket)
    assert (first.write(samples).conflicts, len(influxd.lines(bucket))) == ([], 6000)
    first.close()
    again = influxd.store(tmp_path, bucket)
    changed = [sample._replace(values={"1.8.0": n + (n in (7, 2999)), "1.8.2": 2}) for n, sample in enumerate(samples)]
    result = again.write(changed)
    assert result.conflicts == [Conflict(7, "1.8.0", 7, 8), Conflict(2999, "1.8.0", 2999, 3000)]
    assert again.frozen(["m7"], T0 + DAY) == {"m7": {"1.8.0": 7, "1.8.1": 1, "1.8.2": 2}}
    assert len(influxd.lines(bucket)) == 9000
    again.close()
