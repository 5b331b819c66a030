"""Power: at whatever moment the disk is cut off, what was committed is there, whole, under its key, and not twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from collector.durable.layout import Connect
from collector.outbox import RECEIPTED
from collector.spool import Entry, Inbox, Incoming, Outbox
from tests.custody.boxes import DAY, NOW, append, check, outbox, rows
from tests.custody.synced_disk import Connection, Disk, Event

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 120_000  # some twenty batches: the workload evicts
KEPT = {"nothing unsynced stays": 0.0, "everything stays": 1.0, "half the sectors stay": 0.5, "few are lost": 0.95}


def often_checkpointed(connect: Connect, pages: int) -> Connect:
    """The same connections with a checkpoint every so many pages, so that a short workload sees some."""

    def connect_so(path: Path) -> Any:
        connection = connect(path)
        execute = connection.execute

        def execute_so(sql: str, parameters: Any = (), /) -> Any:
            if sql.startswith("PRAGMA wal_autocheckpoint"):
                sql = f"PRAGMA wal_autocheckpoint={pages}"
            return execute(sql, parameters)

        connection.execute = execute_so  # type: ignore[method-assign]
        return connection

    return connect_so


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Disk:
    directory = tmp_path / "disk"
    directory.mkdir()
    return Disk(directory, f"synced-{id(request)}")


def around_syncs(disk: Disk) -> list[int]:
    """The moments before each sync, when most is at stake, and after it."""
    syncs = [number for number, event in enumerate(disk.events, start=1) if event.kind == "sync"]
    return sorted({*syncs, *(number - 1 for number in syncs)})


# ----------------------------------------------------------------------------- the gateway's end


def work_the_outbox(disk: Disk, steps: int, chance: random.Random) -> None:
    """Appends, receipts, refusals, evictions, a restart; the journal notes what was promised and what was settled."""
    path = disk.directory / "spool.db"
    outbox(path, max_bytes=MAX_BYTES).close()
    disk.begin()
    connect = often_checkpointed(disk.connection, 60)
    box = outbox(path, max_bytes=MAX_BYTES, connect=connect)
    for step in range(steps):
        entry = append(box, "keep" if chance.random() < 0.1 else "interval", size=chance.choice([50, 900, 3000, 9000]))
        disk.note(("promised", entry))
        for entry in box.pending(chance.choice([0, 0, 1, 3])):
            if chance.random() < 0.8:
                disk.note(("settled", entry))
                box.settle(entry.spool, entry.sequence, entry.sha256)
            else:
                box.park(entry.spool, entry.sequence, entry.sha256, "schema")
        if chance.random() < 0.05:
            box.resend()
        if step == steps // 2:
            box.close()
            box = outbox(path, max_bytes=MAX_BYTES, connect=connect)
    # The process is gone without a word: nothing is closed.


def nothing_is_lost(box: Outbox, path: Path, notes: list[tuple[str, Entry]], restarts: int = 1) -> None:
    """Every promise stands in the file that a power cut left; each may leave one batch that was not promised yet."""
    promised = [entry for kind, entry in notes if kind == "promised"]
    settled = {(entry.sequence, entry.sha256) for kind, entry in notes if kind == "settled"}
    settled_keys = {sequence for sequence, _sha256 in settled}
    found = {row["sequence"]: row for row in check(path)}
    for entry in promised:
        row = found.get(entry.sequence)
        if row is None:
            assert entry.sequence in settled_keys, f"batch {entry.sequence} was committed and is gone"
        elif row["sha256"] != entry.sha256:
            assert entry.class_ == "interval", f"keep batch {entry.sequence} has other bytes"
            assert row["original"] == entry.sha256
        elif row["state"] == RECEIPTED:
            assert (entry.sequence, entry.sha256) in settled
    newest = max(found, default=0)
    assert 0 <= newest - len(promised) <= restarts
    assert set(range(1, newest + 1)) - found.keys() <= settled_keys
    assert append(box).sequence == newest + 1


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_a_power_cut_after_any_sync_loses_no_committed_batch(disk: Disk, tmp_path: Path, kept: float) -> None:
    chance = random.Random(7)
    work_the_outbox(disk, 70, chance)
    cuts = around_syncs(disk)
    assert len(cuts) > 140
    checkpoints = [event for event in disk.events if event.kind == "sync" and event.name == "spool.db"]
    assert len(checkpoints) > 5
    every_outbox_stands(disk, tmp_path, cuts[:: 1 if 0 < kept < 1 else 3], kept, chance)
    assert any(row["kind"] == 2 for row in rows(disk.directory / "spool.db"))  # the workload did evict


def test_a_second_power_cut_behind_the_first_loses_nothing_either(tmp_path: Path) -> None:
    """What a torn commit left in the log lies behind the commits of the next life; it must not be taken for damage."""
    chance = random.Random(11)
    for number in range(40):
        place = tmp_path / str(number)
        place.mkdir()
        notes: list[tuple[str, Entry]] = []
        outbox(place / "spool.db").close()
        for life in range(3):
            disk = Disk(place, f"life-{number}-{life}")
            disk.begin()
            box = outbox(place / "spool.db", connect=disk.connection)
            for _ in range(chance.randint(1, 4)):
                disk.note(("promised", append(box, "keep", size=chance.choice([50, 3000, 9000]))))
            cut = chance.choice(around_syncs(disk))
            place = place.with_name(f"{number}-{life}")
            place.mkdir()
            disk.image(disk.events[:cut], place, chance, 0.8)
            notes += [event.note for event in disk.events[:cut] if event.kind == "note"]
        box = outbox(place / "spool.db")
        assert box.damage is None
        nothing_is_lost(box, place / "spool.db", notes, restarts=3)
        box.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_a_power_cut_at_any_write_loses_no_committed_batch(disk: Disk, tmp_path: Path, kept: float, seed: int) -> None:
    chance = random.Random(seed)
    work_the_outbox(disk, 120, chance)
    cuts = range(1, len(disk.events) + 1)
    every_outbox_stands(disk, tmp_path, sorted(chance.sample(cuts, 400)), kept, chance)


def every_outbox_stands(disk: Disk, tmp_path: Path, cuts: list[int], kept: float, chance: random.Random) -> None:
    for cut in cuts:
        after = tmp_path / f"after-{cut}"
        after.mkdir()
        disk.image(disk.events[:cut], after, chance, kept)
        path = after / "spool.db"
        box = outbox(path, max_bytes=1 << 30)
        assert box.damage is None  # a power cut is not damage
        nothing_is_lost(box, path, [event.note for event in disk.events[:cut] if event.kind == "note"])
        box.close()
        for file in after.iterdir():
            file.unlink()


def test_this_disk_would_notice_a_spool_that_does_not_sync(disk: Disk, tmp_path: Path) -> None:
    """The check above can fail: the same work without synced commits loses batches."""

    def careless(path: Path) -> Connection:
        connection = disk.connection(path)
        execute = connection.execute

        def execute_so(sql: str, parameters: Any = (), /) -> Any:
            return execute("PRAGMA synchronous=NORMAL" if sql == "PRAGMA synchronous=FULL" else sql, parameters)

        connection.execute = execute_so  # type: ignore[method-assign]
        return connection

    path = disk.directory / "spool.db"
    outbox(path).close()
    disk.begin()
    box = outbox(path, connect=careless)
    for _ in range(5):
        disk.note(("promised", append(box)))
    with pytest.raises(AssertionError, match="was committed and is gone"):
        every_outbox_stands(disk, tmp_path, [len(disk.events)], 0.0, random.Random(1))


# ----------------------------------------------------------------------------- the centre's end


def incoming(number: int, size: int) -> Incoming:
    data = f"{number} ".encode() + random.Random(number).randbytes(size)
    return Incoming(f"gw-{number % 3}", "b7e3c1d09a44", number // 3 + 1, "readings", data)


def work_the_inbox(disk: Disk, steps: int, chance: random.Random) -> None:
    path = disk.directory / "inbox.db"
    Inbox(path, keep_ms=DAY).close()
    disk.begin()
    box = Inbox(path, keep_ms=DAY, connect=often_checkpointed(disk.connection, 60))
    number = 0
    for step in range(steps):
        some = [incoming(number + n, chance.choice([100, 3000, 12_000])) for n in range(chance.randint(1, 5))]
        number += len(some)
        outcomes = box.put([*some, some[0], some[0]._replace(payload=b"other")], NOW + step * DAY // 8)
        disk.note(("promised", some))
        assert outcomes == ["stored"] * len(some) + ["repeat", "conflict"]
        if step % 3 == 0:
            ids = [stored.id for stored in box.unsettled("readings", 4)]
            disk.note(("settled", ids))
            box.settle(ids, NOW + step * DAY // 8)
        if step % 5 == 0:
            box.purge(NOW + step * DAY // 8)
        if step % 6 == 0:
            box.keep_unreadable("meterline/v1/x/readings", b"?" * 9000, "not JSON", NOW)


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_a_power_cut_after_any_sync_loses_nothing_that_was_receipted(disk: Disk, tmp_path: Path, kept: float) -> None:
    chance = random.Random(5)
    work_the_inbox(disk, 40, chance)
    cuts = around_syncs(disk)
    assert len(cuts) > 80
    for cut in cuts[:: 1 if 0 < kept < 1 else 3]:
        after = tmp_path / f"after-{cut}"
        after.mkdir()
        disk.image(disk.events[:cut], after, chance, kept)
        box = Inbox(after / "inbox.db", keep_ms=DAY)
        notes = [event.note for event in disk.events[:cut] if event.kind == "note"]
        receipted = [row for kind, some in notes if kind == "promised" for row in some]
        settled = {number for kind, ids in notes if kind == "settled" for number in ids}
        assert box.state().damage is None
        held = {(row.gateway, row.spool, row.sequence): row for row in box.replay(0, 10_000)}
        for number, row in enumerate(receipted, start=1):
            if row[:3] in held:
                assert held[row[:3]].payload == row.payload
            else:
                assert number in settled, f"batch {number} was receipted and is gone"
        waiting = {row.id for row in box.unsettled("readings", 10_000)}
        assert {row.id for row in held.values()} - settled <= waiting
        assert set(box.put(receipted, NOW)) <= {"repeat", "stored"}
        box.close()
        for file in after.iterdir():
            file.unlink()


def test_an_event_is_lost_or_there_by_whole_sectors(disk: Disk, tmp_path: Path) -> None:
    """The simulated disk itself: synced is there, unsynced tears at sector borders, deleted is gone."""
    into = tmp_path / "image"
    into.mkdir()
    events = [
        Event("write", "a", 0, b"s" * 2000),
        Event("sync", "a"),
        Event("write", "a", 300, b"t" * 1500),
        Event("write", "b", 0, b"u"),
        Event("sync", "b"),
        Event("delete", "b"),
    ]
    seen = set()
    for seed in range(200):
        disk.image(events, into, random.Random(seed), 0.5)
        data = (into / "a").read_bytes()
        assert len(data) == 2000
        pieces = [data[300:512], data[512:1024], data[1024:1536], data[1536:1800]]
        assert all(set(piece) in ({ord("s")}, {ord("t")}) for piece in pieces)
        assert data[:300] + data[1800:] == b"s" * 500
        seen.add(bytes(piece[0] for piece in pieces))
    assert len(seen) == 16
    assert not (into / "b").exists()


# ----------------------------------------------------------------------------- kill -9


def killed_at_any_moment(path: Path, times: int, chance: random.Random) -> None:
    """Let a process append, kill it, let another go on; then look for everything that any of them said."""
    notes: list[tuple[str, Entry]] = []
    for _ in range(times):
        command = [sys.executable, "-m", "tests.custody.appender", str(path), str(MAX_BYTES * 3)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            opened = process.stdout.readline().split()
            assert opened[0] == "open"
            assert opened[2] == "None"  # no damage was found
            time.sleep(chance.uniform(0, 0.15))
            process.kill()
            said = process.stdout.read()
        for line in said.splitlines(keepends=True):
            if line.endswith("\n"):  # a line cut short promised nothing
                kind, spool, sequence, sha256, class_ = line.split()
                notes.append((kind, Entry(spool, int(sequence), class_, b"", sha256)))
    assert len(notes) > times
    box = outbox(path, max_bytes=1 << 30)
    assert {entry.spool for _kind, entry in notes} == {box.id}
    nothing_is_lost(box, path, notes, restarts=times)
    box.close()


def test_a_process_killed_at_any_moment_loses_nothing_it_promised(tmp_path: Path) -> None:
    killed_at_any_moment(tmp_path / "spool.db", 5, random.Random(3))


@pytest.mark.long
def test_a_process_killed_a_hundred_times_loses_nothing_it_promised(tmp_path: Path) -> None:
    killed_at_any_moment(tmp_path / "spool.db", 100, random.Random(4))
