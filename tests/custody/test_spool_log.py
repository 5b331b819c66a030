"""The log beside a spool file: what a killed process leaves is no damage, what rotted is found, and rows come back."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from collector.durable.layout import PAGE
from collector.durable.salvage import FRAME, LOG_HEADER, log_fault
from collector.spool import Entry
from tests.custody.boxes import append, outbox
from tests.custody.damaged import SIZES, aside, overwrite, reopened


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
