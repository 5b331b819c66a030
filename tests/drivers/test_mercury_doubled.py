"""An answer that comes twice, the second time when the next question is on its way: no value is another one's."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from drivers import mercury
from drivers.dialogue import Ask, DriverError, character_seconds
from drivers.mercury import _steps
from drivers.summed import given_codes
from tests.drivers.mercury_world import ADDRESS, PROFILES, QuietLine, Station, ask, read
from tests.drivers.test_mercury_hostile import same

CHARACTER = character_seconds(9600, "8N1")
LAGS = [0.001, 0.008, 0.02, 0.04, 0.07]
ENERGIES = ("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4")


def holding(changed: dict[str, int], name: str = "230") -> Station:
    """A meter each of whose tariffs has counted something of its own, and with them `changed`."""
    station = Station(name)
    assert station.held is not None
    tariffs = {"1.8.1": 15_023_900, "1.8.2": 5_020_730, "1.8.3": 700_000, "1.8.4": 20_000}
    live = dict(station.held.registers) | tariffs | {"1.8.0": sum(tariffs.values())} | changed
    station.held = replace(station.held, registers=live)
    return station


def energies(station: Station) -> list[bytes]:
    """The requests for energy that it heard."""
    return [request for request in station.heard if request[1] == 5]


class Doubling:
    """A converter that gives some answers twice: those for which `twice(number)` says after how many seconds."""

    def __init__(self, name: str, twice: dict[int, float] | random.Random) -> None:
        self.station, self.twice, self.asked = holding({}, name), twice, 0

    def __call__(self, request: bytes, now: float) -> list[tuple[float, bytes]]:
        answer, number = self.station(request), self.asked
        self.asked += 1
        if isinstance(self.twice, random.Random):
            lag = self.twice.choice(LAGS) if self.twice.random() < 0.3 else None
        else:
            lag = self.twice.get(number)
        again = [] if lag is None else [(0.02 + len(answer) * CHARACTER + lag, answer)]
        return [(0.02, answer), *again]


@pytest.mark.parametrize("name", ["230", "234"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("lag", LAGS)
@pytest.mark.parametrize("number", range(17))
def test_one_doubled_answer_costs_time_and_no_value(name: str, whole: bool, lag: float, number: int) -> None:
    codes = () if whole else ENERGIES
    wanted = {"codes": codes, "serial": whole, "clock": whole, "frozen": whole}
    right = read(name, holding({}, name), **wanted)
    line = QuietLine(Doubling(name, {number: lag}))
    assert line.carry(mercury.read(PROFILES[name], ask(name, **wanted))) == right


@pytest.mark.parametrize("name", ["230", "234"])
def test_where_answers_are_doubled_all_the_time_values_are_right_or_there_are_none(name: str) -> None:
    wanted = {"codes": ENERGIES, "serial": False, "clock": False, "frozen": False}
    right, whole = read(name, holding({}, name), **wanted), 0
    for seed in range(200):
        line = QuietLine(Doubling(name, random.Random(seed)))
        try:
            found = line.carry(mercury.read(PROFILES[name], ask(name, **wanted)))
        except DriverError:
            continue
        assert same(found, right), f"seed {seed}: {found}"
        whole += found == right
    assert whole > 150


def test_a_meter_whose_tariffs_do_not_add_up_is_asked_twice_and_believed() -> None:
    station = holding({"1.8.4": 5_000_000})
    found = read("230", station, codes=ENERGIES, serial=False, clock=False, frozen=False)
    assert found.registers["1.8.4"].value == 5_000_000
    assert len(energies(station)) == 10


def test_a_meter_that_adds_up_is_asked_once_also_while_it_counts() -> None:
    """Between the first question and the last a house with all its ovens on uses some watt-hours."""
    station = holding({})

    def counting(request: bytes) -> bytes:
        assert station.held is not None
        held = dict(station.held.registers)
        for code in ("1.8.0", "1.8.1"):
            held[code] += 9
        station.held = replace(station.held, registers=held)
        return station(request)

    read("230", counting, codes=ENERGIES, serial=False, clock=False, frozen=False)
    assert len(energies(station)) == 5


def test_a_meter_without_a_total_or_with_some_of_its_tariffs_is_asked_once() -> None:
    for codes in (ENERGIES[1:], ENERGIES[:3], ("1.8.0",)):
        station = holding({})
        read("230", station, codes=codes, serial=False, clock=False, frozen=False)
        assert len(energies(station)) == len(codes)


@pytest.mark.parametrize("name", ["230", "234"])
def test_present_values_stand_between_energies_so_that_a_doubled_answer_has_a_wrong_length(name: str) -> None:
    profile = PROFILES[name]
    steps = _steps(profile, Ask(ADDRESS[name], frozen=False), given_codes(profile, ()))
    live = [step.kind.size for step in steps]
    equal = sum(one == other for one, other in pairwise(live))
    assert equal == 0, "no two answers in a row are alike in length, live values and all"
