"""The whole deployment without a container engine: from the simulated meters to InfluxDB, by the shipped files."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from collector.central.store import open_store
from collector.clock import SystemClock
from collector.config import load_central
from hil import building
from tests.broker import eventually
from tests.deploy.shipped import DEPLOY, ROOT, Broker, Database, Influxd, Process, compose, rewritten, run_setup, secret
from tests.postgres import Cluster

SERVICES = compose()["services"]
MINUTE = 60_000


class Operator(NamedTuple):
    """InfluxDB with the token that the setup keeps for itself."""

    url: str
    token: str

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Token {self.token}"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@pytest.fixture
def influxdb(tmp_path: Path) -> Iterator[Influxd]:
    with Influxd(tmp_path / "influxdb") as server:
        yield server


def test_the_first_start_of_influxdb_makes_organisation_bucket_and_narrow_tokens_once(
    influxdb: Influxd, tmp_path: Path
) -> None:
    variable = tmp_path / "variable"
    run_setup(variable, "--influxdb", influxdb.url)
    operator = Operator(influxdb.url, secret(variable, "influxdb/operator_token"))
    bucket = operator.get("/api/v2/buckets?name=readings&org=meterline")["buckets"][0]
    assert not any(rule["everySeconds"] for rule in bucket["retentionRules"]), "readings are kept for ever"
    before = operator.get("/api/v2/authorizations")
    files = {path: path.read_bytes() for path in variable.rglob("*") if path.is_file()}
    assert run_setup(variable, "--influxdb", influxdb.url) == ""
    assert operator.get("/api/v2/authorizations") == before
    assert {path: path.read_bytes() for path in variable.rglob("*") if path.is_file()} == files
    may = {
        row["description"]: {(p["action"], p["resource"]["type"], p["resource"].get("id")) for p in row["permissions"]}
        for row in before["authorizations"]
        if row["description"].startswith("meterline ")
    }
    org = bucket["orgID"]
    reads = {("read", "buckets", bucket["id"]), ("read", "orgs", org)}
    assert may == {"meterline grafana": reads, "meterline centre": reads | {("write", "buckets", bucket["id"])}}


def test_a_deleted_token_is_made_anew_and_the_old_one_ends(influxdb: Influxd, tmp_path: Path) -> None:
    variable = tmp_path / "variable"
    run_setup(variable, "--influxdb", influxdb.url)
    old = Operator(influxdb.url, secret(variable, "centre/influxdb_token"))
    assert old.get("/api/v2/buckets?name=readings")["buckets"]
    (variable / "centre/influxdb_token").unlink()
    run_setup(variable, "--influxdb", influxdb.url)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        old.get("/api/v2/buckets?name=readings")
    new = old._replace(token=secret(variable, "centre/influxdb_token"))
    assert new.get("/api/v2/buckets?name=readings")["buckets"]


def test_an_operators_token_of_another_server_is_said_with_the_way_out(influxdb: Influxd, tmp_path: Path) -> None:
    run_setup(tmp_path / "first", "--influxdb", influxdb.url)
    said = run_setup(tmp_path / "second", "--influxdb", influxdb.url, good=False)
    assert "influxd recovery auth create-operator" in said
    assert not (tmp_path / "second/centre/influxdb_token").exists()


def test_a_server_that_is_away_is_said_and_the_rest_is_made(tmp_path: Path) -> None:
    said = run_setup(tmp_path / "variable", "--influxdb", "http://127.0.0.1:9", good=False)
    assert "does not answer" in said
    assert (tmp_path / "variable/centre/mqtt_password").exists()


# ----------------------------------------------------------------------------- all of it


def ours(name: str, places: dict[str, str]) -> list[str]:
    """A service's command with this interpreter in the image's place."""
    service = SERVICES[name]
    start = service.get("entrypoint", ["python", "-m", "collector"])
    assert start[0] == "python"
    words = [*start[1:], *service["command"]]
    for shipped, here in places.items():
        words = [word.replace(shipped, here) for word in words]
    return [sys.executable, *words]


def test_the_demo_runs_from_its_meters_to_influxdb_with_the_shipped_files(tmp_path: Path) -> None:
    variable, configs = tmp_path / "variable", tmp_path / "configs"
    configs.mkdir()
    with ExitStack() as stack:
        influxdb = stack.enter_context(Influxd(tmp_path / "influxdb"))
        run_setup(variable, "--influxdb", influxdb.url)
        run_setup(variable, "gateway", building.GATEWAY)
        broker = stack.enter_context(Broker(variable, tmp_path / "broker"))
        cluster = stack.enter_context(Cluster())
        Database(cluster, variable)

        central = configs / "central.yaml"
        central.write_text(rewritten((DEPLOY / "centre/central.yaml").read_text(), {
            "/var/lib/meterline": str(tmp_path / "centre"), "/meterline/variable/": f"{variable / 'centre'}/",
            "mosquitto:8883": f"localhost:{broker.port}", "postgres:5432": f"127.0.0.1:{cluster.port}",
            "http://influxdb:8086": influxdb.url,
        }))  # fmt: skip
        places = {"/meterline/centre/central.yaml": str(central), "/meterline/demo": str(DEPLOY / "demo")}
        points = subprocess.run(ours("demo-points", places), check=False, capture_output=True, text=True, cwd=ROOT)
        assert points.returncode == 0, points.stderr

        environment = {"PYTHONPATH": str(ROOT)}
        served = Process(ours("building", {"0.0.0.0": "127.0.0.1", "5020": "0"}), tmp_path / "building", environment)
        stack.enter_context(served)
        eventually(lambda: served.log.count("tcp://") == 2, "both risers are served")
        ports = [int(row.rsplit(":", 1)[1]) for row in served.log.splitlines()]
        gateway = configs / "gateway.yaml"
        gateway.write_text(rewritten((DEPLOY / "demo/gateway.yaml").read_text(), {
            "/var/lib/meterline": str(tmp_path), "/meterline/variable/": f"{variable / 'gateways' / building.GATEWAY}/",
            "mosquitto:8883": f"localhost:{broker.port}", "interval: 1m": "interval: 5s",
            "building:5020": f"127.0.0.1:{ports[0]}", "building:5021": f"127.0.0.1:{ports[1]}",
        }))  # fmt: skip
        centre = stack.enter_context(Process(ours("centre", places), tmp_path / "centre.log", environment))
        mine = {"/meterline/demo/gateway.yaml": str(gateway)}
        reader = stack.enter_context(Process(ours("gateway", mine), tmp_path / "gateway.log", environment))

        store = open_store(load_central(central))
        stack.callback(store.close)
        meters = {flat.meter_id for flat in building.flats(12, building.MODBUS)}
        clock = SystemClock()

        def read() -> set[str]:
            assert centre.process.poll() is None, centre.log
            assert reader.process.poll() is None, reader.log
            now = clock.millis()
            rows = store.span(("live", "quantity"), None, now - 60 * MINUTE, now + MINUTE)
            kinds: dict[str, set[str]] = {}
            for row in rows:
                kinds.setdefault(row.meter, set()).add(row.kind)
            return {meter for meter, seen in kinds.items() if seen == {"live", "quantity"}}

        eventually(lambda: read() == meters, "every meter is in InfluxDB", patience=150)
        check = [sys.executable, str(DEPLOY / "connected.py"), str(broker.port)]
        assert subprocess.run(check, check=False).returncode == 0
