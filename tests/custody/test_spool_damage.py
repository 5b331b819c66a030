"""Damage: whatever became of a spool file, the start goes on, the file is kept, all rows that prove themselves live."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.durable import healing
from collector.durable.layout import PAGE, transaction
from collector.durable.salvage import FRAME, LOG_HEADER, Pages, log_fault
from collector.outbox import RECEIPTED, TOMBSTONE
from collector.spool import Entry, Inbox, Incoming, Outbox, SpoolFull, SpoolUnusable
from tests.custody.boxes import DAY, NOW, append, check, outbox, rows, tombstone
from tests.custody.synced_disk import Disk

SIZES = (50, 400, 3000, 12_000)


def make(path: Path, batches: int = 24) -> list[Entry]:
    """A spool with batches of all sizes and both classes; every fourth is receipted, the fifth is parked."""
    box = outbox(path)
    entries = [append(box, "keep" if n % 6 == 0 else "interval", size=SIZES[n % 4]) for n in range(batches)]
    for entry in entries[::4]:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    box.park(entries[5].spool, 6, entries[5].sha256, "schema")
    box.close()
    return entries


def aside(path: Path) -> Path:
    """The only file that was set aside."""
    (found,) = (other for other in path.parent.glob("*.damaged-*") if not other.name.endswith(("-wal", "-shm")))
    return found


def reopened(path: Path, fault: str) -> tuple[Outbox, str]:
    """The healed box and what it says; it must have found that fault."""
    box = outbox(path)
    assert box.damage is not None
    assert re.search(fault, box.damage), box.damage
    assert re.search(r"the old file is spool\.db\.damaged-\d{8}T\d{6}\.\d{6}Z$", box.damage)
    return box, box.damage


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of which the tests damage copies."""
    path = tmp_path_factory.mktemp("sound") / "spool.db"
    make(path)
    return path


@pytest.fixture
def path(tmp_path: Path, sound: Path) -> Path:
    shutil.copy(sound, tmp_path / "spool.db")
    return tmp_path / "spool.db"


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def unchanged(row: dict[str, Any], before: dict[tuple[str, int], dict[str, Any]]) -> bool:
    return row == before[row["spool"], row["sequence"]]


# ----------------------------------------------------------------------------- one bad page


