"""Tariffs in their hours: a healthy meter is never spoken of, one that counts in another's hours always is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.central.case import Case, Device
from collector.central.edge_value import HOUR, MINUTE, SECOND, STALE, Growth, Seen
from collector.central.registry import Point
from collector.central.store.series import TimedValue
from collector.central.tariff_hours import ANSWERED, CERTAIN, advances, switched
from collector.central.utility import Utility
from tests.central.books import at, own_utility
from tests.central.building import ZONE
from tests.central.one_point import meter

EDGE = at("2026-11-01 00:00:00")
DAY = 24 * HOUR
CLOCK = 5 * MINUTE  # the default of a utility's `clock`
TWO = '{1.8.1: ["07:00-23:00"], 1.8.2: ["23:00-07:00"]}'
THREE = '{1.8.1: ["07:00-10:00", "17:00-21:00"], 1.8.2: ["23:00-07:00"], 1.8.3: ["10:00-17:00", "21:00-23:00"]}'
# At the edge itself, and a tariff of an hour beside it.
AT_EDGE = '{1.8.1: ["06:00-22:00"], 1.8.2: ["00:00-06:00"], 1.8.3: ["22:00-00:00"]}'
NARROW = '{1.8.1: ["01:00-23:30"], 1.8.2: ["23:30-00:30"], 1.8.3: ["00:30-01:00"]}'
CALENDARS = (TWO, THREE, AT_EDGE, NARROW)


def codes(utility: Utility) -> list[str]:
    return sorted(utility.calendar)


def says(utility: Utility, local: int) -> str:
    """The register whose hours a local time (ms) is in."""
    minute = local % DAY // MINUTE
    return next(code for code, parts in utility.calendar.items() if any(part.hold(minute) for part in parts))


class Flat(NamedTuple):
    """What it uses: W all the time, and appliances: from, to (minutes from the edge), W."""

    base: int
    appliances: Sequence[tuple[int, int, int]] = ()

    def watt(self, time: int) -> int:
        minute = (time - EDGE) // MINUTE
        return self.base + sum(watt for first, last, watt in self.appliances if first <= minute < last)


class Meter(NamedTuple):
    """`ahead`: ms of its clock; `swapped`: two registers that it takes for each other; `digit`: Wh of its last."""

    utility: Utility
    flat: Flat
    ahead: int = 0
    swapped: tuple[str, str] | None = None
    digit: int = 1

    def counts(self, time: int) -> str:
        """The register that counts at an instant."""
        code = says(self.utility, time + self.ahead + 3 * HOUR)
        if self.swapped is not None and code in self.swapped:
            return self.swapped[1 - self.swapped.index(code)]
        return code

    def shows(self, times: Sequence[int]) -> list[dict[str, int]]:
        """What its registers show at these instants, oldest first."""
        changes = range((times[0] + self.ahead) // MINUTE * MINUTE - self.ahead, times[-1] + MINUTE, MINUTE)
        whole = range(times[0] // MINUTE * MINUTE, times[-1] + MINUTE, MINUTE)
        moments = sorted({*times, *(time for time in (*changes, *whole) if times[0] < time < times[-1])})
        used = {code: (7_654_321 + 1009 * n) * HOUR for n, code in enumerate(codes(self.utility))}
        shown = {times[0]: self._cut(used)}
        for start, end in pairwise(moments):
            used[self.counts(start)] += self.flat.watt(start) * (end - start)
            shown[end] = self._cut(used)
        return [shown[time] for time in times]

    def _cut(self, used: Mapping[str, int]) -> dict[str, int]:
        return {code: sum_ // HOUR // self.digit * self.digit for code, sum_ in used.items()}


def said(
    utility: Utility,
    asked: Sequence[int],
    shown: Sequence[Mapping[str, int]],
    *,
    digit: int = 1,
    watt: int = 13_800,
    zone: str = ZONE,
) -> list[str]:
    """The findings of a meter that was asked then and showed that."""
    names = sorted(shown[0])
    live = {code: [TimedValue(t, wh[code]) for t, wh in zip(asked, shown, strict=True)] for code in names}
    opening, closing = (utility.edge_of(month, ZONE) for month in ("2026-09", "2026-10"))
    growth = Growth(watt, dict.fromkeys(names, digit))
    case = Case(
        period="2026-10",
        utility=utility,
        point=Point("kv1", 0, "10001", "generic", "Lenina 12", "1", len(names), 1, Decimal(1), zone),
        opening=opening,
        closing=closing,
        segments=(meter(),),
        devices={"m1": Device("plain", "sha256:00", growth, proven=True, summed=False)},
        at_opening={},
        at_closing={"m1": Seen(live)},
        previous={},
        require_act=False,
    )
    return [doubt.text for _, doubt in switched(case, dict.fromkeys(names, ()))]


# ----------------------------------------------------------------------------- laws

intervals = st.sampled_from([15 * MINUTE, 30 * MINUTE, HOUR])
minutes = st.integers(-260, 200)
appliances = st.lists(st.tuples(minutes, minutes, st.integers(0, 3500)), max_size=2)


def around(interval: int, edge: int = EDGE) -> list[int]:
    """Four askings: those that the close sees."""
    return [edge + n * interval for n in (-2, -1, 0, 1)]


@given(
    st.sampled_from(CALENDARS), st.integers(-CLOCK, CLOCK), st.integers(100, 500), appliances, intervals,
    st.integers(-60, 60), st.sampled_from([1, 10, 1000]), st.data(),
)  # fmt: skip
def test_a_healthy_meter_is_never_spoken_of_however_late_it_answers_and_whatever_is_used(
    calendar: str, ahead: int, base: int, used: list[tuple[int, int, int]], interval: int, edge: int, digit: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    # An oven and a kettle of 7 kW together, in a flat that uses 100 W at least.
    utility = own_utility(calendar=calendar)
    late = data.draw(st.lists(st.integers(0, 60 * SECOND), min_size=4, max_size=4))
    asked = [time + ms for time, ms in zip(around(interval, EDGE + edge * MINUTE), late, strict=True)]
    delays = data.draw(st.lists(st.integers(-STALE, ANSWERED), min_size=4, max_size=4))
    meter = Meter(utility, Flat(base, used), ahead, digit=digit)
    assert said(utility, asked, meter.shows([t + ms for t, ms in zip(asked, delays, strict=True)]), digit=digit) == []


@given(st.sampled_from(CALENDARS), st.integers(-CLOCK, CLOCK), st.integers(0, 9), intervals, st.integers(-60, 60))
def test_an_empty_flat_whose_last_digit_moves_at_the_switch_is_not_spoken_of(
    calendar: str, ahead: int, base: int, interval: int, edge: int
) -> None:
    utility = own_utility(calendar=calendar)
    asked = around(interval, EDGE + edge * MINUTE)
    assert said(utility, asked, Meter(utility, Flat(base), ahead, digit=10).shows(asked), digit=10) == []


def certainly(meter: Meter, asked: Sequence[int], off: int = CLOCK) -> bool:
    """Whether some step is one that no healthy meter makes, minute by minute and without the code under test."""
    for start, end in pairwise(asked):
        counted = {meter.counts(time) for time in range(start, end, MINUTE)}
        local_start, local_end = start + 3 * HOUR, end + 3 * HOUR
        may = {
            says(meter.utility, time) for time in range(local_start - off - STALE, local_end + off + ANSWERED, MINUTE)
        }
        must = range(local_start + off + ANSWERED, local_end - off - STALE, MINUTE)
        rest = {says(meter.utility, time) for time in must}
        if counted - may or (len(must) * MINUTE >= CERTAIN and not counted & rest):
            return True
    return False


@given(
    st.sampled_from(CALENDARS), st.integers(-12, 12), st.sampled_from([None, (0, 1), (0, -1), (1, -1)]),
    st.integers(200, 500), appliances, intervals, st.sampled_from([1, 10]),
)  # fmt: skip
def test_a_meter_that_counts_in_anothers_hours_is_spoken_of_as_soon_as_what_is_seen_shows_it(
    calendar: str, hours: int, swapped: tuple[int, int] | None, base: int, used: list[tuple[int, int, int]],
    interval: int, digit: int,
) -> None:  # fmt: skip
    utility = own_utility(calendar=calendar)
    names = codes(utility)
    pair = None if swapped is None or names[swapped[0]] == names[swapped[1]] else (names[swapped[0]], names[swapped[1]])
    meter, asked = Meter(utility, Flat(base, used), hours * HOUR, pair, digit), around(interval)
    assert said(utility, asked, meter.shows(asked), digit=digit) or not certainly(meter, asked)


@given(st.sampled_from([TWO, THREE]), intervals, st.integers(-60, 60), st.integers(200, 500), appliances)
def test_swapped_tariffs_are_always_seen_at_a_months_end(
    calendar: str, interval: int, edge: int, base: int, used: list[tuple[int, int, int]]
) -> None:
    utility = own_utility(calendar=calendar)
    asked = around(interval, EDGE + edge * SECOND)
    swapped = Meter(utility, Flat(base, used), swapped=("1.8.1", "1.8.2"))
    assert said(utility, asked, swapped.shows(asked)) != []


@given(st.integers(1, 14), intervals, st.integers(0, 5000))
def test_a_clock_that_is_hours_behind_is_always_seen_at_a_months_end(hours: int, interval: int, late: int) -> None:
    utility = own_utility(calendar=TWO)
    asked = [time + late for time in around(interval)]
    assert said(utility, asked, Meter(utility, Flat(300), -hours * HOUR).shows(asked)) != []


# ----------------------------------------------------------------------------- by hand


def steps(calendar: str, *dials: tuple[str, str, str], clock: str = "5m", watt: int = 13_800) -> list[str]:
    """When asked, and Wh of two registers."""
    utility = own_utility(calendar=calendar, checks=f"{{clock: {clock}}}")
    shown = [{"1.8.1": int(first), "1.8.2": int(second)} for _, first, second in dials]
    return said(utility, [at(f"2026-{when}") for when, *_ in dials], shown, watt=watt)


def test_an_asking_before_the_switch_that_is_answered_behind_it_is_no_fault() -> None:
    assert steps(TWO, ("10-31 22:45:00", "5000", "900"), ("10-31 22:59:58", "5090", "902")) == []


def test_a_kettle_just_before_the_switch_is_no_fault_of_a_meter_that_is_four_minutes_ahead() -> None:
    assert steps(TWO, ("10-31 22:00:00", "5000", "900"), ("10-31 23:00:00", "5040", "1030")) == []


def test_what_a_meter_answers_may_be_a_minute_old_and_its_clock_five_minutes_behind() -> None:
    assert steps(TWO, ("10-31 23:05:30", "5000", "900"), ("10-31 23:20:30", "5002", "950")) == []
    assert len(steps(TWO, ("10-31 23:06:00", "5000", "900"), ("10-31 23:21:00", "5002", "950"))) == 1


def test_a_register_far_from_its_hours_does_not_move_by_a_single_digit() -> None:
    assert len(steps(TWO, ("11-01 02:00:00", "5000", "900"), ("11-01 02:15:00", "5001", "950"))) == 1


def test_in_less_than_half_an_hour_a_flat_may_use_nothing() -> None:
    for start, found in (("22:14:01", 0), ("22:14:00", 1)):
        dials = (f"10-31 {start}", "5000", "900"), ("10-31 23:00:00", "5000", "930")
        assert len(steps(TWO, *dials)) == found


def test_a_clock_may_be_off_by_what_the_utility_says() -> None:
    early = (("10-31 22:00:00", "5000", "900"), ("10-31 22:40:00", "5090", "902"))
    assert len(steps(TWO, *early)) == 1
    assert steps(TWO, *early, clock="30m") == []


def test_who_got_all_of_an_hour_that_is_anothers_up_to_its_last_minutes_is_named() -> None:
    whole = [("10-31 22:00:00", "5000", "900"), ("10-31 23:00:00", "5000", "1200")]
    assert steps(TWO, *whole) == [
        "from 2026-10-31 22:00:00 to 2026-10-31 23:00:00 1.8.2 advanced by 0.300 kWh; the calendar of generic says "
        "1.8.1 then: the tariffs are swapped, or the meter's calendar or clock is wrong"
    ]
    some = [whole[0], ("10-31 23:00:00", "5006", "1200")]
    assert len(steps(TWO, *some)) == 1  # some seconds of another register at the end
    assert steps(TWO, whole[0], ("10-31 23:00:00", "5007", "1200")) == []


def test_more_than_a_meter_counts_in_the_minutes_that_are_left_to_it_is_named() -> None:
    most = 13_800 * 10 // 60 + 1
    for came, found in ((most, 0), (most + 1, 1)):
        dials = ("10-31 22:00:00", "5000", "900"), ("10-31 23:00:00", "5900", f"{900 + came}")
        assert len(steps(TWO, *dials)) == found


@pytest.mark.parametrize(("end", "found"), [("03:00:09", 1), ("03:20:00", 0)])
def test_an_hour_that_began_some_seconds_late_is_one_and_a_longer_time_says_nothing(end: str, found: int) -> None:
    assert len(steps(TWO, ("11-01 02:00:01", "5000", "900"), (f"11-01 {end}", "5100", "900"))) == found


def test_the_last_digit_of_a_meter_is_what_it_shows_where_its_profile_knows_no_better() -> None:
    utility, asked = own_utility(calendar=TWO), [at("2026-10-31 22:00:00"), at("2026-10-31 23:00:00")]
    fine = [{"1.8.1": 5000, "1.8.2": 900}, {"1.8.1": 5000, "1.8.2": 1200}]
    assert len(said(utility, asked, fine, digit=1000)) == 1
    whole = [{"1.8.1": 5000, "1.8.2": 9000}, {"1.8.1": 5000, "1.8.2": 11_000}]
    assert said(utility, asked, whole, digit=1000) == []


def test_a_register_that_fell_is_another_checks_matter() -> None:
    assert steps(TWO, ("10-31 22:00:00", "5000", "900"), ("10-31 23:00:00", "1000", "1200")) == []


def test_the_hours_of_three_tariffs_say_nothing_of_a_flat_with_two() -> None:
    day = [("11-01 00:00:00", "5000", "900"), ("11-01 00:30:00", "5100", "900")]
    assert len(steps(TWO, *day)) == 1
    assert steps(THREE, *day) == []


@pytest.mark.parametrize(("zone", "found"), [("Europe/Moscow", 1), ("Europe/Kyiv", 0)])
def test_where_the_clocks_change_nothing_is_said(zone: str, found: int) -> None:
    utility = own_utility(calendar=TWO)
    asked = [at("2026-10-25 03:30:00"), at("2026-10-25 04:30:00")]  # in Kyiv the second 03:00 comes between
    shown = [{"1.8.1": 5000, "1.8.2": 900}, {"1.8.1": 5100, "1.8.2": 900}]
    assert len(said(utility, asked, shown, zone=zone)) == found


def test_a_step_says_which_register_the_calendar_expects_where_one_has_all_of_it() -> None:
    hours = own_utility(calendar=TWO).calendar
    asked = [at(f"2026-10-31 {when}") for when in ("22:00:00", "23:00:00", "23:15:00", "23:30:00")]
    values = {code: [TimedValue(time, n) for n, time in enumerate(asked)] for code in hours}
    assert [step.expected for step in advances(values, hours, ZONE)] == ["1.8.1", "1.8.2", "1.8.2"]
    moved = {code: [TimedValue(time + 1, n) for n, time in enumerate(asked)] for code in hours}
    assert [step.expected for step in advances(moved, hours, ZONE)] == [None, "1.8.2", "1.8.2"]
