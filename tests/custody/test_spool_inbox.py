"""The centre's spool: keys, repeats, conflicts, what is handed on, what is kept and for how long."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import inbox
from collector.spool import Inbox, Incoming, SpoolUnusable
from tests.custody.boxes import DAY, NOW, append, outbox, rows

ROOT = Path(__file__).resolve().parents[2]
SPOOL = "b7e3c1d09a44"


def batch(
    sequence: int, payload: bytes = b"readings", gateway: str = "gw-1", kind: inbox.Kind = "readings"
) -> Incoming:
    return Incoming(gateway, SPOOL, sequence, kind, payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inbox.db"


@pytest.fixture
def box(path: Path) -> Iterator[Inbox]:
    box = Inbox(path, keep_ms=60 * DAY)
    yield box
    box.close()


def test_a_repeat_of_a_stored_batch_changes_nothing(box: Inbox, path: Path) -> None:
    assert box.put([batch(1)], NOW) == ["stored"]
    before = rows(path, "inbox")
    assert box.put([batch(1)], NOW + 1) == ["repeat"]
    assert rows(path, "inbox") == before


def test_the_same_key_with_other_bytes_is_a_conflict_and_the_first_bytes_stay(box: Inbox, path: Path) -> None:
    box.put([batch(1)], NOW)
    before = rows(path, "inbox")
    assert box.put([batch(1, b"other")], NOW) == ["conflict"]
    assert rows(path, "inbox") == before


def test_a_key_is_gateway_and_spool_and_sequence(box: Inbox) -> None:
    other_spool = batch(1)._replace(spool="0" * 12)
    assert box.put([batch(1), batch(2), batch(1, gateway="gw-2"), other_spool], NOW) == ["stored"] * 4


def test_repeats_and_conflicts_within_one_call_are_seen(box: Inbox) -> None:
    assert box.put([batch(1), batch(1), batch(1, b"other"), batch(2)], NOW) == [
        "stored",
        "repeat",
        "conflict",
        "stored",
    ]
    assert box.put([], NOW) == []


def test_what_was_put_is_on_the_disk_when_put_returns(box: Inbox, path: Path, tmp_path: Path) -> None:
    sent = [batch(n, bytes([n]) * 5000) for n in range(1, 20)]
    box.put(sent, NOW)
    copy = tmp_path / "copy" / "inbox.db"
    copy.parent.mkdir()
    for name in ("inbox.db", "inbox.db-wal"):
        shutil.copy(path.with_name(name), copy.with_name(name))
    other = Inbox(copy, keep_ms=DAY)
    assert other.put(sent, NOW) == ["repeat"] * len(sent)
    other.close()


def test_unsettled_batches_are_handed_on_by_kind_in_the_order_of_their_arrival(box: Inbox) -> None:
    box.put([batch(5), batch(2, kind="acts"), batch(9)], NOW)
    box.put([batch(1), batch(4, kind="acts")], NOW + 1)
    assert [stored.sequence for stored in box.unsettled("readings", 10)] == [5, 9, 1]
    assert [stored.sequence for stored in box.unsettled("acts", 10)] == [2, 4]
    assert [stored.sequence for stored in box.unsettled("readings", 2)] == [5, 9]
    first = box.unsettled("readings", 1)[0]
    assert first[1:] == ("gw-1", SPOOL, 5, b"readings", first.sha256, NOW, "readings")
    assert len(first.sha256) == 64


def test_settled_batches_are_not_handed_on_and_are_replayed(box: Inbox) -> None:
    box.put([batch(n) for n in range(1, 8)], NOW)
    done = [stored.id for stored in box.unsettled("readings", 4)]
    box.settle(done, NOW)
    box.settle([], NOW)
    assert [stored.sequence for stored in box.unsettled("readings", 10)] == [5, 6, 7]
    assert [stored.sequence for stored in box.replay(0, 3)] == [1, 2, 3]
    assert [stored.sequence for stored in box.replay(done[2], 100)] == [4, 5, 6, 7]


def test_settled_batches_go_when_keep_has_passed_since_and_unsettled_ones_never(box: Inbox) -> None:
    box.put([batch(n) for n in range(1, 1301)], NOW)
    ids = [stored.id for stored in box.unsettled("readings", 1300)]
    box.settle(ids[:600], NOW + DAY)
    box.settle(ids[600:1200], NOW + 2 * DAY)
    box.settle(ids[:5], NOW + 50 * DAY)  # settled before: the first time counts
    assert box.purge(NOW + 61 * DAY) == 0
    assert box.purge(NOW + 61 * DAY + 1) == 600
    assert box.purge(NOW + 61 * DAY + 1) == 0
    assert box.purge(NOW + 999 * DAY) == 600
    assert len(box.replay(0, 9999)) == 100
    assert box.put([batch(1)], NOW) == ["stored"]  # so long after, the sinks know it


def test_the_state_says_what_a_dying_disk_would_take(box: Inbox) -> None:
    assert box.state()[:2] == (0, None)
    box.put([batch(1, kind="acts")], NOW + 5)
    box.put([batch(2), batch(3)], NOW + 7)
    assert box.state()[:2] == (3, NOW + 5)
    box.settle([stored.id for stored in box.unsettled("acts", 9)], NOW + 9)
    state = box.state()
    assert state[:2] == (2, NOW + 7)
    assert state.bytes > 0
    assert state.damage is None


def test_an_unreadable_message_is_counted_and_its_first_64_kib_are_kept(box: Inbox) -> None:
    box.keep_unreadable("meterline/v1/gw-1/readings", b"x" * 100_000, "not JSON", NOW)
    (kept,) = box.unreadable(5)
    assert kept == (NOW, "meterline/v1/gw-1/readings", "not JSON", 100_000, b"x" * 65_536)
    assert box.state().unreadable == 1


def test_unreadable_messages_are_counted_for_ever_and_kept_within_bounds(
    box: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.spool.UNREADABLE_ROWS", 10)
    for n in range(25):
        box.keep_unreadable("t", str(n).encode(), "not JSON", NOW + n)
    assert box.state().unreadable == 25
    assert [kept.payload for kept in box.unreadable(99)] == [str(n).encode() for n in range(24, 14, -1)]


def test_settling_a_batch_does_not_write_its_payload_again(box: Inbox, path: Path) -> None:
    box.put([batch(1, b"x" * 200_000)], NOW)
    assert written_by(path, lambda: box.settle([1], NOW)) < 10_000


def test_a_receipt_does_not_write_the_payload_again(tmp_path: Path) -> None:
    out = outbox(tmp_path / "spool.db")
    entry = append(out, size=200_000)
    out.settle(entry.spool, entry.sequence, entry.sha256)
    assert written_by(tmp_path / "spool.db", lambda: append(out, size=10)) < 16_000
    out.close()


def written_by(path: Path, work: object) -> int:
    """Bytes that the log grew by."""
    log = path.with_name(path.name + "-wal")
    before = log.stat().st_size
    work()  # type: ignore[operator]
    return log.stat().st_size - before


def test_two_centres_on_one_file_are_refused(box: Inbox, path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="running already"):
        Inbox(path, keep_ms=DAY)


# ----------------------------------------------------------------------------- the one file that deletes


def test_no_other_file_of_the_spool_takes_anything_away() -> None:
    """DELETE, DROP, REPLACE, and UPDATE of a payload stand in collector/spool.py alone."""
    words = ("DELETE FROM", "DROP TABLE", "REPLACE INTO", "OR REPLACE", "UPDATE OUTBOX")
    changes_payload = []
    for path in sorted((ROOT / "collector").rglob("*.py")):
        tree = ast.parse(path.read_text())
        texts = [
            node.value.upper()
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        spool_file = path.name in ("outbox.py", "inbox.py") or path.parent.name == "durable"
        if path != ROOT / "collector" / "spool.py" and spool_file:
            assert not [word for word in words for text in texts if word in text], path
        changes_payload += [path.name for text in texts if "UPDATE" in text and "PAYLOAD =" in text]
    assert set(changes_payload) == {"spool.py"}
