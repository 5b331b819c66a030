"""Passwords of broker and meters stay in their files: no log, status, spool or message of real daemons has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector import control
from collector.clock import SystemClock
from drivers import profile
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from tests.broker import Mosquitto, eventually
from tests.system.daemons import Daemon, run

OURS, THEIRS, METER = "secret-of-the-gateway-7f3a", "secret-of-the-centre-91cc", "314159"
POINTS = "point,account,utility,address,flat,tariffs,receipt_order,meter,serial_number,profile,gateway,ratio,time_zone"


def refused(spool: Path) -> bool:
    """Whether the meter has been asked and has said no."""
    meter = control.status(spool)["status"]["meters"].get("m-1", {})
    return bool(meter.get("refused"))


def delivered(spool: Path) -> bool:
    """Whether the centre has receipted everything."""
    held = control.status(spool)["status"]["spool"]
    return bool(held["next"] > 1 and held["unreceipted"] == 0)


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize("right", [True, False])
def test_no_secret_is_ever_written_down(form: str, right: bool, tmp_path: Path) -> None:
    mercury = profile.load("mercury-230")
    meter = VirtualMeter(mercury, "90", Household.of_seed(1, 2, 0), "38395190")
    for name, secret in (("gateway", OURS), ("centre", THEIRS), ("meter", METER)):
        (tmp_path / name).write_text(secret + "\n")
        (tmp_path / name).chmod(0o600)
    spool = tmp_path / "gateway.db"
    users = {"gw-1": OURS if right else OURS + "x", "centre": THEIRS}
    with Mosquitto(tmp_path, users=users) as broker, Wire([meter], SystemClock()) as wire:
        (tmp_path / "gateway.yaml").write_text(json.dumps({
            "schema": "1", "gateway": "gw-1", "time_zone": "Europe/Moscow", "interval": "5s", "log": form,
            "mqtt": {"url": broker.url, "username": "gw-1", "password_file": "gateway"},
            "spool": {"path": "gateway.db"},
            "lines": [{"name": "riser-1", "port": wire.path, "meters": [{
                "id": "m-1", "profile": "mercury-230", "address": "90", "serial_number": "38395190",
                "password_file": "meter",
            }]}],
        }))  # fmt: skip
        (tmp_path / "central.yaml").write_text(json.dumps({
            "schema": "1", "data": "data", "time_zone": "Europe/Moscow", "log": form,
            "mqtt": {"url": broker.url, "username": "centre", "password_file": "centre"},
        }))  # fmt: skip
        (tmp_path / "points.csv").write_text(f"{POINTS}\np-1,a-1,generic,,,1,1,m-1,38395190,mercury-230,gw-1,,\n")
        run("registry", "import", tmp_path / "points.csv", "--config", tmp_path / "central.yaml")
        gateway = Daemon(tmp_path, "gateway", "run", "--config", tmp_path / "gateway.yaml")
        centre = Daemon(tmp_path, "central", "run", "--config", tmp_path / "central.yaml")
        centre.start()
        eventually(lambda: centre.said("subscribed") or centre.said("connected"), "the centre hears the broker")
        gateway.start()
        try:
            eventually(control.socket_path(spool).exists, "the gateway listens")
            eventually(lambda: refused(spool), "the meter has refused the password")
            if right:
                eventually(lambda: delivered(spool), "the centre has receipted it")
            else:
                eventually(lambda: "not authori" in gateway.log, "the broker's refusal is said")
            assert gateway.end() == 0
            assert centre.end() == 0
        finally:
            gateway.kill()
            centre.kill()
    secret_files = {tmp_path / name for name in ("gateway", "centre", "meter")}
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path not in secret_files]
    assert any(path.name == "gateway.db" for path in written)
    for path in written:
        if "mosquitto" in path.parts[len(tmp_path.parts) :]:
            continue  # the broker's own
        data = path.read_bytes()
        for secret in (OURS, THEIRS, METER):
            assert secret.encode() not in data, f"{secret} in {path}"
            assert secret.encode().hex().encode() not in data, f"{secret} in hex in {path}"
