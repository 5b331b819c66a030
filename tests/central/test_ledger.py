"""The ledger: it only grows, its digests are what the contract says, and it gives back what was put in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from sqlalchemy.exc import DatabaseError

from collector.central import closing, ledger
from collector.central.canonical import canonical
from collector.central.engine import writing
from collector.central.explain import explain
from collector.central.ledger import Run, read_entry
from collector.central.store.embedded import EmbeddedStore
from collector.exits import CheckFailed
from tests.central.books import Centre, own_utility, point
from tests.central.databases import allow_changes
from tests.central.one_point import ended, row

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    centre = Centre(tmp_path, point(1), point(2))
    centre.month_of("m1", "2026-09", {"1.8.1": "100", "1.8.2": "10"})
    centre.month_of("m1", "2026-10", {"1.8.1": "150", "1.8.2": "20"})
    centre.close("2026-09")
    return centre


@pytest.mark.parametrize(
    ("table", "column"), [("ledger", "revision"), ("close_run", "revision"), ("evidence", "sequence")]
)
@pytest.mark.parametrize("change", ["UPDATE {0} SET {1} = 7", "DELETE FROM {0}", "DELETE FROM {0} WHERE {1} = 1"])
def test_the_database_itself_refuses_to_change_or_delete_a_row(
    centre: Centre, table: str, column: str, change: str
) -> None:
    with pytest.raises(DatabaseError, match=f"{table} is append-only"), writing(centre.engine) as connection:
        connection.exec_driver_sql(change.format(table, column))
    assert len(centre.ledger()) == 4


def test_a_digest_is_the_sha256_of_row_evidence_and_what_is_carried_and_stands_in_billing_csv(centre: Centre) -> None:
    stored = centre.ledger()
    assert [entry.digest for entry in stored] == [row["digest"] for row in centre.billing("2026-09")]
    for entry in stored:
        texts = f"{entry.row}\n{entry.evidence}\n{entry.carried}"
        assert entry.digest == hashlib.sha256(texts.encode()).hexdigest()


def test_row_and_evidence_are_canonical_json(centre: Centre) -> None:
    for entry in centre.ledger():
        for text in (entry.row, entry.evidence, str(entry.carried)):
            assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_a_row_names_the_snapshot_that_proves_it_with_its_batch_and_its_witnesses(centre: Centre) -> None:
    with centre.engine.connect() as connection:
        first = ledger.proof_of(connection, centre.ledger()[0])
    end = first["segments"][0]["end"]
    (asking,) = end["askings"]
    assert asking["snapshot"]["registers"] == {"1.8.1": 100_000, "1.8.2": 10_000}
    assert asking["snapshot"]["raw"]["1.8.1"] == f"{100_000:08x}"
    assert (asking["gateway"], asking["spool"], asking["sequence"]) == ("gw-lenina-12", "b7e3c1d09a44", 1)
    assert len(asking["sha256"]) == 64
    assert [pair[1] for pair in (end["before"], end["after"])] == [100_000, 100_000]
    assert [finding["check"] for finding in first["findings"]] == ["no-start"]
    assert first["segments"][0]["profile"]["digest"].startswith("sha256:")


def test_an_interval_reading_that_nobody_kept_is_in_the_ledger_as_the_series_have_it(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    for when in ("2026-10-31 23:50:00", "2026-10-31 23:59:30", "2026-11-01 01:30:00"):
        centre.read("m1", when, {"1.8.0": "5"})
    centre.close("2026-10")
    end = json.loads(centre.ledger()[0].evidence)["segments"][0]["end"]
    assert end["askings"] == [
        {"series": {"kind": "live", "meter": "m1", "time": end["time"], "registers": {"1.8.0": 5000}}}
    ]


def test_what_was_put_in_comes_out(centre: Centre) -> None:
    with centre.engine.connect() as connection:
        entries = list(ledger.state(connection, "2026-09", "generic", 1))
        newest = ledger.newest(connection, "2026-09", ["kv1", "kv2", "kv3"])
        (run,) = ledger.runs(connection, "2026-09", "generic")
        assert ledger.holders(connection, "2026-09") == {"kv1": "generic", "kv2": "generic"}
        assert ledger.previous(connection, "2026-09", ["kv1"])["kv1"]["1.8.2"].end_kwh == 10
    assert [(item.reading.point, item.reading.register_) for item in entries] == [
        (name, code) for name in ("kv1", "kv2") for code in ("1.8.1", "1.8.2")
    ]
    assert newest == {
        name: {item.reading.register_: item for item in entries if item.reading.point == name}
        for name in ("kv1", "kv2")
    }
    assert ledger.row_text(entries[0].reading) == entries[0].row
    assert run.findings == {"no-start": 2, "missing": 2}


def test_the_same_close_is_the_same_entry_and_another_reading_or_finding_is_not() -> None:
    closed = row()
    stored = ledger.entry(closed, 3, None)
    assert stored.reading.revision == 3
    assert ledger.same(row(), stored)
    assert not ledger.same(row(previous=ended("99")), stored)
    assert not ledger.same(row(require_act=True), stored)
    assert not ledger.same(row(utility=own_utility(labels="{1.8.0: sum}")), stored)


def test_a_new_version_of_a_row_says_what_it_replaces_and_that_alone_makes_no_further_one() -> None:
    first = ledger.entry(row(require_act=True), 1, None)
    second = ledger.entry(row(), 2, first)
    assert [finding.check for finding in second.findings] == ["revised"]
    assert second.findings[0].text == "r1 had 250 kWh (held), now 250 kWh (ready)"
    assert ledger.same(row(), second)
    assert not ledger.same(row(), first)


def test_a_run_is_noted_once(centre: Centre) -> None:
    with pytest.raises(DatabaseError), writing(centre.engine) as connection:
        ledger.append_run(connection, "2026-09", "generic", Run(1, 0, "{}", {}, None), "", rows=[], who="olga")


# ----------------------------------------------------------------------------- rows of older versions, altered evidence


def made_old(centre: Centre) -> None:
    """The ledger's rows as older versions wrote them: copies of the snapshots, and what they carry, inside."""
    with writing(centre.engine) as connection:
        allow_changes(connection, "ledger")
        for found in centre.ledger():
            proof = ledger.proof_of(connection, read_entry(found.row, found.evidence, found.carried, found.digest))
            evidence = canonical({**proof, "schema": 1, "carried": json.loads(found.carried)})
            digest = hashlib.sha256(f"{found.row}\n{evidence}".encode()).hexdigest()
            values = {"evidence": evidence, "carried": None, "digest": digest}
            connection.execute(ledger.ledger.update().where(ledger.ledger.c.id == found.id).values(values))


