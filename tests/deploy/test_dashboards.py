"""The dashboards: every query speaks of what the contract and the tables have, and real servers answer it."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg
import pytest
import yaml
from sqlalchemy import insert, make_url

from collector.central.database import gateway_status, quarantine
from collector.central.engine import open_postgresql
from collector.central.store.line_protocol import line
from collector.central.store.series import Sample
from drivers import obis
from tests.deploy.shipped import DEPLOY, Database, Influxd, compose, run_setup, secret
from tests.postgres import Cluster

FOLDER = DEPLOY / "grafana" / "dashboards"
SOURCES = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/meterline.yaml").read_text())["datasources"]
NAMES = ["fleet-health", "line-quality", "one-meter"]
ZONE = ZoneInfo("Europe/Moscow")


class Query(NamedTuple):
    """A query of a panel or a variable."""

    where: str
    source: str
    text: str


def dashboard(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def queries() -> Iterator[Query]:
    for name in NAMES:
        page = dashboard(name)
        for panel in page["panels"]:
            for target in panel["targets"]:
                text = target.get("query") or target["rawSql"]
                yield Query(f"{name}: {panel['title']}", target["datasource"]["uid"], text)
        for variable in page["templating"]["list"]:
            if variable["type"] == "query":
                yield Query(f"{name}: variable {variable['name']}", variable["datasource"]["uid"], variable["query"])


FLUX = [query for query in queries() if query.source == "meterline-influxdb"]
SQL = [query for query in queries() if query.source == "meterline-postgresql"]
titled = {"ids": lambda query: query.where}


def test_there_are_the_three_and_each_is_whole() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == NAMES
    pages = [dashboard(name) for name in NAMES]
    assert len({page["uid"] for page in pages}) == len({page["title"] for page in pages}) == 3
    for page in pages:
        ids = [panel["id"] for panel in page["panels"]]
        assert len(ids) == len(set(ids)) > 2
        for panel in page["panels"]:
            assert panel["description"] and panel["title"]
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_no_two_panels_of_a_page_lie_on_each_other() -> None:
    for name in NAMES:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard(name)["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
            assert not cells & taken, f"{name}: {panel['title']}"
            taken |= cells


def test_every_query_goes_to_a_source_that_is_provisioned() -> None:
    assert {query.source for query in queries()} == {source["uid"] for source in SOURCES}
    assert len(FLUX) > 8 and len(SQL) > 5


def test_the_sources_name_servers_and_files_of_the_compose_file() -> None:
    services = compose()["services"]
    for source in SOURCES:
        host = source["url"].removeprefix("http://").split(":")[0]
        assert host in services
        for value in source["secureJsonData"].values():
            assert re.fullmatch(r"\$__file\{/meterline/variable/[a-z_]+\}", value), "no secret stands in a file of ours"


@pytest.mark.parametrize("query", FLUX, **titled)
def test_a_flux_query_uses_only_what_the_contract_puts_into_the_series(query: Query) -> None:
    assert "bucket: v.defaultBucket" in query.text
    measured = re.findall(r'_measurement == "([^"]+)"', query.text)
    assert measured and set(measured) <= {"energy", "frozen", "quantity"}
    assert set(re.findall(r"\br\.([a-z]\w*)", query.text)) <= {"gateway", "meter", "hours"}, (
        "tags, and a column of the query's own"
    )
    named = re.findall(r'(?:tag|column): "(\w+)"', query.text) + re.findall(r"columns: \[([^\]]*)\]", query.text)
    columns = {word.strip(' "') for part in named for word in part.split(",")}
    assert columns <= {"gateway", "meter", "_time", "_field", "register", "month's end"}
    for pattern in re.findall(r"_field =~ /([^/]+)/", query.text):
        codes = [f"{c}.8.{e}" for c in (1, 2, 3, 4, 15) for e in range(5)]
        fits = [code for code in codes if re.search(pattern, code)]
        assert fits and all(obis.parse(code).is_energy for code in fits)
        assert not re.search(pattern, "1x8x1"), "the dots of a code are dots"


# ----------------------------------------------------------------------------- the real servers


@dataclass
class World:
    """A server with what a building of one meter and one gateway leaves in two weeks."""

    influxdb: str
    token: str
    start: datetime
    stop: datetime


def samples(now: datetime) -> Iterator[Sample]:
    """15 days of readings each six hours, with the local midnights; one day is missing."""
    first = (now.astimezone(ZONE) - timedelta(days=15)).replace(hour=0, minute=0, second=0, microsecond=0)
    hour = first
    while hour < now:
        days = (hour - first).days
        t1 = 1_000_000 + days * 5000 + hour.hour * 100  # 5 kWh a day
        t2 = 500_000 + days * 2000 + hour.hour * 50  # 2 kWh a day
        if days != 7:
            at = int(hour.timestamp() * 1000)
            yield Sample("live", "m-1", "gw-1", at, {"1.8.0": t1 + t2, "1.8.1": t1, "1.8.2": t2, "2.8.0": days})
            yield Sample("quantity", "m-1", "gw-1", at, {"32.7.0": 230.1})
        hour += timedelta(hours=6)
    silent = int((now - timedelta(days=3)).timestamp() * 1000)
    yield Sample("live", "m-silent", "gw-1", silent, {"1.8.0": 5})
    yield Sample("frozen", "m-1", "gw-1", int(first.timestamp() * 1000), {"1.8.0": 1_500_000})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("dashboards")
    with Influxd(folder / "influxdb") as server:
        variable = folder / "variable"
        run_setup(variable, "--influxdb", server.url)
        now = datetime.now(UTC)
        body = "\n".join(map(line, samples(now))).encode()
        url = f"{server.url}/api/v2/write?org=meterline&bucket=readings&precision=ms"
        token = secret(variable, "centre/influxdb_token")
        urllib.request.urlopen(urllib.request.Request(url, body, {"Authorization": f"Token {token}"}, method="POST"))
        reads = secret(variable, "grafana/influxdb_token")
        yield World(server.url, reads, now - timedelta(days=14), now)


def asked(world: World, flux: str) -> list[dict[str, str]]:
    """The rows of a query, as Grafana's data source sends it: `v` defined in front, variables filled in."""
    filled = flux.replace("${meter}", "m-1").replace("${zone}", "Europe/Moscow").replace("${gateway:json}", '["gw-1"]')
    assert "${" not in filled
    times = {"timeRangeStart": f"{world.start:%FT%TZ}", "timeRangeStop": f"{world.stop:%FT%TZ}", "windowPeriod": "1h"}
    # Grafana writes the values in place of `v.name` (its documentation, InfluxDB query editor, Flux macros).
    for name, value in {**times, "defaultBucket": '"readings"'}.items():
        filled = filled.replace(f"v.{name}", value)
    assert not re.search(r"\bv\.", filled)
    body = json.dumps({"query": filled, "dialect": {"annotations": []}}).encode()
    headers = {"Authorization": f"Token {world.token}", "Content-Type": "application/json"}
    url = f"{world.influxdb}/api/v2/query?" + urllib.parse.urlencode({"org": "meterline"})
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        text = answer.read().decode()
    rows: list[dict[str, str]] = []
    for table in text.replace("\r", "").split("\n\n"):
        rows += csv.DictReader(io.StringIO(table))
    assert not any("error" in row for row in rows), text
    return rows


