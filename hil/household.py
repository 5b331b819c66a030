"""What a household uses: registers that grow by a day's curve, split by a tariff calendar, as a pure function of time.

The function is exact and never falls: energy since the start is whole milliwatt-hours of full weeks, full days and the
hour's part, so that any two instants can be asked in any order and the registers of all tariffs add up to the total.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

# Share of a day's energy by hour, in thousandths: night 2 %/h, a morning and an evening peak. Our own choice; its sum
# is the divisor, so the shape may be edited freely.
DAY = (22, 20, 18, 18, 18, 22, 34, 52, 56, 44, 38, 36, 38, 40, 38, 38, 44, 56, 72, 82, 80, 66, 44, 24)

# Energy of the days of a week, Monday first, in hundredths of the mean day: people are at home at weekends.
WEEK = (94, 94, 95, 96, 99, 113, 109)

# An office: people from 8 to 18, machines and light all night, little at weekends. Our own choice, as above.
OFFICE_DAY = (12, 12, 12, 12, 12, 14, 24, 48, 78, 86, 88, 86, 80, 84, 86, 84, 76, 58, 34, 22, 16, 14, 12, 12)
OFFICE_WEEK = (128, 130, 130, 128, 118, 36, 30)

# Which tariff counts in which hour, as in Russian practice: one; day 07-23 and night; peak, night, half-peak.
CALENDARS: dict[int, tuple[int, ...]] = {
    1: (1,) * 24,
    2: (2,) * 7 + (1,) * 16 + (2,),
    3: (2,) * 7 + (1,) * 3 + (3,) * 7 + (1,) * 4 + (3,) * 2 + (2,),
    4: (2,) * 7 + (1,) * 3 + (3,) * 7 + (1,) * 4 + (4,) * 2 + (2,),
}

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS  # 1970-01-05 was a Monday


@dataclass(frozen=True)
class Household:
    """One flat.

    `day_wh`: a mean day's energy; `calendar`: the tariff (1..4) of each hour of the meter's own time; `start`: Wh that
    each tariff register had at the beginning; `offset_ms`: what is added to UTC to have the meter's own time. `day`,
    `week`: the curves, as `DAY` and `WEEK`.
    """

    day_wh: int
    calendar: tuple[int, ...] = CALENDARS[1]
    start: tuple[int, int, int, int] = (0, 0, 0, 0)
    offset_ms: int = 0
    day: tuple[int, ...] = DAY
    week: tuple[int, ...] = WEEK

    @classmethod
    def of_seed(cls, seed: int, tariffs: int, offset_ms: int = 0) -> Household:
        """A flat like others: 3 to 14 kWh a day, with registers of a meter that has hung for some years."""
        chance = random.Random(seed)
        day = chance.randint(3_000, 14_000)
        age = chance.randint(200, 2_500)
        shares = [CALENDARS[max(tariffs, 1)].count(n) / 24 for n in range(1, 5)]
        start = [int(day * age * share) + chance.randint(0, 999) * (share > 0) for share in shares]
        return cls(day, CALENDARS[max(tariffs, 1)], (start[0], start[1], start[2], start[3]), offset_ms)

    @cached_property
    def _hours(self) -> Sequence[tuple[int, ...]]:
        """Weight of all hours before hour h of a day, per tariff (index 0 is tariff 1)."""
        rows, sums = [(0, 0, 0, 0)], [0, 0, 0, 0]
        for hour, weight in enumerate(self.day):
            sums[self.calendar[hour] - 1] += weight
            rows.append((sums[0], sums[1], sums[2], sums[3]))
        return rows

    def tariffs(self, millis: int) -> tuple[int, int, int, int]:
        """Wh of T1 to T4 at an instant (milliseconds since 1970 UTC, 1970-01-05 or later)."""
        since = millis + self.offset_ms - MONDAY_MS
        weeks, in_week = divmod(since, WEEK_MS)
        day, in_day = divmod(in_week, DAY_MS)
        hour, in_hour = divmod(in_day, HOUR_MS)
        whole_days = weeks * sum(self.week) + sum(self.week[:day])  # hundredths of a mean day
        result = []
        for tariff in range(4):
            part = self._hours[hour][tariff] * HOUR_MS
            if self.calendar[hour] - 1 == tariff:
                part += self.day[hour] * in_hour
            weighed = whole_days * self._hours[24][tariff] * HOUR_MS + self.week[day] * part
            result.append(self.start[tariff] + self.day_wh * weighed // (100 * sum(self.day) * HOUR_MS))
        return (result[0], result[1], result[2], result[3])

    def power(self, millis: int) -> int:
        """The mean power of this hour in W."""
        since = millis + self.offset_ms - MONDAY_MS
        day, hour = since % WEEK_MS // DAY_MS, since % DAY_MS // HOUR_MS
        return self.day_wh * self.week[day] * self.day[hour] // (100 * sum(self.day))