def test_rows_of_versions_that_copied_their_evidence_are_still_read_and_built_upon(
    centre: Centre, tmp_path: Path
) -> None:
    centre.close("2026-10")
    told = list(explain(centre.books, "kv1", "2026-10"))
    with centre.engine.connect() as connection:
        before = ledger.previous(connection, "2026-10", ["kv1", "kv2"])
    made_old(centre)
    with centre.engine.connect() as connection:
        after = ledger.previous(connection, "2026-10", ["kv1", "kv2"])
    assert [item.months.raw for rows in after.values() for item in rows.values()] == [
        item.months.raw for rows in before.values() for item in rows.values()
    ]
    assert [line for line in explain(centre.books, "kv1", "2026-10") if "raw bytes" in line] == [
        line for line in told if "raw bytes" in line
    ]
    store = EmbeddedStore(tmp_path / "empty.db")
    books = closing.Books(centre.engine, store, centre.out)
    ready = closing.preview_month(books, "2026-09", own_utility()).counts
    assert ready == closing.preview_month(centre.books, "2026-09", own_utility()).counts


def test_a_snapshot_that_somebody_altered_proves_nothing_any_more(centre: Centre) -> None:
    with writing(centre.engine) as connection:
        allow_changes(connection, "evidence")
        connection.exec_driver_sql("UPDATE evidence SET snapshot = replace(snapshot, '100000', '100001')")
    with pytest.raises(CheckFailed, match="the evidence was altered: no snapshot of m1"):
        list(explain(centre.books, "kv1", "2026-09"))
