"""PostgreSQL goes away in the middle of a close, of a round, under the daemon. Real servers, really killed."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from collector.central import chain, closing, ledger
from collector.central import restore as restores
from collector.central import worker as worker_module
from collector.central.billing_files import Draft
from collector.central.engine import DatabaseAway
from collector.central.registry import Registry
from collector.clock import SystemClock
from tests.broker import Mosquitto, eventually
from tests.central import drill
from tests.central.books import Centre, at, point
from tests.central.building import Meterline, batch, bring, central_yaml, snapshot
from tests.central.databases import VARIABLE, drop_all, make_template, open_database
from tests.central.test_ingest import Door
from tests.central.test_service import Daemon, connected, sound, values
from tests.central.test_worker import Hall
from tests.postgres import Cluster

FIRST, SECOND = {"1.8.1": "100.9", "1.8.2": "10.5"}, {"1.8.1": "150.1", "1.8.2": "22.4"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server that the tests of this module break."""
    with Cluster() as cluster:
        make_template(cluster)
        yield cluster


@pytest.fixture
def server(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """`open_database` means this server. It runs before and after the test."""
    monkeypatch.setenv(VARIABLE, cluster.local_url("{}"))
    yield cluster
    if not cluster.runs():
        cluster.start()
    drop_all(cluster)


def filled(folder: Path) -> Centre:
    """Two flats; the first was read at two months' ends, the second never."""
    centre = Centre(folder, point(1), point(2))
    centre.month_of("m1", "2026-09", FIRST)
    centre.month_of("m1", "2026-10", SECOND)
    return centre


@pytest.fixture
def undisturbed(tmp_path: Path) -> Centre:
    """The same centre on SQLite, closed without trouble. Stands before `server` in a test, which names the other."""
    centre = filled(tmp_path / "undisturbed")
    centre.close("2026-09")
    centre.close("2026-10")
    return centre


def digests(centre: Centre) -> list[str]:
    return [row.digest for row in centre.ledger()]


# ----------------------------------------------------------------------------- a close


def lose_commit(engine: Engine, away: Callable[[], None], patched: pytest.MonkeyPatch, *, arrives: bool) -> None:
    """Let the server go away just before it commits, or just after it has and before it could say so."""
    commit = engine.dialect.do_commit

    def committing(connection: Any) -> None:
        if arrives:
            commit(connection)
            away()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        away()
        commit(connection)

    patched.setattr(engine.dialect, "do_commit", committing)


def broken_at(place: str, centre: Centre, away: Callable[[], None], patched: pytest.MonkeyPatch) -> None:
    """Let the server go away at this place of a close."""
    if place.startswith("commit"):
        lose_commit(centre.engine, away, patched, arrives=place == "commit was not heard of")
        return
    when, _, name = place.partition(" ")
    where: Any = {"finish": Draft, "publish": Draft, "newest": chain}.get(name, ledger)
    original = getattr(where, name)

    def going(*arguments: Any, **named: Any) -> Any:
        if when == "before":
            away()
        answer = original(*arguments, **named)
        if when == "after":
            away()
        return answer

    patched.setattr(where, name, going)


PLACES = [
    "before newest", "after newest", "after runs", "before append", "after append", "before finish", "after append_run",
    "commit did not arrive", "commit was not heard of", "before publish", "after publish",
]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "how"),
    [
        *((place, "kill") for place in PLACES), ("after append", "fast"), ("after append", "immediate"),
        ("commit did not arrive", "fast"), ("commit was not heard of", "immediate"),
    ],
)  # fmt: skip
def test_a_close_whose_database_goes_away_is_whole_or_was_never_and_repeats_to_the_same_bytes(
    undisturbed: Centre, server: Cluster, tmp_path: Path, place: str, how: str
) -> None:
    centre = filled(tmp_path)
    centre.close("2026-09")
    before = digests(centre)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(closing, "_AT_ONCE", 1)
        broken_at(place, centre, lambda: server.stop(how), patched)
        with pytest.raises(DatabaseAway, match="the database postgresql") as said:
            centre.close("2026-10")
    assert "\n" not in str(said.value)
    server.start()
    stored = digests(centre)
    committed = place in ("commit was not heard of", "before publish", "after publish")
    assert stored == (digests(undisturbed) if committed else before)
    emitted = sorted(path.name for path in (centre.out / "2026-10" / "generic").glob("r*"))
    assert emitted == (["r1"] if place.endswith("publish") else [])
    closed = centre.close("2026-10")
    assert (closed.changed, closed.revision) == (0 if committed else 4, 1)
    assert digests(centre) == digests(undisturbed)
    assert centre.files() == undisturbed.files()
    assert centre.close("2026-10").changed == 0


