"""Whether the centre takes an act: checks in a list, each giving what stands against it, or nothing. Pure.

Rule 1. What nobody can decide from the data is held with its reason, and shown; nothing is guessed, nothing repaired.
Rule 2. The form and the hash were checked before; here an act is held against everything else that is known.
Rule 3. An act that admits nothing changes nothing in the registry: of it only its place in the chain is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from collector.central.acts_known import Known, devices, read_ms
from collector.central.points_csv import brand
from collector.central.registry import Segment
from collector.localtime import to_millis
from collector.model_act import Act, Device, Reading
from collector.model_act_chain import head
from collector.model_act_grounds import against, display_wh
from collector.serials import plain_serial, same_serial
from drivers import profile as profiles
from drivers.strict_yaml import ConfigError
from drivers.values import kilo

DAY = 86_400_000  # ms; as for readings (docs/contract.md): how far ahead of us a box's clock may be
UNSURE = 1000  # Wh: one unit of a whole-kWh display, which may be all that the act has
GRACE = 5 * 60_000  # ms that a meter may answer after it was read for the last time: it still has to be taken down


class Subject(NamedTuple):
    """An act and what it is held against. `gateway`: whose topic it came by (None: a file); `received`: ms."""

    act: Act
    known: Known
    gateway: str | None
    received: int
    utilities: Collection[str]


def reasons(subject: Subject) -> list[str]:
    """Everything that stands against taking this act: empty for one that is taken."""
    act = subject.act
    checks = ALWAYS if not act.decision.admitted else (*ALWAYS, *ADMITTED)
    if act.supersedes is not None:
        checks = (*checks, _correction)
    return [text for check in checks for text in check(subject)]


def current(known: Known) -> Segment | None:
    """The meter that hangs at the point now."""
    return known.segments[-1] if known.segments and known.segments[-1].to_ms is None else None


def readings_wh(readings: Iterable[Reading]) -> dict[str, int]:
    """OBIS code -> whole Wh: what the wire said, else what the display showed."""
    found = {}
    for it in readings:
        if it.wire_wh is not None:
            found[it.register_] = it.wire_wh
        elif it.display is not None:
            found[it.register_] = int(display_wh(it.display))
    return found


def removed_ms(act: Act) -> int:
    """When the old meter was read for the last time; of a dead one, when it was taken down."""
    old = act.old_meter
    assert old is not None
    if old.source != "wire":
        return to_millis(act.instant)
    return min(to_millis(act.instant), to_millis(datetime.fromisoformat(old.read_at)))


# ----------------------------------------------------------------------------- of every act


def _number(subject: Subject) -> Iterable[str]:
    if subject.known.number is not None:
        yield f"number: {subject.act.number} is the number of act {subject.known.number} already"


def _chain(subject: Subject) -> Iterable[str]:
    act, acts = subject.act, subject.known.acts
    last = head(acts.values())
    if act.previous == (None if last is None else last.hash):
        return
    if act.previous is not None and act.previous not in acts:
        yield f"chain: it follows {act.previous}, which is not here yet"
    elif last is not None:
        begins = "begins the chain" if act.previous is None else f"follows {act.previous}"
        yield f"chain: it {begins}, and so did act {last.number} of {last.made}: two acts for one place"


def _time(subject: Subject) -> Iterable[str]:
    at, act = to_millis(subject.act.instant), subject.act
    last = head(subject.known.acts.values())
    if at > subject.received + DAY:
        yield f"clock: made at {act.made}, more than a day ahead of us"
    if last is not None and act.instant < last.instant:
        yield f"clock: made at {act.made}, before act {last.number} of {last.made}, which it follows"


def _gateway(subject: Subject) -> Iterable[str]:
    came, act = subject.gateway, subject.act
    if came is None:
        return
    for part in devices(act):
        if part.gateway != came:
            yield f"gateway: it came from {came}, and {part.id} is read through {part.gateway}"


# ----------------------------------------------------------------------------- of one that admits


def _grounds(subject: Subject) -> Iterable[str]:
    for item in against(subject.act):
        yield f"grounds: admitted in spite of {item.ground}: {item.text}"


def _point(subject: Subject) -> Iterable[str]:
    act = subject.act
    if act.utility not in subject.utilities:
        yield f"utility: {act.utility} is not known here"
    if not subject.known.history:
        if act.kind != "commissioning":
            yield f"point: {act.point} is not in the registry"
        return
    point = subject.known.history[-1]
    for name in ("account", "utility"):
        ours, theirs = getattr(point, name), getattr(act, name)
        if ours != theirs:
            yield f"{name}: {theirs} in the act, {ours} in the registry"
    fresh = act.kind == "commissioning" and not subject.known.billed
    device = act.meter
    if device is not None and not fresh and Decimal(str(device.ratio)) != point.ratio:
        yield f"ratio: {device.ratio} in the act, {point.ratio} in the registry, by which this point is billed"


def _names(subject: Subject) -> Iterable[str]:
    for name, known in subject.known.alike:
        yield f"name: {name} differs from {known} in the registry only in case"
    for part in devices(subject.act):
        try:
            profiles.load(part.profile)
        except ConfigError:
            yield f"profile: {part.profile} is not known here; no month could be closed with it"


def _serials(subject: Subject) -> Iterable[str]:
    known = subject.known
    for part in devices(subject.act):
        plate = part.serial_number.plate or part.serial_number.wire
        if plate is None:
            yield f"serial_number: {part.id} has none"
            continue
        bound = known.meters.get(part.id)
        if bound is not None and not same_serial(bound.serial_number, plate):
            yield f"serial_number: {part.id} is bound to {bound.serial_number} for ever, the act says {plate}"
        owner = known.owners.get((brand(part.profile), plain_serial(plate)))
        if owner is not None and owner != part.id:
            yield f"serial_number: {plate} is bound to meter {owner}, not {part.id}"


def _segments(subject: Subject) -> Iterable[str]:
    act, known = subject.act, subject.known
    if act.supersedes is not None:
        return
    hangs, at = current(known), to_millis(act.instant)
    if act.kind == "commissioning":
        assert act.meter is not None
        if hangs is not None and hangs.meter != act.meter.id:
            yield f"overlap: {hangs.meter} hangs at {act.point}; replace or remove it with an act"
        elif hangs is not None and hangs.from_ms is not None:
            yield f"overlap: {hangs.meter} was commissioned here already; a control reading, or a correction, is meant?"
        elif hangs is not None and hangs.meter in known.billed:
            yield f"overlap: {hangs.meter} was billed here already; its billing cannot begin anew"
    else:
        wanted = act.old_meter.meter if act.old_meter is not None else act.meter
        assert wanted is not None
        if hangs is None:
            yield f"gap: no meter hangs at {act.point}, the act says {wanted.id}"
        elif hangs.meter != wanted.id:
            yield f"overlap: {hangs.meter} hangs at {act.point}, the act says {wanted.id}"
        elif hangs.from_ms is not None and at <= hangs.from_ms:
            yield f"overlap: {hangs.meter} was hung later than {act.made}"
    if act.kind in ("commissioning", "replacement"):
        yield from _elsewhere(act, known, at)


def _elsewhere(act: Act, known: Known, at: int) -> Iterable[str]:
    assert act.meter is not None
    place = known.places.get(act.meter.id)
    if place is not None and place.to_ms is None and place.point != act.point:
        yield f"meter: {act.meter.id} hangs at point {place.point}; remove it there with an act"
    ends = [item.to_ms for item in known.segments if item.to_ms is not None]
    if place is not None and place.to_ms is not None:
        ends.append(place.to_ms)
    if ends and max(ends) > at:
        yield f"overlap: a meter hung until later than {act.made}"


def _neighbours(subject: Subject) -> Iterable[str]:
    """A value of the act lies between what was read before and after it; a meter that was taken down says no more."""
    act = subject.act
    if act.meter is not None and act.kind in ("commissioning", "replacement", "control_reading"):
        yield from _between(subject, act.meter, readings_wh(act.readings))
    if act.old_meter is not None:
        old = act.old_meter.meter
        yield from _between(subject, old, readings_wh(act.old_meter.readings))
        for code, around in subject.known.around.get(old.id, {}).items():
            late = [value for value in around.after if value.time > read_ms(act, subject.known.acts) + GRACE]
            if late:
                yield f"readings: {old.id} still gave {kilo(late[-1].value)} kWh of {code} after it was taken down"
                break


def _between(subject: Subject, device: Device, values: dict[str, int]) -> Iterable[str]:
    for code, wh in values.items():
        around = subject.known.around.get(device.id, {}).get(code)
        if around is None:
            continue
        which = f"readings: {code} of {device.id}: {kilo(wh)} kWh"
        if around.before and around.before[0].value > wh + UNSURE:
            yield f"{which}, below the {kilo(around.before[0].value)} read before it"
        if around.after and around.after[0].value + UNSURE < wh:
            yield f"{which}, above the {kilo(around.after[0].value)} read after it"


def _billing(subject: Subject) -> Iterable[str]:
    day = subject.act.decision.billing_from
    if day is not None and subject.act.supersedes is None and day < subject.act.made[:10]:
        yield f"billing: from {day}, before the readings of {subject.act.made[:10]}"


# ----------------------------------------------------------------------------- of a correction


def _correction(subject: Subject) -> Iterable[str]:
    act, known = subject.act, subject.known
    wrong = known.acts.get(act.supersedes or "")
    if wrong is None:
        yield f"correction: {act.supersedes} is not an act of {act.point} that was taken"
        return
    if any(other.supersedes == wrong.hash for other in known.acts.values()):
        yield f"correction: act {wrong.number} was corrected already; correct the correction"
    if wrong.kind != act.kind or [it.id for it in devices(wrong)] != [it.id for it in devices(act)]:
        yield f"correction: act {wrong.number} is a {wrong.kind} of other meters; another meter takes an act of its own"
    if wrong.decision.admitted != act.decision.admitted:
        yield f"correction: whether act {wrong.number} admits cannot be corrected; remove or commission the meter"


Check = Callable[[Subject], Iterable[str]]
ALWAYS: tuple[Check, ...] = (_number, _chain, _time, _gateway)
ADMITTED: tuple[Check, ...] = (_grounds, _point, _names, _serials, _segments, _neighbours, _billing)
