"""Asks what an act of each kind takes, in the order of the work in front of the meter, and makes the act of it.

Rule 1. A meter is read over the wire before a person types what its plate and display say: both are then compared.
Rule 2. In a replacement the old meter is read first, and the new one when it hangs; both are one act.
Rule 3. What speaks against the meter is written down as coded grounds; then the act admits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from collector import localtime
from collector.acts import typed
from collector.acts.answers import Answers
from collector.acts.evidence import take_in
from collector.acts.folder import ActFolder
from collector.acts.said import Said, Wire, Wired
from collector.exits import UsageFault
from collector.model import SCHEMA
from collector.model_act import LONGEST_LINE, LONGEST_NAME, Act, Check, Ground, Kind, Language
from collector.model_act_chain import ActFault, as_data, sealed
from collector.model_act_grounds import CLOCK_S, Against, against, billed
from collector.serials import same_serial
from drivers import profile as profiles
from drivers.values import kilo

# EN 50160, 4.2.2: 230 V, 10 % up or down.
LEAST_VOLTS, MOST_VOLTS = 207, 253
BY_HAND: tuple[Check, ...] = (
    "verifier_mark", "no_damage", "wiring", "current_direction", "phase_order", "tariff_calendar",
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """Where an act is made. `meters`: those of gateway.yaml; `lines`: name -> port; `gateway` None: a laptop alone."""

    gateway: str | None
    zone: str
    meters: Mapping[str, Wired]
    lines: Mapping[str, str]
    language: Language


def make(kind: Kind, number: str, given: Answers, *, wire: Wire, site: Site, folder: ActFolder) -> Act:
    """The act, sealed, not yet kept. Raises UsageFault for what is missing, or was made before the point's last act."""
    return _Interview(kind, number, given, wire=wire, site=site, folder=folder).act()


