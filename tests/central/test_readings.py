"""`meterline readings` and `meterline registry`: exactly the rows and texts that scripts rely on."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from collector.central.engine import writing
from collector.central.evidence import Quarantined, keep
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import Sample
from tests.central.building import GATEWAY, Meterline, bring, central_yaml, point, points_csv

pytestmark = pytest.mark.usefixtures("database")
MIDNIGHT = 1_793_480_400_000  # 2026-11-01 00:00 in Moscow, 03:00 in Omsk
HOUR = 3_600_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return central_yaml(tmp_path)


@pytest.fixture
def filled(engine: Engine, series: EmbeddedStore) -> None:
    bring(engine, point(1), point(2, time_zone="Asia/Omsk"))
    series.write(
        [
            Sample("live", "m1", GATEWAY, MIDNIGHT - HOUR, {"1.8.0": 20044610, "15.8.0": 5}),
            Sample("live", "m1", GATEWAY, MIDNIGHT + 120, {"1.8.0": 20044630, "2.8.0": 999}),
            Sample("quantity", "m1", GATEWAY, MIDNIGHT + 120, {"32.7.0": 230.1, "16.7.0": -12.0, "13.7.0": 1e-05}),
            Sample("frozen", "m1", GATEWAY, MIDNIGHT, {"1.8.0": 20044610}),
            Sample("live", "m2", GATEWAY, MIDNIGHT - 3 * HOUR, {"1.8.0": 1}),
            Sample("live", "m2", GATEWAY, MIDNIGHT - 3 * HOUR - 1, {"1.8.0": 0}),
        ]
    )


@pytest.mark.usefixtures("filled")
def test_csv_is_sorted_by_meter_time_and_register_and_exact(meterline: Meterline, config: Path) -> None:
    answer = meterline("readings", "--config", config, "--format", "csv")
    assert answer.status == 0
    assert answer.out == (
        "meter,time,register,value,unit,kind\n"
        "m1,2026-10-31T20:00:00.000Z,1.8.0,20044.610,kWh,live\n"
        "m1,2026-10-31T20:00:00.000Z,15.8.0,0.005,kWh,live\n"
        "m1,2026-10-31T21:00:00.120Z,1.8.0,20044.630,kWh,live\n"
        "m1,2026-10-31T21:00:00.120Z,2.8.0,0.999,kWh,live\n"
        "m1,2026-10-31T21:00:00.120Z,13.7.0,0.00001,,quantity\n"
        "m1,2026-10-31T21:00:00.120Z,16.7.0,-12.0,W,quantity\n"
        "m1,2026-10-31T21:00:00.120Z,32.7.0,230.1,V,quantity\n"
        "m2,2026-10-31T17:59:59.999Z,1.8.0,0.000,kWh,live\n"
        "m2,2026-10-31T18:00:00.000Z,1.8.0,0.001,kWh,live\n"
    )


@pytest.mark.usefixtures("filled")
def test_json_is_an_array_of_the_same_objects(meterline: Meterline, config: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(meterline("readings", "--config", config, "--format", "csv").out)))
    assert json.loads(meterline("readings", "--config", config, "--format", "json").out) == rows


@pytest.mark.usefixtures("filled")
def test_a_table_shows_the_same_and_cuts_nothing(meterline: Meterline, config: Path) -> None:
    lines = meterline("readings", "--config", config).out.splitlines()
    assert lines[0].split() == ["meter", "time", "register", "value", "unit", "kind"]
    assert lines[1].split() == ["m1", "2026-10-31T20:00:00.000Z", "1.8.0", "20044.610", "kWh", "live"]
    assert len(lines) == 10


@pytest.mark.usefixtures("filled")
def test_frozen_shows_what_the_meters_froze(meterline: Meterline, config: Path) -> None:
    out = meterline("readings", "--config", config, "--frozen", "--format", "csv").out
    assert out.splitlines()[1:] == ["m1,2026-10-31T21:00:00.000Z,1.8.0,20044.610,kWh,frozen"]


@pytest.mark.usefixtures("filled")
def test_a_date_is_local_midnight_of_each_meters_own_zone(meterline: Meterline, config: Path) -> None:
    common = ("readings", "--config", config, "--format", "csv")
    later = meterline(*common, "--from", "2026-11-01").out.splitlines()[1:]
    assert {line.split(",")[0]: line.split(",")[1] for line in later} == {
        "m1": "2026-10-31T21:00:00.120Z",  # 00:00 in Moscow is 21:00Z
        "m2": "2026-10-31T18:00:00.000Z",  # 00:00 in Omsk is 18:00Z, and the start belongs to the span
    }
    earlier = meterline(*common, "--to", "2026-11-01").out.splitlines()[1:]
    assert [line.split(",")[1] for line in earlier] == ["2026-10-31T20:00:00.000Z"] * 2 + ["2026-10-31T17:59:59.999Z"]


@pytest.mark.usefixtures("filled")
def test_one_meter_between_two_instants(meterline: Meterline, config: Path) -> None:
    span = ("--from", "2026-10-31T23:00:00+03:00", "--to", "2026-10-31T20:00:00.001Z")
    out = meterline("readings", "--config", config, "--format", "csv", "--meter", "m1", *span).out
    assert [line.split(",")[2] for line in out.splitlines()[1:]] == ["1.8.0", "15.8.0"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--meter", "unheard-of"), "'unheard-of' is not in the registry"),
        (("--from", "yesterday"), "--from: 'yesterday' is not a time; expected RFC 3339"),
        (("--to", "2026-11-01T00:00:00"), "--to: '2026-11-01T00:00:00' has no zone"),
        (("--from", "2026-13-01"), "--from:"),
        (("--from", ""), "--from: '' is not a time"),
        (("--frozen", "--rejected"), "one of them at a time"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_wrong_usage_ends_with_2_and_says_why(
    meterline: Meterline, config: Path, arguments: tuple[str, ...], told: str
) -> None:
    answer = meterline("readings", "--config", config, *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert told in answer.err


def test_an_empty_centre_has_a_header_and_no_rows(meterline: Meterline, config: Path) -> None:
    assert meterline("readings", "--config", config, "--format", "csv").out == "meter,time,register,value,unit,kind\n"
    assert json.loads(meterline("readings", "--config", config, "--format", "json").out) == []
    assert meterline("readings", "--config", config).out.split() == [
        "meter",
        "time",
        "register",
        "value",
        "unit",
        "kind",
    ]


def doubt(
    meter: str, time: int | None, register: str = "", value: str = "", reason: str = "unknown meter: x"
) -> Quarantined:
    place = ("live" if register else "", "", register)
    return Quarantined(
        GATEWAY, "b7e3c1d09a44", 17, abs(hash((meter, time))) % 1000, *place, meter, time, value, reason, "{}"
    )


def test_rejected_shows_what_is_not_believed_and_why(engine: Engine, meterline: Meterline, config: Path) -> None:
    bring(engine, point(1))
    with writing(engine) as connection:
        doubts = [
            doubt("m1", MIDNIGHT, "1.8.0", "-0.005", "frozen-changed: x"),
            doubt("=cmd()", MIDNIGHT),
            doubt("z", None),
            doubt("m1", 1 << 60),
        ]
        keep(connection, [], doubts)
    common = ("readings", "--config", config, "--rejected", "--format", "csv")
    assert meterline(*common).out.splitlines() == [
        "gateway,spool,sequence,meter,time,register,value,reason",
        f"{GATEWAY},b7e3c1d09a44,17,'=cmd(),2026-10-31T21:00:00.000Z,,,unknown meter: x",
        f"{GATEWAY},b7e3c1d09a44,17,m1,2026-10-31T21:00:00.000Z,1.8.0,-0.005,frozen-changed: x",
        f"{GATEWAY},b7e3c1d09a44,17,m1,{1 << 60},,,unknown meter: x",
        f"{GATEWAY},b7e3c1d09a44,17,z,,,,unknown meter: x",
    ]
    assert len(meterline(*common, "--meter", "m1", "--to", "2026-11-02").out.splitlines()) == 2
    assert len(meterline(*common, "--from", "2026-11-02").out.splitlines()) == 2  # what has no time lies in no span


# -------------------------------------------------------------------------------------------------- meterline registry


def test_an_import_prints_what_changed_and_a_list_can_be_imported_again(
    meterline: Meterline, config: Path, tmp_path: Path
) -> None:
    points = tmp_path / "points.csv"
    rows = [point(1, address="-7, Mira", ratio="40"), point(2, meter="", serial_number="", profile="", gateway="")]
    points.write_bytes(points_csv(rows))
    dry = meterline("registry", "import", points, "--config", config, "--dry-run")
    assert (dry.status, dry.err) == (0, "2 points would be added, 0 would be changed, 0 as they were\n")
    assert meterline("registry", "import", points, "--config", config).err.startswith("2 points added, 0 changed")
    listed = meterline("registry", "list", "--config", config, "--format", "csv").out
    assert listed == points_csv(rows).decode().replace('"-7', "\"'-7")
    points.write_text(listed)
    assert (
        meterline("registry", "import", points, "--config", config).err == "0 points added, 0 changed, 2 as they were\n"
    )
    points.write_bytes(points_csv([point(1, address="-7, Mira", ratio="20")]))
    again = meterline("registry", "import", points, "--config", config)
    assert again.out == "line 2: kv1: ratio: '40' -> '20'\n"


def test_a_refused_file_ends_with_2_and_every_fault(meterline: Meterline, config: Path, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_bytes(points_csv([point(1, tariffs="9"), point(2, ratio="0"), point(3)]))
    answer = meterline("registry", "import", points, "--config", config)
    assert (answer.status, answer.out) == (2, "")
    assert f"{points}:2: tariffs" in answer.err
    assert f"{points}:3: ratio" in answer.err
    assert meterline("registry", "list", "--config", config, "--format", "json").out == "[]\n"


def test_a_file_that_is_not_there_is_said_by_name(meterline: Meterline, config: Path, tmp_path: Path) -> None:
    answer = meterline("registry", "import", tmp_path / "no.csv", "--config", config)
    assert (answer.status, answer.err.strip()) == (
        2,
        f"meterline: {tmp_path / 'no.csv'}: cannot be read: No such file or directory",
    )


def test_an_import_is_logged_under_the_users_name(
    meterline: Meterline, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    monkeypatch.setenv("LOGNAME", "root")
    monkeypatch.setenv("SUDO_USER", "olga")
    (tmp_path / "points.csv").write_bytes(points_csv([point(1)]))
    meterline("registry", "import", tmp_path / "points.csv", "--config", config)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT who FROM registry_log").scalar() == "root (olga by sudo)"
