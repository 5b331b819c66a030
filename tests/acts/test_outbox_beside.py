"""The gateway's spool from another process: numbers without holes, nothing lost, no stranger's file touched."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from collector.durable.layout import SpoolUnusable
from collector.messages import tombstone
from collector.outbox_beside import append_beside, newest_payloads
from collector.spool import Outbox

EACH = 60


def outbox(path: Path) -> Outbox:
    return Outbox(path, max_bytes=8 << 20, keep_ms=1 << 40, tombstone=tombstone("gw-1"))


def write_beside(path: Path) -> None:
    for _ in range(EACH):
        append_beside(path, lambda spool, sequence: f"beside {spool} {sequence}".encode(), 1)


def test_two_processes_that_append_at_once_share_one_numbering_without_holes(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = outbox(path)
    other = multiprocessing.get_context("spawn").Process(target=write_beside, args=(path,))
    other.start()
    for _ in range(EACH):
        spool.append("keep", lambda s, n: f"daemon {s} {n}".encode(), count=1, first=1, last=1, now=1)
    other.join(60)
    assert other.exitcode == 0
    entries = spool.pending(1000)
    assert [entry.sequence for entry in entries] == list(range(1, 2 * EACH + 1))
    assert {entry.payload for entry in entries} == {
        f"{entry.payload.split()[0].decode()} {entry.spool} {entry.sequence}".encode() for entry in entries
    }
    assert sum(entry.payload.startswith(b"beside") for entry in entries) == EACH
    spool.close()


def test_what_was_added_is_settled_by_its_receipt_like_all_others(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = outbox(path)
    entry = append_beside(path, lambda s, n: b"act", 1)
    assert entry.spool == spool.id
    assert spool.settle(entry.spool, entry.sequence, entry.sha256)
    assert spool.pending(10) == []
    assert list(newest_payloads(path)) == [b"act"]
    spool.close()


def test_a_spool_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="not there yet"):
        append_beside(tmp_path / "spool.db", lambda s, n: b"", 1)
    assert list(newest_payloads(tmp_path / "spool.db")) == []
    assert list(tmp_path.iterdir()) == []


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    with pytest.raises(SpoolUnusable, match="no spool of a gateway"):
        append_beside(path, lambda s, n: b"", 1)
    with pytest.raises(SpoolUnusable, match="no spool of a gateway"):
        list(newest_payloads(path))
    assert path.read_bytes() == before


def test_a_fault_in_the_encoder_leaves_no_number_used(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = outbox(path)

    def broken(_spool: str, _sequence: int) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        append_beside(path, broken, 1)
    assert append_beside(path, lambda s, n: b"x", 1).sequence == 1
    spool.close()