def with_every_page_spoiled(sound: Path, path: Path, step: int, noise: random.Random) -> Iterator[tuple[int, set[int]]]:
    """(page, sequences whose bytes are lost) for every `step`th page, spoiled by itself."""
    before = {(row["spool"], row["sequence"]): row for row in rows(sound)}
    for number in [*range(1, 6), *range(6, sound.stat().st_size // PAGE + 1, step)]:
        shutil.copy(sound, path)
        overwrite(path, (number - 1) * PAGE, noise.choice([bytes(PAGE), noise.randbytes(PAGE), b"\xff" * PAGE]))
        box = outbox(path)
        spool, damage = box.id, box.damage
        assert damage is not None, f"page {number} was spoiled and nothing was noticed"
        assert all(spool != old for old, _sequence in before)
        box.close()
        after = check(path)
        copied = [row for row in after if unchanged(row, before)]
        counted = re.search(r"(\d+) of (\d+) rows copied out", damage)
        assert counted is not None
        assert int(counted[1]) == len(copied)
        for row in after:
            if row not in copied:
                lost = before[row["spool"], row["sequence"]]
                assert row["kind"] == TOMBSTONE
                assert row["original"] == lost["sha256"]
                assert row["payload"] == tombstone(row["spool"], row["sequence"], 10, NOW - 1000, NOW)
                assert lost["state"] != RECEIPTED
        yield number, {sequence for _spool, sequence in before} - {row["sequence"] for row in copied}
        for other in path.parent.iterdir():
            other.unlink()


def test_one_bad_page_costs_only_its_rows(sound: Path, tmp_path: Path) -> None:
    costs = [len(lost) for _page, lost in with_every_page_spoiled(sound, tmp_path / "spool.db", 9, random.Random(1))]
    assert max(costs) <= 4  # as many as fit on a page of 1 KiB
    assert costs.count(0) >= 3  # the header, the indexes, the pages above the leaves


@pytest.mark.long
def test_any_one_bad_page_costs_only_its_rows(sound: Path, tmp_path: Path) -> None:
    costs = [len(lost) for _page, lost in with_every_page_spoiled(sound, tmp_path / "spool.db", 1, random.Random(2))]
    assert len(costs) == sound.stat().st_size // PAGE
    assert max(costs) <= 4
    assert sum(costs) <= 3 * len(costs)


def test_a_flipped_bit_in_a_payload_is_found_and_costs_one_batch(path: Path) -> None:
    before = rows(path)
    victim = before[10]
    data = path.read_bytes()
    at = data.index(victim["payload"][100:200])
    overwrite(path, at + 50, bytes([data[at + 50] ^ 1]))
    box, damage = reopened(path, "1 payloads do not have their digest")
    assert f"{len(before) - 1} of {len(before)} rows copied out" in damage
    assert box.state(NOW).evicted == 10
    stone = next(entry for entry in box.pending(99) if entry.sequence == victim["sequence"])
    assert stone.payload == tombstone(stone.spool, stone.sequence, 10, NOW - 1000, NOW)
    # The centre may have had it, and its receipt may still be under way.
    assert box.settle(stone.spool, stone.sequence, victim["sha256"])
    box.close()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_short_keeps_the_rows_before_the_cut(path: Path, share: float) -> None:
    before = {(row["spool"], row["sequence"]): row for row in rows(path)}
    size = int(path.stat().st_size * share)
    with path.open("r+b") as file:
        file.truncate(size)
    box, _damage = reopened(path, "malformed|not a database")
    box.close()
    copied = [row for row in check(path) if unchanged(row, before)]
    assert len(copied) >= len(before) * share * 0.5 - 2


# ----------------------------------------------------------------------------- files that are something else


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "the file is empty"), (b"hello\n", "not a database"), (b"\0" * 8192, "not a"), (b"\xff" * 500, "not a")],
    ids=["empty", "text", "zeros", "ones"],
)  # fmt: skip
def test_a_file_that_is_no_database_is_set_aside_and_the_start_goes_on(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(content)
    box, damage = reopened(path, fault)
    assert "0 of 0 rows copied out" in damage
    assert append(box).sequence == 1
    assert aside(path).read_bytes() == content
    box.close()


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE contacts (name)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(SpoolUnusable, match="something else"):
        outbox(path)
    assert path.read_bytes() == content


def test_the_centres_file_is_not_taken_for_a_gateways(tmp_path: Path) -> None:
    Inbox(tmp_path / "spool.db", keep_ms=DAY).close()
    with pytest.raises(SpoolUnusable, match="something else"):
        outbox(tmp_path / "spool.db")


def test_a_file_of_a_newer_program_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(SpoolUnusable, match="newer"):
        outbox(path)


def test_a_deleted_file_is_a_new_spool_that_reuses_no_key(path: Path) -> None:
    old = rows(path)[0]["spool"]
    path.unlink()
    box = outbox(path)
    assert box.id != old
    assert append(box).sequence == 1
    assert box.damage is None
    box.close()


@pytest.fixture
def read_only(tmp_path: Path, sound: Path) -> Iterator[Path]:
    mounted = tmp_path / "ro"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mounted)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    shutil.copy(sound, mounted / "spool.db")
    (mounted / "spool.db.lock").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_disk_that_may_only_be_read_is_said_in_words(read_only: Path) -> None:
    with pytest.raises(SpoolUnusable, match="check"):
        outbox(read_only / "spool.db")
    assert [other.name for other in read_only.iterdir() if "damaged" in other.name] == []


# ----------------------------------------------------------------------------- the log


