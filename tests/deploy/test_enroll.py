"""`gateway enroll`: what it makes lets a gateway in, under its own name, and nobody learns a secret by the way."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from collector.commands.gateway import gateway
from collector.config import load_gateway
from collector.credentials.kit import broker_url
from collector.credentials.users import NAME
from collector.exits import UsageFault
from collector.messages import readings_topic, receipt_topic
from collector.model import NAME as PUBLISHED_NAME
from collector.mqtt import Connection, Settings
from tests.broker import Mosquitto, eventually
from tests.deploy.shipped import DEPLOY, ROOT, Broker, files, run_setup, secret

ACL = (DEPLOY / "mosquitto" / "acl").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("setup") / "variable"
    run_setup(folder, "--broker", "127.0.0.1")
    return folder


@pytest.fixture
def variable(made: Path, tmp_path: Path) -> Path:
    """What it made, for one test: a copy with the same owners, modes and times."""
    folder = tmp_path / "variable"
    subprocess.run(["cp", "-a", made, folder], check=True)
    return folder


def enroll(*arguments: str | Path) -> Result:
    before = os.umask(0o022)
    try:
        return CliRunner().invoke(gateway, ["enroll", *map(str, arguments)])
    finally:
        os.umask(before)


def enrolled(*arguments: str | Path) -> tuple[Path, str]:
    """The gateway.yaml it made, and what it said."""
    done = enroll(*arguments)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return Path(done.stdout.strip()), done.stderr


def refusal(*arguments: str | Path) -> str:
    done = enroll(*arguments)
    assert isinstance(done.exception, UsageFault), done.output
    return str(done.exception)


def seen(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in files(folder)
    }


def comes_in(file: Path) -> bool:
    """Whether the broker takes a gateway that works by this file, and its subscription; and nothing else of it."""
    config = load_gateway(file)
    settings = Settings.of(config.mqtt, config.gateway)
    connection = Connection(settings, subscriptions=[receipt_topic(config.gateway)], first_delay=0.05)
    connection.start()
    try:
        eventually(lambda: connection.connected or connection.why)
        return connection.connected and connection.publish(readings_topic(config.gateway), b"x")
    finally:
        connection.stop()


def at(file: Path, port: int) -> Path:
    """The same file for a broker at another port."""
    text = file.read_text()
    file.write_text(text.replace(":8883", f":{port}").replace(":8884", f":{port}"))
    return file


# ----------------------------------------------------------------------------- beside deploy/setup.py


def test_the_file_it_makes_passes_config_check_and_names_what_is_beside_it(variable: Path) -> None:
    file, said = enrolled("gw-a", "--variable", variable, "--broker", "127.0.0.1", "--time-zone", "Asia/Omsk")
    config = load_gateway(file)
    assert (config.gateway, config.time_zone, config.lines) == ("gw-a", "Asia/Omsk", ())
    assert (config.mqtt.url, config.mqtt.username) == ("mqtts://127.0.0.1:8883", "gw-a")
    assert config.mqtt.password() == secret(variable, "gateways/gw-a/password")
    assert not config.warnings
    for step in ("next:", "HUP mosquitto", "meterline config check", "/etc/meterline", "registry import"):
        assert step in said


@pytest.mark.parametrize("proof", [[], ["--certificate"]])
def test_a_gateway_comes_in_with_what_it_was_given(variable: Path, tmp_path: Path, proof: list[str]) -> None:
    file, _ = enrolled("gw-a", "--variable", variable, "--broker", "127.0.0.1", *proof)
    with Broker(variable, tmp_path / "broker") as broker:
        assert comes_in(at(file, broker.certificates if proof else broker.port))


def test_a_second_run_changes_nothing_and_so_does_setup(variable: Path) -> None:
    enrolled("gw-a", "--variable", variable, "--broker", "127.0.0.1")
    before = seen(variable)
    enrolled("gw-a", "--variable", variable, "--broker", "127.0.0.1")
    assert run_setup(variable, "gateway", "gw-a") == ""
    assert seen(variable) == before


def test_what_setup_made_of_a_gateway_is_what_enroll_takes(variable: Path) -> None:
    run_setup(variable, "gateway", "gw-a")
    before = seen(variable)
    file, _ = enrolled("gw-a", "--variable", variable, "--broker", "127.0.0.1")
    after = seen(variable)
    assert after.keys() - before.keys() == {str(file.relative_to(variable))}
    assert {name: after[name] for name in before} == before


def test_a_gateway_whose_files_were_taken_to_it_is_not_locked_out_by_mistake(variable: Path) -> None:
    file, _ = enrolled("gw-a", "--variable", variable, "--broker", "127.0.0.1")
    shutil.rmtree(file.parent)
    before = seen(variable)
    assert "taken to the gateway" in refusal("gw-a", "--variable", variable, "--broker", "127.0.0.1")
    assert seen(variable) == before
    enrolled("gw-a", "--variable", variable, "--broker", "127.0.0.1", "--renew")
    assert seen(variable)["mosquitto/passwords"] != before["mosquitto/passwords"]


@pytest.mark.parametrize(
    "name", ["centre", "HEALTH", "a/b", "+", "#", "../x", "gw:a", "GW-A", "x" * 64, "-a", "gw a", "ж"]
)
def test_a_name_that_is_none_or_reaches_further_than_its_own_topics_is_refused(variable: Path, name: str) -> None:
    file, _ = enrolled("gw-a", "--variable", variable, "--broker", "127.0.0.1")
    shutil.rmtree(file.parent)  # its user stands in the broker's file alone
    before = seen(variable)
    refusal("--variable", variable, "--broker", "127.0.0.1", "--", name)
    assert seen(variable) == before


def test_names_are_those_of_the_contract() -> None:
    assert PUBLISHED_NAME.removeprefix("^").removesuffix("$") == NAME


def test_no_secret_is_said_and_every_file_is_its_owners_alone(variable: Path) -> None:
    done = enroll("gw-a", "--variable", variable, "--broker", "127.0.0.1")
    for path in files(variable):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        for line in path.read_text().splitlines():
            if "password" in path.name or "token" in path.name or path.suffix == ".key":
                assert line not in done.output


def test_a_folder_that_setup_did_not_make_is_refused(tmp_path: Path) -> None:
    assert "deploy/setup.py" in refusal("gw-a", "--variable", tmp_path / "none", "--broker", "b")
    assert not (tmp_path / "none").exists()


def test_setup_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(DEPLOY / "setup.py"), "--variable", str(tmp_path / "v")]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT.parent)
    assert (tmp_path / "v" / "mosquitto" / "passwords").exists()


# ----------------------------------------------------------------------------- beside a mosquitto of somebody else


def test_it_works_with_a_password_file_that_mosquitto_passwd_made(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, users={"somebody": "else"}, acl=ACL) as broker:
        passwords = broker.folder / "passwords"
        passwords.chmod(0o640)
        line = passwords.read_text()
        (tmp_path / "ca.pem").write_text("-")
        given = ("--passwords", passwords, "--ca-file", tmp_path / "ca.pem", "--broker", broker.url)
        file, said = enrolled("gw-a", *given, "--out", tmp_path / "kit")
        assert "rule by pattern" in said
        assert line in passwords.read_text()  # the other user as he was
        assert stat.S_IMODE(passwords.stat().st_mode) == 0o640
        assert secret(tmp_path, "kit/password") not in said + passwords.read_text()
        file.write_text(file.read_text().replace("  ca_file: ca.pem\n", ""))  # this broker speaks no TLS
        broker.restart()
        assert comes_in(file)
        before = passwords.read_text()
        enrolled("gw-a", *given, "--out", tmp_path / "kit")
        assert passwords.read_text() == before


def test_a_password_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-")
    given = ("--passwords", tmp_path / "none", "--ca-file", tmp_path / "ca.pem", "--out", tmp_path / "kit")
    assert "cannot be read" in refusal("gw-a", "--broker", "b", *given)
    assert not (tmp_path / "none").exists() and not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("b.example", "mqtts://b.example:8883"),
        ("b.example:1", "mqtts://b.example:1"),
        ("192.0.2.7", "mqtts://192.0.2.7:8883"),
        ("2001:db8::7", "mqtts://[2001:db8::7]:8883"),
        ("mqtt://b:1883", "mqtt://b:1883"),
    ],
)
def test_a_broker_may_be_given_by_host_address_or_url(given: str, url: str) -> None:
    assert broker_url(given, 8883) == url