class _Interview:
    def __init__(self, kind: Kind, number: str, given: Answers, *, wire: Wire, site: Site, folder: ActFolder) -> None:
        self.kind, self.number, self.ask, self.wire, self.site, self.folder = kind, number, given, wire, site, folder
        self.begun = int(given.once("begun", wire.now))
        number_of_wrong = given.beforehand("supersedes")
        self.corrected = None if number_of_wrong is None else folder.get(number_of_wrong)
        if self.corrected is not None and (self.corrected.kind != kind or self.corrected.meter is None):
            raise UsageFault(f"supersedes: act {number_of_wrong} is a {self.corrected.kind}; this one is a {kind}")

    def act(self) -> Act:
        fields = self._point()
        last = self.folder.head(fields["point"])
        old: dict[str, Any] | None = None
        if self.corrected is not None and self.corrected.old_meter is not None:
            old = as_data(self.corrected)["old_meter"]
        elif self.kind in ("replacement", "removal"):
            old = self._old_meter(last)
        if self.kind == "replacement" and self.corrected is None:
            self.ask.yes("proceed")
        meter: dict[str, Any] | None = None
        readings: list[dict[str, Any]] = []
        said: Said | None = None
        if self.kind != "removal":
            meter, readings, said = self._meter(fields, last)
        made = self._made(said)
        self._check_order(made, last)
        fields |= {
            "schema": SCHEMA,
            "kind": self.kind,
            "number": self.number,
            "language": self.site.language,
            "made": made,
            "meter": meter,
            "readings": readings,
            "old_meter": old,
            "seals": self._seals(),
            "checks": self._checks(meter, said),
            "persons": self._persons(),
            "evidence": self._photos(),
            "previous": None if last is None else last.hash,
        }
        if (note := self._note()) is not None:
            fields["note"] = note
        if self.corrected is not None:
            fields["supersedes"] = self.corrected.hash
        return self._decided(fields)

    # ------------------------------------------------------------------------- the point

    def _point(self) -> dict[str, Any]:
        point = self.ask.text("point", read=typed.name)
        known = self.folder.of_point(point)
        last = known[-1] if known else None
        line = typed.line(LONGEST_LINE)
        fields: dict[str, Any] = {
            "point": point,
            "account": self.ask.text("account", proposal=last.account if last else None, read=typed.line(64)),
            "address": self.ask.text("address", proposal=last.address if last else None, read=line),
            "place": self.ask.text("place", proposal=last.place if last else None, read=line),
            "utility": self.ask.text("utility", proposal=last.utility if last else "generic", read=typed.name),
        }
        for name, most in (("flat", 50), ("contract", 64)):
            before = getattr(last, name) if last else None
            value = before if before else self.ask.optional(name, read=typed.line(most))
            if value is not None:
                fields[name] = value
        return fields

    def _made(self, said: Said | None) -> str:
        read_now = said is not None and said.failure is None and self.corrected is None
        moment = localtime.from_millis(said.at if said is not None and read_now else self.begun)
        return moment.astimezone(localtime.zone(self.site.zone)).isoformat(timespec="seconds")

    def _check_order(self, made: str, last: Act | None) -> None:
        """This computer's clock is the one that dates the act: at least it must not run behind the point's last act."""
        if last is not None and datetime.fromisoformat(made) < last.instant:
            raise UsageFault(
                f"it is {made} by this computer's clock, and act {last.number} of this point was made at {last.made}: "
                "the clock is wrong; set it, then `meterline act resume`"
            )

    # ------------------------------------------------------------------------- the meter that hangs

    def _meter(self, fields: Mapping[str, Any], last: Act | None) -> tuple[dict[str, Any], list[dict[str, Any]], Said]:
        before = last.meter if last is not None and self.kind not in ("commissioning", "replacement") else None
        name = self.ask.text("meter", proposal=None if before is None else before.id, read=typed.name)
        wired = self._wired("", name)
        tariffs = self.ask.text(
            "tariffs",
            proposal=str(before.tariffs if before else min(3, wired.profile.tariffs) or 1),
            read=typed.whole(1, 4),
        )
        ratio = self.ask.text("ratio", proposal=str(before.ratio if before else 1), read=typed.ratio)
        said = self._read("wire", wired)
        device, readings = self._device("", name, wired, said, tariffs=tariffs, ratio=ratio)
        if self.kind in ("commissioning", "replacement"):
            device |= self._verification()
        return device, readings, said

    def _device(
        self, prefix: str, name: str, wired: Wired, said: Said, *, tariffs: int, ratio: int | float
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        profile = wired.profile
        registry = wired.registry or self.ask.optional(
            f"{prefix}registry_serial", question="registry_serial", read=typed.line(64)
        )
        plate = self.ask.text(f"{prefix}plate", question="plate", about=name, read=typed.line(64))
        device = {
            "id": name, "profile": profile.id, "digest": profile.digest, "tariffs": tariffs, "ratio": ratio,
            "serial_number": {"wire": said.serial_number, "plate": plate, "registry": registry},
            "clock": said.clock, "offset_s": said.offset_s, "model": profile.title, "phases": profile.phases,
            "max_current": profile.max_current, "gateway": self.site.gateway, "line": wired.line,
            "address": wired.address,
        }  # fmt: skip
        if profile.digits is not None:
            device["digits"] = profile.digits
        return device, self._readings(prefix, name, tariffs, said)

    def _wired(self, prefix: str, name: str) -> Wired:
        """How the meter is asked: as gateway.yaml says, else as a person does."""
        if name in self.site.meters:
            return self.site.meters[name]
        profile = self.ask.text(f"{prefix}profile", question="profile", read=typed.profile)
        lines = self.site.lines
        line, port = None, self._given(f"{prefix}port") or ""
        if lines and not port:
            only = next(iter(lines)) if len(lines) == 1 else None
            line = self.ask.text(
                f"{prefix}line", question="line", proposal=only, about=", ".join(lines), read=typed.one_of(lines)
            )
            port = lines[line]
        if not port:
            raise UsageFault(
                "port: not given; name the line of gateway.yaml (--config), or the port of the optical head"
            )
        known = profiles.load(profile)
        address = self.ask.text(
            f"{prefix}wire_address",
            question="wire_address",
            proposal="1",
            read=lambda text: self.wire.normal_address(known, text, port),
        )
        speed = {key: self._given(f"{prefix}{key}") for key in ("baudrate", "framing")}
        return Wired(
            known, port, address, line,
            int(speed["baudrate"]) if speed["baudrate"] else None, speed["framing"],
        )  # fmt: skip

    def _read(self, key: str, wired: Wired) -> Said:
        """What the meter says. Whoever is there is asked whether to try a silent one again."""

        def ask() -> dict[str, Any]:
            if key == "wire" and self.corrected is not None:
                return _said_before(self.corrected).as_json()
            self.ask.say(
                f"  reading {wired.profile.title} at address {wired.address} of {wired.line or wired.port} ..."
            )
            if self._given("no_wire"):
                return Said(at=self.wire.now(), failure="not read over the wire").as_json()
            return self.wire.read(wired).as_json()

        said = Said.from_json(self.ask.once(key, ask))
        while said.failure is not None and self.ask.attended and not self._given("no_wire") and self._again(key, said):
            said = Said.from_json(self.ask.once(key, ask))
        if said.failure is not None:
            self.ask.say(f"  the meter gives nothing: {said.failure}")
        else:
            self.ask.say(f"  serial number {said.serial_number or 'not readable'}, clock {said.clock or 'none'}")
            for code, (wh, _raw) in (said.registers or {}).items():
                self.ask.say(f"  {code:>7} {kilo(wh):>14} kWh")
        return said

    def _again(self, key: str, said: Said) -> bool:
        """Whether to ask a silent meter once more: nothing about it is decided yet."""
        self.ask.say(f"  {said.failure}")
        again = self.ask.yes(f"{key}.again", question="again", proposal="no")
        self.ask.journal.drop(f"{key}.again")
        if again:
            self.ask.journal.drop(key)
        return again

    def _readings(self, prefix: str, name: str, tariffs: int, said: Said) -> list[dict[str, Any]]:
        wanted = billed(tariffs)
        given = said.registers or {}
        rows = []
        for code in dict.fromkeys((*wanted, *(code for code in given if code.startswith(("1.8.", "2.8."))))):
            wire = given.get(code)
            row: dict[str, Any] = {"register": code, "wire_wh": None, "display": None, "raw": None}
            if wire is not None:
                row |= {"wire_wh": wire[0], "raw": wire[1]}
            if code in wanted:
                row["display"] = self._display(prefix, f"{name} {code}", code, wire is not None)
            if row["wire_wh"] is not None or row["display"] is not None:
                rows.append(row)
        return rows

    def _display(self, prefix: str, about: str, code: str, on_wire: bool) -> str | None:
        key = f"{prefix}displays.{code}"
        if self.kind in ("sealing", "unsealing", "refusal") or (prefix and on_wire):
            found = self.ask.optional(key, question="display", about=about, read=typed.display)
            return None if found is None else str(found)
        return str(self.ask.text(key, question="display", about=about, read=typed.display))

    def _verification(self) -> dict[str, Any]:
        found = {
            "verified": self._optional("verified", typed.day),
            "verify_by": self._optional("verify_by", typed.day),
        }
        for name, read in (
            ("certificate", typed.line(64)), ("year", typed.whole(1950, 2200)),
            ("accuracy_class", typed.line(64)), ("transformers", typed.transformers),
        ):  # fmt: skip
            value = self._optional(name, read)
            if value is not None:
                found[name] = value
        if found["verified"] and found["verify_by"]:
            years = int(found["verify_by"][:4]) - int(found["verified"][:4])
            if 1 <= years <= 40:
                found["interval_years"] = years
        return found

    def _optional(self, name: str, read: Callable[[str], Any]) -> Any:
        return self.ask.optional(name, read=read)

    # ------------------------------------------------------------------------- the meter that goes

    def _old_meter(self, last: Act | None) -> dict[str, Any]:
        before = last.meter if last is not None else None
        name = self.ask.text("old_meter", proposal=None if before is None else before.id, read=typed.name)
        wired = self._wired("old_", name)
        known = before if before is not None and before.id == name else None
        tariffs = self.ask.text(
            "old_tariffs", question="tariffs", about=name, read=typed.whole(1, 4),
            proposal=str(known.tariffs if known else min(3, wired.profile.tariffs) or 1),
        )  # fmt: skip
        ratio = self.ask.text(
            "old_ratio", question="ratio", about=name, proposal=str(known.ratio if known else 1), read=typed.ratio
        )
        said = self._read("old_wire", wired)
        if said.failure is not None:
            said = self._stored(name, said)
        device, readings = self._device("old_", name, wired, said, tariffs=tariffs, ratio=ratio)
        self._must_be(device["serial_number"], name)
        at = localtime.from_millis(said.at).astimezone(localtime.zone(self.site.zone)).isoformat(timespec="seconds")
        return {
            "meter": device, "readings": readings, "source": said.source, "read_at": at,
            "reason": self.ask.text("reason", read=typed.line(LONGEST_LINE)),
        }  # fmt: skip

    def _must_be(self, numbers: Mapping[str, str | None], name: str) -> None:
        """Final readings of a wrong meter are worse than none: nothing is decided on them."""
        said = [it for it in (numbers["wire"], numbers["registry"], numbers["plate"]) if it is not None]
        if any(not same_serial(it, said[0]) for it in said):
            for key in ("old_wire", "old_plate"):
                self.ask.journal.drop(key)
            raise UsageFault(
                f"the meter under the head is not {name}: over the wire {numbers['wire']}, on the plate "
                f"{numbers['plate']}, in the registry {numbers['registry']}; look which meter it is, then "
                "`meterline act resume`"
            )

    def _stored(self, name: str, failed: Said) -> Said:
        """The last stored reading of a dead meter, with its age; else what the display shows, if it does."""
        stored = self.wire.last_stored(name)
        if stored is not None:
            hours = max(0, self.wire.now() - stored.at) / 3_600_000
            values = ", ".join(
                f"{code} {kilo(wh)}" for code, (wh, _) in (stored.registers or {}).items() if code[:2] == "1."
            )
            about = f"{values} kWh, {hours:.1f} h ({localtime.rfc3339(stored.at)})"
            if self.ask.yes("use_stored", about=about, proposal="no"):
                kept = self.ask.once("stored", stored.as_json)
                return Said.from_json(kept)
        return Said(at=failed.at, failure=failed.failure, source="display")

    # ------------------------------------------------------------------------- seals, checks, persons, photos

    def _seals(self) -> list[dict[str, Any]]:
        gone = self.kind in ("unsealing", "removal")
        return self.ask.many("seals", "unsealed" if gone else "seal", typed.seal_off if gone else typed.seal_on)

    def _checks(self, meter: Mapping[str, Any] | None, said: Said | None) -> dict[str, bool | None]:
        if meter is None or said is None:
            return {}
        numbers = meter["serial_number"]
        sides = [it for it in (numbers["wire"], numbers["registry"]) if it is not None]
        found: dict[str, bool | None] = {
            "serial": all(same_serial(it, numbers["plate"]) for it in sides),
            "communication": said.failure is None,
        }
        if meter["offset_s"] is not None:
            found["clock"] = abs(meter["offset_s"]) <= CLOCK_S
        live = [volts for volts in map(float, said.volts) if volts > 0]
        if live:
            found["voltage"] = all(LEAST_VOLTS <= volts <= MOST_VOLTS for volts in live)
        if self.kind in ("commissioning", "replacement"):
            found |= {name: self.ask.check(name, self.ask.words.checks[name]) for name in BY_HAND}
        return {name: found[name] for name in get_args(Check) if name in found}

    def _persons(self) -> list[dict[str, Any]]:
        named = typed.line(LONGEST_NAME)
        consumer = self.ask.text("consumer", read=named)
        state = consumer if consumer in ("absent", "refused") else "present"
        persons: list[dict[str, Any]] = [
            {"role": "utility", "name": self.ask.text("representative", read=named)},
            {"role": "consumer", "name": None if state != "present" else consumer, "state": state},
        ]
        if state == "refused":
            persons += [
                {
                    "role": "witness",
                    "name": self.ask.text(f"witness.{place}", question="witness", about=str(place), read=named),
                }
                for place in (1, 2)
            ]
        return persons

    def _photos(self) -> list[dict[str, Any]]:
        paths = self.ask.many("photos", "photo", str)
        # Taken in again after a crash: a photo that was changed meanwhile must not keep the hash of the first copy.
        try:
            return [item.model_dump() for item in take_in(map(Path, paths), self.folder.beside(self.number))]
        except UsageFault:
            self.ask.journal.drop("photos")
            raise

    def _note(self) -> str | None:
        if self.kind == "reprogramming":
            return str(self.ask.text("note", question="changed", read=typed.line(LONGEST_LINE)))
        note = self.ask.optional("note", read=typed.line(LONGEST_LINE))
        return None if note is None else str(note)

    # ------------------------------------------------------------------------- the decision

    def _decided(self, fields: dict[str, Any]) -> Act:
        """The act with its grounds. It is tried as admitted, and asked what speaks against that."""
        if self.kind == "refusal":
            found = [Against(ground, "") for ground in self.ask.many("grounds", "ground", typed.ground)]
            if not found:
                raise UsageFault(f"grounds: at least one is needed: {', '.join(get_args(Ground))}")
        else:
            admitted = {"admitted": True, "grounds": [], "billing_from": None}
            found = against(_sealed({**fields, "decision": admitted}))
        grounds = [item.ground for item in found]
        decision: dict[str, Any] = {"admitted": not grounds, "grounds": grounds, "billing_from": None}
        for item in found:
            self.ask.say(f"  {self.ask.words.grounds[item.ground]}{': ' if item.text else ''}{item.text}")
        if not grounds and self.kind in ("commissioning", "replacement"):
            decision["billing_from"] = self.ask.text("billing_from", proposal=fields["made"][:10], read=typed.day)
        if texts := "; ".join(f"{item.ground}: {item.text}" for item in found if item.text):
            decision["text"] = texts[:LONGEST_LINE].strip()
        return _sealed({**fields, "decision": decision})

    def _given(self, name: str) -> Any:
        """What was said beforehand and never asked for: a port, a speed, that nothing is to be read."""
        return self.ask.beforehand(name)


def _said_before(wrong: Act) -> Said:
    """What the meter said for the act that is corrected: people are corrected, the meter's own words stay."""
    meter = wrong.meter
    assert meter is not None
    return Said(
        at=localtime.to_millis(wrong.instant),
        serial_number=meter.serial_number.wire,
        clock=meter.clock,
        offset_s=meter.offset_s,
        registers={it.register_: (it.wire_wh, it.raw or "") for it in wrong.readings if it.wire_wh is not None},
        failure=None if wrong.checks.get("communication") else "not read for the act that is corrected",
    )


def _sealed(fields: Mapping[str, Any]) -> Act:
    try:
        return sealed(fields)
    except ActFault as fault:
        raise UsageFault(f"this makes no act: {fault}") from None
