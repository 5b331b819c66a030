"""The chain: it holds over everything that was done, and shows whatever somebody changed afterwards."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from collector.central import audit, chain
from collector.central.engine import writing
from collector.clock import SystemClock
from tests.central.books import FIRST, SECOND, Centre, at, point
from tests.central.building import Meterline, central_yaml
from tests.central.databases import allow_changes

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meterline: Meterline) -> Iterator[Centre]:
    """September and October closed, a reading by hand, a decision, October closed again with both."""
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 08:00:00"))
    centre = Centre(tmp_path, point(1), point(2), point(3))
    for month, dials in (("2026-09", FIRST), ("2026-10", SECOND)):
        centre.month_of("m1", month, dials)
        centre.close(month)
    centre.month_of("m2", "2026-10", SECOND)
    centre.close("2026-10")
    config = central_yaml(tmp_path)
    entered = meterline("manual", "enter", "10003", "2026-10", "5", "6", "--config", config)
    decided = meterline("exceptions", "accept", "2026-10", "kv2", "--config", config, "--reason", "moved in")
    assert (entered.status, decided.status) == (0, 0), entered.err + decided.err
    yield centre
    centre.store.close()
    centre.engine.dispose()


def verify(centre: Centre, head: str | None = None) -> list[str]:
    return audit.verify(centre.engine, centre.out, head).faults


def alter(centre: Centre, table: str, statement: str) -> None:
    with writing(centre.engine) as connection:
        allow_changes(connection, table)
        connection.exec_driver_sql(statement)


def links(connection: Connection) -> list[chain.Link]:
    return list(chain.links(connection))


def test_what_was_done_is_chained_with_who_did_it_and_verifies(
    centre: Centre, meterline: Meterline, tmp_path: Path
) -> None:
    answer = meterline("audit", "verify", "--config", tmp_path / "central.yaml")
    assert answer.status == 0, answer.out
    assert "6 links, 22 rows and 4 folders are what they were" in answer.err
    log = meterline("audit", "log", "--config", tmp_path / "central.yaml", "--format", "csv").out
    rows = list(csv.DictReader(log.splitlines()))
    assert [row["kind"] for row in rows] == ["close", "close", "close", "manual", "decision", "close"]
    assert rows[-1]["digest"] == answer.out.strip()
    assert {row["who"] for row in rows[:3]} == {"meterline"}
    assert rows[4]["who"] == rows[5]["who"] != "meterline"


def test_a_link_is_what_the_documentation_says(centre: Centre) -> None:
    with centre.engine.connect() as connection:
        found = links(connection)
    for number, link in enumerate(found):
        fields = link._asdict()
        digest = fields.pop("digest")
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert digest == hashlib.sha256(text.encode()).hexdigest()
        assert link.previous == (found[number - 1].digest if number else "")


@pytest.mark.parametrize(
    ("table", "statement", "said"),
    [
        (
            "ledger",
            "UPDATE ledger SET row = replace(row, '\"150\"', '\"140\"')",
            "was altered: it does not have its digest",
        ),
        (
            "ledger",
            "UPDATE ledger SET point = 'kv9' WHERE id = 3",
            "kv9 1.8.1 is filed under another point than it says",
        ),
        (
            "ledger",
            "UPDATE ledger SET carried = replace(carried, 'months', 'weeks')",
            "was altered: it does not have its digest",
        ),
        (
            "evidence",
            "UPDATE evidence SET snapshot = replace(snapshot, '1.8.1', '1.8.2')",
            "kv1 1.8.1: a snapshot that proves it was altered or taken out",
        ),
        ("evidence", "DELETE FROM evidence", "kv1 1.8.2: a snapshot that proves it was altered or taken out"),
        ("ledger", "DELETE FROM ledger WHERE id = 2", "its rows are not those that were there"),
        ("close_run", "UPDATE close_run SET manifest = '{}' WHERE id = 1", "its rows are not those that were there"),
        ("close_run", "DELETE FROM close_run WHERE id = 3", "was emitted, and the ledger knows nothing of it"),
        ("decision", "UPDATE decision SET reason = 'another'", "its rows are not those that were there"),
        ("decision", "DELETE FROM decision WHERE id = 1", "its rows are not those that were there"),
        ("manual_reading", "UPDATE manual_reading SET wh = wh + 1", "its rows are not those that were there"),
        ("ledger_link", "UPDATE ledger_link SET who = 'nobody' WHERE id = 2", "link 2 was altered"),
        ("ledger_link", "DELETE FROM ledger_link WHERE id = 2", "link 2 is not there"),
        ("ledger_link", "DELETE FROM ledger_link WHERE id = 1", "r1 is in no link of the chain"),
        ("ledger_link", "DELETE FROM ledger_link WHERE id = 5", "decision: 2 rows are in no link of the chain"),
    ],
)
def test_whatever_somebody_changes_is_found(centre: Centre, table: str, statement: str, said: str) -> None:
    assert verify(centre) == []
    alter(centre, table, statement)
    assert any(said in fault for fault in verify(centre)), verify(centre)


def test_a_link_made_anew_shows_in_the_one_behind_it(centre: Centre) -> None:
    with centre.engine.connect() as connection:
        second = links(connection)[1]
    forged = second._replace(who="nobody")
    alter(centre, "ledger_link", f"UPDATE ledger_link SET who = 'nobody', digest = '{forged.computed}' WHERE id = 2")
    assert any("link 3 does not follow the one before it" in fault for fault in verify(centre))


def test_links_taken_off_the_end_are_missed_by_who_noted_the_digest(centre: Centre) -> None:
    with centre.engine.connect() as connection:
        head = links(connection)[-1].digest
    assert verify(centre, head) == []
    for table, statement in (
        ("ledger_link", "DELETE FROM ledger_link WHERE id = 6"),
        ("ledger", "DELETE FROM ledger WHERE period = '2026-10' AND revision = 3"),
        ("close_run", "DELETE FROM close_run WHERE period = '2026-10' AND revision = 3"),
    ):
        alter(centre, table, statement)
    assert any("r3 was emitted" in fault for fault in verify(centre))
    assert any(f"no link with the digest {head}" in fault for fault in verify(centre, head))


def test_an_emitted_file_that_was_changed_or_is_gone_is_found_and_a_folder_that_is_gone_is_not(
    centre: Centre, meterline: Meterline, tmp_path: Path
) -> None:
    folder = centre.out / "2026-10" / "generic" / "r1"
    (folder / "billing.csv").write_bytes((folder / "billing.csv").read_bytes() + b"\n")
    (folder / "findings.csv").unlink()
    answer = meterline("audit", "verify", "--config", tmp_path / "central.yaml")
    assert (answer.status, "the ledger was altered: 2 faults" in answer.err) == (5, True)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    assert verify(centre) == []
