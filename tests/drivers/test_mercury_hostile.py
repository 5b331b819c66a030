"""Both ends of Mercury over lines that lose, damage, delay and invent bytes: a reading is right, or there is none."""

from __future__ import annotations

import pytest

from drivers import mercury
from drivers.dialogue import DriverError, Readout
from tests.drivers.mercury_world import PROFILES, QuietLine, Station, ask, read
from tests.drivers.modbus_world import Hostile


def same(found: Readout, right: Readout) -> bool:
    """Whether all that was read is right; less may be read, nothing else."""
    closings = [item for group in found.frozen for item in group.registers.items()]
    return (
        all(right.registers[code] == value for code, value in found.registers.items())
        and found.serial_number in (None, right.serial_number)
        and found.clock in (None, right.clock)
        and all(value == right.frozen[0].registers[code] for code, value in closings)
    )


def right_readings(name: str, trouble: float, seeds: range) -> int:
    """Ask twice on each of many bad lines; how often everything was read. Fails where anything was read wrongly."""
    profile, right, whole = PROFILES[name], read(name), 0
    for seed in seeds:
        line = QuietLine(Hostile(Station(name), seed, trouble=trouble, latest=3 * profile.line.timeout))
        for since in (None, 1.0):
            try:
                found = line.carry(mercury.read(profile, ask(name, since=since)))
            except DriverError:
                continue
            assert same(found, right), f"seed {seed}: {found}"
            whole += found == right
    return whole


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(("trouble", "least"), [(0.1, 40), (0.5, 1), (0.9, 0)])
def test_a_hostile_line_gives_right_values_or_none(name: str, trouble: float, least: int) -> None:
    assert right_readings(name, trouble, range(30)) >= least


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", PROFILES)
def test_thousands_of_hostile_lines_give_right_values_or_none(name: str) -> None:
    assert right_readings(name, 0.3, range(100, 4_100)) > 400


def test_late_answers_are_never_taken_for_the_next_question() -> None:
    """All energy answers of a meter look alike: only the silence after a late one keeps them apart."""
    profile, right = PROFILES["230"], read("230", frozen=False)
    whole = 0
    for seed in range(60):
        station = Station("230")
        chance = Hostile(station, seed, trouble=1, latest=1).random
        line = QuietLine(
            lambda request, now, late=chance, reply=station: [(late.uniform(0, 0.9), reply(request))]  # type: ignore[misc]
        )
        try:
            found = line.carry(mercury.read(profile, ask("230", frozen=False)))
        except DriverError:
            continue
        assert same(found, right), f"seed {seed}"
        whole += 1
    assert whole > 5
