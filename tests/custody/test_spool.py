"""The gateway's spool: what it promises about keys, bytes, receipts, order and age."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.outbox import RECEIPTED, WAITING
from collector.spool import Entry, Outbox, SpoolUnusable, resend_beside
from tests.custody.boxes import DAY, NOW, append, check, fill_until_evicted, keys, outbox, payload_of, rows

HOUR = DAY // 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def box(path: Path) -> Iterator[Outbox]:
    box = outbox(path)
    yield box
    box.close()


# ----------------------------------------------------------------------------- keys and bytes


def test_sequences_begin_at_1_and_have_no_holes(box: Outbox) -> None:
    assert [append(box, class_).sequence for class_ in ("keep", "interval", "keep")] == [1, 2, 3]
    assert box.state(NOW).next == 4


def test_the_bytes_are_made_for_the_key_they_get(box: Outbox) -> None:
    entry = append(box)
    assert entry == Entry(box.id, 1, "interval", payload_of(box.id, 1, 3000), entry.sha256)
    assert entry.sha256 == hashlib.sha256(entry.payload).hexdigest()
    assert box.pending(9) == [entry]


def test_a_batch_whose_bytes_cannot_be_made_leaves_no_hole(box: Outbox) -> None:
    def broken(spool: str, sequence: int) -> bytes:
        raise ZeroDivisionError

    append(box)
    with pytest.raises(ZeroDivisionError):
        box.append("interval", broken, count=1, first=0, last=0, now=NOW)
    assert append(box).sequence == 2


def test_a_class_that_does_not_exist_is_refused(box: Outbox) -> None:
    with pytest.raises(KeyError):
        append(box, "urgent")


def test_a_spool_goes_on_where_it_was_closed(path: Path) -> None:
    box = outbox(path)
    entries = [append(box), append(box, "keep")]
    spool = box.id
    box.close()
    box = outbox(path)
    assert box.id == spool
    assert box.pending(9) == [entries[1], entries[0]]
    assert append(box).sequence == 3
    box.close()


def test_two_spools_never_have_the_same_id(tmp_path: Path) -> None:
    boxes = [outbox(tmp_path / f"{n}.db") for n in range(3)]
    assert len({box.id for box in boxes}) == 3
    assert all(len(box.id) == 12 for box in boxes)
    for box in boxes:
        box.close()


def test_a_number_is_not_given_twice_after_everything_was_receipted_and_grew_old(path: Path) -> None:
    box = outbox(path, keep_ms=DAY)
    for _ in range(3):
        entry = append(box, now=NOW)
        box.settle(entry.spool, entry.sequence, entry.sha256)
    box.close()
    box = outbox(path, keep_ms=DAY)
    assert append(box, now=NOW + 9 * DAY).sequence == 4
    box.close()
    assert [row["sequence"] for row in rows(path)] == [3, 4]  # the newest stayed until there was a newer one


# ----------------------------------------------------------------------------- receipts


def test_only_a_receipt_with_key_and_digest_settles(box: Outbox) -> None:
    entry = append(box)
    other = append(box)
    assert not box.settle(entry.spool, entry.sequence, other.sha256)
    assert not box.settle("0" * 12, entry.sequence, entry.sha256)
    assert not box.settle(entry.spool, 99, entry.sha256)
    assert box.state(NOW).unreceipted == 2
    assert box.settle(entry.spool, entry.sequence, entry.sha256)
    assert box.state(NOW).unreceipted == 1
    assert box.pending(9) == [other]


def test_a_second_receipt_for_the_same_batch_changes_nothing(box: Outbox) -> None:
    entry = append(box)
    for _ in range(3):
        assert box.settle(entry.spool, entry.sequence, entry.sha256)
    append(box)
    assert box.settle(entry.spool, entry.sequence, entry.sha256)
    assert box.state(NOW).unreceipted == 1


@pytest.mark.parametrize("receipts", [1, 63, 64, 200])
def test_receipts_are_remembered_by_the_file_when_it_is_closed(path: Path, receipts: int) -> None:
    box = outbox(path)
    entries = [append(box, size=100) for _ in range(201)]
    for entry in entries[:receipts]:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    assert keys(box.pending(300)) == keys(entries[receipts:])[::-1]
    box.close()
    box = outbox(path)
    assert keys(box.pending(300)) == keys(entries[receipts:])[::-1]
    box.close()


def test_a_receipt_costs_no_commit_of_its_own(path: Path) -> None:
    box = outbox(path)
    entries = [append(box, size=100) for _ in range(30)]
    log = path.with_name("spool.db-wal")
    before = log.read_bytes()
    for entry in entries:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    assert log.read_bytes() == before
    append(box)
    assert [row["state"] for row in rows(path)] == [RECEIPTED] * 30 + [WAITING]
    box.close()


def test_a_batch_refused_for_good_stays_and_is_not_sent_until_it_is_asked_for(box: Outbox) -> None:
    first, second = append(box), append(box)
    assert box.park(first.spool, first.sequence, first.sha256, "schema")
    assert box.pending(9) == [second]
    state = box.state(NOW)
    assert (state.unreceipted, state.refused) == (2, 1)
    assert box.resend() == 1
    assert box.pending(9) == [second, first]
    assert box.state(NOW).refused == 0


def test_a_refusal_of_other_bytes_or_of_a_receipted_batch_parks_nothing(box: Outbox) -> None:
    first, second = append(box), append(box)
    assert not box.park(first.spool, first.sequence, second.sha256, "schema")
    assert not box.park(first.spool, 77, first.sha256, "schema")
    box.settle(first.spool, first.sequence, first.sha256)
    assert not box.park(first.spool, first.sequence, first.sha256, "schema")
    append(box)
    assert not box.park(first.spool, first.sequence, first.sha256, "schema")
    assert box.state(NOW).refused == 0


def test_a_receipt_settles_a_parked_batch(box: Outbox) -> None:
    entry = append(box)
    box.park(entry.spool, entry.sequence, entry.sha256, "mismatch")
    assert box.settle(entry.spool, entry.sequence, entry.sha256)
    assert (box.state(NOW).unreceipted, box.state(NOW).refused) == (0, 0)
    assert box.resend() == 0


def test_parked_batches_are_let_go_from_another_process_beside_a_running_gateway(path: Path, box: Outbox) -> None:
    entry = append(box)
    box.park(entry.spool, entry.sequence, entry.sha256, "schema")
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=resend_beside, args=(path, None))
    other.start()
    other.join(60)
    assert other.exitcode == 0
    assert box.pending(9) == [entry]


def test_letting_go_of_parked_batches_makes_no_file(path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="not there"):
        resend_beside(path, None)
    assert not path.exists()


# ----------------------------------------------------------------------------- order


def test_keep_comes_before_new_before_old_before_tombstones(path: Path) -> None:
    box = outbox(path, max_bytes=600_000)
    keep = [append(box, "keep")]
    fill_until_evicted(box, 3)
    keep.append(append(box, "keep"))
    last = append(box)
    order = keys(box.pending(10_000))
    lost = [row["sequence"] for row in rows(path) if row["kind"] == 2]
    alive = [row["sequence"] for row in rows(path) if row["kind"] == 1]
    assert len(lost) >= 3
    assert order == [*keys(keep), *alive[::-1], *lost]
    assert order[2] == last.sequence
    box.close()


def test_what_is_under_way_is_skipped_and_the_limit_holds(box: Outbox) -> None:
    keep = [append(box, "keep") for _ in range(4)]
    interval = [append(box) for _ in range(4)]
    under_way = {(entry.spool, entry.sequence) for entry in (keep[0], keep[2], interval[3])}
    assert keys(box.pending(3, under_way)) == [2, 4, 7]
    assert keys(box.pending(100, under_way)) == [2, 4, 7, 6, 5]
    assert box.pending(0) == []
    box.settle(keep[1].spool, 2, keep[1].sha256)
    assert keys(box.pending(3, under_way)) == [4, 7, 6]


# ----------------------------------------------------------------------------- age


def test_receipted_batches_go_when_they_are_older_than_keep_and_the_others_stay(path: Path) -> None:
    box = outbox(path, keep_ms=10 * DAY)
    entries = [append(box, now=NOW + day * DAY) for day in range(20)]
    for entry in entries[:15:3]:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    append(box, now=NOW + 19 * DAY)
    left = [row["sequence"] for row in rows(path)]
    gone = [number for number in range(1, 21) if number not in left]
    assert gone == [1, 4, 7]  # of days 0, 3, 6; the one of day 9 is not older than ten days
    box.close()


def test_many_old_batches_go_a_few_at_a_time(path: Path) -> None:
    box = outbox(path, keep_ms=DAY)
    for entry in [append(box, size=10) for _ in range(100)]:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    sizes = []
    for _ in range(9):
        append(box, size=10, now=NOW + 2 * DAY)
        sizes.append(sum(row["at"] == NOW for row in rows(path)))
    assert sizes == [84, 68, 52, 36, 20, 4, 0, 0, 0]
    box.close()


# ----------------------------------------------------------------------------- state


def test_the_state_of_an_empty_spool_is_known(box: Outbox) -> None:
    state = box.state(NOW)
    assert state._replace(id="")[:-1] == ("", 1, 0, 0, 0, 0.0, None, None, False, None)
    assert 0 < state.bytes < 64 << 10


def test_fill_is_the_share_that_nobody_else_holds(path: Path) -> None:
    box = outbox(path, max_bytes=1_000_000)
    entries = [append(box, size=10_000) for _ in range(40)]
    assert 0.40 < box.state(NOW).fill < 0.46
    for entry in entries[:30]:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    assert 0.10 < box.state(NOW).fill < 0.12
    for entry in entries[30:]:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    assert box.state(NOW).fill == 0.0
    box.close()


def test_days_left_follow_the_pace_of_the_last_two_days(path: Path) -> None:
    box = outbox(path, max_bytes=10_000_000)
    for quarter in range(1 + 4 * 24):
        entry = append(box, size=1_000, now=NOW + quarter * HOUR // 4)
        box.settle(entry.spool, entry.sequence, entry.sha256)
        if quarter == 3:
            assert box.state(NOW + 3 * HOUR // 4).days_left is None  # less than an hour was seen
    a_day_later = NOW + DAY
    left = box.state(a_day_later).days_left
    assert left is not None
    assert 75 < left < 90  # 97 batches of 1.2 kB in a day, 10 MB of room
    box.close()
    box = outbox(path, max_bytes=10_000_000)
    assert box.state(a_day_later).days_left == left  # known at once after a restart
    assert box.state(a_day_later + 4 * DAY).days_left is None  # nothing came for two days
    box.close()


# ----------------------------------------------------------------------------- one owner, many threads


def test_a_second_daemon_on_the_same_file_is_refused(path: Path, box: Outbox) -> None:
    with pytest.raises(SpoolUnusable, match="running already"):
        outbox(path)
    append(box)


def test_a_closed_spool_can_be_opened_by_another(path: Path) -> None:
    outbox(path).close()
    outbox(path).close()


def test_a_closed_spool_says_so(path: Path) -> None:
    box = outbox(path)
    box.close()
    box.close()
    with pytest.raises(SpoolUnusable, match="closed"):
        append(box)


def test_a_directory_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnusable, match="check the directory"):
        outbox(tmp_path / "file" / "spool.db")


def test_threads_that_append_settle_and_look_lose_nothing(path: Path) -> None:
    box = outbox(path)
    made: list[Entry] = []
    done = threading.Event()
    faults: list[BaseException] = []

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as fault:
            faults.append(fault)
            raise

    def line() -> None:
        made.extend(append(box, "keep" if n % 9 == 0 else "interval", size=500) for n in range(60))

    def publisher() -> None:
        while not done.is_set() or box.state(NOW).unreceipted:
            for entry in box.pending(8):
                assert box.settle(entry.spool, entry.sequence, entry.sha256)

    lines = [threading.Thread(target=guarded, args=(line,)) for _ in range(4)]
    sender = threading.Thread(target=guarded, args=(publisher,))
    for thread in (*lines, sender):
        thread.start()
    for thread in lines:
        thread.join()
    done.set()
    sender.join(120)
    box.close()
    assert faults == []
    assert sorted(keys(made)) == list(range(1, 241))
    assert {row["state"] for row in check(path)} == {RECEIPTED}
