"""Healing: what it promises to both ends, cut off anywhere, twice, on a full disk, while the file is in use."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from collector.durable import healing
from collector.durable.layout import PAGE, transaction
from collector.durable.salvage import Pages
from collector.outbox import RECEIPTED
from collector.spool import Inbox, Incoming, SpoolFull
from tests.custody.boxes import DAY, NOW, append, outbox, rows, tombstone
from tests.custody.damaged import aside, overwrite, reopened, unchanged
from tests.custody.synced_disk import Disk

# ----------------------------------------------------------------------------- what healing promises


def test_a_healed_file_has_a_new_id_and_the_old_rows_keep_their_keys(path: Path) -> None:
    before = rows(path)
    overwrite(path, 0, bytes(PAGE))
    box, _damage = reopened(path, "not a database")
    old = before[0]["spool"]
    assert box.id != old
    assert rows(path) == before  # with their states, row by row
    entry = append(box)
    assert (entry.spool, entry.sequence) == (box.id, 1)
    waiting = box.pending(99)
    assert {(e.spool, e.sequence) for e in waiting} >= {(old, 2), (box.id, 1)}
    for entry in waiting:
        assert box.settle(entry.spool, entry.sequence, entry.sha256)
    assert box.resend() == 1
    assert [(e.spool, e.sequence) for e in box.pending(99)] == [(old, 6)]
    box.close()


def test_damage_is_said_until_the_file_that_was_set_aside_is_taken_away(path: Path) -> None:
    overwrite(path, 0, bytes(PAGE))
    for _ in range(3):
        box, _damage = reopened(path, "not a database")
        assert box.state(NOW).damage == box.damage
        box.close()
    aside(path).unlink()
    box = outbox(path)
    assert box.damage is None
    box.close()


def test_a_file_damaged_twice_is_healed_twice_and_both_are_kept(path: Path) -> None:
    before = [row["sha256"] for row in rows(path)]
    ids = {rows(path)[0]["spool"]}
    for _ in range(2):
        overwrite(path, 0, bytes(PAGE))
        box = outbox(path)
        ids.add(box.id)
        box.close()
    assert len(ids) == 3
    assert len(list(path.parent.glob("*.damaged-*Z"))) == 2
    assert [row["sha256"] for row in rows(path)] == before


def leaf_of(path: Path, sequence: int) -> int:
    """The number of the page on which a batch's row begins."""
    data = path.read_bytes()
    return data.index(f"{rows(path)[0]['spool']}/{sequence}/".encode()) // PAGE + 1