@pytest.fixture
def logged(tmp_path: Path) -> tuple[Path, list[Entry]]:
    """A file as a killed process left it, and its batches, the last eight of which stand in the log alone."""
    live = tmp_path / "live" / "spool.db"
    box = outbox(live)
    entries = [append(box, size=size) for size in SIZES[::-1] * 2]  # small ones last: the next stands on their page
    box._file.execute("PRAGMA wal_checkpoint(PASSIVE)")
    entries.extend(append(box, size=size) for size in (*SIZES[::-1], 50, 50, 50, 400))
    for name in ("spool.db", "spool.db-wal"):
        shutil.copy(live.with_name(name), tmp_path / name)
    box.close()
    # The log began again after the checkpoint: what is behind its last commit is older.
    return tmp_path / "spool.db", entries


def in_use(log: Path) -> list[int]:
    """Offsets of the frames of the log's present run."""
    data = log.read_bytes()
    offsets = range(LOG_HEADER, len(data) - FRAME + 1, FRAME)
    return [at for at in offsets if data[at + 8 : at + 16] == data[16:24]]


def test_a_killed_process_leaves_no_damage(logged: tuple[Path, list[Entry]]) -> None:
    path, entries = logged
    box = outbox(path)
    assert box.damage is None
    assert sorted(box.pending(99)) == sorted(entries)
    box.close()


def test_a_log_that_rotted_in_its_middle_is_not_passed_over_in_silence(
    logged: tuple[Path, list[Entry]],
) -> None:
    path, entries = logged
    log = path.with_name("spool.db-wal")
    frames = in_use(log)
    assert len(frames) > 12
    pristine = {name: path.with_name(name).read_bytes() for name in ("spool.db", "spool.db-wal")}
    lost = set()
    for frame in frames[:3]:  # of the first batch that stands in the log alone
        for place in (frame + 8, frame + 20, frame + 24 + 7, frame + FRAME - 9):
            for name, content in pristine.items():
                path.with_name(name).write_bytes(content)
            overwrite(log, place, bytes([pristine["spool.db-wal"][place] ^ 0x55]))
            box, _damage = reopened(path, "write-ahead log is damaged")
            assert aside(path).with_name(aside(path).name + "-wal").exists()
            left = {entry.sequence: entry for entry in box.pending(99)}
            assert set(left) == set(range(1, len(entries) + 1))
            lost |= {number for number, entry in left.items() if entry.sha256 != entries[number - 1].sha256}
            box.close()
            for other in path.parent.glob("spool.db*"):
                other.unlink()
    assert len(lost) <= 1


def test_a_bad_page_in_the_log_costs_only_its_rows(logged: tuple[Path, list[Entry]]) -> None:
    """What stood in the file before the log began is there, also when the log's newer copy of its page is gone."""
    path, entries = logged
    log = path.with_name("spool.db-wal")
    pristine = {name: path.with_name(name).read_bytes() for name in ("spool.db", "spool.db-wal")}
    noticed = 0
    for frame in in_use(log):
        for name, content in pristine.items():
            path.with_name(name).write_bytes(content)
        overwrite(log, frame + 24, b"\xff" * PAGE)
        box = outbox(path)
        left = {entry.sha256 for entry in box.pending(99)}
        assert {entry.sha256 for entry in entries[:8]} <= left
        if box.damage is not None:  # otherwise it was the last change: it looks like one that a power cut tore
            noticed += 1
            assert len(left & {entry.sha256 for entry in entries}) >= len(entries) - 1
        box.close()
        for other in path.parent.glob("spool.db*"):
            other.unlink()
    assert noticed > 12


def test_a_log_whose_header_is_gone_gives_its_rows_back(logged: tuple[Path, list[Entry]]) -> None:
    path, entries = logged
    overwrite(path.with_name("spool.db-wal"), 0, b"\x55" * LOG_HEADER)
    box, damage = reopened(path, "header of its write-ahead log")
    assert sorted(entry.sha256 for entry in box.pending(99)) == sorted(entry.sha256 for entry in entries)
    assert "16 of 16 rows copied out" in damage
    box.close()


