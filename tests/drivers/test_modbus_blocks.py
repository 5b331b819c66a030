"""The plan of blocks: its laws, and that it is the cheapest one there is."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import modbus
from drivers.dialogue import Ask, NotInProfile
from drivers.modbus_blocks import Apart, Block, Extent, Rules, blocks, extents, halves, rules
from drivers.modbus_places import ModbusProfile
from tests.drivers.modbus_world import FLOATS, PROFILES, SWAPPED, TARIFFS


def planned(profile: ModbusProfile, *codes: str, **settings: Any) -> tuple[Block, ...]:
    """The plan of an asking of these codes, without serial number and clock unless `settings` say else."""
    return modbus.plan(profile, Ask("1", codes, **{"serial": False, "clock": False} | settings))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Extent], Rules]:
    """Values of a meter in any order, close enough together that holes matter, and rules of any severity."""
    found = []
    for function in (3, 4):
        at = 0
        for number in range(draw(st.integers(0, 5))):
            at += draw(st.one_of(st.just(0), st.integers(0, 30)))
            found.append(Extent(function, at, draw(st.integers(1, 4)), f"{function}.{number}"))
            at = found[-1].end
    limits = st.integers(0, 120)
    by = Rules(
        most=draw(st.integers(4, 60)),
        alone=draw(st.frozensets(limits, max_size=3)),
        apart=draw(st.frozensets(st.builds(Apart, st.sampled_from([3, 4]), limits, limits), max_size=3)),
        request=draw(st.floats(0, 100)),
        register=draw(st.floats(0.01, 10)),
    )
    return draw(st.permutations(found)), by


def allowed(block: list[Extent], by: Rules) -> bool:
    """The rules as the documentation says them, without the planner."""
    start, end = block[0].address, block[-1].end
    if len(block) == 1:
        return True
    return (
        len({extent.function for extent in block}) == 1
        and end - start <= by.most
        and not any(start <= address < end for address in by.alone)
        and not any(a.function == block[0].function and start < a.below and end > a.above for a in by.apart)
    )


def cheapest(values: list[Extent], by: Rules) -> float:
    """The least milliseconds of all ways to cut the sorted values, by trying every one."""
    ordered, best = sorted(values), inf
    for size in range(len(ordered)):
        for cuts in combinations(range(1, len(ordered)), size):
            edges = [0, *cuts, len(ordered)]
            parts = [ordered[a:b] for a, b in pairwise(edges)]
            if all(allowed(part, by) for part in parts):
                cost = sum(by.request + by.register * (part[-1].end - part[0].address) for part in parts)
                best = min(best, cost)
    return best


@given(layouts())
def test_every_value_is_in_exactly_one_block_that_holds_it_whole(layout: tuple[list[Extent], Rules]) -> None:
    values, by = layout
    plan = blocks(values, by)
    assert sorted(name for block in plan for name in block.names) == sorted(value.name for value in values)
    for value in values:
        (block,) = [block for block in plan if value.name in block.names]
        assert block.function == value.function
        assert block.address <= value.address
        assert value.end <= block.end


@given(layouts())
def test_no_block_breaks_a_rule_of_its_meter(layout: tuple[list[Extent], Rules]) -> None:
    values, by = layout
    for block in blocks(values, by):
        inside = sorted(value for value in values if value.name in block.names)
        assert (block.address, block.end) == (inside[0].address, inside[-1].end)
        assert allowed(inside, by)


@given(layouts())
def test_no_way_to_cut_the_values_is_cheaper(layout: tuple[list[Extent], Rules]) -> None:
    values, by = layout
    planned = sum(block.milliseconds for block in blocks(values, by))
    assert planned == pytest.approx(cheapest(values, by) if values else 0)
    assert planned <= sum(by.request + by.register * value.count for value in values) + 1e-6


@given(layouts())
def test_the_halves_of_a_block_are_its_values(layout: tuple[list[Extent], Rules]) -> None:
    values, by = layout
    for block in blocks(values, by):
        parts = halves(block, values, by)
        if len(block.names) == 1:
            assert parts is None
        else:
            assert parts is not None
            assert parts[0].names + parts[1].names == block.names
            assert (parts[0].address, parts[1].end) == (block.address, block.end)
            assert parts[0].end <= parts[1].address


def test_a_block_is_cut_at_its_widest_hole_and_else_in_the_middle() -> None:
    by = Rules(60, frozenset(), frozenset(), 10, 1)

    def cut(*places: tuple[int, int]) -> tuple[int, int]:
        values = [Extent(3, at, count, str(at)) for at, count in places]
        (whole,) = blocks(values, by)
        below, above = halves(whole, values, by) or pytest.fail("not cut")
        return below.end, above.address

    assert cut((0, 2), (2, 2), (6, 2), (10, 2), (15, 1)) == (12, 15)
    assert cut((0, 2), (2, 2), (4, 2), (6, 2)) == (4, 4)


def test_a_hole_is_read_along_only_where_that_is_cheaper_than_a_request() -> None:
    """Forty registers lie between the two: 83 ms at 9600 baud, where a request is 37.5 ms; 7 ms of 23 at 115200."""
    assert [block.count for block in planned(TARIFFS, "1.8.0", "1.8.1", baudrate=9600)] == [2, 2]
    assert [block.count for block in planned(TARIFFS, "1.8.0", "1.8.1", baudrate=115200)] == [44]


def test_line_time_is_the_sum_of_silence_characters_and_turnaround() -> None:
    (block,) = planned(TARIFFS, "1.8.0", baudrate=9600, framing="8E1")
    characters = 8 + 5 + 2 * 2
    assert block == Block(3, 0x0108, 2, ("1.8.0",), pytest.approx(3.5 * 11 / 9.6 + characters * 11 / 9.6 + 20))


def test_a_meter_cannot_think_for_less_than_the_silence_that_ends_a_request() -> None:
    (block,) = planned(TARIFFS, "1.8.0", baudrate=1200)
    assert block.milliseconds == pytest.approx(2 * 3.5 * 11 / 1.2 + (8 + 5 + 4) * 10 / 1.2)


def test_a_register_that_wants_to_be_alone_is_neither_in_a_block_nor_in_a_hole() -> None:
    plan = planned(SWAPPED, "32.7.0", "31.7.0", "14.7.0")
    assert [(block.address, block.count) for block in plan] == [(0x0000, 2), (0x000B, 1), (0x000C, 2)]
    without = planned(SWAPPED, "32.7.0", "31.7.0")
    assert [(block.address, block.count) for block in without] == [(0x0000, 2), (0x000C, 2)]


def test_values_of_two_functions_are_asked_for_separately() -> None:
    plan = planned(FLOATS, serial=True)
    assert {(block.function, name) for block in plan for name in block.names if name == "serial"} == {(3, "serial")}
    assert {block.function for block in plan} == {3, 4}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
def test_an_even_meter_is_asked_for_even_starts_and_counts(profile) -> None:
    for baudrate in (300, 9600, 115200):
        for block in planned(profile, baudrate=baudrate, serial=True, frozen=True):
            assert block.count <= profile.modbus.most_registers
            if profile.modbus.even:
                assert block.address % 2 == block.count % 2 == 0


def test_what_was_refused_is_not_planned() -> None:
    names = {name for block in planned(TARIFFS, serial=True, clock=True) for name in block.names}
    assert names == {*TARIFFS.registers, "serial", "clock"}
    refused = frozenset({"serial", "1.8.3", "something a newer version learnt"})
    left = planned(TARIFFS, serial=True, clock=True, refused=refused)
    assert {name for block in left for name in block.names} == names - refused


def test_what_is_to_be_asked_apart_is_not_in_one_block() -> None:
    codes = ("1.8.1", "1.8.2", "1.8.3")
    assert len(planned(TARIFFS, *codes)) == 1
    plan = planned(TARIFFS, *codes, refused=frozenset({"apart:03:0134-013E"}))
    assert [block.names for block in plan] == [("1.8.1",), ("1.8.2", "1.8.3")]
    other = planned(TARIFFS, *codes, refused=frozenset({"apart:04:0134-013E"}))
    assert len(other) == 1


def test_values_that_touch_are_asked_apart_where_they_touch_and_nowhere_else() -> None:
    values = [Extent(3, at, 2, str(at)) for at in (0, 2, 4, 6)]
    by = Rules(60, frozenset(), frozenset({Apart(3, 4, 4)}), 10, 1)
    assert [block.names for block in blocks(values, by)] == [("0", "2"), ("4", "6")]


@given(st.builds(Apart, st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)))
def test_what_is_apart_survives_its_text(apart: Apart) -> None:
    assert Apart.parse(str(apart)) == apart


@pytest.mark.parametrize("key", ["1.8.0", "serial", "apart:3:0-1", "apart:03:0134-013e", "apart:03:0134-013E "])
def test_other_keys_are_not_taken_for_it(key: str) -> None:
    assert Apart.parse(key) is None


def test_a_code_that_the_profile_does_not_have_is_named() -> None:
    with pytest.raises(NotInProfile, match=r"tariffs has no 2\.8\.0, 3\.8\.0; it has 1\.8\.0"):
        planned(TARIFFS, "1.8.0", "3.8.0", "2.8.0")


def test_a_long_list_of_values_is_planned_as_well() -> None:
    by = rules(TARIFFS, baudrate=9600, framing="8N1", turnaround=0.02, refused=())
    values = [Extent(3, 4 * number, 2, str(number)) for number in range(500)]
    assert sum(len(block.names) for block in blocks(values, by)) == 500


def test_the_extents_of_a_profile_are_all_its_values() -> None:
    months = next(profile for profile in PROFILES if profile.id == "months")
    assert set(extents(months)) == {"1.8.1", "1.8.2", "serial", "clock"} | {
        "frozen.1.stamp", "frozen.1.1.8.1", "frozen.1.1.8.2", "frozen.2.1.8.1"
    }  # fmt: skip
