"""`meterline fleet`: who answers, since when not, and which points would be missing today."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from collector.central.engine import writing
from collector.central.fleet import SILENT, Member, fleet, last_midnight
from collector.central.status import healths, keep_statuses
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import Sample
from collector.model import Status
from tests.central.building import GATEWAY, Meterline, bring, central_yaml, point

pytestmark = pytest.mark.usefixtures("database")
MIDNIGHT = 1_793_480_400_000  # 2026-11-01 00:00 in Moscow: a month's end
MINUTE, HOUR = 60_000, 3_600_000
NOW = MIDNIGHT + 5 * HOUR
BY_HAND = {"meter": "", "serial_number": "", "profile": "", "gateway": ""}


def status(online: bool = True, **changed: Any) -> Status:
    spool = {
        "id": "b7e3c1d09a44", "next": 19, "unreceipted": 3, "refused": 1, "evicted": 180, "fill": 0.1,
        "days_left": 41.5, "damage": None,
    }  # fmt: skip
    whole = {"gateway": GATEWAY, "online": online, "at": NOW - MINUTE, "version": "0.1.0", "spool": spool, **changed}
    return Status.model_validate(whole)


WILL = Status(gateway=GATEWAY, online=False, at=MIDNIGHT, version="0.1.0")


def say(engine: Engine, *statuses: Status, now: int = NOW) -> None:
    with writing(engine) as connection:
        keep_statuses(connection, statuses, now)


def members(engine: Engine, store: EmbeddedStore, now: int = NOW) -> list[Member]:
    return list(fleet(engine, store, now))


def live(meter: str, time: int, *codes: str) -> Sample:
    return Sample("live", meter, GATEWAY, time, dict.fromkeys(codes or ("1.8.1", "1.8.2"), 7))


@pytest.mark.parametrize(
    ("offset", "counts"),
    [
        (0, True),
        (60 * MINUTE, True),
        (60 * MINUTE + 1, False),
        (-1, True),
        (-10 * MINUTE, True),
        (-10 * MINUTE - 1, False),
    ],
)
def test_a_value_near_the_last_local_midnight_keeps_a_point_from_missing(
    engine: Engine, series: EmbeddedStore, offset: int, counts: bool
) -> None:
    bring(engine, point(1))
    series.write([live("m1", MIDNIGHT + offset)])
    (member,) = members(engine, series)
    assert member.missing == (() if counts else ("1.8.1", "1.8.2"))


def test_each_billed_register_goes_missing_by_itself(engine: Engine, series: EmbeddedStore) -> None:
    bring(engine, point(1, tariffs="4"), point(2, tariffs="1"))
    series.write([live("m1", MIDNIGHT, "1.8.0", "1.8.1", "1.8.3"), live("m2", MIDNIGHT + 1, "1.8.0")])
    assert [member.missing for member in members(engine, series)] == [("1.8.2", "1.8.4"), ()]


def test_a_frozen_value_keeps_a_point_from_missing_at_a_months_end(engine: Engine, series: EmbeddedStore) -> None:
    bring(engine, point(1))
    series.write([Sample("frozen", "m1", GATEWAY, MIDNIGHT, {"1.8.1": 1})])
    assert members(engine, series)[0].missing == ("1.8.2",)


def test_midnight_is_each_points_own(engine: Engine, series: EmbeddedStore) -> None:
    bring(engine, point(1), point(2, time_zone="Asia/Omsk"))
    series.write([live("m1", MIDNIGHT), live("m2", MIDNIGHT)])  # 03:00 in Omsk
    assert [member.missing for member in members(engine, series)] == [(), ("1.8.1", "1.8.2")]
    assert last_midnight(MIDNIGHT - 1, "Europe/Moscow") == MIDNIGHT - 24 * HOUR
    assert last_midnight(MIDNIGHT, "Europe/Moscow") == MIDNIGHT


def test_a_point_read_by_hand_is_missing_until_somebody_reads_it(engine: Engine, series: EmbeddedStore) -> None:
    bring(engine, point(1, **BY_HAND))
    (member,) = members(engine, series)
    assert (member.meter, member.health, member.missing) == (None, None, ("1.8.1", "1.8.2"))


def test_the_last_answer_is_the_newest_that_the_series_or_the_status_knows(
    engine: Engine, series: EmbeddedStore
) -> None:
    bring(engine, point(1), point(2), point(3))
    series.write([live("m1", NOW - 2 * HOUR), live("m2", NOW - 2 * HOUR)])
    say(engine, status(meters={"m1": {"last": NOW - SILENT, "boundary": "2026-11-01", "drift_s": -3}}))
    one, two, three = members(engine, series)
    assert (one.last, one.silent_since, one.boundary, one.drift_s) == (NOW - SILENT, None, "2026-11-01", -3)
    assert (two.last, two.silent_since, two.boundary) == (NOW - 2 * HOUR, NOW - 2 * HOUR, None)
    assert (three.last, three.silent_since) == (None, None)


def test_a_gateway_that_goes_is_offline_since_its_will_and_keeps_its_details(engine: Engine) -> None:
    say(engine, status(), now=NOW)
    say(engine, status(), now=NOW + 1)
    say(engine, WILL, now=NOW + 2)
    say(engine, WILL, now=NOW + 3)
    with engine.connect() as connection:
        (health,) = healths(connection)
    assert (health.online, health.since, health.at) == (False, NOW + 2, NOW + 3)
    assert health.status.spool is not None
    assert health.status.spool.unreceipted == 3
    say(engine, status(), now=NOW + 4)
    with engine.connect() as connection:
        assert healths(connection)[0].since == NOW + 4


@pytest.mark.parametrize("words", [[status(), WILL], [WILL, status(), WILL]])
def test_words_that_came_together_count_in_their_order(engine: Engine, words: list[Status]) -> None:
    say(engine, *words)
    with engine.connect() as connection:
        (health,) = healths(connection)
    assert not health.online
    assert health.status.spool is not None


def test_a_gateway_known_by_its_will_alone_has_no_details(engine: Engine) -> None:
    say(engine, WILL)
    with engine.connect() as connection:
        (health,) = healths(connection)
    assert (health.online, health.status.spool) == (False, None)


def test_the_command_prints_a_row_for_each_point(
    engine: Engine, series: EmbeddedStore, meterline: Meterline, tmp_path: Path
) -> None:
    config = central_yaml(tmp_path)
    bring(engine, point(1), point(2, gateway="gw-mira-1"), point(3, **BY_HAND))
    series.write([live("m1", MIDNIGHT)])  # long ago for the command, which asks the computer's clock
    say(engine, status())
    answer = meterline("fleet", "--config", config, "--format", "json")
    one, two, three = json.loads(answer.out)
    assert answer.status == 0
    assert one == {
        "point": "kv1", "account": "10001", "meter": "m1", "missing": "1.8.1 1.8.2",
        "last_answer": "2026-10-31T21:00:00.000Z", "silent_since": one["silent_since"], "boundary": "", "drift_s": None,
        "gateway": GATEWAY, "online": "yes", "online_since": "2026-11-01T02:00:00.000Z", "unreceipted": 3, "refused": 1,
        "evicted": 180, "days_left": "41.5", "damage": "",
    }  # fmt: skip
    assert (two["online"], two["last_answer"], two["unreceipted"]) == ("never heard", "", None)
    assert (three["meter"], three["gateway"], three["online"], three["missing"]) == ("", "", "", "1.8.1 1.8.2")
    lines = meterline("fleet", "--config", config, "--format", "csv").out.splitlines()
    assert lines[0].startswith("point,account,meter,missing,last_answer,silent_since,boundary,drift_s,gateway,online,")
    assert lines[3] == "kv3,10003,,1.8.1 1.8.2,,,,,,,,,,,,"


def test_a_person_sees_the_points_of_each_gateway_under_a_sentence_about_it(
    engine: Engine, series: EmbeddedStore, meterline: Meterline, tmp_path: Path
) -> None:
    config = central_yaml(tmp_path)
    bring(engine, point(1), point(2, gateway="gw-mira-1", tariffs="1"), point(3, **BY_HAND))
    series.write([live("m1", MIDNIGHT)])
    say(engine, status(meters={"m1": {"last": MIDNIGHT + MINUTE, "drift_s": -3}}))
    answer = meterline("fleet", "--config", config)
    words = [" ".join(line.split()) for line in answer.out.splitlines()]
    words[2] = re.sub(r" \d+ d ", " N d ", words[2])  # by the computer's clock
    assert words == [
        f"{GATEWAY}: online since 2026-11-01 05:00; batches: 3 not receipted, 1 refused, 180 evicted; room for 42 days",
        "point meter missing last answer silent drift s",
        "kv1 m1 T1 T2 2026-11-01 00:01 N d -3",
        "",
        "gw-mira-1: never heard",
        "point meter missing last answer silent drift s",
        "kv2 m2 total always",
        "",
        "read by hand",
        "point meter missing last answer silent drift s",
        "kv3 T1 T2",
        "",
    ]
    assert answer.err.splitlines()[-1] == "points: 3, silent: 2, would be missing: 3"
