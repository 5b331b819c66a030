"""`meterline store check|rebuild`, over both stores, beside the daemon that owns the spool."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from collector.central.database import evidence, quarantine
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import KINDS, Rejected, Row, Sample, WriteResult
from collector.central.worker import Worker
from collector.config import load_central
from collector.inbox_beside import InboxBeside
from collector.spool import Inbox, Incoming
from tests.central.building import (
    ASKED,
    GATEWAY,
    Meterline,
    SetClock,
    as_bytes,
    batch,
    bring,
    central_yaml,
    point,
    snapshot,
)
from tests.influxdb import ORG, Bucket, Influxd

DAY = 86_400_000
BATCHES = 40


@dataclass
class Centre:
    """A centre's files, its spool held open as the daemon does, and its store."""

    config: Path
    engine: Engine
    inbox: Inbox
    influxd: Influxd | None
    bucket: Bucket | None
    running: bool = True

    def stop(self) -> None:
        """The daemon ends."""
        if self.running:
            self.inbox.close()
            self.running = False

    def send(self, sequence: int, *, received: int, **changed: Any) -> None:
        payload = as_bytes(
            batch(snapshot(sequence % 5 + 1, asked=received - 500, answered=None, **changed), sequence=sequence)
        )
        self.inbox.put([Incoming(GATEWAY, "b7e3c1d09a44", sequence, "readings", payload)], received)

    def work(self) -> None:
        """What the daemon does."""
        store = open_store(load_central(self.config))
        worker = Worker(self.inbox, Registry(self.engine), store, SetClock())
        while worker.round():
            pass
        store.close()

    def series(self) -> list[Row]:
        store = open_store(load_central(self.config))
        rows = list(store.span(KINDS, None, 0, 1 << 45))
        store.close()
        return rows

    def kept(self) -> tuple[int, int]:
        """How much evidence, how much in quarantine."""
        with self.engine.connect() as connection:
            return len(connection.execute(select(evidence)).all()), len(connection.execute(select(quarantine)).all())

    def empty(self) -> None:
        """The series are gone."""
        if self.influxd is None or self.bucket is None:
            for file in self.config.parent.glob("data/series.db*"):
                file.unlink()
        else:
            self.influxd.drop(self.bucket)
            self.bucket = self.influxd.bucket(name=self.bucket.name)


