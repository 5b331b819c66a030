"""Checked rows of points.csv into the registry: all of them or, with every fault by line, none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert

from collector.central.database import Alone, alone, binding, meter, point_version, registry_log, segment
from collector.central.engine import writing
from collector.central.points_csv import Device, Faults, PointRow, brand
from collector.central.registry import Meter, Point, Registry, Segment
from collector.serials import plain_serial, same_serial

_POINT_FIELDS = ("account", "utility", "address", "flat", "tariffs", "receipt_order", "ratio", "time_zone")
_DEVICE_FIELDS = ("profile", "gateway")  # how the meter is read may change; which meter it is takes an act


@dataclass(frozen=True, slots=True)
class Change:
    """One changed field of a point or of its meter."""

    line: int
    point: str
    column: str
    before: str
    after: str


@dataclass(slots=True)
class ImportReport:
    """What an import did, or would do. `warnings` are for a person to look at and refuse nothing."""

    new: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    warnings: list[str] = field(default_factory=list)


def import_points(
    engine: Engine, rows: Sequence[PointRow], name: str, *, now: int, who: str, dry_run: bool
) -> ImportReport:
    """Compare the rows with the registry and, unless `dry_run`, write what is new or changed; it counts from `now` on.

    `name` stands for the file in faults, `who` goes into the log. Raises ConfigError with all faults; then nothing
    has changed.
    """
    report = ImportReport(warnings=_ambiguous_orders(rows))
    with writing(engine) as connection:
        alone(connection, Alone.REGISTRY)
        known = _Known(Registry(engine))
        faults = Faults(name)
        for row in rows:
            known.check(row, faults)
        faults.raise_any()
        pending = _Pending()
        for row in rows:
            pending.add(row, known, report, now)
        if not dry_run:
            pending.write(connection, now, who)
    return report


class _Known:
    """What the registry holds before the import, by what rows are compared with."""

    def __init__(self, registry: Registry) -> None:
        self.points: dict[str, Point] = {point: history[-1] for point, history in registry.histories().items()}
        self.meters: dict[str, Meter] = registry.meters()
        segments = registry.segments()
        self.current: dict[str, Segment] = {
            point: items[-1] for point, items in segments.items() if items[-1].to_ms is None
        }
        self._place = {item.meter: item for items in segments.values() for item in items}
        self._serials = {_plate(item.serial_number, item.bindings[-1].profile): item for item in self.meters.values()}
        self._spelled = {
            "point": _by_fold(self.points),
            "meter": _by_fold(self.meters),
            "gateway": _by_fold(registry.gateways()),
        }

    def check(self, row: PointRow, faults: Faults) -> None:
        """Note what this row may not do to what is known."""
        self._check_case(row, "point", row.point, faults)
        current, device = self.current.get(row.point), row.device
        if device is not None:
            self._check_case(row, "meter", device.meter, faults)
            self._check_case(row, "gateway", device.gateway, faults)
            self._check_device(row, device, faults)
        if row.point not in self.points:
            return
        before = None if current is None else current.meter
        after = None if device is None else device.meter
        if before != after:
            act = "commission" if before is None else "remove" if after is None else "replace"
            text = f"meter: point {row.point!r} has {_shown(before)} in the registry, {_shown(after)} here"
            faults.add(row.line, f"{text}; {act} the meter with an act")

    def _check_device(self, row: PointRow, device: Device, faults: Faults) -> None:
        bound = self.meters.get(device.meter)
        if bound is not None and not same_serial(bound.serial_number, device.serial_number):
            text = f"serial_number: meter {device.meter!r} is bound to {bound.serial_number!r} for ever"
            faults.add(row.line, f"{text}, not {device.serial_number!r}; replace the meter with an act")
        owner = self._serials.get(_plate(device.serial_number, device.profile))
        if owner is not None and owner.meter != device.meter:
            text = f"serial_number: {device.serial_number!r} is bound to meter {owner.meter!r}"
            faults.add(row.line, f"{text}, not {device.meter!r}")
        place = self._place.get(device.meter)
        if place is not None and place.point != row.point:
            hangs = "hangs" if place.to_ms is None else "hung"
            faults.add(row.line, f"meter: {device.meter!r} {hangs} at point {place.point!r}; move it with acts")

    def _check_case(self, row: PointRow, column: str, name: str, faults: Faults) -> None:
        known = self._spelled[column].get(name.casefold(), name)
        if known != name:
            faults.add(row.line, f"{column}: {name!r} differs from {known!r} in the registry only in case")


class _Pending:
    """Rows of the tables that an import adds."""

    def __init__(self) -> None:
        self._rows: dict[Table, list[dict[str, Any]]] = {
            table: [] for table in (point_version, meter, binding, segment, registry_log)
        }

    def add(self, row: PointRow, known: _Known, report: ImportReport, now: int) -> None:
        """Note what this row adds to what is known."""
        point = known.points.get(row.point)
        if point is None:
            self._add_new(row, now)
            report.new.append(row.point)
            return
        changes = list(_changes(row, _POINT_FIELDS, point, row))
        if changes:
            # Versions are told apart by their instant: a clock that was set back must not hide the new one.
            self._add_point(row, max(now, point.valid_from + 1))
        current = known.current.get(row.point)
        if row.device is not None and current is not None:
            rebound = list(_changes(row, _DEVICE_FIELDS, current, row.device))
            if rebound:
                last = known.meters[row.device.meter].bindings[-1]
                self._add_binding(row.device, max(now, last.valid_from + 1))
            changes += rebound
        if not changes:
            report.unchanged += 1
            return
        report.changes += changes
        before = {change.column: change.before for change in changes}
        self._log(row.point, before, {change.column: change.after for change in changes})

    def write(self, connection: Connection, now: int, who: str) -> None:
        """Write all of it."""
        for what in self._rows[registry_log]:
            what.update(at=now, who=who)
        for table, rows in self._rows.items():
            if rows:
                connection.execute(insert(table), rows)

    def _add_new(self, row: PointRow, now: int) -> None:
        self._add_point(row, now)
        after = {column: _text(getattr(row, column)) for column in _POINT_FIELDS}
        if row.device is not None:
            self._rows[meter].append({"meter": row.device.meter, "serial_number": row.device.serial_number})
            self._add_binding(row.device, now)
            self._rows[segment].append({"point": row.point, "meter": row.device.meter})
            after |= asdict(row.device)
        self._log(row.point, None, after)

    def _add_point(self, row: PointRow, valid_from: int) -> None:
        values = {column: getattr(row, column) for column in _POINT_FIELDS}
        values["ratio"] = _text(row.ratio)
        self._rows[point_version].append({"point": row.point, "valid_from": valid_from, **values})

    def _add_binding(self, device: Device, valid_from: int) -> None:
        how = {"profile": device.profile, "gateway": device.gateway}
        self._rows[binding].append({"meter": device.meter, "valid_from": valid_from, **how})

    def _log(self, point: str, before: dict[str, str] | None, after: dict[str, str]) -> None:
        what = json.dumps({"point": point, "before": before, "after": after}, ensure_ascii=False)
        self._rows[registry_log].append({"what": what})


def _changes(row: PointRow, columns: Iterable[str], before: object, after: object) -> Iterable[Change]:
    for column in columns:
        old, new = getattr(before, column), getattr(after, column)
        if old != new:
            yield Change(row.line, row.point, column, _text(old), _text(new))


def _ambiguous_orders(rows: Sequence[PointRow]) -> list[str]:
    places = Counter((row.utility, row.account, row.receipt_order) for row in rows)
    return [
        f"account {account} of {utility} has {count} points with receipt_order {order}; they are sorted by name"
        for (utility, account, order), count in places.items()
        if count > 1
    ]


def _plate(serial_number: str, profile: str) -> tuple[str, str]:
    return brand(profile), plain_serial(serial_number)


def _by_fold(names: Iterable[str]) -> dict[str, str]:
    return {name.casefold(): name for name in names}


def _shown(name: str | None) -> str:
    return "no meter" if name is None else repr(name)


def _text(value: object) -> str:
    """A field as text; a ratio without the zeros that mean nothing."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return str(value)
