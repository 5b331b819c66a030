"""The laws of the publisher's window, in simulated seconds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.edge.window import FIRST, LONGEST, MOST, Window

DIGEST = "0" * 64


def send(window: Window, sequence: int, now: float, *, kept: bool = False) -> None:
    window.sent(("spool", sequence), DIGEST, kept=kept, now=now)


def test_the_numbers_are_those_of_the_contract() -> None:
    assert (MOST, FIRST, LONGEST) == (8, 60, 900)


def test_the_same_batch_waits_a_minute_then_twice_as_long_up_to_a_quarter_of_an_hour() -> None:
    window, now, waits = Window(), 0.0, []
    for _ in range(7):
        window.free(now)
        send(window, 1, now)
        due = window.next_due()
        assert due is not None
        waits.append(due - now)
        assert window.free(due - 0.001) == MOST - 1
        now = due
    assert waits == [60, 120, 240, 480, 900, 900, 900]


def test_a_batch_whose_turn_another_one_took_begins_anew() -> None:
    window = Window()
    window.free(0)
    send(window, 1, 0)
    window.free(60)
    send(window, 2, 60)
    window.free(61)
    send(window, 1, 61)
    assert window.next_due() == 120
    window.over(("spool", 2))
    assert window.next_due() == 121


def test_a_new_connection_begins_the_waiting_anew_and_never_within_a_minute() -> None:
    window, now = Window(), 0.0
    for _ in range(5):
        window.free(now)
        send(window, 1, now)
        now = window.next_due() or 0
    window.free(now)
    send(window, 1, now)
    assert window.next_due() == now + LONGEST
    for _ in range(2):
        window.connected()
        assert window.next_due() == now + FIRST
    window.free(now + FIRST)
    send(window, 1, now + FIRST)
    assert window.next_due() == now + FIRST + 2 * FIRST


def test_a_refusal_for_now_counts_only_for_what_waits_with_these_bytes() -> None:
    window = Window()
    send(window, 1, 0)
    assert not window.refused(("spool", 2), DIGEST, 50)
    assert not window.refused(("spool", 1), "1" * 64, 50)
    assert window.next_due() == 60
    assert window.refused(("spool", 1), DIGEST, 50)
    assert window.next_due() == 110


def test_only_a_reading_that_was_sent_in_vain_makes_way() -> None:
    window = Window()
    for sequence in range(1, 9):
        send(window, sequence, 0, kept=sequence == 1)
    assert not window.make_way()  # all of them may still be answered
    window.free(60)
    for sequence in range(1, 9):
        send(window, sequence, 60, kept=sequence == 1)
    for left in range(7, 0, -1):
        assert window.make_way()
        assert len(window) == left
    assert list(window.keys) == [("spool", 1)]
    assert not window.make_way()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["fill", "over", "refused", "connected", "make_way"]), st.integers(1, 12), st.floats(0, 100)
    ),
    max_size=120,
)


@given(EVENTS)
def test_whatever_happens_eight_wait_at_most_and_none_is_sent_twice_within_a_minute(
    events: list[tuple[str, int, float]],
) -> None:
    window, now, last, vain = Window(), 0.0, dict[int, float](), set[int]()
    for event, number, passed in events:
        now += passed
        key = ("spool", number)
        if event == "fill":
            room = window.free(now)
            assert room == MOST - len(window)
            candidates = [n for n in range(1, 13) if ("spool", n) not in window.keys]
            for sequence in candidates[:room]:
                # What made way, or is over, may come again at any time: the spool decides.
                assert sequence in vain or now - last.get(sequence, -FIRST) >= FIRST
                send(window, sequence, now, kept=sequence % 2 == 0)
                last[sequence] = now
                vain.discard(sequence)
        elif event == "over":
            window.over(key)
            vain.add(number)
        elif event == "refused":
            window.refused(key, DIGEST, now)
        elif event == "connected":
            window.connected()
        else:
            before = set(window.keys)
            assert window.make_way() == (len(window) < len(before))
            vain |= {sequence for _, sequence in before.difference(window.keys)}
        assert len(window) <= MOST
        due = window.next_due()
        assert (due is None) == (len(window) == 0)
        assert due is None or due <= now + LONGEST
