"""Damage: whatever became of a spool file, the start goes on, the file is kept, all rows that prove themselves live."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.durable.layout import PAGE
from collector.outbox import RECEIPTED, TOMBSTONE
from collector.spool import Inbox, SpoolUnusable
from tests.custody.boxes import DAY, NOW, append, check, outbox, rows, tombstone
from tests.custody.damaged import aside, overwrite, reopened, unchanged

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
