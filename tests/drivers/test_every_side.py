"""Every profile of every protocol: what its simulated meter holds is what its driver reads."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest

from drivers.dialogue import Ask, Readout
from drivers.meter_side import Held, Wiring
from drivers.profile import Profile
from drivers.table import driver
from hil.household import Household
from hil.meter import VirtualMeter
from tests.drivers.sided import Sided
from tests.drivers.test_profile_files import PROFILES

NOON = 1_794_484_800_000  # 2026-11-12T12:00:00Z
STEP = 10  # Wh: the coarsest last digit of the profiles' energy registers


def asked(profile: Profile, address: str, frozen: bool) -> tuple[Readout, Held]:
    """What is read of a flat's meter, and what it held."""
    wiring = Wiring(profile.line.baudrate, profile.line.framing)
    meter = VirtualMeter(profile, address, Household.of_seed(4, 2), "4140111", wiring=wiring)
    held = meter.held(NOON)
    ask = Ask(address, frozen=frozen, baudrate=wiring.baudrate, framing=wiring.framing)
    return Sided(meter.side(Wiring()), held, wiring.baudrate).carry(driver(profile.protocol).read(profile, ask)), held


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
def test_what_a_simulated_meter_holds_is_what_its_driver_reads(profile: Profile) -> None:
    readout, held = asked(profile, "111", bool(profile.frozen))
    assert set(readout.registers) >= set(profile.energy_codes)
    for code, measured in readout.registers.items():
        wanted = held.registers[code]
        step = profile.registers[code].step if code in profile.registers else STEP
        if code in held.registers and isinstance(wanted, int):
            assert abs(measured.value - wanted) <= max(step, wanted // 2**23), code
        else:
            assert abs(Decimal(measured.value) - wanted) <= max(Decimal(1), abs(wanted) / 50), code
    if profile.serial != "none":
        assert readout.serial_number is not None
        assert readout.serial_number.endswith("4140111") or "111" in readout.serial_number
    if profile.clock != "none":
        assert readout.clock is not None
        assert held.clock is not None
        assert abs(datetime.fromisoformat(readout.clock) - held.clock).total_seconds() < 60
    if profile.frozen:
        assert readout.frozen
    for closing in readout.frozen:
        [of] = [
            it for it in held.frozen
            if it.back == closing.back or it.moment.isoformat() == closing.stamp
        ]  # fmt: skip
        for code, measured in closing.registers.items():
            assert abs(measured.value - of.registers[code]) <= STEP, (closing.back, code)
