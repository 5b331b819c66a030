"""Takes acts at the centre: each is kept as it came, and what it says goes into the registry, or it is held.

Rule 1. An act is one transaction: its row and everything that it changes, or nothing. The same act again, by another
        way or after a crash, is a repeat and changes nothing; one that was held is judged anew.
Rule 2. What stands against it is `acts_judge`'s to say. A held act changes nothing, and waits with its reason; it is
        judged again when another act of its point is taken, or when it is handed in again.
Rule 3. A correction changes what the corrected act wrote, in the segment that this one opened or closed; times stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from collector.central import database as tables
from collector.central import utility
from collector.central.acts_judge import Subject, current, readings_wh, reasons, removed_ms
from collector.central.acts_known import HELD, TAKEN, Known, Looker
from collector.central.database import Alone, alone
from collector.central.engine import writing
from collector.central.registry import Registry, Segment
from collector.central.store.series import SeriesStore
from collector.localtime import to_millis
from collector.model_act import Act, Device
from collector.model_act_chain import ActFault, checked, opened, written

Outcome = Literal["taken", "held", "repeat", "refused"]


@dataclass(frozen=True, slots=True)
class ActReceipt:
    """What became of an act: `reason` says why it was held or refused."""

    number: str
    point: str
    outcome: Outcome
    reason: str
    hash: str


class Due(NamedTuple):
    """A meter that has to be verified by a day."""

    verify_by: str
    point: str
    meter: str
    serial_number: str
    verified: str
    account: str
    address: str


class ActStore:
    """The acts of the centre. One at a time uses it. `time_zone`: of points that an act brings into the registry."""

    def __init__(self, registry: Registry, store: SeriesStore, time_zone: str) -> None:
        self._registry, self.engine = registry, registry.engine
        self._looker = Looker(registry, store)
        self._time_zone = time_zone

    def take(self, data: Any, *, source: str, gateway: str | None, received: int) -> ActReceipt:
        """Take an act, JSON as it came. `gateway`: whose topic it came by, None for a file. Raises StoreAway."""
        try:
            act = checked(data)
        except ActFault as fault:
            number, point = (
                str(data.get(key, ""))[:80] if isinstance(data, Mapping) else "" for key in ("number", "point")
            )
            return ActReceipt(number, point, "refused", str(fault), "")
        receipt = self._take(act, source, gateway, received)
        if receipt.outcome == "taken":
            self._retry(act.point, received)
        return receipt

    def _take(self, act: Act, source: str, gateway: str | None, received: int) -> ActReceipt:
        with writing(self.engine) as connection:
            alone(connection, Alone.REGISTRY)
            state = connection.execute(select(tables.act.c.state).where(tables.act.c.hash == act.hash)).scalar()
            if state == TAKEN:
                return ActReceipt(act.number, act.point, "repeat", "", act.hash)
            known = self._looker.known(connection, act)
            found = reasons(Subject(act, known, gateway, received, utility.known()))
            outcome: Literal["taken", "held"] = "held" if found else "taken"
            reason = "; ".join(found)
            if state is None:
                _keep(connection, act, state=outcome, reason=reason, source=source, received=received)
            else:
                changed = update(tables.act).where(tables.act.c.hash == act.hash)
                connection.execute(changed.values(state=outcome, reason=reason))
            if not found:
                _Effects(connection, act, known, self._time_zone).write(received, source)
        return ActReceipt(act.number, act.point, outcome, reason, act.hash)

    def _retry(self, point: str, received: int) -> None:
        """Acts of the point that are held may be its turn now: as long as one is taken, the others are tried."""
        again = True
        while again:
            again = False
            for act, source, gateway in list(self._held_at(point)):
                again |= self._take(act, source, gateway, received).outcome == "taken"

    def _held_at(self, point: str) -> Iterator[tuple[Act, str, str | None]]:
        row = tables.act.c
        query = select(row.document, row.source).where(row.point == point, row.state == HELD).order_by(row.made, row.id)
        with self.engine.connect() as connection:
            for text, source in connection.execute(query).all():
                yield opened(text.encode()), source, source.removeprefix(MQTT) if source.startswith(MQTT) else None

    # ------------------------------------------------------------------------- what is there

    def acts(self, *, point: str | None = None, held: bool = False) -> list[tuple[Act, str, str]]:
        """(act, state, reason) of every act, by point and time."""
        row = tables.act.c
        query = select(row.document, row.state, row.reason).order_by(row.point, row.made, row.id)
        query = query if point is None else query.where(row.point == point)
        query = query.where(row.state == HELD) if held else query
        with self.engine.connect() as connection:
            return [(opened(text.encode()), state, reason) for text, state, reason in connection.execute(query)]

    def documents(self) -> list[tuple[str, str, str]]:
        """(number, state, document) of every act, as they lie there: for who checks them."""
        row = tables.act.c
        with self.engine.connect() as connection:
            return [tuple(found) for found in connection.execute(select(row.number, row.state, row.document))]

    def verification_due(self, today: date, days: int) -> list[Due]:
        """The meters that hang at a point now and have to be verified within so many days, the overdue ones first."""
        table = tables.verification
        newest = select(func.max(table.c.id)).group_by(table.c.meter).scalar_subquery()
        until = (today + timedelta(days=days)).isoformat()
        query = select(table.c.meter, table.c.verified, table.c.verify_by).where(
            table.c.id.in_(newest), table.c.verify_by <= until
        )
        with self.engine.connect() as connection:
            due = {meter: (verified, verify_by) for meter, verified, verify_by in connection.execute(query)}
        histories = self._registry.histories()
        found = []
        for point, items in self._registry.segments().items():
            item = items[-1]
            if item.to_ms is None and item.meter in due:
                verified, verify_by = due[item.meter]
                last = histories[point][-1]
                found.append(
                    Due(verify_by, point, item.meter, item.serial_number, verified, last.account, last.address)
                )
        return sorted(found)


NOBODY = ""  # the gateway of a meter that none reads yet: no topic has that name, so no reading of it is believed
MQTT = "mqtt:"  # source of an act that came by a gateway's topic: `mqtt:gw-lenina-12`


def _keep(connection: Connection, act: Act, *, state: str, reason: str, source: str, received: int) -> None:
    connection.execute(
        insert(tables.act).values(
            hash=act.hash, number=act.number, kind=act.kind, point=act.point, made=to_millis(act.instant),
            received=received, source=source, state=state, reason=reason, document=written(act).decode(),
        )
    )  # fmt: skip


class _Effects:
    """What an act changes in the registry."""

    def __init__(self, connection: Connection, act: Act, known: Known, time_zone: str) -> None:
        self._connection, self._act, self._known = connection, act, known
        self._time_zone = time_zone
        self._at = to_millis(act.instant)

    def write(self, now: int, source: str) -> None:
        """All of it, with its line in the registry's log."""
        act = self._act
        if act.decision.admitted:
            self._point()
            if act.supersedes is not None:
                self._correct(act.supersedes)
            else:
                self._close()
                self._open()
            self._verification()
        self._seals()
        what = {
            "point": act.point,
            "act": act.number,
            "kind": act.kind,
            "hash": act.hash,
            "admitted": act.decision.admitted,
        }
        self._add(tables.registry_log, at=now, who=source, what=json.dumps(what, ensure_ascii=False))

    def _add(self, table: Any, **values: Any) -> None:
        self._connection.execute(insert(table).values(**values))

    def _point(self) -> None:
        act, history, device = self._act, self._known.history, self._act.meter
        if device is None or act.kind not in ("commissioning", "replacement", "reprogramming"):
            return
        ratio = _ratio(device)
        if act.kind == "reprogramming" and (item := current(self._known)) is not None and item.ratio != Decimal(ratio):
            self._change(item, ratio=None)  # the act that hung it says no longer what is billed with
        if not history:
            self._add(
                tables.point_version, point=act.point, valid_from=self._at, account=act.account, utility=act.utility,
                address=act.address, flat=act.flat or "", tariffs=device.tariffs, receipt_order=1, ratio=ratio,
                time_zone=self._time_zone,
            )  # fmt: skip
            return
        last = history[-1]
        if (last.tariffs, last.ratio) == (device.tariffs, Decimal(ratio)):
            return
        self._add(
            tables.point_version, point=act.point, valid_from=max(self._at, last.valid_from + 1), account=last.account,
            utility=last.utility, address=last.address, flat=last.flat, tariffs=device.tariffs,
            receipt_order=last.receipt_order, ratio=ratio, time_zone=last.time_zone,
        )  # fmt: skip

    def _close(self) -> None:
        old, item = self._act.old_meter, current(self._known)
        if old is None or item is None:
            return
        self._change(
            item, to_ms=removed_ms(self._act), final=_json(readings_wh(old.readings)), closed_by=self._act.hash
        )

    def _open(self) -> None:
        act, device = self._act, self._act.meter
        if device is None or act.kind not in ("commissioning", "replacement"):
            return
        self._meter(device)
        begins = {"from_ms": self._at, "initial": _json(readings_wh(act.readings))}
        values = {**begins, "opened_by": act.hash, "ratio": _ratio(device)}
        item = current(self._known)
        if act.kind == "commissioning" and item is not None:
            self._change(item, **values)  # imported with the point, and commissioned now
        else:
            self._add(tables.segment, point=act.point, meter=device.id, **values)

    def _meter(self, device: Device) -> None:
        bound = self._known.meters.get(device.id)
        if bound is None:
            plate = device.serial_number.plate or device.serial_number.wire
            self._add(tables.meter, meter=device.id, serial_number=plate)
        last = None if bound is None else bound.bindings[-1]
        how = (device.profile, device.gateway or (NOBODY if last is None else last.gateway))
        if last is None or (last.profile, last.gateway) != how:
            since = self._at if last is None else max(self._at, last.valid_from + 1)
            self._add(tables.binding, meter=device.id, valid_from=since, profile=how[0], gateway=how[1])

    def _correct(self, wrong: str) -> None:
        act, segment = self._act, tables.segment
        opened_by = update(segment).where(segment.c.opened_by == wrong)
        values: dict[str, Any] = {"initial": _json(readings_wh(act.readings)), "opened_by": act.hash}
        if act.meter is not None:
            values["ratio"] = _ratio(act.meter)
        self._connection.execute(opened_by.values(**values))
        if act.old_meter is not None:
            closed_by = update(segment).where(segment.c.closed_by == wrong)
            final = _json(readings_wh(act.old_meter.readings))
            self._connection.execute(closed_by.values(final=final, closed_by=act.hash))

    def _change(self, item: Segment, **values: Any) -> None:
        table = tables.segment
        here = (table.c.point == item.point) & (table.c.meter == item.meter) & table.c.to_ms.is_(None)
        self._connection.execute(update(table).where(here).values(**values))

    def _verification(self) -> None:
        device = self._act.meter
        if device is not None and device.verified is not None and device.verify_by is not None:
            days = {"verified": device.verified, "verify_by": device.verify_by}
            self._add(tables.verification, meter=device.id, act=self._act.hash, **days)

    def _seals(self) -> None:
        for seal in self._act.seals:
            state = seal.after or seal.before or "absent"
            self._add(
                tables.seal, point=self._act.point, number=seal.number, type=seal.type, place=seal.place, state=state,
                at=self._at, act=self._act.hash,
            )  # fmt: skip


def _json(values: Mapping[str, int]) -> str:
    return json.dumps(values, sort_keys=True)


def _ratio(device: Device) -> str:
    return f"{Decimal(str(device.ratio)).normalize():f}"
