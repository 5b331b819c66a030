"""Laws of the month close, over months, zones, edges, swaps and gaps that nobody thought of."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from collector import localtime
from collector.central.case import Case, Previous, billed, overlapping
from collector.central.close import Row, close_points
from collector.central.edge_value import HOUR, MINUTE, Seen
from collector.central.estimation import PastMonths
from collector.central.registry import Point, Segment
from collector.central.store.series import Sample, TimedValue
from collector.central.utility import Edge, Utility
from tests.central.books import Centre, own_utility, point
from tests.central.one_point import PLAIN

ZONES = ("Europe/Moscow", "Europe/Berlin", "America/Havana", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Kamchatka")
MOST_W = 10_000  # what a flat draws; its meter can count 13.8 kW
CODE = "1.8.0"


@dataclass(frozen=True)
class Life:
    """A point through some months: its utility, its meters one after the other, and when which of them was asked."""

    utility: Utility
    zone: str
    ratio: int
    months: tuple[str, ...]
    edges: tuple[Edge, ...]  # one more than months: the first is where they begin
    powers: tuple[int, ...]  # W drawn between edges, the last beyond them
    segments: tuple[Segment, ...]
    askings: Mapping[str, Sequence[TimedValue]]

    def energy(self, at: int) -> int:
        """What was drawn since the first edge, in Wh (before it, nothing)."""
        total = 0
        for power, (start, end) in zip(
            self.powers, pairwise([*(edge.at for edge in self.edges), 1 << 60]), strict=True
        ):
            total += power * max(0, min(at, end) - start) // HOUR
        return total

    def close(self, index: int, before: Mapping[str, Previous]) -> Row:
        """The only row of the month, as the ledger makes it follow the one before."""
        opening, closing = self.edges[index], self.edges[index + 1]
        seen = {meter: Seen({CODE: values}, {}, {}) for meter, values in self.askings.items()}
        case = Case(
            period=self.months[index],
            utility=self.utility,
            point=Point("kv1", 0, "10001", "generic", "", "", 1, 1, Decimal(self.ratio), self.zone),
            opening=opening,
            closing=closing,
            segments=overlapping(self.segments, opening.at, closing.at),
            devices={segment.meter: PLAIN for segment in self.segments},
            at_opening=seen,
            at_closing=seen,
            previous=before,
            require_act=False,
        )
        ((row,),) = close_points([case])
        return row

    def close_all(self) -> list[Row]:
        """All months, one after the other."""
        rows: list[Row] = []
        before: Mapping[str, Previous] = {}
        for index in range(len(self.months)):
            rows.append(self.close(index, before))
            reading = rows[-1].reading
            end = (reading.meter, reading.end_time, reading.end_kwh)
            carried = PastMonths(rows[-1].carried["months"])
            before = {CODE: Previous(reading.period, reading.status, *end, 1, "ab" * 32, carried)}
        return rows

    def cut(self, wh: int) -> Decimal:
        """A dial as it is billed."""
        places = self.utility.decimals
        return Decimal(wh * 10**places // 1000).scaleb(-places)

    def swapped(self, index: int) -> Decimal:
        """What the dials of meters that were taken down or hung in the month add: finals less initials."""
        opening, closing = self.edges[index].at, self.edges[index + 1].at
        total = Decimal(0)
        for segment in self.segments:
            if segment.final is not None and opening < (segment.to_ms or 0) <= closing:
                total += self.cut(segment.final[CODE])
            if segment.initial is not None and opening <= (segment.from_ms or 0) < closing:
                total -= self.cut(segment.initial[CODE])
        return total


@st.composite
def lives(draw: st.DrawFn, *, most_swaps: int = 3, gaps: bool = True) -> Life:
    zone = draw(st.sampled_from(ZONES))
    day, hour = draw(st.sampled_from([(1, 0), (1, 0), (1, 6), (25, 0), (28, 23)]))
    decimals = draw(st.integers(0, 3))
    estimation = draw(st.sampled_from(["none", "{steps: [mean, norm], least: 1, norm: {1.8.0: 50}}"]))
    edge = f"{{day: {day}, time: '{hour:02d}:00'}}"
    utility = own_utility(edge=edge, decimals=str(decimals), estimation=estimation)
    first = localtime.next_month("2026-01", draw(st.integers(0, 30)))
    count = draw(st.integers(2, 5))
    months = tuple(localtime.next_month(first, step) for step in range(count))
    edges = tuple(utility.edge_of(localtime.next_month(first, step - 1), zone) for step in range(count + 1))
    powers = tuple(draw(st.lists(st.integers(0, MOST_W), min_size=count + 1, max_size=count + 1)))
    bare = Life(utility, zone, draw(st.integers(1, 60)), months, edges, powers, (), {})
    moments = st.integers(edges[0].at - HOUR, edges[-1].at + HOUR)
    swaps = sorted(draw(st.sets(moments, max_size=most_swaps)))
    segments, offsets = [], []
    for number, (start, end) in enumerate(pairwise([None, *swaps, None])):
        dial = draw(st.integers(0, 10**9))
        offset = dial - (0 if start is None else bare.energy(start))
        final = None if end is None else {CODE: bare.energy(end) + offset}
        initial = None if start is None else {CODE: dial}
        segments.append(Segment("kv1", f"m{number}", f"{number}", "plain", "gw", start, end, initial, final))
        offsets.append(offset)
    askings: dict[str, list[TimedValue]] = {}
    quiet = {-15 * MINUTE, 0, 15 * MINUTE}
    near = st.integers(-20, 120).map(lambda minute: minute * MINUTE)
    for edge in edges:
        for offset in sorted(draw(st.sets(near, max_size=5)) if gaps and draw(st.booleans()) else quiet):
            time = edge.at + offset
            for segment, dial in zip(segments, offsets, strict=True):
                if (segment.from_ms or 0) <= time < (segment.to_ms or 1 << 60):
                    value = TimedValue(time, bare.energy(time) + dial)
                    askings.setdefault(segment.meter, []).append(value)
    return replace(bare, segments=tuple(segments), askings=askings)


def runs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Every stretch of months that are all ready, as first and last index."""
    ready = [row.reading.status == "ready" for row in rows]
    return [(i, j) for i in range(len(rows)) for j in range(i, len(rows)) if all(ready[i : j + 1])]


