"""The centre's own word on how it is, from the running daemon to `fleet`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.central.own_status import BEHIND, STALE, OwnStatus, in_words, read, write
from tests.broker import Mosquitto, eventually, free_port
from tests.system.daemons import Daemon

NOW = 1793480462120
OFTEN = {"collector.central.service.EVERY": 0.3}  # seconds between two writings of the file
WELL = OwnStatus(
    at=NOW, running=True, connected=True, broker="connected", trouble=(), unsettled=0, oldest=None, damage=None
)


def test_what_is_written_is_read_and_what_is_not_there_or_broken_is_none(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    status = WELL._replace(trouble=("batches wait in the spool: InfluxDB is away",), oldest=NOW - 1)
    write(tmp_path, status)
    assert read(tmp_path) == status
    for text in ("", "{", "[]", "{}", '{"at": 1}'):
        (tmp_path / "centre-status.json").write_text(text)
        assert read(tmp_path) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "never run"),
        (WELL._replace(running=False), "was stopped at 2026-11-01 00:01:02"),
        (WELL._replace(at=NOW - STALE - 1), "not running, or hangs"),
        (WELL._replace(trouble=("InfluxDB is away",)), "InfluxDB is away"),
        (WELL._replace(connected=False, broker="refuses connections"), "the broker is away: refuses connections"),
        (WELL._replace(unsettled=7, oldest=NOW - BEHIND - 1), "7 batches wait"),
        (WELL._replace(damage="torn"), "the spool: torn"),
    ],
)
def test_what_is_wrong_is_said_in_words(status: OwnStatus | None, words: str) -> None:
    (text,) = in_words(status, NOW, "Europe/Moscow")
    assert words in text


def test_of_a_centre_that_is_well_nothing_is_said() -> None:
    assert in_words(WELL, NOW + STALE, "Europe/Moscow") == []
    assert in_words(WELL._replace(unsettled=3, oldest=NOW - BEHIND), NOW, "Europe/Moscow") == []


def said_by_fleet(folder: Path) -> str:
    fleet = Daemon(folder, "fleet", "--config", folder / "central.yaml")
    fleet.start()
    assert fleet.wait() == 0, fleet.log
    return fleet.log


def test_fleet_says_what_the_running_centre_says(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        (tmp_path / "central.yaml").write_text(json.dumps({
            "schema": "1", "data": "data", "time_zone": "UTC", "mqtt": {"url": broker.url},
        }))  # fmt: skip
        centre = Daemon(tmp_path, "central", "run", "--config", tmp_path / "central.yaml", constants=OFTEN)
        centre.start()
        try:
            eventually(lambda: (status := read(tmp_path / "data")) is not None and status.connected)
            assert "the centre" not in said_by_fleet(tmp_path)
            broker.stop()
            eventually(lambda: (status := read(tmp_path / "data")) is not None and not status.connected)
            assert "the broker is away: " in said_by_fleet(tmp_path)
            assert centre.end() == 0
            assert "the centre was stopped at" in said_by_fleet(tmp_path)
        finally:
            centre.kill()


def test_an_influxdb_that_is_away_is_said_by_fleet_before_anything_else_is_asked(tmp_path: Path) -> None:
    """`fleet` itself cannot answer then and ends with 6; what is wrong stands above that."""
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "central.yaml").write_text(json.dumps({
        "schema": "1", "data": "data", "time_zone": "UTC", "mqtt": {"url": f"mqtt://127.0.0.1:{free_port()}"},
        "store": {"influxdb": {
            "url": f"http://127.0.0.1:{free_port()}", "org": "o", "bucket": "b", "token_file": "token",
        }},
    }))  # fmt: skip
    centre = Daemon(tmp_path, "central", "run", "--config", tmp_path / "central.yaml", constants=OFTEN)
    centre.start()
    try:
        eventually(lambda: (status := read(tmp_path / "data")) is not None and status.trouble)
        fleet = Daemon(tmp_path, "fleet", "--config", tmp_path / "central.yaml")
        fleet.start()
        fleet.wait()
        assert "batches wait in the spool: " in fleet.log
    finally:
        centre.kill()
