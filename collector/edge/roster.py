"""The meters of a line after its configuration changed: one that stays keeps what is known of it, others begin anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from collector.edge.asking import MeterSetup
from collector.edge.meter import LineMeter
from collector.edge.schedule import begin


def after_change(meters: Sequence[LineMeter], setups: Sequence[MeterSetup], zone: str, now: int) -> list[LineMeter]:
    """The line's meters from now (ms) on, in the order of `setups`. Called in the line's thread.

    A device is the same one when profile, address and serial number are. A new one owes the boundary of the last local
    midnight as long as that may be read, so that a swap shortly before or after midnight costs no month's edge.
    """
    known = {meter.setup.id: meter for meter in meters}
    return [_meter(known.get(setup.id), setup, zone, now) for setup in setups]


def _meter(before: LineMeter | None, setup: MeterSetup, zone: str, now: int) -> LineMeter:
    rules = setup.rules(zone)
    if before is None or _device(before.setup) != _device(setup):
        return LineMeter(setup, rules, begin(rules, now))
    before.setup = setup
    if before.rules != rules:
        before.rules, before.memory = rules, replace(before.memory, tick=begin(rules, now).tick)
    return before


def _device(setup: MeterSetup) -> tuple[str, str, str | None]:
    return setup.profile.digest, setup.address, setup.serial_number