def test_a_log_beside_a_lost_file_gives_its_rows_back(logged: tuple[Path, list[Entry]]) -> None:
    path, entries = logged
    path.unlink()
    box, _damage = reopened(path, "the file is gone and its write-ahead log is there")
    found = {entry.sha256 for entry in box.pending(99)}
    assert {entry.sha256 for entry in entries[-8:]} <= found
    box.close()


def test_a_log_beside_an_emptied_file_gives_its_rows_back(logged: tuple[Path, list[Entry]]) -> None:
    path, entries = logged
    path.write_bytes(b"")
    box, _damage = reopened(path, "the file is empty")
    assert {entry.sha256 for entry in entries[-8:]} <= {entry.sha256 for entry in box.pending(99)}
    box.close()


def log_of(*changes: str, then: bytes = b"", salts: bytes = b"saltsalt") -> bytes:
    """A log of changes, each a text of frames: `+` sound, `-` not (a byte of its page is wrong); the last one commits.

    `then` follows as it is: what earlier runs or lives left.
    """
    head = struct.pack(">IIII", 0x377F0683, 3007000, PAGE, 0) + salts
    seed = checksum(head, (0, 0))
    data = head + struct.pack(">II", *seed)
    for change in changes:
        for number, kind in enumerate(change, start=1):
            frame = struct.pack(">II", number, number if number == len(change) else 0)
            page = bytes([number]) * PAGE
            seed = checksum(frame + page, seed)
            data += frame + salts + struct.pack(">II", *seed) + (page if kind == "+" else b"?" + page[1:])
    return data + then


def checksum(data: bytes, seed: tuple[int, int]) -> tuple[int, int]:
    """As sqlite.org/walformat.html has it."""
    one, two = seed
    for even, odd in struct.iter_unpack(">II", data):
        one = (one + even + two) % (1 << 32)
        two = (two + odd + one) % (1 << 32)
    return one, two


# An earlier life whose last commit was torn left this behind the place where the next life's commits ended.
LEFT_BY_AN_EARLIER_LIFE = log_of("+", "++++")[LOG_HEADER + FRAME :]


@pytest.mark.parametrize(
    ("log", "damaged"),
    [
        (log_of("+++", "++", "+"), False),
        (log_of("+++", "++", "++")[:-100], False),  # a power cut: the last commit is short
        (log_of("+++", "++", "-++"), False),  # or its first page did not arrive
        (log_of("+++", "++", "+-+"), False),
        (log_of("+++", "++", "++-"), False),
        (log_of("-++"), False),
        (log_of("+++", "-++", then=log_of("++", salts=b"earlier ")[LOG_HEADER:]), False),
        (log_of("+++", "-++", then=LEFT_BY_AN_EARLIER_LIFE), False),
        (log_of("+++", "++", then=LEFT_BY_AN_EARLIER_LIFE), False),
        (log_of("-++", "+"), True),  # the second change was begun: the first one had been synced
        (log_of("+++", "-+", "++"), True),
        (log_of("+++", "+-", "++"), False),  # as if it were one torn change of four: a bad frame's word counts nothing
        (log_of("++", "-+", "+", then=LEFT_BY_AN_EARLIER_LIFE), True),
        (log_of("++", "--", "++", "++"), True),
        (b"x" + log_of("++")[1:], True),
        (bytes(LOG_HEADER) + log_of("++")[LOG_HEADER:], False),  # never written
        (b"", False),
        (b"\x37\x7f", False),
    ],
)
def test_a_torn_log_is_told_from_a_rotten_one(tmp_path: Path, log: bytes, damaged: bool) -> None:
    path = tmp_path / "spool.db-wal"
    path.write_bytes(log)
    assert (log_fault(path) is not None) == damaged


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