@settings(deadline=None)
@given(lives())
def test_consumption_telescopes_over_any_months(life: Life) -> None:
    rows = life.close_all()
    for first, last in runs(rows):
        start, end = rows[first].reading.start_kwh, rows[last].reading.end_kwh
        assert start is not None
        assert end is not None
        between = sum(life.swapped(index) for index in range(first, last + 1))
        # The first dial and the last one are those of acts where the meter was hung or taken down in that month.
        if life.segments and rows[first].reading.start_time in {item.from_ms for item in life.segments}:
            between += start
        if rows[last].reading.end_time in {item.to_ms for item in life.segments}:
            between -= end
        total = sum((rows[index].reading.consumption_kwh or Decimal(0)) for index in range(first, last + 1))
        assert total == (end - start + between) * life.ratio


@settings(deadline=None)
@given(lives(most_swaps=0))
def test_a_month_begins_with_the_number_that_ended_the_one_before(life: Life) -> None:
    for earlier, later in pairwise(life.close_all()):
        if earlier.reading.status in ("ready", "estimated") and later.reading.start_kwh is not None:
            assert later.reading.start_kwh == earlier.reading.end_kwh
            assert later.reading.start_time == earlier.reading.end_time


@settings(deadline=None)
@given(lives())
def test_an_emitted_number_never_falls_below_the_one_before_without_a_stated_cause(life: Life) -> None:
    for earlier, later in pairwise(life.close_all()):
        before, after = earlier.reading.end_kwh, later.reading.end_kwh
        emitted = later.reading.status in ("ready", "estimated")
        if emitted and before is not None and after is not None and after < before:
            assert "replaced" in {finding.check for finding in later.findings} or (
                earlier.reading.meter != later.reading.meter
            )


@settings(deadline=None)
@given(lives())
def test_what_is_ready_is_what_was_drawn_but_for_what_is_cut_off(life: Life) -> None:
    """Nobody pays for more than a unit of the last place at either end of each dial."""
    unit = Decimal(1).scaleb(-life.utility.decimals)
    for index, row in enumerate(life.close_all()):
        reading = row.reading
        if reading.status != "ready" or "after-estimate" in {finding.check for finding in row.findings}:
            continue  # a month that begins with an estimate makes up for it
        assert reading.consumption_kwh is not None
        drawn = life.energy(reading.end_time or 0) - life.energy(reading.start_time or 0)
        dials = len(overlapping(life.segments, life.edges[index].at, life.edges[index + 1].at))
        assert (
            abs(reading.consumption_kwh - Decimal(drawn) / 1000 * life.ratio)
            < (unit + Decimal("0.001")) * dials * life.ratio
        )


