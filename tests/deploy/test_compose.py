"""docker-compose.yml and Dockerfile: what every service must have, and that their parts speak of the same things."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from collector.config import load_central, load_gateway
from collector.credentials.folder import OWNERS
from drivers.strict_yaml import load
from hil import building
from tests.deploy.shipped import DEPLOY, ROOT, compose, rewritten, run_setup

FILE = compose()
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ONCE = {"setup", "demo-setup", "demo-points"}
EACH = pytest.mark.parametrize("name", sorted(SERVICES))


@EACH
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    makes_secrets = name in {"setup", "demo-setup"}
    assert service.get("cap_add", []) == (["CHOWN", "DAC_OVERRIDE", "FOWNER"] if makes_secrets else [])
    user = service.get("user", "10001:10001" if service["image"].startswith("meterline:") else "0:0")
    assert (user.split(":")[0] == "0") == makes_secrets


@EACH
def test_a_service_has_limits_and_bounded_logs(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@EACH
def test_an_image_is_pinned_to_a_full_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:\d+\.\d+(\.\d+)?", SERVICES[name]["image"])


@EACH
def test_a_daemon_is_started_again_and_looked_after_and_what_runs_once_is_not(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert ("healthcheck" in service) == (name not in ONCE)
    for other, wait in service.get("depends_on", {}).items():
        condition = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert wait["condition"] == condition, f"{name} waits for {other}"


@EACH
def test_a_mount_exists_and_only_setup_may_write_into_our_folders(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, *flags = volume.split(":")
        if not source.startswith("./"):
            assert source in FILE["volumes"]
            continue
        if not source.startswith("./deploy/variable"):
            assert (ROOT / source).exists()
        assert flags[1:] == ["ro"] or name in {"setup", "demo-setup"}, volume


def test_no_secret_stands_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", key):
                assert value.startswith("/meterline/variable/"), key
    assert not re.search(r"\$\{[A-Z_]*(PASSWORD|TOKEN|SECRET)", text), "an environment is no place for a secret"


def test_only_the_broker_is_reached_from_outside_and_the_databases_by_nobody() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"mosquitto", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in published["grafana"])
    inside = {name for name, network in FILE["networks"].items() if network.get("internal")}
    for name in ("influxdb", "postgres", "centre", "setup"):
        assert set(SERVICES[name]["networks"]) <= inside


def test_the_demo_is_behind_its_profile_and_nothing_else_is() -> None:
    demo = {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]}
    assert demo == {"building", "gateway", "demo-setup", "demo-points"}
    for name, service in SERVICES.items():
        if name not in demo:
            waits = service.get("depends_on", {})
            assert all(waits[other].get("required") is False for other in demo & waits.keys())


def test_the_users_of_the_containers_are_those_whom_the_setup_gives_files() -> None:
    for name in ("mosquitto", "influxdb", "postgres", "grafana"):
        assert SERVICES[name]["user"] == f"{OWNERS[name]}:{OWNERS[name]}"
    assert OWNERS["centre"] == OWNERS["gateways"] == 10001
    assert "USER 10001:10001" in DOCKERFILE


def test_every_file_under_variable_that_a_service_reads_is_made_by_the_setup(tmp_path: Path) -> None:
    variable = tmp_path / "variable"
    run_setup(variable)
    run_setup(variable, "gateway", building.GATEWAY)
    for whom, tokens in (("centre", "influxdb_token"), ("grafana", "influxdb_token")):
        (variable / whom / tokens).write_text("made with a server\n")  # tests/deploy/test_stack.py has one
    read = {
        "mosquitto": [DEPLOY / "mosquitto/mosquitto.conf"],
        "postgres": [DEPLOY / "postgres/roles.sql"],
        "centre": [DEPLOY / "centre/central.yaml"],
        "grafana": [DEPLOY / "grafana/provisioning/datasources/meterline.yaml"],
        f"gateways/{building.GATEWAY}": [DEPLOY / "demo/gateway.yaml"],
    }
    for folder, texts in read.items():
        service = SERVICES.get(folder, {})
        text = "\n".join([*(path.read_text() for path in texts), json.dumps(service)])
        names = set(re.findall(r"/meterline/variable/([a-z_/]+(?:\.[a-z]+)?)", text))
        assert names
        for name in names:
            assert (variable / folder / name).exists(), f"{folder}/{name}"


def test_the_centres_file_is_sound(tmp_path: Path) -> None:
    variable = tmp_path / "variable"
    run_setup(variable)
    (variable / "centre/influxdb_token").write_text("x\n")
    (variable / "centre/influxdb_token").chmod(0o600)
    text = (DEPLOY / "centre/central.yaml").read_text()
    file = tmp_path / "central.yaml"
    file.write_text(rewritten(text, {"/meterline/variable/": f"{variable / 'centre'}/"}))
    config = load_central(file)
    assert not config.warnings
    assert config.store.influxdb is not None and config.store.influxdb.bucket == "readings"


def test_the_demos_gateway_reads_the_meters_that_the_building_serves(tmp_path: Path) -> None:
    variable = tmp_path / "variable"
    run_setup(variable, "gateway", building.GATEWAY)
    file = tmp_path / "gateway.yaml"
    mine = {"/meterline/variable/": f"{variable / 'gateways' / building.GATEWAY}/"}
    file.write_text(rewritten((DEPLOY / "demo/gateway.yaml").read_text(), mine))
    config = load_gateway(file)
    served = building.flats(int(SERVICES["building"]["command"][1]), building.MODBUS)  # as hil/serve.py
    assert config.gateway == config.mqtt.username == building.GATEWAY
    assert SERVICES["demo-setup"]["entrypoint"][-1] == building.GATEWAY
    first = int(SERVICES["building"]["command"][-1])
    for index, (name, flats) in enumerate(building.risers(served).items()):
        line = config.lines[index]
        assert (line.name, line.port) == (name, f"tcp://building:{first + index}")
        wired = [(f.meter_id, f.meter.profile.id, f.meter.address, f.meter.serial_number) for f in flats]
        assert [(m.id, m.profile.id, m.address, m.serial_number) for m in line.meters] == wired
    assert (DEPLOY / "demo/points.csv").read_text() == building.points_csv(served)


def test_the_image_holds_what_the_services_start() -> None:
    for service in SERVICES.values():
        if service["image"].startswith("meterline:"):
            words = [*service.get("entrypoint", []), *service.get("healthcheck", {}).get("test", [])]
            for script in (word for word in words if word.startswith("/opt/meterline/")):
                assert f"deploy/{Path(script).name}" in DOCKERFILE
                assert (DEPLOY / Path(script).name).exists()
    assert "[central,edge]" in DOCKERFILE
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version and SERVICES["centre"]["image"] == f"meterline:{version[1]}"
    copied = re.findall(r"^COPY (\w+) \1$", DOCKERFILE, flags=re.MULTILINE)
    assert set(copied) == {"drivers", "profiles", "collector", "hil"}


def test_every_yaml_file_of_the_deployment_has_each_key_once() -> None:
    for path in [*DEPLOY.rglob("*.yaml"), ROOT / "docker-compose.yml"]:
        if "variable" not in path.parts and path.name != "docker-compose.yml":  # ours are strict: no anchors
            load(path)


def test_docker_compose_itself_takes_the_file() -> None:
    docker = shutil.which("docker")
    command = [docker, "compose"] if docker else [shutil.which("docker-compose") or ""]
    has = command[0] and subprocess.run([*command, "version"], check=False, capture_output=True).returncode == 0
    if not has:
        pytest.skip("docker compose is not installed")
    arguments = ["--profile", "demo", "-f", str(ROOT / "docker-compose.yml"), "config", "--format", "json"]
    done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)
