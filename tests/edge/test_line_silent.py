"""Meters that do not answer: what they cost, what is told of them, how they come back."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.edge.budget import PAUSE_MOST
from tests.edge.virtual import DAY, HOUR, MINUTE, Building, kinds, meter, meters, of

PROBE = 1.02  # seconds: half a second of waiting, as much for a late answer, the request
FIRST_SILENCE = 3.0  # seconds: two askings of half a second, and the time that late answers are waited for


def test_a_meter_that_falls_silent_is_a_failure_and_its_neighbours_are_read() -> None:
    building = Building(meters(3))
    building.bus.meters[1].mute = True
    found = building.until("2026-11-03T10:16:00")
    assert {snapshot.meter: kinds([snapshot])[0] for snapshot in found} == {
        "m-001": "ok", "m-002": "no-answer", "m-003": "ok",
    }  # fmt: skip
    state = building.line.state()
    assert (state.meters, state.answering) == (3, 2)
    assert building.line.meters()["m-002"].no_answer == 1


def test_the_first_silence_is_asked_twice_and_later_ones_by_one_short_request() -> None:
    building = Building(meters(2))
    silent = building.bus.meters[0]
    silent.mute = True
    building.until("2026-11-03T10:16:00")
    assert silent.asked == 2
    before = len(building.bus.written)
    building.until("2026-11-03T10:31:00")
    to_silent = [data for _, data in building.bus.written[before:] if data[0] == 1]
    assert len(to_silent) == 1
    assert int.from_bytes(to_silent[0][4:6], "big") == 1  # one register


def test_neighbours_are_read_before_a_silent_meter_is_asked() -> None:
    building = Building(meters(3))
    building.bus.meters[0].mute = True
    building.until("2026-11-03T10:16:00")
    found = building.until("2026-11-03T10:31:00")
    assert [snapshot.meter for snapshot in found] == ["m-002", "m-003", "m-001"]
    tick = building.at("2026-11-03T10:30:00")
    assert found[0].asked == tick
    commits = [(at, [snapshot.meter for snapshot in group]) for at, group, _ in building.spool.commits[-2:]]
    assert [group for _, group in commits] == [["m-002", "m-003"], ["m-001"]]  # nor do they wait to be committed
    assert commits[0][0] < commits[1][0] - 0.5


def test_a_silent_meter_that_answers_again_is_asked_in_whole_at_once() -> None:
    building = Building(meters(2))
    building.bus.meters[0].mute = True
    building.until("2026-11-03T10:31:00")
    building.bus.meters[0].mute = False
    found = of(building.until("2026-11-03T10:46:00"), "m-001")
    assert kinds(found) == ["ok"]
    assert found[0].serial_number == "10000001"  # who was silent proves who it is
    assert building.line.state().answering == 2


def test_when_most_meters_are_silent_what_the_budget_does_not_reach_is_told_as_skipped() -> None:
    building = Building([meter(n, interval=MINUTE, mute=n > 2) for n in range(1, 31)])
    building.until("2026-11-03T10:20:00")
    found = building.until("2026-11-03T10:30:00")
    dead = [snapshot for snapshot in found if snapshot.meter > "m-002"]
    assert set(kinds(dead)) == {"no-answer", "skipped"}
    skipped = next(snapshot for snapshot in dead if snapshot.failure and snapshot.failure.kind == "skipped")
    assert skipped.purpose == "interval"
    assert skipped.failure is not None
    assert "5.0%" in skipped.failure.text
    assert len(dead) == 28 * 10  # absence is told for every reading that fell due
    assert kinds(of(found, "m-001")) == ["ok"] * 10


def test_a_silent_meter_is_asked_less_and_less_often_although_the_line_has_time() -> None:
    building = Building([meter(1, interval=MINUTE), meter(2, interval=MINUTE, mute=True)])
    found = of(building.until("2026-11-03T11:08:00"), "m-002")
    assert kinds(found)[:2] == ["no-answer", "no-answer"]
    assert len(found) == 60
    assert kinds(found).count("no-answer") <= 12
    tries = [snapshot.asked for snapshot in found if kinds([snapshot]) == ["no-answer"]]
    pauses = [b - a for a, b in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert PAUSE_MOST <= pauses[-1] <= PAUSE_MOST + MINUTE


def test_silent_meters_take_turns() -> None:
    building = Building([meter(n, interval=MINUTE, mute=n > 2) for n in range(1, 31)])
    building.until("2026-11-03T10:12:00")
    before = {simulated.address: simulated.asked for simulated in building.bus.meters[2:]}
    building.until("2026-11-03T11:12:00")
    tries = [simulated.asked - before[simulated.address] for simulated in building.bus.meters[2:]]
    assert min(tries) >= 3
    assert max(tries) - min(tries) <= 2


def test_living_meters_have_their_turn_between_the_askings_of_many_silent_ones() -> None:
    building = Building([meter(1, "orno-we-515", interval=5000), *[meter(n, mute=True) for n in range(2, 32)]])
    building.until("2026-11-03T10:29:59")
    found = of(building.until("2026-11-03T10:30:40"), "m-001")
    tick = building.at("2026-11-03T10:30:00")
    assert sum(data[0] > 1 for _, data in building.bus.written[-60:]) >= 20  # saved up for this
    late = [(snapshot.asked - tick) % 5000 for snapshot in found]
    assert len(late) == 8
    assert max(late) < 1100  # one probe that was under way


def test_the_share_holds_where_pauses_alone_would_allow_more() -> None:
    building = Building([meter(1), *[meter(n, interval=MINUTE, mute=True) for n in range(2, 32)]], silent_share=0.01)
    building.until("2026-11-03T10:20:00")
    start, began = len(building.bus.written), building.clock.seconds
    building.until("2026-11-03T11:20:00")
    askings = sum(data[0] > 1 for _, data in building.bus.written[start:])
    passed = building.clock.seconds - began
    assert 0.8 * 0.01 * passed <= askings * PROBE <= 0.01 * (passed + 600) + PROBE


@settings(max_examples=10, deadline=None)
@given(
    st.sets(st.integers(1, 12), min_size=1, max_size=11),
    st.sampled_from([0.01, 0.05, 0.2]),
    st.sampled_from([5000, 20_000, 15 * MINUTE]),
)
def test_silent_meters_never_have_more_of_the_line_than_their_share(
    mute: set[int], share: float, interval: int
) -> None:
    building = Building(
        [meter(n, "orno-we-515", interval=interval, mute=n in mute) for n in range(1, 13)], silent_share=share
    )
    building.until("2026-11-03T10:16:30")
    start, began = len(building.bus.written), building.clock.seconds
    building.until("2026-11-03T10:28:00")
    askings = sum(data[0] in mute for _, data in building.bus.written[start:])
    passed = building.clock.seconds - began
    assert askings * PROBE <= share * (passed + 600) + PROBE
    assert building.line.state().silent_share <= share * 2 + PROBE / 600


def test_a_share_of_nothing_gives_silent_meters_no_time_at_all() -> None:
    building = Building([meter(1), meter(2, mute=True)], silent_share=0.0)
    building.until("2026-11-03T10:16:00")
    found = building.until("2026-11-03T12:01:00")
    assert set(kinds(of(found, "m-002"))) == {"skipped"}
    assert building.bus.meters[1].asked == 2


def test_the_boundary_of_a_silent_meter_is_tried_until_its_window_ends() -> None:
    building = Building([meter(1), meter(2, mute=True)], start="2026-11-30T23:40:00")
    edge = building.at("2026-12-01T00:00:00")
    found = building.until("2026-12-01T06:20:00")
    opened = building.clock.seconds - 6 * 3600 - 20 * 60  # midnight on the clock of the wire
    tries = [at for at, data in building.bus.written if data[0] == 2 and opened <= at < opened + 6 * 3600]
    assert opened + 6 * 3600 - tries[-1] < 60
    pauses = [b - a for a, b in pairwise(tries)]
    assert max(pauses) <= PAUSE_MOST / 1000 + 2
    assert min(pauses[-6:]) < 30  # more often near the end
    assert {snapshot.purpose for snapshot in of(found, "m-002") if snapshot.asked < edge} == {"interval"}
    boundaries = [snapshot for snapshot in of(found, "m-002") if snapshot.purpose == "boundary"]
    assert boundaries
    assert set(kinds(boundaries)) == {"no-answer"}
    assert boundaries[-1].asked < edge + 6 * HOUR
    assert building.line.meters()["m-002"].boundary is None


def test_a_meter_that_comes_back_in_the_window_gives_its_boundary_soon() -> None:
    building = Building([meter(1), meter(2, mute=True)], start="2026-11-30T23:40:00")
    building.until("2026-12-01T02:07:00")
    building.bus.meters[1].mute = False
    found = of(building.until("2026-12-01T02:07:00") + building.until("2026-12-01T02:18:00"), "m-002")
    assert "boundary" in [snapshot.purpose for snapshot in found if snapshot.failure is None]
    assert building.line.meters()["m-002"].boundary == "2026-12-01"


def test_boundaries_that_are_owed_go_first_among_the_silent() -> None:
    building = Building([meter(n, mute=True) for n in (1, 2, 3)], start="2026-11-30T23:40:00", silent_share=0.002)
    building.until("2026-12-01T00:10:00")
    building.line._meters[0].memory = building.line._meters[0].memory.__class__(
        tick=building.at("2026-12-01T00:15:00"), boundary=building.at("2026-12-01T00:00:00")
    )
    found = building.until("2026-12-01T00:15:00")
    due = building.line._due(building.line._meters, building.at("2026-12-01T00:15:00"))
    assert [line_meter.setup.id for line_meter in due][-1] == "m-001"
    assert of(found, "m-001") == []


def test_when_the_first_of_a_dead_line_is_back_the_others_are_tried_at_once() -> None:
    building = Building(meters(10), start="2026-11-30T23:59:00")
    for simulated in building.bus.meters:
        simulated.mute = True  # the converter's cable is out
    building.until("2026-12-01T03:01:30")
    for simulated in building.bus.meters:
        simulated.mute = False
    found = building.until("2026-12-01T03:12:00")
    boundaries = [snapshot.asked for snapshot in found if snapshot.purpose == "boundary" and snapshot.failure is None]
    assert len(boundaries) == 10
    assert max(boundaries) - min(boundaries) < 10_000
    assert building.line.state().answering == 10


def test_a_line_that_is_dead_as_a_whole_does_not_look_without_rest() -> None:
    building = Building([meter(n, mute=True) for n in range(1, 11)])
    building.until("2026-11-04T10:00:00")
    assert sum(simulated.asked for simulated in building.bus.meters) < 10 * 200


def test_a_meter_that_never_gives_a_sound_frame_is_budgeted_like_a_silent_one() -> None:
    building = Building([meter(1), meter(2, interval=MINUTE), meter(3, interval=MINUTE)])
    building.bus.meters[1].spoil = lambda frame: bytes(byte ^ 0x55 for byte in frame)  # another speed, say
    found = of(building.until("2026-11-03T11:07:00"), "m-002")
    assert kinds(found)[:3] == ["damaged"] * 3
    assert set(kinds(found)) == {"damaged", "skipped"}
    building.bus.meters[1].spoil = bytes
    assert kinds(of(building.until("2026-11-03T11:20:00"), "m-002"))[-1] == "ok"


def test_a_silent_meter_that_answers_with_noise_stays_a_silent_one() -> None:
    building = Building([meter(1), meter(2, mute=True)])
    building.until("2026-11-03T10:16:00")
    noisy = building.bus.meters[1]
    noisy.mute, noisy.spoil = False, lambda frame: bytes(len(frame))
    found = building.until("2026-11-03T10:31:00")
    assert kinds(of(found, "m-002")) == ["damaged"]
    silence = building.line._meters[1].silence
    assert silence is not None
    assert silence.times == 2
    assert silence.next > building.at("2026-11-03T10:30:00")


def test_silence_costs_a_round_its_time_outs_once() -> None:
    building = Building([meter(n, "orno-we-515", interval=MINUTE) for n in range(1, 11)])
    building.until("2026-11-03T10:09:30")
    for number in (2, 4, 6):
        building.bus.meters[number].mute = True
    delays = {}
    for minute in (10, 11, 12):
        tick = building.at(f"2026-11-03T10:{minute}:00")
        found = building.until(tick + 50_000)
        delays[minute] = max(s.asked for s in found if s.failure is None) - tick
    assert delays[10] > 3 * 1000 * FIRST_SILENCE
    assert max(delays[11], delays[12]) < 1000


def test_two_days_of_a_silent_meter_keep_what_is_owed_in_order() -> None:
    building = Building([meter(1, "orno-we-515"), meter(2, "orno-we-515", mute=True)])
    found = building.until(building.clock.millis() + 2 * DAY)
    assert kinds(of(found, "m-001")) == ["ok"] * 192
    told = of(found, "m-002")
    assert len(told) == 192  # one word for every reading that fell due, whatever was tried in between
    assert "ok" not in kinds(told)
