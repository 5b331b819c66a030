"""The rows behind links of the chain: a ledger of long ago verifies, and the same things give the same digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from collector.central import audit, chain, decisions, manual, responses
from collector.central.case import Decision, Entered
from collector.central.chained_rows import ChainedRows
from collector.central.database import metadata
from collector.central.engine import writing
from collector.central.responses import Response
from tests.central.databases import allow_changes

pytestmark = pytest.mark.usefixtures("database")

# Written by the version that had decisions, readings by hand and answers each with an insert and a digest of its own
# (22 November 2026). Never made anew: it stands for the ledgers that are there.
STORED: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent.parent / "data" / "chained_rows.json").read_text(encoding="utf-8")
)
KINDS: dict[str, tuple[ChainedRows[Any], type[Any]]] = {
    "decision": (decisions.CHAINED, Decision),
    "manual": (manual.CHAINED, Entered),
    "response": (responses.CHAINED, Response),
}


@pytest.fixture
def stored(engine: Engine, tmp_path: Path) -> Engine:
    """The database as it was left then."""
    with writing(engine) as connection:
        for name, rows in STORED.items():
            connection.execute(insert(metadata.tables[name]), rows)
    return engine


def faults(engine: Engine, folder: Path) -> list[str]:
    return audit.verify(engine, folder / "out").faults


def test_a_ledger_that_was_written_long_ago_is_what_it_was(stored: Engine, tmp_path: Path) -> None:
    verdict = audit.verify(stored, tmp_path / "out", STORED["ledger_link"][0]["digest"])
    assert (verdict.faults, verdict.links, verdict.rows) == ([], 5, 8)
    assert verdict.head == STORED["ledger_link"][-1]["digest"]


def test_the_same_rows_added_now_make_the_same_links(engine: Engine) -> None:
    with writing(engine) as connection:
        for link in STORED["ledger_link"]:
            kept, row = KINDS[link["kind"]]
            columns = [name for name in row._fields if name in kept.table.c and name != "link"]
            rows = [
                row(*(item[name] for name in columns), at=link["at"] - 1, who="somebody else")  # not theirs to say
                for item in STORED[kept.table.name]
                if item["link"] == link["id"]
            ]
            what = {name: text for name, text in json.loads(link["what"]).items() if name != "rows"}
            kept.add(connection, rows, now=link["at"], who=link["who"], **what)
    with engine.connect() as connection:
        assert [link._asdict() for link in chain.links(connection)] == STORED["ledger_link"]
        for name in ("decision", "manual_reading", "response"):
            table = metadata.tables[name]
            found = connection.execute(select(table).order_by(table.c.id))
            assert [dict(row._mapping) for row in found] == STORED[name]


CHANGES = [
    (table, column)
    for table in ("decision", "manual_reading", "response")
    for column in STORED[table][0]
    if column not in ("id", "link")
]


@pytest.mark.parametrize(("table", "column"), CHANGES)
def test_no_column_of_a_row_can_be_changed_unseen(stored: Engine, tmp_path: Path, table: str, column: str) -> None:
    last = STORED[table][-1]
    with writing(stored) as connection:
        allow_changes(connection, table)
        changed = metadata.tables[table].update().where(metadata.tables[table].c.id == last["id"])
        value = last[column] + 1 if isinstance(last[column], int) else last[column][:-1] + "."
        connection.execute(changed.values({column: value}))
    (fault,) = faults(stored, tmp_path)
    assert fault.startswith(f"link {last['link']} (")


def test_rows_that_change_places_are_seen(stored: Engine, tmp_path: Path) -> None:
    with writing(stored) as connection:
        allow_changes(connection, "response")
        table = metadata.tables["response"]
        connection.execute(table.update().where(table.c.id == 1).values(id=9))
    assert [fault[:17] for fault in faults(stored, tmp_path)] == ["link 3 (response)"]


def test_what_is_read_back_has_the_time_and_the_name_of_its_link(stored: Engine) -> None:
    with stored.connect() as connection:
        decided = decisions.of(connection, "2026-10", ["kv2"])["kv2"]
        entered = manual.of(connection, "2026-10", ["kv1", "kv9"])
        first, second = responses.given(connection, "2026-10", "generic")
        assert responses.given(connection, "2026-10", "generic", "10001") == [second]
        assert responses.given(connection, "2026-10", "other") == []
    assert (decided["1.8.1"].verdict, decided["1.8.1"].at, decided["1.8.1"].who) == ("reject", 1762153200001, "")
    assert (decided["1.8.2"].at, decided["1.8.2"].who) == (1761980400000, "Ольга П. (entered by olga)")
    assert entered["kv1"]["1.8.1"][4:] == (
        *(2**53 - 1, 1761120000000, "list.csv:12", "misheard\tby us"), 1762153200000, "olga", (1_500_000,),
    )  # fmt: skip
    assert entered["kv1"]["1.8.2"].earlier == ()
    assert (first.account, first.verdict, first.at, first.who, first.link) == (
        "43 45;*", "refused", 1762066800000, "root (olga by sudo)", 3,
    )  # fmt: skip
