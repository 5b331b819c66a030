"""PostgreSQL for registry and ledger: how it is reached, what it promises, who waits for whom, and hostile texts.

What the rest of the suite says of registry, quarantine, evidence, ledger and closing it says of PostgreSQL too: fixture
`database`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, make_url
from sqlalchemy.exc import DatabaseError

from collector.central.database import Alone, alone, binding, meter, point_version, registry_log, segment
from collector.central.engine import (
    DatabaseAway,
    open_engine,
    open_postgresql,
    postgresql_engine,
    postgresql_url,
    writing,
)
from collector.central.evidence import Evidence, Quarantined, evidence_of, keep, quarantined
from collector.central.registry import Registry
from collector.central.status import healths, keep_statuses
from collector.config import load_central
from collector.exits import Unreachable, UsageFault
from collector.model import Status
from drivers.strict_yaml import ConfigError
from tests.broker import eventually
from tests.central.books import Centre
from tests.central.building import GATEWAY, PROFILE, Meterline, batch, bring, central_yaml, point, snapshot
from tests.central.databases import TEMPLATE, VARIABLE, drop_all, open_database
from tests.central.test_worker import Hall
from tests.postgres import PASSWORD, Cluster


@pytest.fixture
def name(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of its own, with tables; and `open_database` means this server."""
    monkeypatch.setenv(VARIABLE, postgres.local_url("{}"))
    postgres.create("at_hand", TEMPLATE)
    yield "at_hand"
    drop_all(postgres)


@pytest.fixture
def engine(postgres: Cluster, name: str) -> Iterator[Engine]:
    engine = open_postgresql(make_url(postgres.local_url(name)))
    yield engine
    engine.dispose()


def configured(folder: Path, **database: object) -> Path:
    """A central.yaml with this `database` section."""
    path = central_yaml(folder)
    text = "".join(line for line in path.read_text().splitlines(True) if not line.startswith("database"))
    path.write_text(f"{text}database: {json.dumps(database, default=str)}\n")
    return path


# ----------------------------------------------------------------------------- how it is reached


def test_the_password_comes_from_its_file_whatever_signs_it_has(postgres: Cluster, name: str, tmp_path: Path) -> None:
    config = load_central(configured(tmp_path, url=postgres.url(name), password_file=postgres.password_file))
    assert Registry(open_engine(config)).version() == 0


def test_a_server_that_believes_its_socket_needs_no_password(postgres: Cluster, name: str, tmp_path: Path) -> None:
    config = load_central(configured(tmp_path, url=postgres.local_url(name)))
    assert config.database.password_file is None
    assert Registry(open_engine(config)).version() == 0


@pytest.mark.parametrize("file", [PASSWORD, "wrong"], ids=["right", "wrong"])
@pytest.mark.parametrize("trouble", ["no server", "no database", "no such user"])
def test_what_cannot_be_reached_is_said_in_one_line_without_the_password(
    postgres: Cluster, name: str, tmp_path: Path, meterline: Meterline, trouble: str, file: str
) -> None:
    (tmp_path / "password").write_text(file + "\n")
    url = {
        "no server": "postgresql+psycopg://meterline@127.0.0.1:1/meterline",
        "no database": postgres.url("nowhere"),
        "no such user": postgres.url(name).replace("meterline@", "nobody@"),
    }[trouble]
    config = configured(tmp_path, url=url, password_file=tmp_path / "password")
    answer = meterline("registry", "list", "--config", config)
    assert (answer.status, answer.out) == (6, "")
    assert answer.err.startswith("meterline: the database postgresql+psycopg://")
    assert answer.err.count("\n") == 1
    assert file not in answer.err
    said = "refused" if trouble == "no server" else "not exist" if file == PASSWORD and trouble == "no database" else ""
    assert said in answer.err