def test_the_command_says_in_one_line_that_the_database_went_away_and_exits_with_6(
    server: Cluster, tmp_path: Path, meterline: Meterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 08:00:00"))
    config = central_yaml(tmp_path)
    centre = filled(tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        broken_at("after append", centre, server.stop, patched)
        answer = meterline("close", "2026-10", "--config", config)
    assert (answer.status, answer.out, answer.err.count("\n")) == (6, "", 1)
    assert "the database postgresql+psycopg://" in answer.err
    assert "cannot be used now" in answer.err
    server.start()
    assert meterline("close", "2026-10", "--config", config).status == 0


@pytest.mark.parametrize("place", ["in the middle", "commit did not arrive", "commit was not heard of"])
def test_a_restore_whose_database_goes_away_is_run_again(
    tmp_path: Path, server: Cluster, meterline: Meterline, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    original = drill.building(tmp_path / "here")
    file = drill.made(original, tmp_path / "centre.backup")
    config, yaml = drill.empty(tmp_path / "there"), tmp_path / "there/central.yaml"
    with monkeypatch.context() as patched:
        if place == "in the middle":
            fill = restores._Restore._fill
            patched.setattr(restores._Restore, "_fill", lambda *a: (server.stop() if server.runs() else None, fill(*a)))
        else:
            engine_of = restores.postgresql_engine

            def losing(url: Any) -> Engine:
                engine = engine_of(url)
                lose_commit(engine, server.stop, patched, arrives=place == "commit was not heard of")
                return engine

            patched.setattr(restores, "postgresql_engine", losing)
        answer = meterline("restore", file, "--config", yaml)
    assert (answer.status, answer.err.count("\n"), "cannot be used now" in answer.err) == (6, 1, True)
    server.start()
    assert meterline("registry", "list", "--config", yaml).status == 6
    answer = meterline("restore", file, "--config", yaml)
    assert answer.status == 0
    assert answer.err.startswith("the restore that was cut off" if place == "commit was not heard of" else "restored")
    assert drill.state(config) == drill.state(original)


# ----------------------------------------------------------------------------- the road of a reading


def test_connections_that_stood_through_a_restart_cost_nobody_anything(server: Cluster, tmp_path: Path) -> None:
    engine = open_database(tmp_path / "central.db")
    bring(engine, point(1))
    registry = Registry(engine)
    version = registry.version()
    for how in ("fast", "immediate"):
        server.stop(how)
        server.start()
        assert registry.version() == version
    engine.dispose()


def test_batches_wait_in_the_spool_while_the_database_is_away_and_are_all_there_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cluster: Cluster
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(worker_module, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(worker_module, "LONGEST_WAIT", 0.2)
    (tmp_path / "straight").mkdir()
    straight = Hall(tmp_path / "straight")
    monkeypatch.setenv(VARIABLE, cluster.local_url("{}"))
    hall = Hall(tmp_path)
    points = [point(number) for number in range(1, 6)]
    for each in (straight, hall):
        bring(each.engine, *points)
    batches = [
        batch(
            snapshot(number % 7, asked=1_793_480_462_120 + number, answered=None, registers={"1.8.0": number - 3}),
            sequence=number,
        )
        for number in range(1, 121)
    ]
    straight.receive(*batches)
    straight.drain()
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=hall.worker.run, args=(stop, wake))
    thread.start()
    try:
        for start, how in ((0, "kill"), (40, "immediate"), (80, "fast")):
            hall.receive(*batches[start : start + 20])
            wake.set()
            if start:  # somewhere in the middle of a round, or before, or after it
                eventually(lambda begun=start: hall.inbox.state().unsettled < 20 or hall.worker.counts.batches > begun)
            cluster.stop(how)
            hall.receive(*batches[start + 20 : start + 40])
            wake.set()
            eventually(lambda: "cannot be used now" in hall.worker.trouble, "the worker says what is wrong")
            assert hall.inbox.state().unsettled >= 20
            cluster.start()
            eventually(lambda: hall.inbox.state().unsettled == 0, "the spool is drained")
            eventually(lambda: not hall.worker.trouble)
    finally:
        stop.set()
        wake.set()
        thread.join()
    assert hall.worker.counts.poisonous == 0
    assert [hall.state()[0], hall.evidence()] == [straight.state()[0], straight.evidence()]
    assert [tuple(row)[1:] for row in hall.quarantine()] == [tuple(row)[1:] for row in straight.quarantine()]
    assert caplog.text.count("the spool is drained again") == 3
    assert "Traceback" not in caplog.text
    hall.close()
    straight.close()
    drop_all(cluster)


def test_a_gateway_that_cannot_be_looked_up_is_told_to_come_again_and_one_that_is_known_is_served(
    server: Cluster, tmp_path: Path
) -> None:
    engine = open_database(tmp_path / "central.db")
    bring(engine, point(1), point(2, gateway="gw-other"))
    for known in (False, True):
        door = Door(tmp_path / f"{known}", engine)
        if known:
            assert door.take(sound(1))[0].stored
        server.stop()
        (receipt,) = door.take(sound(2))
        assert (receipt.stored, receipt.code, receipt.final) == (
            (True, None, None) if known else (False, "busy", False)
        )
        server.start()
        door.clock.now += 2000
        assert door.take(sound(2))[0].stored
        assert door.ingest.counts.unreadable == 0
        door.inbox.close()
    engine.dispose()


def test_a_daemon_waits_for_its_database_and_loses_nothing_when_that_is_killed(
    server: Cluster, tmp_path: Path, meterline: Meterline
) -> None:
    with Mosquitto(tmp_path) as broker:
        config, log = central_yaml(tmp_path, broker.url), tmp_path / "log"
        bring_and_leave(tmp_path)
        server.stop()
        daemon = Daemon(config, log)
        eventually(lambda: "nothing is taken in until the database answers" in log.read_text())
        assert daemon.process.poll() is None
        server.start()
        eventually(lambda: "connected to" in log.read_text())
        with connected(broker) as gateway:
            for sequence in range(1, 121):
                gateway.send(sound(sequence))
                if sequence == 40:
                    eventually(gateway.stored)
                    server.stop("kill")
                if sequence == 80:
                    eventually(lambda: "batches wait in the spool" in log.read_text())
                    server.start()
            everything = list(range(1, 121))
            eventually(lambda: sorted(gateway.stored()) == everything, "every batch has its receipt")
            eventually(lambda: values(meterline, config) == everything, "every value once")
        assert daemon.end(signal.SIGTERM) == 0
    assert "Traceback" not in log.read_text()


def bring_and_leave(folder: Path) -> None:
    engine: Engine = open_database(folder / "data" / "central.db")
    bring(engine, *(point(number) for number in range(1, 6)))
    engine.dispose()
