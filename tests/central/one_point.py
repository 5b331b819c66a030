"""One point and what its meter showed, written as a clerk would, for the tests of the pure close.

Times are local wall time in Moscow, dials are kWh. The period is October 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from collector.central.case import Case, Device, Previous, Sent, billed, overlapping
from collector.central.close import Row, close_points
from collector.central.edge_value import Growth, Kept, Seen
from collector.central.registry import Point, Segment
from collector.central.store.series import TimedValue
from collector.central.utility import Utility
from tests.central.books import GENERIC, ZONE, at, wh

# A direct one-phase meter for 60 A (13.8 kW) that counts in steps of 0.01 kWh.
PLAIN = Device("plain", "sha256:00", Growth(13_800, {"1.8.0": 10}), proven=True, summed=False)
Dials = Mapping[str, str]  # when -> kWh

OCTOBER_BEGINS = {"2026-09-30 23:45:00": "100.00", "2026-10-01 00:00:02": "100.90", "2026-10-01 00:15:00": "101.00"}
NOVEMBER_BEGINS = {"2026-10-31 23:45:00": "250.00", "2026-11-01 00:00:02": "250.10", "2026-11-01 00:15:00": "250.20"}
QUIET = OCTOBER_BEGINS | NOVEMBER_BEGINS


def november(**moments: str) -> dict[str, str]:
    """Readings round the end of October: `_31_2345=...` is 31 October 23:45, `_01_000002` is 1 November 00:00:02."""
    days = {"31": "2026-10-31", "01": "2026-11-01"}
    found = {}
    for moment, kwh in moments.items():
        _, day, time = moment.split("_")
        time = time.ljust(6, "0")
        found[f"{days[day]} {time[:2]}:{time[2:4]}:{time[4:]}"] = kwh
    return OCTOBER_BEGINS | found


def meter(
    name: str = "m1",
    hung: str | None = None,
    taken: str | None = None,
    initial: Mapping[str, str] | None = None,
    final: Mapping[str, str] | None = None,
) -> Segment:
    """A meter at the point."""
    acts = (None if act is None else {code: wh(kwh) for code, kwh in act.items()} for act in (initial, final))
    times = (None if when is None else at(when) for when in (hung, taken))
    return Segment("kv1", name, "00001", "plain", "gw", *times, *acts)


def seen(live: Mapping[str, Dials], frozen: Mapping[str, Dials]) -> Seen:
    """Register -> when -> kWh; of frozen ones, when they were asked."""
    snapshots: dict[int, dict[str, Any]] = {}
    for kind in (live, frozen):
        for code, dials in kind.items():
            for when, kwh in dials.items():
                snapshot = snapshots.setdefault(at(when), {"asked": at(when), "registers": {}})
                if kind is live:
                    snapshot["registers"][code] = wh(kwh)
    askings = {
        time: Kept({"sequence": number, "asked": time, "snapshot": "00" * 32}, ZONE, item)
        for number, (time, item) in enumerate(snapshots.items())
    }
    values = (
        {code: sorted(TimedValue(at(when), wh(kwh)) for when, kwh in dials.items()) for code, dials in kind.items()}
        for kind in (live, frozen)
    )
    return Seen(*values, askings)


def rows(
    live: Dials | Mapping[str, Dials] = QUIET,
    *,
    frozen: Dials | Mapping[str, Dials] | None = None,
    others: Mapping[str, Dials] | None = None,
    tariffs: int = 1,
    ratio: str = "1",
    period: str = "2026-10",
    utility: Utility = GENERIC,
    meters: Sequence[Segment] | None = None,
    device: Device = PLAIN,
    previous: Previous | None = None,
    require_act: bool = False,
) -> list[Row]:
    """What a close gives. `live`: of the last meter, by register or of the only one; `others`: of the others.

    `frozen`: what the last meter froze at the end of the period.
    """
    segments = [meter()] if meters is None else list(meters)
    first = billed(tariffs)[0]
    known = {name: seen({first: dials}, {}) for name, dials in (others or {}).items()}
    at_closing = dict(known)
    if segments:
        last, shown_live = segments[-1].meter, _by_register(live, first)
        known[last] = seen(shown_live, {})
        at_closing[last] = seen(shown_live, _by_register(frozen or {}, first))
    point = Point("kv1", 0, "10001", "generic", "Lenina 12", "1", tariffs, 1, Decimal(ratio), ZONE)
    before = period[:5] + f"{int(period[5:]) - 1:02d}"
    opening, closing = (utility.edge_of(month, ZONE) for month in (before, period))
    case = Case(
        period=period,
        utility=utility,
        point=point,
        opening=opening,
        closing=closing,
        segments=overlapping(segments, opening.at, closing.at),
        devices={item.meter: device for item in segments},
        at_opening=known,
        at_closing=at_closing,
        previous={} if previous is None else {first: previous},
        require_act=require_act,
    )
    return close_points([case])[0]


def _by_register(dials: Dials | Mapping[str, Dials], code: str) -> Mapping[str, Dials]:
    flat = {when: kwh for when, kwh in dials.items() if isinstance(kwh, str)}
    return {code: flat} if flat else {name: given for name, given in dials.items() if not isinstance(given, str)}


def row(*arguments: Any, **keys: Any) -> Row:
    """The only row of a close."""
    (only,) = rows(*arguments, **keys)
    return only


def checks(closed: Row) -> list[str]:
    """Which checks spoke."""
    return [finding.check for finding in closed.findings]


def shown(closed: Row) -> tuple[str, str, str, str, str]:
    """Start, end, consumption, status and quality as in billing.csv."""
    reading = closed.reading
    dials = (reading.start_kwh, reading.end_kwh, reading.consumption_kwh)
    start, end, consumption = ("" if dial is None else f"{dial:f}" for dial in dials)
    return (start, end, consumption, reading.status, reading.quality)


def ended(kwh: str, *, status: str = "ready", name: str = "m1", when: str = "2026-10-01 00:00:02") -> Previous:
    """How the ledger closed September."""
    sent = Sent("2026-09", Decimal(kwh), name) if status in ("ready", "estimated") else None
    return Previous("2026-09", status, name, at(when), Decimal(kwh), 1, "ab" * 32, sent=sent)  # type: ignore[arg-type]