def test_a_password_file_that_is_gone_is_a_fault_of_the_configuration(
    postgres: Cluster, name: str, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("x\n")
    config = load_central(configured(tmp_path, url=postgres.url(name), password_file=tmp_path / "password"))
    (tmp_path / "password").unlink()
    with pytest.raises(UsageFault, match=r"database: .*cannot be read"):
        open_engine(config)


SCHEME = "postgresql+psycopg://"


@pytest.mark.parametrize(
    "url",
    [
        "/n",
        "u@/n",
        "u@:5433/n",
        "h/n",
        "[::1]:5432/n",
        "/n?host=/run/postgresql",
        "u@h/n?sslmode=verify-full&sslrootcert=/c",
    ],
)
def test_a_server_is_named_by_host_or_socket_and_by_how_it_is_proven(tmp_path: Path, url: str) -> None:
    config = load_central(configured(tmp_path, url=SCHEME + url))
    engine = postgresql_engine(postgresql_url(config))
    assert (engine.url.database, engine.url.password) == ("n", None)


@pytest.mark.parametrize(
    "url",
    ["h/n?", "h/n?a=b", "h/n?options=-csynchronous_commit=off", "h/n?password=geheim", "u:geheim@h/n", "h n/n", "h"],
)
def test_any_other_word_in_a_url_is_refused_and_a_password_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_central(configured(tmp_path, url=SCHEME + url))
    (fault,) = refused.value.faults
    assert "geheim" not in fault
    assert ("password_file" in fault) == ("geheim" in url)


def test_a_database_that_cannot_hold_every_letter_is_refused(postgres: Cluster, name: str) -> None:
    postgres.execute("CREATE DATABASE at_latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
    with pytest.raises(Unreachable, match=r"has the encoding LATIN1, UTF8 is needed; make it anew: createdb"):
        open_postgresql(make_url(postgres.local_url("at_latin")))


def test_a_role_that_may_not_make_tables_is_told_so(postgres: Cluster, name: str) -> None:
    postgres.execute("DROP ROLE IF EXISTS guest")
    postgres.execute("CREATE ROLE guest LOGIN")
    postgres.create("at_guests")
    with pytest.raises(Unreachable, match="cannot be used: permission denied for schema public"):
        open_postgresql(make_url(postgres.local_url("at_guests").replace("meterline@", "guest@")))


def test_a_fault_of_the_database_does_not_repeat_what_was_to_be_written(engine: Engine) -> None:
    row = {"at": 1 << 70, "who": "Olga Petrovna, flat 14", "what": "{}"}
    with pytest.raises(DatabaseError) as refused, writing(engine) as connection:
        connection.execute(insert(registry_log), row)
    assert "Olga" not in str(refused.value)
    assert not isinstance(refused.value, DatabaseAway)


# ----------------------------------------------------------------------------- what it promises


@pytest.mark.parametrize(("server", "ours"), [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")])
def test_a_commit_that_has_returned_is_on_the_disk_whatever_the_server_does_for_others(
    postgres: Cluster, name: str, server: str, ours: str
) -> None:
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = {server}")
    engine = open_postgresql(make_url(postgres.local_url(name)))
    for _ in range(2):  # the same connection, used again
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == ours
    engine.dispose()


def test_a_server_that_does_not_write_to_its_disk_is_warned_of(
    postgres: Cluster, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    open_postgresql(make_url(postgres.local_url(name))).dispose()
    assert "runs with fsync=off: a power cut may take" in caplog.text


@pytest.mark.parametrize("table", ["ledger", "close_run"])
def test_nobody_empties_the_ledger(engine: Engine, table: str) -> None:
    for statement in (f"TRUNCATE {table}", f"TRUNCATE {table} CASCADE", f"DELETE FROM {table}"):
        with pytest.raises(DatabaseError, match=f"{table} is append-only"), writing(engine) as connection:
            connection.exec_driver_sql(statement)


def test_what_a_gateway_says_of_itself_is_kept_and_replaced(engine: Engine) -> None:
    for now, online in ((1, True), (2, True), (3, False)):
        status = Status(gateway=GATEWAY, online=online, at=now, version="0.1.0\0")
        with writing(engine) as connection:
            keep_statuses(connection, [status], now)
    with engine.connect() as connection:
        (health,) = healths(connection)
    assert (health.online, health.since, health.at, health.status.version) == (False, 3, 3, "0.1.0\0")


# ----------------------------------------------------------------------------- who waits for whom


@contextmanager
def in_the_background(work: Any) -> Iterator[list[BaseException | None]]:
    """Run it beside; what it ended with comes into the list, which is empty as long as it runs."""
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it goes into the list, for the test to look at
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    yield ended
    thread.join()


def waiting(postgres: Cluster) -> int:
    """How many transactions wait for a lock."""
    ((count,),) = postgres.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return int(count)


def test_an_import_waits_for_another_one_and_then_sees_what_it_brought(postgres: Cluster, engine: Engine) -> None:
    with writing(engine) as connection:
        alone(connection, Alone.REGISTRY)
        with in_the_background(lambda: bring(engine, point(1, account="second"))) as ended:
            eventually(lambda: waiting(postgres) == 1, "the import waits")
            bring_beside(connection)
            connection.commit()
    assert ended == [None]
    assert [item.account for item in Registry(engine).histories()["kv1"]] == ["first", "second"]


def bring_beside(connection: Any) -> None:
    """What the first of two imports writes, in its transaction."""
    row = point(1)
    version = {key: row[key] for key in ("point", "utility", "address", "flat", "ratio", "time_zone")}
    numbers = {"valid_from": 1, "account": "first", "tariffs": 2, "receipt_order": 1}
    connection.execute(insert(point_version), version | numbers)
    connection.execute(insert(meter), {"meter": "m1", "serial_number": "00001"})
    connection.execute(insert(binding), {"meter": "m1", "valid_from": 1, "profile": "abb-b23", "gateway": GATEWAY})
    connection.execute(insert(segment), {"point": "kv1", "meter": "m1"})
    connection.execute(insert(registry_log), {"at": 1, "who": "first", "what": "{}"})


def test_closes_into_different_folders_wait_for_each_other(postgres: Cluster, name: str, tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1))
    with writing(centre.engine) as connection:
        alone(connection, Alone.CLOSE)
        with in_the_background(lambda: centre.close("2026-10")) as ended:
            eventually(lambda: waiting(postgres) == 1, "the close waits")
            assert ended == []
            connection.commit()
    assert ended == [None]
    assert len(centre.ledger()) == 2


def test_readings_are_kept_while_a_close_or_an_import_takes_its_time(
    postgres: Cluster, name: str, tmp_path: Path
) -> None:
    hall = Hall(tmp_path)
    bring(hall.engine, point(1))
    with writing(hall.engine) as connection:
        alone(connection, Alone.CLOSE)
        alone(connection, Alone.REGISTRY)
        hall.receive(batch(snapshot(1)))
        hall.drain()
        assert len(hall.evidence()) == 1
    hall.close()


def test_who_waits_too_long_for_a_lock_is_told_that_it_may_be_tried_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(engine) as first, writing(engine) as second:
        alone(first, Alone.CLOSE)
        second.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(DatabaseAway, match="cannot be used now: canceling statement due to lock timeout"):
            alone(second, Alone.CLOSE)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "30s"


# ----------------------------------------------------------------------------- the same order everywhere


def kept(sequence: int, **changed: Any) -> tuple[Evidence, Quarantined]:
    """What two batches may say of one meter at one instant."""
    key = (GATEWAY, "b7e3c1d09a44", sequence, 0)
    doubt = Quarantined(*key, "", "", "", "m1", None, "", "odd", "{}")._replace(**changed)
    return Evidence(*key, "m1", 1000, "0" * 64, "Europe/Moscow", "{}"), doubt


@pytest.mark.usefixtures("database")
def test_rows_of_one_instant_come_in_the_order_of_their_keys_whenever_they_were_written(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "central.db")
    with writing(engine) as connection:
        for sequence in (3, 12, 1):
            keep(connection, [kept(sequence)[0]], [])
    with engine.connect() as connection:
        assert [row.sequence for row in evidence_of(connection, ["m1"], 0, 5000)] == [1, 3, 12]
    engine.dispose()


@pytest.mark.usefixtures("database")
def test_a_doubt_without_a_time_comes_before_those_that_have_one(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "central.db")
    with writing(engine) as connection:
        keep(connection, [], [kept(1, time=5)[1], kept(2)[1], kept(3, time=4)[1]])
    with engine.connect() as connection:
        assert [row.sequence for row in quarantined(connection, None, None, None)] == [2, 3, 1]
    engine.dispose()


# ----------------------------------------------------------------------------- hostile texts

HOSTILE = {
    "nul": "\0", "nuls": "\0" * 64, "nul inside": "Europe/Mos\0cow", "half a character": "\ud800",
    "wide": "\U0001f4a1" * 64, "sql": "'; DROP TABLE ledger; --", "escape": "\\x00", "parameter": "%s %(a)s",
}  # fmt: skip


def with_text(text: str) -> list[dict[str, Any]]:
    """Batches that hold a text wherever a stranger may put one."""
    inside = [
        {"serial_number": text}, {"clock": text}, {"profile": text}, {"meter": text}, {text: text}, {"raw": {text: ""}},
        {"failure": {"kind": "stranger", "text": text}}, {"registers": {text: 1}}, {"frozen": {text: {"1.8.0": 1}}},
        {"failure": {"kind": "no-answer", "text": text}, "registers": {}},
    ]  # fmt: skip
    outside = [{"zone": text}, {"profiles": {PROFILE: text}}, {text: text}]
    batches = [batch(snapshot(1, **changed)) for changed in inside] + [batch(snapshot(1), **some) for some in outside]
    return [{**item, "sequence": number} for number, item in enumerate(batches, 1)]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.usefixtures("database")
def test_no_text_of_a_stranger_stops_the_queue(tmp_path: Path, text: str) -> None:
    hall = Hall(tmp_path)
    bring(hall.engine, point(1), point(2))
    hostile = with_text(text)
    hall.receive(*hostile, batch(snapshot(2), sequence=len(hostile) + 1))
    hall.drain()
    # Half a character in an envelope is refused at the door; were it stored, it would be set aside as a whole.
    assert hall.worker.counts.poisonous == (3 if text == "\ud800" else 0)
    assert "m2" in {row.meter for row in hall.evidence()}
    assert hall.inbox.state().unsettled == 0
    assert not any("\0" in str(row) for row in (*hall.evidence(), *hall.quarantine()))
    hall.close()


_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 80), 1 << 80) | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_inside = st.sampled_from([*snapshot(1), "clock", "frozen", "quantities", "raw", "failure"])
_outside = st.sampled_from(["class", "zone", "synced", "profiles"])


@pytest.fixture(scope="module")
def halls(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Hall]]:
    """The same centre on both databases."""
    with pytest.MonkeyPatch.context() as patched:
        found = [Hall(tmp_path_factory.mktemp("sqlite"))]
        patched.setenv(VARIABLE, postgres.local_url("{}"))
        found.append(Hall(tmp_path_factory.mktemp("postgresql")))
    for hall in found:
        bring(hall.engine, point(1), point(2))
    yield found
    for hall in found:
        hall.close()
    drop_all(postgres)


@given(st.dictionaries(_inside, _anything, max_size=2), st.dictionaries(_outside, _anything, max_size=1))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_both_databases_keep_the_same_of_anything(
    halls: list[Hall], inside: dict[str, Any], outside: dict[str, Any]
) -> None:
    kept = []
    for hall in halls:
        number = 1 + max((stored.sequence for stored in hall.inbox.replay(0, 1000)), default=0)
        hall.receive({**batch(snapshot(1, **inside), snapshot(2)), **outside, "sequence": number})
        hall.drain()
        assert hall.inbox.state().unsettled == 0
        rows = [row for row in (*hall.evidence(), *hall.quarantine()) if row.sequence == number]
        kept.append(([row._asdict() | {"id": 0} for row in rows], hall.worker.counts))
    assert kept[0] == kept[1]