def test_what_was_let_go_does_not_come_back_with_healing(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    box = outbox(path, keep_ms=DAY)
    for n, entry in enumerate([append(box, size=60) for _ in range(200)]):
        if n % 3:
            box.settle(entry.spool, entry.sequence, entry.sha256)
    for _ in range(20):
        append(box, size=60, now=NOW + 3 * DAY)
    box.close()
    before = rows(path)
    pages = Pages(path)
    assert sum(not row.live for row in pages.rows()) > 20  # old copies on free pages
    pages.close()
    overwrite(path, (leaf_of(path, before[-1]["sequence"]) - 1) * PAGE, bytes(PAGE))
    box, damage = reopened(path, "rows copied out")
    box.close()
    assert {row["sequence"] for row in rows(path)} < {row["sequence"] for row in before}
    assert f"of {len(before)} rows" in damage


def test_rows_on_pages_that_are_wrongly_called_free_are_found(path: Path) -> None:
    before = rows(path)
    live = leaf_of(path, 9)
    overwrite(path, 32, live.to_bytes(4, "big") + (1).to_bytes(4, "big"))  # the header's list of free pages
    box, damage = reopened(path, "rows copied out")
    box.close()
    assert f"{len(before)} of {len(before)} rows copied out" in damage
    assert rows(path) == before


class PowerCut(BaseException):
    """Ends whatever is under way."""


@pytest.mark.parametrize("spoil", [0, 7 * PAGE])
def test_healing_that_is_cut_off_anywhere_is_finished_by_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch, spoil: int
) -> None:
    """Cut before each rename, sync, removal and transaction in turn, until healing comes through without being cut."""
    before = rows(path)
    overwrite(path, spoil, bytes(PAGE))
    shutil.copy(path, path.with_name("pristine"))
    spoiled = path.read_bytes()
    reached = 0
    left = 0

    def cut(work: Any) -> Any:
        def cut_or_work(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise PowerCut
            return work(*arguments, **named)

        return cut_or_work

    while True:
        reached += 1
        left = reached
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", cut(Path.rename))
            patch.setattr(Path, "unlink", cut(Path.unlink))
            patch.setattr(healing, "_sync", cut(healing._sync))
            patch.setattr(healing, "transaction", cut(transaction))
            try:
                outbox(path).close()
                finished = True
            except PowerCut:
                finished = False
        box = outbox(path)
        assert box.damage is not None
        box.close()
        assert aside(path).read_bytes() == spoiled
        found = rows(path)
        assert {row["sequence"] for row in found} >= {row["sequence"] for row in before if row["state"] != RECEIPTED}
        assert sum(row in before for row in found) >= len(before) - 4
        for other in path.parent.glob("spool.db*"):
            other.unlink()
        shutil.copy(path.with_name("pristine"), path)
        if finished:
            break
    assert reached > 12


def test_a_file_that_breaks_while_it_is_used_is_healed_and_goes_on(path: Path) -> None:
    before = rows(path)
    box = outbox(path)
    old = box.id
    for start in range(PAGE, path.stat().st_size, 3 * PAGE):
        overwrite(path, start, bytes(PAGE))
    box._file.connection.execute("PRAGMA shrink_memory")
    entry = append(box, "keep")
    assert box.damage is not None
    assert box.id != old
    assert entry.spool == box.id
    assert entry in box.pending(99)
    box.close()
    assert sum(unchanged(row, {(r["spool"], r["sequence"]): r for r in [*before, row]}) for row in rows(path)) > 5


def test_a_file_that_breaks_on_a_full_disk_is_healed_when_there_is_room(
    path: Path, request: pytest.FixtureRequest
) -> None:
    directory = path.parent / "disk"
    directory.mkdir()
    place = directory / "spool.db"
    shutil.copy(path, place)
    disk = Disk(directory, f"broken-{id(request)}")
    box = outbox(place, connect=disk.connection)
    for start in range(PAGE, place.stat().st_size, 3 * PAGE):
        overwrite(place, start, bytes(PAGE))
    box._file.execute("PRAGMA shrink_memory")
    disk.room = 0
    for _ in range(2):
        with pytest.raises(SpoolFull, match="free some room"):
            append(box, "keep")
    disk.room = None
    assert append(box, "keep").sequence == 1
    assert box.damage is not None
    box.close()


def test_a_tombstone_that_rots_is_made_again_and_still_knows_its_batch(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    box = outbox(path, max_bytes=100_000)
    original = append(box)
    while box.state(NOW).evicted == 0:
        append(box)
    box._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stone = box.pending(99)[-1]
    assert stone.sequence == original.sequence
    overwrite(path, path.read_bytes().index(stone.payload), b"T")
    box._file.execute("PRAGMA shrink_memory")
    assert box.pending(99)[-1] == stone
    assert box.damage is not None
    lost = box.state(NOW).evicted
    assert box.settle(original.spool, original.sequence, original.sha256)
    append(box, "keep")
    assert stone not in box.pending(99)
    assert box.state(NOW).evicted == lost  # one came to light, the last append took another
    box.close()


def test_a_payload_that_rots_while_the_gateway_runs_is_never_sent(path: Path) -> None:
    box = outbox(path)
    victim = box.pending(99)[5]
    data = path.read_bytes()
    at = data.index(victim.payload[20:50])
    overwrite(path, at, b"#")
    box._file.connection.execute("PRAGMA shrink_memory")
    found = {entry.sequence: entry for entry in box.pending(99)}
    assert found[victim.sequence].payload == tombstone(victim.spool, victim.sequence, 10, NOW - 1000, NOW)
    assert "lost their bytes" in str(box.damage)
    assert box.state(NOW).evicted == 10
    box.close()


# ----------------------------------------------------------------------------- the centre's end


def test_the_centres_file_is_healed_with_its_keys_and_what_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    box = Inbox(path, keep_ms=DAY)
    sent = [
        Incoming(
            f"gw-{n % 3}", "b7e3c1d09a44", n + 1, "acts" if n % 5 == 0 else "readings", random.Random(n).randbytes(3000)
        )
        for n in range(30)
    ]
    box.put(sent, NOW)
    box.settle([stored.id for stored in box.unsettled("readings", 9)], NOW + 1)
    before = rows(path, "inbox")
    box.close()
    overwrite(path, 0, bytes(PAGE))
    box = Inbox(path, keep_ms=DAY)
    assert "30 of 30 rows copied out" in str(box.state().damage)
    assert rows(path, "inbox") == before
    assert box.put(sent, NOW) == ["repeat"] * 30
    assert len(box.unsettled("readings", 99)) + len(box.unsettled("acts", 99)) == 21
    box.close()
    # One payload spoiled: the centre cannot send it again, and says so.
    data = path.read_bytes()
    overwrite(path, data.index(sent[20].payload[50:90]), b"?")
    box = Inbox(path, keep_ms=DAY)
    assert "29 of 30 rows copied out" in str(box.state().damage)
    assert box.put(sent[20:21], NOW) == ["stored"]
    box.close()


def test_healing_takes_place_wholly_or_not_at_all_whatever_room_the_disk_has(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = rows(path)
    overwrite(path, 0, bytes(PAGE))
    spoiled = path.read_bytes()
    directory = tmp_path / "disk"
    directory.mkdir()
    disk = Disk(directory, f"healing-{id(request)}")
    place = directory / "spool.db"
    outcomes = []
    for room in range(len(spoiled), 4 * len(spoiled), 8000):
        place.write_bytes(spoiled)
        disk.room = room
        try:
            box = outbox(place, connect=disk.connection)
        except SpoolFull:
            assert place.read_bytes() == spoiled
            outcomes.append("waits")
        else:
            disk.room = None
            box.close()
            found = rows(place)
            if found != before:  # the receipted ones are at the centre too
                assert found == [row for row in before if row["state"] != RECEIPTED or row in found]
            outcomes.append("healed")
        disk.room = None
        for other in directory.iterdir():
            other.unlink()
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {"waits", "healed"}


def test_healing_on_a_full_disk_waits_for_room_and_touches_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite(path, 0, bytes(PAGE))
    spoiled = path.read_bytes()

    def full(*_arguments: Any) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(healing, "_insert", full)
        with pytest.raises(SpoolFull, match="free some room"):
            outbox(path)
    assert path.read_bytes() == spoiled
    box, _damage = reopened(path, "not a database")
    box.close()
