"""A virtual meter of any profile: registers that a household moves, a clock with drift, frozen months."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from collector import localtime
from collector.localtime import from_millis, local_date, midnight, to_millis
from drivers import obis
from drivers.meter_side import Held, HeldFrozen, MeterSide, Wiring
from drivers.profile import Profile
from drivers.table import driver
from hil.household import DAY_MS, Household

VOLTS = Decimal("230.1")
HERTZ = Decimal("50.00")
POWER_FACTOR = Decimal("0.95")
BATTERY, BATTERY_VOLTS = "96.6.3", Decimal("3.05")  # the cell of a meter's clock
FROZEN_MONTHS = 3  # how far back a simulated meter remembers; a profile asks for what it knows


class Later(Mapping[str, Any]):
    """Registers that are worked out when first looked at: on a wire of thirty meters only one is asked."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._made: dict[str, Any] | None = None

    def _all(self) -> dict[str, Any]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, key: str) -> Any:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


@dataclass(frozen=True)
class VirtualMeter:
    """One simulated meter. `zone`: where its clock was set.

    `drift_ms`: what its clock was ahead of ours when it was set at `set_at` (ms); `daily_ms`: what it gains each day.

    `wiring`: its speed, framing and password where they are not those of its wire.
    """

    profile: Profile
    address: str
    household: Household
    serial_number: str | None = None
    zone: str = "UTC"
    drift_ms: int = 0
    wiring: Wiring | None = None
    set_at: int = 0
    daily_ms: int = 0

    def side(self, usual: Wiring) -> MeterSide:
        """Its side on a wire, hung as it says or else as usual there; behind a Modbus TCP gateway as all others."""
        wiring = usual if usual.tcp else self.wiring or usual
        return driver(self.profile.protocol).meter(self.profile, self.address, wiring)

    def held(self, millis: int) -> Held:
        """What it holds at an instant of our clock."""
        own = self.own(millis)
        clock = from_millis(own).astimezone(localtime.zone(self.zone)).replace(tzinfo=None, microsecond=0)
        return Held(
            registers=Later(lambda: self._registers(millis)),
            serial_number=self.serial_number,
            clock=clock,
            frozen=self._frozen(own) if self.profile.frozen else (),
        )

    def own(self, millis: int) -> int:
        """What its clock shows at an instant, as if it were set to UTC (milliseconds)."""
        return millis + self.drift_ms + self.daily_ms * (millis - self.set_at) // DAY_MS

    def passed(self, own: int) -> int:
        """The instant at which its clock showed `own`."""
        return self.set_at + (own - self.set_at - self.drift_ms) * DAY_MS // (DAY_MS + self.daily_ms)

    def energy(self, millis: int) -> dict[str, int]:
        """Its energy registers in whole Wh at an instant: the truth, before any format cuts it."""
        tariffs = self.household.tariffs(millis)
        values = {}
        for code in self._codes():
            parsed = obis.parse(code)
            imported = sum(tariffs) if parsed.e == 0 else tariffs[parsed.e - 1] if parsed.e <= len(tariffs) else 0
            values[code] = {1: imported, 15: imported, 3: imported // 3, 9: imported * 20 // 19}.get(parsed.c, 0)
        return values

    def _codes(self) -> tuple[str, ...]:
        """Those of its profile; of a profile that takes every register, import by the household's tariffs.

        And the total, also where a meter only has its tariffs: it is what they add up to.
        """
        tariffs = sorted(set(self.household.calendar)) if self.profile.takes_every else []
        total = [obis.TOTAL] if self.profile.can_give(obis.TOTAL) else []
        return tuple(dict.fromkeys((*self.profile.energy_codes, *total, *(f"1.8.{tariff}" for tariff in tariffs))))

    def _registers(self, millis: int) -> dict[str, Any]:
        return self.energy(millis) | self._instants(millis)

    def _instants(self, millis: int) -> dict[str, Any]:
        watts = Decimal(self.household.power(millis))
        amperes = (watts / (VOLTS * POWER_FACTOR)).quantize(Decimal("0.001"))
        values: dict[str, Any] = {}
        for code in self.profile.registers:
            parsed = obis.parse(code)
            if parsed.is_energy:
                continue
            if code == BATTERY:
                values[code] = BATTERY_VOLTS
                continue
            first = parsed.c <= 40  # a flat hangs on one phase
            by_unit = {"V": VOLTS, "Hz": HERTZ, "": POWER_FACTOR}
            moving = {"W": watts, "VA": watts / POWER_FACTOR, "var": watts / 3, "A": amperes}
            values[code] = by_unit.get(parsed.unit) or (moving[parsed.unit] if first else Decimal(0))
        return values

    def _frozen(self, own: int) -> tuple[HeldFrozen, ...]:
        first = local_date(from_millis(own), self.zone).replace(day=1)
        return tuple(
            HeldFrozen(wall, back, self.closed(edge))
            for back, (wall, edge) in enumerate(_closings(first, self.zone), 1)
        )

    def closed(self, edge: int) -> Mapping[str, Any]:
        """The energy registers as it froze them when its clock showed `edge`."""
        return Later(lambda: self.energy(self.passed(edge)))


@lru_cache(maxsize=64)
def _closings(first: date, zone: str) -> tuple[tuple[datetime, int], ...]:
    """The last closings before and at a first of a month: wall clock and instant (milliseconds)."""
    found = []
    for _ in range(FROZEN_MONTHS):
        found.append((datetime.combine(first, datetime.min.time()), to_millis(midnight(first, zone))))
        first = (first - timedelta(days=1)).replace(day=1)
    return tuple(found)
