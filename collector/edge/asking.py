"""One asking of one meter: from what is due to the driver's `Ask`, and from its `Readout` to a `Snapshot`. Pure.

Rule 1. A serial number that was read and is not the configured one makes the whole asking a stranger's: no value of it
        is a value, all of it is evidence. Afterwards the meter must prove who it is before it is believed again.
Rule 2. What the meter says is not available is absent. What it refuses is absent too, unless nothing is left.
Rule 3. A snapshot that is kept, and a failure that had bytes, carry the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collector.edge.frozen import month_label
from collector.edge.meter_clock import MeterTime
from collector.edge.schedule import Rules, Task
from collector.model import Failure, Purpose, Snapshot
from collector.serials import same_serial
from drivers import obis
from drivers.dialogue import Ask, Dialogue, Drain, DriverError, Measured, NoAnswer, Readout, Receive, T
from drivers.profile import Profile
from drivers.table import driver

RECEIVED = "received"  # name in `Snapshot.raw` of the bytes of a failed asking, which belong to no register
HEARD_MOST = 4096  # bytes of a failed asking that are kept: sixteen of the longest Modbus frames
TEXT_MOST = 1000  # characters of a failure's text (collector/model.py)


@dataclass(frozen=True, slots=True)
class MeterSetup:
    """One meter as it is to be asked.

    `framing`: of the characters on the wire; `line_settings` is how the port is set for them.
    `interval`: milliseconds. `quantities`: codes beside energy that interval snapshots carry too. `meter_time`: what
    the meter's own clock shows. `ended`: milliseconds since 1970, not asked from then on.
    """

    id: str
    profile: Profile
    address: str
    serial_number: str | None
    baudrate: int
    framing: str
    interval: int
    password: bytes | None = None
    meter_time: MeterTime = "local"
    quantities: tuple[str, ...] = ()
    ended: int | None = None

    def rules(self, zone: str) -> Rules:
        """What the schedule needs to know of it."""
        return Rules(zone, self.interval, frozen=bool(self.profile.frozen), serial=self.has_serial)

    @property
    def has_serial(self) -> bool:
        """Whether its profile knows where the serial number is."""
        return not isinstance(self.profile.serial, str)

    @property
    def interval_codes(self) -> tuple[str, ...]:
        """What an interval reading asks for: all energy, and the quantities that are wanted."""
        profile = self.profile
        summed = (obis.TOTAL,) if profile.is_summed else ()
        return tuple(dict.fromkeys((*summed, *profile.energy_codes, *self.quantities)))

    @property
    def line_settings(self) -> tuple[int, str]:
        """Speed and framing that its port is set to."""
        return self.baudrate, driver(self.profile.protocol).port_framing(self.framing)

    @property
    def probe_codes(self) -> tuple[str, ...]:
        """What costs the wire least, one value: asked of a meter that did not answer lately."""
        return _cheapest(self.profile, self.baudrate, self.framing)


def whole(
    meter: MeterSetup,
    task: Task,
    *,
    refused: frozenset[str],
    turnaround: float,
    tcp: bool,
    transaction: int,
    can_switch: bool = True,
    since: float | None = None,
) -> Ask:
    """What is asked for a task. `refused`: what the meter refused before. `turnaround`: seconds it thinks.

    `can_switch`: whether the port can change its speed. `since`: seconds since the meter last answered.
    """
    interval = task.purpose == "interval"
    return Ask(
        address=meter.address,
        codes=meter.interval_codes if interval else (),
        serial=task.serial,
        clock=not interval,
        frozen=task.frozen,
        back=None if task.earlier else 1,
        password=meter.password,
        baudrate=meter.baudrate,
        framing=meter.framing,
        turnaround=turnaround,
        refused=frozenset() if task.anew else refused,
        tcp=tcp,
        transaction=transaction,
        can_switch=can_switch,
        since=since,
    )


def probe(meter: MeterSetup, *, tcp: bool, transaction: int, can_switch: bool = True) -> Ask:
    """The cheapest asking there is: one short request, to hear whether anybody is there."""
    return Ask(
        address=meter.address,
        codes=meter.probe_codes,
        serial=False,
        clock=False,
        password=meter.password,
        baudrate=meter.baudrate,
        framing=meter.framing,
        turnaround=meter.profile.line.turnaround,
        tcp=tcp,
        transaction=transaction,
        can_switch=can_switch,
    )


def _cheapest(profile: Profile, baudrate: int, framing: str) -> tuple[str, ...]:
    """The register of a profile whose asking takes the least line time; () for a profile that names none."""

    def cost(code: str) -> float:
        thinks = profile.line.turnaround
        ask = Ask("", (code,), serial=False, clock=False, baudrate=baudrate, framing=framing, turnaround=thinks)
        return sum(step.milliseconds for step in driver(profile.protocol).plan(profile, ask))

    return tuple(sorted(profile.registers, key=cost)[:1])


def once(dialogue: Dialogue[T]) -> Dialogue[T]:
    """The same dialogue, given up where nobody answers the first question: only a late answer is still waited for.

    Who has answered is there, may be in a session, and is asked as ever.
    """
    answered = False
    try:
        step = next(dialogue)
        while True:
            try:
                found = yield step
            except DriverError as error:
                if isinstance(error, NoAnswer) and isinstance(step, Receive) and not answered:
                    dialogue.close()
                    yield Drain(step.first)
                    raise
                step = dialogue.throw(error)
            else:
                answered = answered or isinstance(step, Receive)
                step = dialogue.send(found)
    except StopIteration as end:
        result: T = end.value
        return result


# ----------------------------------------------------------------------------- what came of it


def taken(
    meter: MeterSetup, task: Task, readout: Readout, *, asked: int, answered: int, zone: str, distrusted: bool
) -> Snapshot:
    """The snapshot of an asking that the meter answered; a stranger's is one with a failure and no values.

    `asked`, `answered`: milliseconds since 1970. `distrusted`: a stranger answered before, and nobody proved to be the
    right meter since.
    """
    if text := _stranger(meter, readout, distrusted):
        return Snapshot(
            meter=meter.id,
            serial_number=readout.serial_number,
            profile=meter.profile.id,
            purpose=task.purpose,
            asked=asked,
            answered=answered,
            clock=readout.clock,
            raw={code: measured.raw.hex() for code, measured in readout.registers.items()},
            failure=Failure(kind="stranger", text=text[:TEXT_MOST]),
        )
    kept = task.purpose != "interval"
    months = _months(meter, readout, answered, zone)
    raw = {code: measured.raw.hex() for code, measured in readout.registers.items()}
    raw |= {f"{month}/{code}": value.raw.hex() for month, found in months.items() for code, value in found.items()}
    energies = {code: it for code, it in readout.registers.items() if obis.parse(code).is_energy}
    return Snapshot(
        meter=meter.id,
        serial_number=readout.serial_number,
        profile=meter.profile.id,
        purpose=task.purpose,
        asked=asked,
        answered=answered,
        clock=readout.clock,
        registers={code: measured.value for code, measured in energies.items()},
        frozen={month: {code: value.value for code, value in found.items()} for month, found in months.items()},
        quantities={
            code: float(it.value)
            for code, it in readout.registers.items()
            if code not in energies and (kept or code in meter.quantities)
        },
        raw=raw if kept else {},
        quality=readout.quality,
    )


def failed(meter: MeterSetup, purpose: Purpose, kind: str, text: str, *, asked: int, heard: bytes = b"") -> Snapshot:
    """The snapshot of an asking that gave nothing. `heard`: the bytes that came, if any."""
    return Snapshot(
        meter=meter.id,
        profile=meter.profile.id,
        purpose=purpose,
        asked=asked,
        raw={RECEIVED: heard[:HEARD_MOST].hex()} if heard else {},
        failure=Failure(kind=kind, text=text[:TEXT_MOST]),
    )


def _stranger(meter: MeterSetup, readout: Readout, distrusted: bool) -> str:
    """Why these values are not this meter's; "" when nothing says so."""
    configured, read = meter.serial_number, readout.serial_number
    if configured is None:
        return ""
    if read is None and distrusted:
        return (
            f"another meter answered at address {meter.address} before, and this asking gave no serial number to prove "
            f"that it is {configured} again"
        )
    if read is None or same_serial(read, configured):
        return ""
    return (
        f"the meter at address {meter.address} says that its serial number is {read}, configured is {configured}: "
        "either gateway.yaml is wrong, or another meter hangs there; look at the name plate, and record an exchange "
        "with an act"
    )


def _months(meter: MeterSetup, readout: Readout, answered: int, zone: str) -> dict[str, Mapping[str, Measured]]:
    """The frozen registers by the month they belong to; those that belong to none, or to one twice, are left out."""
    found: dict[str, Mapping[str, Measured]] = {}
    doubtful = set()
    for frozen in readout.frozen:
        month = month_label(frozen, readout.clock, answered, zone, meter.meter_time)
        energies = {code: it for code, it in frozen.registers.items() if obis.parse(code).is_energy}
        if month is None or not energies:
            continue
        if month in found and found[month] != energies:
            doubtful.add(month)  # two closings cannot both be the month's; which one is, nobody knows
        found[month] = energies
    return {month: energies for month, energies in found.items() if month not in doubtful}