@pytest.mark.parametrize("query", FLUX, **titled)
def test_a_real_influxdb_answers_a_flux_query_with_rows(world: World, query: Query) -> None:
    assert asked(world, query.text), query.text


def named(title: str) -> str:
    return next(query.text for query in FLUX if query.where.endswith(title))


def test_the_consumption_of_a_local_day_is_the_difference_of_its_midnights(world: World) -> None:
    rows = asked(world, named("Daily consumption by tariff"))
    days = {row["_time"]: row for row in rows}
    assert len(rows) >= 10
    for time, row in days.items():
        local = datetime.fromisoformat(time).astimezone(ZONE)
        assert (local.hour, local.minute) == (0, 0), "a day begins at local midnight"
        whole = [float(row[code]) for code in ("1.8.0", "1.8.1", "1.8.2")]
        assert whole == [7.0, 5.0, 2.0], "two days' consumption is never shown as one day's"


def test_a_day_without_a_reading_and_the_one_before_it_show_nothing(world: World) -> None:
    shown = {datetime.fromisoformat(row["_time"]).astimezone(ZONE).date()
             for row in asked(world, named("Daily consumption by tariff"))}  # fmt: skip
    missing = (world.stop.astimezone(ZONE) - timedelta(days=8)).date()
    assert not {missing, missing - timedelta(days=1)} & shown
    assert {missing - timedelta(days=2), missing + timedelta(days=1)} <= shown