@pytest.fixture(params=["embedded", "influxdb"])
def centre(request: pytest.FixtureRequest, tmp_path: Path, engine: Engine) -> Iterator[Centre]:
    config = central_yaml(tmp_path)
    influxd: Influxd | None = None
    bucket = None
    if request.param == "influxdb":
        influxd = request.getfixturevalue("influxd")
        bucket = influxd.bucket()
        (tmp_path / "token").write_text(influxd.operator.text)
        section = f"{{url: '{influxd.url}', org: {ORG}, bucket: {bucket.name}, token_file: token}}"
        config.write_text(f"{config.read_text()}store: {{influxdb: {section}}}\n")
    bring(engine, *(point(number) for number in range(1, 6)))
    inbox = Inbox(tmp_path / "data" / "spool.db", keep_ms=60 * DAY)
    centre = Centre(config, engine, inbox, influxd, bucket)
    for sequence in range(1, BATCHES + 1):
        centre.send(sequence, received=ASKED + sequence * DAY // 4, frozen={"2026-10": {"1.8.0": 5}})
    centre.send(BATCHES + 1, received=ASKED + 11 * DAY, registers={"1.8.0": -1})
    centre.work()
    yield centre
    centre.stop()
    if influxd is not None and bucket is not None:
        influxd.drop(influxd.known(bucket.name))


def test_a_store_that_is_well_passes_beside_the_running_daemon(centre: Centre, meterline: Meterline) -> None:
    answer = meterline("store", "check", "--config", centre.config, "--format", "json")
    assert (answer.status, answer.err) == (0, "")
    rows = {row["check"]: row for row in json.loads(answer.out)}
    assert {row["state"] for row in rows.values()} == {"good"}
    assert rows["series"]["text"] == "125 values of 41 batches of the spool are all there"


def test_what_is_not_settled_is_not_missed(centre: Centre, meterline: Meterline) -> None:
    centre.send(BATCHES + 2, received=ASKED + 12 * DAY)
    assert meterline("store", "check", "--config", centre.config).status == 0


@pytest.mark.parametrize("centre", ["embedded"], indirect=True)
def test_what_the_store_refused_is_not_missed(
    centre: Centre, meterline: Meterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(store: EmbeddedStore, samples: Sequence[Sample]) -> WriteResult:
        return WriteResult([Rejected(place, "beyond retention") for place in range(len(samples))])

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedStore, "write", refuses)
        centre.send(
            BATCHES + 2, received=ASKED + 12 * DAY, quantities={"32.7.0": 230.1}, frozen={"2026-09": {"1.8.0": 4}}
        )
        centre.work()
    assert len(centre.series()) == 125
    answer = meterline("store", "check", "--config", centre.config)
    assert (answer.status, "130 values of 42 batches of the spool are all there" in answer.out) == (0, True)


def test_an_emptied_store_is_found_and_written_again_as_it_was(centre: Centre, meterline: Meterline) -> None:
    before, kept = centre.series(), centre.kept()
    assert len(before) == 125
    centre.empty()
    centre.send(BATCHES + 2, received=ASKED + 12 * DAY)  # it goes on, and the newest values are there
    centre.work()
    answer = meterline("store", "check", "--config", centre.config)
    assert answer.status == 5
    assert "store: series: not as it should be" in answer.err
    assert "125 of 128 values of 42 batches of the spool are missing, such as 1.8.0 of m1 at 2026-10-31T21:00:00" in (
        answer.out
    )
    for _ in range(2):  # the second time changes nothing
        answer = meterline("store", "rebuild", "--config", centre.config)
        assert (answer.status, answer.err) == (0, "")
        assert answer.out.startswith(f"{BATCHES + 2} batches, 81 samples written again; 1 snapshots or values are in")
        assert [row for row in centre.series() if row.time < ASKED + 12 * DAY - 500] == before
        assert len(centre.series()) == 128
        assert centre.kept() == (kept[0] + 1, kept[1])
    assert meterline("store", "check", "--config", centre.config).status == 0


@pytest.mark.parametrize("start", ["2026-11-06", "2026-11-05T21:00:00Z"])
def test_a_rebuild_may_begin_later(centre: Centre, meterline: Meterline, start: str) -> None:
    before = centre.series()
    centre.empty()
    assert meterline("store", "rebuild", "--config", centre.config, "--from", start).status == 0
    begin = 1_793_480_400_000 + 5 * DAY  # local midnight in Moscow
    wanted = [row for row in before if row.time >= begin]
    assert [row for row in centre.series() if row.time >= begin] == wanted
    early = begin - DAY - 500  # a gateway's clock may be a day ahead of the centre's
    assert wanted
    assert [row for row in before if row.time < early and row.kind == "live"]
    assert [row for row in centre.series() if row.time < early and row.kind == "live"] == []


def test_what_came_before_its_meter_was_known_becomes_part_of_the_series(
    centre: Centre, meterline: Meterline, engine: Engine
) -> None:
    payload = as_bytes(batch(snapshot(9), sequence=99))
    centre.inbox.put([Incoming(GATEWAY, "b7e3c1d09a44", 99, "readings", payload)], ASKED + DAY)
    centre.work()
    assert "m9" not in {row.meter for row in centre.series()}
    bring(engine, point(9))
    assert meterline("store", "rebuild", "--config", centre.config).status == 0
    assert "m9" in {row.meter for row in centre.series()}


def test_a_damaged_batch_is_left_out_and_said(centre: Centre, meterline: Meterline) -> None:
    centre.inbox._file.execute("UPDATE inbox SET payload = zeroblob(100) WHERE id = 3")
    answer = meterline("store", "rebuild", "--config", centre.config)
    assert answer.status == 5
    assert "1 batches of the spool are damaged" in answer.err
    assert answer.out.startswith(f"{BATCHES} batches, ")


@pytest.mark.parametrize("command", ["check", "rebuild"])
def test_a_spool_that_is_not_there_is_said(centre: Centre, meterline: Meterline, command: str) -> None:
    centre.stop()
    (centre.config.parent / "data" / "spool.db").rename(centre.config.parent / "elsewhere")
    answer = meterline("store", command, "--config", centre.config)
    assert answer.status == 6
    assert "spool.db is not there; check `data` in central.yaml" in answer.err


def test_a_time_that_is_none_is_refused(centre: Centre, meterline: Meterline) -> None:
    answer = meterline("store", "rebuild", "--config", centre.config, "--from", "yesterday")
    assert answer.status == 2
    assert "--from: 'yesterday' is not a time" in answer.err


def test_looking_beside_changes_neither_the_file_nor_its_log(centre: Centre) -> None:
    data = centre.config.parent / "data"
    for closed in (False, True):
        if closed:
            centre.stop()
        before = {file.name: file.read_bytes() for file in data.glob("spool.db*") if not file.name.endswith("-shm")}
        with InboxBeside(data / "spool.db") as spool:
            assert spool.count(0) == BATCHES + 1
            assert len(spool.some_settled(5)) == 10
        after = {file.name: file.read_bytes() for file in data.glob("spool.db*") if not file.name.endswith("-shm")}
        assert {name: after[name] for name in before} == before
        assert not any(after[name] for name in after.keys() - before.keys())


# ------------------------------------------------------------------------------------------------------- InfluxDB alone


@pytest.mark.parametrize("centre", ["influxdb"], indirect=True)
def test_a_token_that_nobody_knows_is_a_check_that_failed(centre: Centre, meterline: Meterline) -> None:
    (centre.config.parent / "token").write_text("nobody's")
    answer = meterline("store", "check", "--config", centre.config)
    assert answer.status == 5
    assert "put a valid one there (401" in answer.out
    assert "nobody's" not in answer.out + answer.err
    assert meterline("store", "rebuild", "--config", centre.config).status == 6
    assert meterline("readings", "--config", centre.config).status == 6


@pytest.mark.parametrize("centre", ["influxdb"], indirect=True)
def test_a_server_that_is_away_is_unreachable(centre: Centre, meterline: Meterline) -> None:
    assert centre.influxd is not None
    centre.influxd.own()
    centre.influxd.stop()
    try:
        for command in (("store", "check"), ("store", "rebuild"), ("readings",), ("fleet",)):
            answer = meterline(*command, "--config", centre.config)
            assert answer.status == 6
            assert "Connection refused" in answer.err
    finally:
        centre.influxd.start()
    assert meterline("store", "rebuild", "--config", centre.config).status == 0


@pytest.mark.parametrize("centre", ["influxdb"], indirect=True)
def test_the_commands_read_what_influxdb_holds(centre: Centre, meterline: Meterline) -> None:
    answer = meterline("readings", "--config", centre.config, "--meter", "m2", "--format", "csv")
    assert answer.status == 0
    assert len(answer.out.splitlines()) == 1 + 8 * 3
    assert meterline("readings", "--config", centre.config, "--frozen").out.count("frozen") == 5
    assert meterline("fleet", "--config", centre.config).status == 0


# ------------------------------------------------------------------------------------------------------------- imports


def test_who_has_no_influxdb_carries_no_client_of_it() -> None:
    code = (
        "import sys, tempfile, pathlib, collector.central.service, collector.commands.store\n"
        "print('influxdb_client' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "False"
