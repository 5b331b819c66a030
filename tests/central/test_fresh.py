"""What was asked just now does not stand behind what has piled up; what piled up goes on; nothing is left out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from collector.central import fresh as fresh_module
from collector.central.fresh import FRESH, FreshFirst
from collector.central.opening import LARGEST, opened
from collector.messages import Key, MessageFault, open_envelope
from collector.spool import Inbox, Incoming
from tests.central.building import ASKED, GATEWAY, SPOOL, as_bytes, batch, bring, point, snapshot
from tests.central.test_ingest import Door

HOUR = 3_600_000


@pytest.fixture
def door(tmp_path: Path, engine: Engine) -> Iterator[Door]:
    bring(engine, point(1), point(2))
    door = Door(tmp_path, engine)
    yield door
    door.inbox.close()


def asked_at(time: int, sequence: int, **changed: Any) -> bytes:
    return as_bytes(batch(snapshot(1, asked=time, answered=None, **changed), sequence=sequence))


def taken(door: Door, limit: int) -> list[int]:
    """A round of the worker: the sequences it takes, which are settled then."""
    batches = door.drained.unsettled("readings", limit)
    door.drained.settle([batch.id for batch in batches], 1)
    return [batch.sequence for batch in batches]


def pile_up(door: Door, sequences: range) -> None:
    door.clock.now = ASKED + 48 * HOUR
    door.take(*(asked_at(ASKED + sequence, sequence) for sequence in sequences))


def test_without_a_backlog_the_order_is_that_of_arrival(door: Door) -> None:
    pile_up(door, range(1, 4))
    door.take(asked_at(door.clock.now, 4), asked_at(door.clock.now, 5))
    assert taken(door, 6) == [1, 2, 3, 4, 5]


def test_what_is_asked_now_is_taken_in_the_next_round_and_the_oldest_with_it(door: Door) -> None:
    pile_up(door, range(1, 101))
    door.take(*(asked_at(door.clock.now, sequence) for sequence in range(101, 105)))
    assert taken(door, 8) == [1, 2, 3, 4, 104, 103, 102, 101]
    assert taken(door, 8) == list(range(5, 13))


def test_at_most_half_of_a_round_is_out_of_turn_so_that_the_backlog_ends(door: Door) -> None:
    pile_up(door, range(1, 21))
    door.take(*(asked_at(door.clock.now, sequence) for sequence in range(21, 61)))
    order = [sequence for _ in range(15) for sequence in taken(door, 4)]
    assert sorted(order) == list(range(1, 61))
    assert max(order.index(sequence) for sequence in range(1, 21)) < 40


@pytest.mark.parametrize(("ago", "first"), [(0, True), (FRESH - 1, True), (FRESH, False), (HOUR, False)])
def test_fresh_is_what_was_asked_within_five_minutes(door: Door, ago: int, first: bool) -> None:
    pile_up(door, range(1, 11))
    door.take(asked_at(door.clock.now - ago, 11))
    assert (11 in taken(door, 4)) is first


def test_a_frozen_value_keeps_its_turn(door: Door) -> None:
    """Of two for a month the first that came stays: another order would leave another one in the series."""
    pile_up(door, range(1, 11))
    door.take(asked_at(door.clock.now, 11, frozen={"2026-10": {"1.8.0": 5}}))
    assert taken(door, 4) == [1, 2, 3, 4]


def test_a_repeat_a_tombstone_and_a_bad_snapshot_are_nothing_fresh(door: Door) -> None:
    pile_up(door, range(1, 11))
    now = door.clock.now
    gone = {"snapshots": None, "profiles": None, "zone": None, "evicted": {"snapshots": 3, "from": now, "to": now}}
    door.take(as_bytes(batch(sequence=11, **gone)), as_bytes(batch({"meter": "m1", "asked": now}, sequence=12)))
    assert taken(door, 4) == [1, 2, 3, 4]
    door.take(asked_at(ASKED + 1, 1))  # as it came, once more
    assert taken(door, 4) == [5, 6, 7, 8]


def test_hints_that_find_no_room_cost_their_turn_and_nothing_else(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_module, "MOST", 2)
    door.drained = door.ingest._drained = FreshFirst(door.inbox)
    pile_up(door, range(1, 11))
    door.take(*(asked_at(door.clock.now, sequence) for sequence in range(11, 16)))
    assert taken(door, 6) == [1, 2, 3, 4, 15, 14]
    assert [s for _ in range(3) for s in taken(door, 6)] == [*range(5, 14)]


@given(st.lists(st.sampled_from(["old", "fresh", "round"]), max_size=40), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_every_batch_is_taken_once_whatever_comes_when(steps: list[str], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Inbox(Path(folder) / "spool.db", keep_ms=1000)) as inbox:
        drained, seen, count = FreshFirst(inbox), list[int](), 0

        def go() -> int:
            batches = drained.unsettled("readings", limit)
            assert len(batches) <= limit
            drained.settle([batch.id for batch in batches], 1)
            seen.extend(batch.sequence for batch in batches)
            return len(batches)

        for step in steps:
            if step == "round":
                go()
                continue
            count += 1
            inbox.put([Incoming(GATEWAY, SPOOL, count, "readings", b"{}")], 1)
            if step == "fresh":
                drained.note(Key(GATEWAY, SPOOL, count))
        while go():
            pass
        assert sorted(seen) == list(range(1, count + 1))


def test_a_batch_is_opened_once_for_both_who_look_into_it_unless_it_is_large() -> None:
    payload = asked_at(ASKED, 77)
    assert opened(payload) == open_envelope(payload)
    assert opened(bytes(bytearray(payload))) is opened(payload)  # the spool gives other bytes of the same content
    large = payload.ljust(LARGEST + 1)
    assert opened(large) == open_envelope(large)
    assert opened(large) is not opened(large)
    for _ in range(2):
        with pytest.raises(MessageFault):
            opened(b"{}")
