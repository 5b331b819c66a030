"""deploy/setup.py: what it makes, and that it never changes what is there."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.deploy.shipped import DEPLOY, files, run_setup, secret


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("setup") / "variable"
    run_setup(folder, "--broker", "broker.example.org,192.0.2.7")
    run_setup(folder, "gateway", "gw-a", "gw-b")
    return folder


@pytest.fixture
def variable(made: Path, tmp_path: Path) -> Path:
    """What it made, for one test: a copy with the same owners, modes and times."""
    folder = tmp_path / "variable"
    subprocess.run(["cp", "-a", made, folder], check=True)
    return folder


def seen(folder: Path) -> dict[str, tuple[bytes, int, int, int]]:
    found = {}
    for path in files(folder):
        about = path.stat()
        found[str(path.relative_to(folder))] = (path.read_bytes(), about.st_mode, about.st_ino, about.st_mtime_ns)
    return found


def test_a_second_run_changes_nothing_and_says_nothing(variable: Path) -> None:
    before = seen(variable)
    assert run_setup(variable, "--broker", "broker.example.org,192.0.2.7") == ""
    assert run_setup(variable, "gateway", "gw-a", "gw-b") == ""
    assert seen(variable) == before


def test_files_and_folders_are_for_their_owner_alone(variable: Path) -> None:
    for path in [variable, *variable.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_each_file_belongs_to_the_user_of_the_container_that_reads_it(variable: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may give files away")
    owners = {path.name: path.stat().st_uid for path in variable.iterdir()}
    assert owners == {
        "authority": 0, "mosquitto": 1883, "postgres": 999, "centre": 10001, "grafana": 472, "gateways": 10001,
    }  # fmt: skip
    for path in files(variable):
        assert path.stat().st_uid == owners[path.relative_to(variable).parts[0]], path


def test_a_folder_that_the_engine_made_for_a_mount_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "variable"
    (folder / "centre").mkdir(parents=True, mode=0o755)
    run_setup(folder)
    assert stat.S_IMODE((folder / "centre").stat().st_mode) == 0o700


def test_no_secret_is_ever_printed_and_no_two_are_alike(tmp_path: Path) -> None:
    folder = tmp_path / "variable"
    said = run_setup(folder) + run_setup(folder, "gateway", "gw-a")
    copies = {"postgres/centre_password", "postgres/grafana_password"}
    secrets = [secret(folder, str(p.relative_to(folder))) for p in folder.rglob("*password")
               if str(p.relative_to(folder)) not in copies]  # fmt: skip
    assert len(secrets) == len(set(secrets)) == 7
    assert all(len(word) >= 43 and word not in said for word in secrets)
    assert "PRIVATE KEY" not in said


def test_a_deleted_password_is_made_anew_and_the_broker_knows_the_new_one_alone(variable: Path) -> None:
    before = (variable / "mosquitto/passwords").read_text().splitlines()
    (variable / "centre/mqtt_password").unlink()
    run_setup(variable)
    after = (variable / "mosquitto/passwords").read_text().splitlines()
    assert {line.split(":")[0] for line in set(before) ^ set(after)} == {"centre"}


def test_a_new_database_password_reaches_the_servers_side_of_it(variable: Path) -> None:
    old = secret(variable, "centre/database_password")
    (variable / "centre/database_password").unlink()
    run_setup(variable)
    assert old != secret(variable, "centre/database_password") == secret(variable, "postgres/centre_password")


def test_a_gateway_whose_files_were_taken_to_it_stays_a_user(variable: Path) -> None:
    line = next(row for row in (variable / "mosquitto/passwords").read_text().splitlines() if row.startswith("gw-a:"))
    for path in (variable / "gateways/gw-a").iterdir():
        path.unlink()
    run_setup(variable)
    assert line in (variable / "mosquitto/passwords").read_text().splitlines()


def test_a_name_that_differs_in_case_from_one_that_only_the_broker_still_knows_is_refused(variable: Path) -> None:
    for path in (variable / "gateways/gw-a").iterdir():
        path.unlink()
    (variable / "gateways/gw-a").rmdir()
    assert "in case only" in run_setup(variable, "gateway", "GW-A", good=False)


@pytest.mark.parametrize("name", ["centre", "Centre", "health", "a/b", "+", "#", "", "../x", "gw:a", "GW-A", "x" * 64])
def test_a_name_that_would_reach_further_than_its_own_topics_is_refused(variable: Path, name: str) -> None:
    before = seen(variable)
    run_setup(variable, "gateway", name, good=False)
    assert seen(variable) == before


def test_an_authority_without_its_key_is_said_and_not_replaced(variable: Path) -> None:
    (variable / "authority/ca.key").unlink()
    before = seen(variable)
    assert "restore it from a backup" in run_setup(variable, good=False)
    assert seen(variable) == before


def test_a_run_that_broke_off_is_finished_by_the_next(variable: Path) -> None:
    """Half an authority, a certificate without its key: what a power cut between two files leaves."""
    for name in ("authority/ca.pem", "mosquitto/server.pem", "gateways/gw-a/client.key"):
        (variable / name).unlink()
    run_setup(variable)
    run_setup(variable, "gateway", "gw-a")
    authority = variable / "authority/ca.pem"
    for name in ("mosquitto/server.pem", "gateways/gw-a/client.pem"):
        subprocess.run(["openssl", "verify", "-CAfile", authority, variable / name], check=True, capture_output=True)
    assert (variable / "mosquitto/ca.pem").read_bytes() == authority.read_bytes()


def test_the_brokers_certificate_is_for_the_names_that_were_given(variable: Path) -> None:
    command = ["openssl", "x509", "-in", variable / "mosquitto/server.pem", "-noout", "-ext", "subjectAltName"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = {name.strip() for name in re.findall(r"(?:DNS|IP Address):([^,\s]+)", shown)}
    assert names == {"mosquitto", "localhost", "broker.example.org", "192.0.2.7"}


def test_a_name_that_the_certificate_does_not_hold_is_said_and_the_certificate_stays(variable: Path) -> None:
    before = seen(variable)
    assert "does not hold new.example.org" in run_setup(variable, "--broker", "new.example.org")
    assert seen(variable) == before


def test_secrets_are_neither_in_git_nor_in_the_image() -> None:
    assert "/variable/" in (DEPLOY / ".gitignore").read_text().splitlines()
    ignored = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    assert ignored.index("deploy/variable/") > ignored.index("!deploy/")  # the last rule that matches counts
