"""Asks what an act of each kind takes, in the order of the work in front of the meter, and makes the act of it.

Rule 1. A meter is read over the wire before a person types what its plate and display say: both are then compared.
Rule 2. In a replacement the old meter is read first, and the new one when it hangs; both are one act.
Rule 3. What speaks against the meter is written down as coded grounds; then the act admits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from collector import localtime
from collector.acts import typed
from collector.acts.answers import Answers
from collector.acts.evidence import take_in
from collector.acts.folder import ActFolder
from collector.acts.meter_questions import MeterQuestions, Site
from collector.acts.said import Said, Wire
from collector.exits import UsageFault
from collector.model import SCHEMA
from collector.model_act import LONGEST_LINE, LONGEST_NAME, Act, Check, Ground, Kind
from collector.model_act_chain import ActFault, as_data, sealed
from collector.model_act_grounds import CLOCK_S, Against, against
from collector.serials import same_serial

# EN 50160, 4.2.2: 230 V, 10 % up or down.
LEAST_VOLTS, MOST_VOLTS = 207, 253
BY_HAND: tuple[Check, ...] = (
    "verifier_mark", "no_damage", "wiring", "current_direction", "phase_order", "tariff_calendar",
)  # fmt: skip


def make(kind: Kind, number: str, given: Answers, *, wire: Wire, site: Site, folder: ActFolder) -> Act:
    """The act, sealed, not yet kept. Raises UsageFault for what is missing, or was made before the point's last act."""
    return _Interview(kind, number, given, wire=wire, site=site, folder=folder).act()


class _Interview:
    def __init__(self, kind: Kind, number: str, given: Answers, *, wire: Wire, site: Site, folder: ActFolder) -> None:
        self.kind, self.number, self.ask, self.wire, self.site, self.folder = kind, number, given, wire, site, folder
        self.begun = int(given.once("begun", wire.now))
        number_of_wrong = given.beforehand("supersedes")
        self.corrected = None if number_of_wrong is None else folder.get(number_of_wrong)
        self.meters = MeterQuestions(kind, given, wire, site, self.corrected)
        if self.corrected is not None and (self.corrected.kind != kind or self.corrected.meter is None):
            raise UsageFault(f"supersedes: act {number_of_wrong} is a {self.corrected.kind}; this one is a {kind}")

    def act(self) -> Act:
        fields = self._point()
        last = self.folder.head(fields["point"])
        old: dict[str, Any] | None = None
        if self.corrected is not None and self.corrected.old_meter is not None:
            old = as_data(self.corrected)["old_meter"]
        elif self.kind in ("replacement", "removal"):
            old = self.meters.old(last)
        if self.kind == "replacement" and self.corrected is None:
            self.ask.yes("proceed")
        meter: dict[str, Any] | None = None
        readings: list[dict[str, Any]] = []
        said: Said | None = None
        if self.kind != "removal":
            meter, readings, said = self.meters.hanging(last)
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
            found = [Against(ground, "", {}) for ground in self.ask.many("grounds", "ground", typed.ground)]
            if not found:
                raise UsageFault(f"grounds: at least one is needed: {', '.join(get_args(Ground))}")
        else:
            admitted = {"admitted": True, "grounds": [], "billing_from": None}
            found = against(_sealed({**fields, "decision": admitted}))
        grounds = [item.ground for item in found]
        decision: dict[str, Any] = {"admitted": not grounds, "grounds": grounds, "billing_from": None}
        lines = [self.ask.words.against_in_words(item) for item in found]
        for line in lines:
            self.ask.say(f"  {line}")
        if not grounds and self.kind in ("commissioning", "replacement"):
            decision["billing_from"] = self.ask.text("billing_from", proposal=fields["made"][:10], read=typed.day)
        if texts := "; ".join(line for line, item in zip(lines, found, strict=True) if item.name):
            decision["text"] = texts[:LONGEST_LINE].strip()
        return _sealed({**fields, "decision": decision})


def _sealed(fields: Mapping[str, Any]) -> Act:
    try:
        return sealed(fields)
    except ActFault as fault:
        raise UsageFault(f"this makes no act: {fault}") from None
