"""Space in the gateway's spool: what goes first, what never goes, and the tombstones of what went."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.spool import Entry, Outbox, SpoolFull
from tests.custody.boxes import NOW, append, check, fill_until_evicted, keys, outbox, rows, tombstone


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def box(path: Path) -> Iterator[Outbox]:
    box = outbox(path)
    yield box
    box.close()


# ----------------------------------------------------------------------------- space


def test_receipted_batches_go_first_and_oldest_first(path: Path) -> None:
    box = outbox(path, max_bytes=600_000)
    entries = [append(box) for _ in range(40)]
    receipted = entries[10:40:3]
    for entry in receipted:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    gone: list[int] = []
    while box.state(NOW).evicted == 0:
        entries.append(append(box))
        left = {row["sequence"] for row in rows(path)}
        gone += [number for number in keys(entries) if number not in left and number not in gone]
    assert gone == keys(receipted)
    box.close()


def test_then_un_receipted_interval_batches_go_oldest_first_and_leave_tombstones(path: Path) -> None:
    box = outbox(path, max_bytes=600_000)
    entries = fill_until_evicted(box, 5)
    found = check(path)
    assert [row["sequence"] for row in found] == keys(entries)  # no holes
    lost = [row for row in found if row["kind"] == 2]
    assert [row["sequence"] for row in lost] == list(range(1, len(lost) + 1))
    for row, entry in zip(lost, entries, strict=False):
        assert row["payload"] == tombstone(box.id, entry.sequence, 10, NOW - 1000, NOW)
        assert row["original"] == entry.sha256
    assert box.state(NOW).evicted == 10 * len(lost)
    box.close()


def test_keep_is_never_evicted_and_is_taken_when_interval_is_refused(path: Path) -> None:
    box = outbox(path, max_bytes=600_000)
    keep = [append(box, "keep") for _ in range(60)]
    append(box)
    while not box.state(NOW).only_keep_left:
        keep.append(append(box, "keep"))
        assert len(keep) < 2000
    before = check(path)
    with pytest.raises(SpoolFull, match="interval readings stop"):
        append(box)
    assert check(path) == before
    keep += [append(box, "keep") for _ in range(100)]
    found = {row["sequence"]: row["payload"] for row in check(path)}
    assert all(found[entry.sequence] == entry.payload for entry in keep)
    assert box.state(NOW).only_keep_left
    assert box.state(NOW).fill == 1.0
    box.close()


def test_interval_is_taken_again_when_receipts_have_come(path: Path) -> None:
    box = outbox(path, max_bytes=600_000)
    while not box.state(NOW).only_keep_left:
        append(box, "keep")
    for entry in box.pending(1000)[:20]:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    assert not box.state(NOW).only_keep_left
    append(box)
    box.close()


def test_a_batch_larger_than_the_spool_evicts_nothing(path: Path) -> None:
    box = outbox(path, max_bytes=300_000)
    entries = [append(box) for _ in range(20)]
    before = check(path)
    with pytest.raises(SpoolFull):
        append(box, size=400_000)
    assert check(path) == before
    assert append(box).sequence == len(entries) + 1
    box.close()


@pytest.mark.parametrize(("size", "batches"), [(200, 900), (3000, 300), (12_000, 90), (200_000, 12)])
def test_the_pages_in_use_stay_within_the_limit(path: Path, size: int, batches: int) -> None:
    limit = 300_000 + size
    box = outbox(path, max_bytes=limit)
    biggest = 0
    for n in range(batches):
        entry = append(box, size=size)
        if n % 3:
            box.settle(entry.spool, entry.sequence, entry.sha256)
        biggest = max(biggest, path.stat().st_size)
    box.close()
    assert biggest <= path.stat().st_size <= limit
    assert path.stat().st_size > limit * 0.6  # and it uses what it may


def test_a_parked_interval_batch_may_be_evicted_and_its_tombstone_is_sent(path: Path) -> None:
    box = outbox(path, max_bytes=600_000)
    parked = append(box)
    box.park(parked.spool, parked.sequence, parked.sha256, "schema")
    fill_until_evicted(box)
    assert rows(path)[0]["original"] == parked.sha256
    assert 1 in keys(box.pending(1000))
    assert box.state(NOW).refused == 0
    box.close()


def test_a_smaller_limit_takes_effect_with_the_next_batch(path: Path) -> None:
    box = outbox(path)
    for _ in range(300):
        entry = append(box)
        box.settle(entry.spool, entry.sequence, entry.sha256)
    box.close()
    box = outbox(path, max_bytes=200_000)
    append(box)
    assert len(rows(path)) < 60
    box.close()


# ----------------------------------------------------------------------------- tombstones


@pytest.fixture
def evicted(path: Path) -> Iterator[tuple[Outbox, Entry, Entry]]:
    """A small box, a batch that was evicted from it, and the tombstone in its place."""
    box = outbox(path, max_bytes=600_000)
    original = fill_until_evicted(box)[0]
    stone = next(entry for entry in box.pending(1000) if entry.sequence == original.sequence)
    yield box, original, stone
    box.close()


def test_a_tombstone_has_its_batch_key_other_bytes_and_the_same_class(evicted: tuple[Outbox, Entry, Entry]) -> None:
    _box, original, stone = evicted
    assert stone[:3] == original[:3]
    assert stone.sha256 != original.sha256
    assert stone.payload.startswith(b"tombstone")


def test_a_receipt_for_a_tombstone_settles_it_and_its_snapshots_stay_lost(evicted: tuple[Outbox, Entry, Entry]) -> None:
    box, _original, stone = evicted
    lost = box.state(NOW).evicted
    assert box.settle(stone.spool, stone.sequence, stone.sha256)
    append(box)
    assert stone.sequence not in keys(box.pending(1000))
    assert box.state(NOW).evicted >= lost


def test_a_late_receipt_for_the_evicted_batch_settles_its_tombstone(
    path: Path, evicted: tuple[Outbox, Entry, Entry]
) -> None:
    box, original, _stone = evicted
    lost = box.state(NOW).evicted
    assert box.settle(original.spool, original.sequence, original.sha256)
    box.close()
    box = outbox(path, max_bytes=600_000)
    assert original.sequence not in keys(box.pending(1000))
    assert box.state(NOW).evicted == lost - 10  # the centre has them after all
    box.close()


def test_a_conflict_about_a_tombstone_says_that_the_centre_has_the_batch(evicted: tuple[Outbox, Entry, Entry]) -> None:
    box, original, stone = evicted
    lost, unreceipted = box.state(NOW).evicted, box.state(NOW).unreceipted
    assert box.park(stone.spool, stone.sequence, stone.sha256, "conflict")
    box.resend()  # a change, with which the noted receipt is written
    assert original.sequence not in keys(box.pending(1000))
    assert (box.state(NOW).evicted, box.state(NOW).refused) == (lost - 10, 0)
    assert box.state(NOW).unreceipted == unreceipted - 1


def test_another_refusal_of_a_tombstone_parks_it(evicted: tuple[Outbox, Entry, Entry]) -> None:
    box, _original, stone = evicted
    assert box.park(stone.spool, stone.sequence, stone.sha256, "schema")
    assert box.state(NOW).refused == 1
    assert box.resend() == 1
    assert stone in box.pending(1000)


def test_a_late_refusal_of_the_evicted_batch_leaves_its_tombstone_alone(evicted: tuple[Outbox, Entry, Entry]) -> None:
    box, original, stone = evicted
    assert not box.park(original.spool, original.sequence, original.sha256, "conflict")
    assert stone in box.pending(1000)
