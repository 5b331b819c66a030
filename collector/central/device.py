"""What a close and the checks have to know of a meter, out of its profile."""

from __future__ import annotations

from functools import lru_cache

from collector.central.case import Device
from collector.central.edge_value import Growth
from drivers import profile as profiles
from drivers.obis import TARIFFS, TOTAL
from drivers.profile import Profile
from drivers.strict_yaml import ConfigError

# EN 50160, 4.2.2: the supply voltage is at most 230 V + 10 %.
_VOLTS = 253


def device_of(profile: Profile) -> Device:
    """What a close has to know of a meter."""
    codes = dict.fromkeys((*profile.energy_codes, *filter(profile.can_give, (TOTAL, *TARIFFS))))
    digits = {code: profile.step_of(code) for code in codes}
    modulus = None if profile.digits is None else 1000 * 10**profile.digits
    growth = Growth(profile.max_current * _VOLTS * profile.phases, digits, modulus)
    tariffs = () if profile.takes_every else profile.tariff_codes  # which ones a generic meter has, its askings show
    return Device(profile.id, profile.digest, growth, profile.serial != "none", profile.is_summed, tariffs)


@lru_cache(maxsize=256)
def device_named(name: str) -> Device | None:
    """The same of a shipped profile by its id; None for one that is not known."""
    try:
        return device_of(profiles.load(name))
    except ConfigError:
        return None
