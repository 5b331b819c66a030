"""What a close and the checks have to know of a meter, out of its profile."""

from __future__ import annotations

from functools import lru_cache

from collector.central.case import Device
from collector.central.edge_value import Growth
from drivers import profile as profiles
from drivers.profile import Profile
from drivers.strict_yaml import ConfigError

# EN 50160, 4.2.2: the supply voltage is at most 230 V + 10 %.
_VOLTS = 253
TARIFFS = ("1.8.1", "1.8.2", "1.8.3", "1.8.4")


def device_of(profile: Profile) -> Device:
    """What a close has to know of a meter."""
    digits = {code: profile.registers[code].step for code in profile.energy_codes}
    tariffs = tuple(code for code in profile.energy_codes if code in TARIFFS)
    modulus = None if profile.digits is None else 1000 * 10**profile.digits
    growth = Growth(profile.max_current * _VOLTS * profile.phases, digits, modulus)
    return Device(profile.id, profile.digest, growth, profile.serial != "none", profile.total == "sum", tariffs)


@lru_cache(maxsize=256)
def device_named(name: str) -> Device | None:
    """The same of a shipped profile by its id; None for one that is not known."""
    try:
        return device_of(profiles.load(name))
    except ConfigError:
        return None
