"""Both ends joined over lines that lose, damage, delay and invent bytes: a reading is right, or there is none."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from drivers import modbus
from drivers.dialogue import Ask, DriverError, Readout
from drivers.profile import Profile
from tests.drivers.modbus_world import HELD, PROFILES, Hostile, Line, meter, sound


def truth(profile: Profile, ask: Ask) -> Readout:
    return sound(meter(profile)).carry(modbus.read(profile, ask))


def same(found: Readout, right: Readout) -> bool:
    """Whether all that was read is right. A damaged request may be refused, so less may be read; nothing else."""
    return (
        all(right.registers[code] == value for code, value in found.registers.items())
        and found.serial_number in (None, right.serial_number)
        and found.clock in (None, right.clock)
        and all(group in right.frozen for group in found.frozen)
    )


def right_readings(profile: Profile, trouble: float, seeds: range) -> int:
    """Ask twice on each of many bad lines; how often everything was read. Fails where anything was read wrongly."""
    ask = Ask("1", frozen=True)
    right = truth(profile, ask)
    read = 0
    for seed in seeds:
        line = Line(Hostile(meter(profile), seed, trouble=trouble, latest=3 * profile.line.timeout))
        for _ in range(2):
            try:
                found = line.carry(modbus.read(profile, ask))
            except DriverError:
                continue
            assert same(found, right), f"seed {seed}: {found}"
            read += found == right
    return read


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
@pytest.mark.parametrize(("trouble", "least"), [(0.1, 160), (0.5, 40), (0.9, 1)])
def test_a_hostile_line_gives_right_values_or_none(profile: Profile, trouble: float, least: int) -> None:
    assert right_readings(profile, trouble, range(100)) >= least


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
def test_ten_thousand_hostile_lines_give_right_values_or_none(profile: Profile) -> None:
    assert right_readings(profile, 0.5, range(100, 10_100)) > 4_000


def test_late_answers_are_never_taken_for_the_next_block() -> None:
    profile = PROFILES[0]  # its blocks have the same length, so that their answers look alike
    ask = replace(Ask("1", serial=False, clock=False), codes=("1.8.0", "1.8.1"), baudrate=115200)
    apart = frozenset({"apart:03:010A-0132"})
    right = truth(profile, replace(ask, refused=apart))
    assert len({len(value.raw) for value in right.registers.values()}) == 1
    reply = meter(profile)
    read = 0
    for seed in range(400):
        chance = random.Random(seed)
        line = Line(lambda request, now, late=chance: [(late.uniform(0, 3 * profile.line.timeout), reply(request))])
        try:
            found = line.carry(modbus.read(profile, replace(ask, refused=apart)))
        except DriverError:
            continue
        assert found == right, f"seed {seed}"
        read += 1
    assert read > 50


def test_every_answer_comes_through_a_line_that_only_adds() -> None:
    """Noise and echoes before an answer, whatever they are, cost nothing where the answer itself is whole."""
    profile = PROFILES[0]
    right = truth(profile, Ask("1"))

    class Adding(Hostile):
        def __call__(self, request: bytes, now: float) -> list[tuple[float, bytes]]:
            return [(0.0, request), (0.02, self._noise(100) + self.reply(request) + self._noise(9))]

    for seed in range(100):
        line = Line(Adding(meter(profile), seed, trouble=1, latest=0))
        assert line.carry(modbus.read(profile, Ask("1"))) == right


def test_held_values_are_what_is_read() -> None:
    for profile in PROFILES:
        found = truth(profile, Ask("1", frozen=True))
        for code, value in HELD[profile.id].registers.items():
            assert found.registers[code].value == value, code
