"""Which codes an asking gives, and the total of a meter that has none: its tariffs added up (`total: sum`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from drivers.dialogue import Measured, NotInProfile
from drivers.obis import TARIFFS, TOTAL
from drivers.profile import Profile


def given_codes(profile: Profile, asked: Collection[str]) -> tuple[str, ...]:
    """The codes that a readout is to have: those asked for, or all. Raises NotInProfile for one that is not there.

    A profile that takes every register has whatever is asked for.
    """
    known = (*profile.registers, TOTAL) if profile.is_summed else tuple(profile.registers)
    if unknown := sorted({code for code in asked if not profile.can_give(code)}):
        raise NotInProfile(f"profile {profile.id} has no {', '.join(unknown)}; it has {', '.join(known)}")
    return tuple(dict.fromkeys(asked)) or known


def summands(profile: Profile) -> tuple[str, ...]:
    """The tariff registers that are added up."""
    return tuple(code for code in TARIFFS if code in profile.registers)


def summed(profile: Profile, measured: Mapping[str, Measured | None]) -> Measured | None:
    """The total; None unless every tariff is there."""
    parts = [measured.get(code) for code in summands(profile)]
    there = [part for part in parts if part is not None]
    if not there or len(there) < len(parts):
        return None
    return Measured(sum(part.value for part in there), there[0].unit, b"".join(part.raw for part in there))
