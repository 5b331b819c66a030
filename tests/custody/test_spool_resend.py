"""Sending again what the centre had receipted and lost, as after a restore of its backup."""

from __future__ import annotations

from pathlib import Path

from collector.spool import resend_beside
from tests.custody.boxes import DAY, NOW, append, check, outbox


def test_receipted_batches_from_an_instant_on_are_sent_again_and_older_ones_are_not(tmp_path: Path) -> None:
    box = outbox(tmp_path / "spool.db")
    before, at, after = (append(box, now=NOW + n) for n in (-1, 0, 1))
    for entry in (before, at, after):
        assert box.settle(entry.spool, entry.sequence, entry.sha256)
    assert box.resend(NOW) == 2
    assert box.pending(9) == [after, at]
    assert (box.state(NOW).unreceipted, box.state(NOW).oldest) == (2, NOW)
    box.close()


def test_a_receipt_that_was_only_in_ram_does_not_take_a_batch_away_again(tmp_path: Path) -> None:
    box = outbox(tmp_path / "spool.db")
    entry = append(box)
    box.settle(entry.spool, entry.sequence, entry.sha256)
    assert box.resend(NOW) == 1
    append(box)  # the next change writes the receipts that are in RAM
    assert entry in box.pending(9)
    box.close()


def test_what_is_sent_again_is_nobodys_but_ours_until_its_new_receipt(tmp_path: Path) -> None:
    """Past `keep`, without room: it stays."""
    box = outbox(tmp_path / "spool.db", max_bytes=200_000, keep_ms=DAY)
    kept = [append(box, "keep", size=20_000) for _ in range(3)]
    for entry in kept:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    assert box.resend(NOW) == 3
    for _ in range(20):
        append(box, size=20_000, now=NOW + 2 * DAY)
    assert box.pending(3) == kept
    first = kept[0]
    assert box.settle(first.spool, first.sequence, first.sha256)
    append(box, now=NOW + 4 * DAY)
    assert first.sequence not in [row["sequence"] for row in check(tmp_path / "spool.db")]
    box.close()


def test_a_tombstone_that_was_receipted_is_not_sent_again(tmp_path: Path) -> None:
    box = outbox(tmp_path / "spool.db", max_bytes=100_000)
    while not box.state(NOW).evicted:
        append(box, size=20_000)
    lost = box.state(NOW).evicted
    stone = box.pending(99)[-1]
    assert box.settle(stone.spool, stone.sequence, stone.sha256)
    assert box.resend(NOW) == 0
    assert (stone in box.pending(99), box.state(NOW).evicted) == (False, lost)
    box.close()


def test_parked_batches_go_again_with_them_and_alone_when_no_instant_is_given(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    box = outbox(path)
    parked, receipted = append(box), append(box)
    box.park(parked.spool, parked.sequence, parked.sha256, "schema")
    box.settle(receipted.spool, receipted.sequence, receipted.sha256)
    box.close()
    assert resend_beside(path, None) == 1
    assert resend_beside(path, 0) == 1
    box = outbox(path)
    assert box.pending(9) == [receipted, parked]
    box.close()