@settings(deadline=None)
@given(lives(), st.data())
def test_one_damaged_value_is_never_billed_beyond_its_neighbours(life: Life, data: st.DataObject) -> None:
    if not any(life.askings.values()):
        return
    meter = data.draw(st.sampled_from(sorted(name for name, values in life.askings.items() if values)))
    values = list(life.askings[meter])
    place = data.draw(st.integers(0, len(values) - 1))
    time, true = values[place]
    bit = data.draw(st.integers(0, 40))
    values[place] = TimedValue(time, true ^ (1 << bit))
    rows = replace(life, askings={**life.askings, meter: values}).close_all()
    neighbours = [values[other].value for other in (place - 1, place + 1) if 0 <= other < len(values)]
    neighbours += [item.initial[CODE] for item in life.segments if item.meter == meter and item.initial and not place]
    for row in rows:
        if row.reading.status == "ready" and (row.reading.meter, row.reading.end_time) == (meter, time):
            assert row.reading.end_kwh is not None
            assert life.cut(min(neighbours)) <= row.reading.end_kwh <= life.cut(max(neighbours))


@settings(deadline=None)
@given(lives(most_swaps=0, gaps=False))
def test_a_meter_that_answered_at_every_edge_is_ready_every_month_unless_nothing_was_used(life: Life) -> None:
    for row in life.close_all():
        holds = {finding.check for finding in row.findings if finding.level == "hold"}
        assert row.reading.status == ("held" if holds else "ready")
        assert holds <= {"zero"}  # nobody at home for three months


@settings(deadline=None, max_examples=12)
@given(
    lived=st.lists(lives(most_swaps=0), min_size=1, max_size=3),
    tariffs=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    again=st.lists(st.integers(0, 4), max_size=3),
)
def test_every_billed_register_comes_out_once_and_closing_is_idempotent(
    lived: list[Life], tariffs: list[int], again: list[int]
) -> None:
    """On the real ledger and store: points of several zones, months in order, then some of them again."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            point(n, tariffs=str(tariffs[n]), time_zone=life.zone, ratio=str(life.ratio))
            for n, life in enumerate(lived)
        ]
        centre = Centre(Path(folder), *rows)
        for number, life in enumerate(lived):
            codes = ("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4")
            centre.store.write(
                [
                    Sample("live", f"m{number}", "gw", time, dict.fromkeys(codes, value))
                    for values in life.askings.values()
                    for time, value in values
                ]
            )
        months = sorted({month for life in lived for month in life.months})
        for month in months:
            centre.close(month, now="2031-01-01 00:00:00")
            found = [(row["point"], row["register"]) for row in centre.billing(month)]
            wanted = [(f"kv{n}", code) for n in range(len(lived)) for code in billed(tariffs[n])]
            assert sorted(found) == sorted(wanted)
            assert {row["status"] for row in centre.billing(month)} <= {"ready", "held", "missing", "estimated"}
        files, stored = centre.files(), centre.ledger()
        for index in again:
            assert centre.close(months[index % len(months)], now="2031-01-02 00:00:00").changed == 0
        assert (centre.files(), centre.ledger()) == (files, stored)
        _assert_months_follow(centre, months)
        centre.engine.dispose()
        centre.store.close()


def _assert_months_follow(centre: Centre, months: Sequence[str]) -> None:
    """Where two months that follow each other are ready, the second starts where the first ended."""
    for earlier, later in pairwise(months):
        if later != localtime.next_month(earlier):
            continue
        before = {(row["point"], row["register"]): row for row in centre.billing(earlier)}
        for row in centre.billing(later):
            was = before[row["point"], row["register"]]
            if was["status"] == row["status"] == "ready":
                assert (row["start_kwh"], row["start_time"]) == (was["end_kwh"], was["end_time"])
                consumption = (Decimal(row["end_kwh"]) - Decimal(row["start_kwh"])) * Decimal(row["ratio"])
                assert Decimal(row["consumption_kwh"]) == consumption