def test_a_meter_that_is_silent_is_named_and_one_that_answers_is_not(world: World) -> None:
    assert {row["meter"] for row in asked(world, named("Meters silent for more than a day"))} == {"m-silent"}


STATUS = {
    "schema": 1, "gateway": "gw-1", "online": True, "at": 1793480520000, "version": "0.1.0",
    "time_zone": "Europe/Moscow", "synced": True,
    "spool": {"id": "b7e3c1d09a44", "next": 19, "unreceipted": 1, "refused": 0, "evicted": 180, "fill": 0.12,
              "days_left": 41.5},
    "lines": {"riser-1": {"meters": 30, "answering": 28, "cycle_ms": 2100, "silent_share": 0.04}},
    "meters": {"m-1": {"last": 1793480463910, "boundary": "2026-11-01", "ok": 90, "no-answer": 9, "damaged": 1,
                       "refused": 0, "stranger": 0, "drift_s": -3}},
}  # fmt: skip
WILL = {"schema": 1, "gateway": "gw-2", "online": False, "at": 1793480520000, "version": "0.1.0"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    variable = tmp_path_factory.mktemp("database") / "variable"
    run_setup(variable)
    with Cluster() as cluster:
        here = Database(cluster, variable)
        password = secret(variable, "centre/database_password")
        url = make_url(f"postgresql+psycopg://meterline@127.0.0.1:{cluster.port}/meterline").set(password=password)
        engine = open_postgresql(url)
        now = int(datetime.now(UTC).timestamp() * 1000)
        with engine.begin() as connection:
            for status in (STATUS, WILL):
                row = {"gateway": status["gateway"], "online": int(bool(status["online"])), "since": now, "at": now}
                connection.execute(insert(gateway_status), {**row, "status": json.dumps(status)})
            bad = {
                "gateway": "gw-1",
                "spool": "b7e3c1d09a44",
                "sequence": 1,
                "position": 0,
                "kind": "live",
                "month": "",
            }
            more = {
                "register": "",
                "meter": "m-1",
                "time": now,
                "value": "",
                "reason": "unsynced clock",
                "snapshot": "{}",
            }
            connection.execute(insert(quarantine), {**bad, **more})
        engine.dispose()
        yield here


@pytest.mark.parametrize("query", SQL, **titled)
def test_a_real_postgresql_answers_a_sql_query_with_rows_to_the_user_who_may_only_read(
    database: Database, query: Query
) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    values = {
        "${gateway:singlequote}": "'gw-1','gw-2'",
        "${__from}": str(now - 3_600_000),
        "${__to}": str(now + 60_000),
    }
    text = query.text
    for variable, value in values.items():
        text = text.replace(variable, value)
    assert "$" not in text
    with database.connect("grafana", secret(database.variable, "grafana/database_password")) as connection:
        assert connection.execute(text.encode()).fetchall(), text


def test_the_user_of_the_dashboards_writes_nothing_and_the_centre_is_no_superuser(database: Database) -> None:
    with database.connect("grafana", secret(database.variable, "grafana/database_password")) as connection:
        connection.execute("SET default_transaction_read_only = off")  # anybody may set that
        for statement in ("INSERT INTO gateway_status SELECT * FROM gateway_status", "CREATE TABLE x (y int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with database.connect("meterline", secret(database.variable, "centre/database_password")) as connection:
        row = connection.execute("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user").fetchone()
        assert row == (False, False)


def test_new_passwords_count_after_their_script_and_the_old_ones_no_more(database: Database) -> None:
    for user, name in (("meterline", "centre"), ("grafana", "grafana")):
        old = secret(database.variable, f"{name}/database_password")
        (database.variable / f"{name}/database_password").unlink()
        run_setup(database.variable)
        new = secret(database.variable, f"{name}/database_password")
        database.psql("passwords.sql")
        database.connect(user, new).close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            database.connect(user, old)
