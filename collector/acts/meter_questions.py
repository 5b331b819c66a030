"""Asks a meter and the person in front of it: what it says over the wire, then what its plate and display show.

Rule 1. What the meter said is kept as it came. A failure is data; whoever is there may have a silent meter asked again.
Rule 2. Of the meter that goes nothing is decided while its serial numbers disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from collector import localtime
from collector.acts import typed
from collector.acts.answers import Answers
from collector.acts.said import Said, Wire, Wired
from collector.exits import UsageFault
from collector.model_act import LONGEST_LINE, Act, Kind, Language
from collector.model_act_grounds import billed
from collector.serials import same_serial
from drivers import profile as profiles
from drivers.values import kilo


@dataclass(frozen=True)
class Site:
    """Where an act is made. `meters`: those of gateway.yaml; `lines`: name -> port; `gateway` None: a laptop alone."""

    gateway: str | None
    zone: str
    meters: Mapping[str, Wired]
    lines: Mapping[str, str]
    language: Language


class MeterQuestions:
    """The questions about meters of one act. `corrected`: the act that it corrects, whose meter has spoken already."""

    def __init__(self, kind: Kind, ask: Answers, wire: Wire, site: Site, corrected: Act | None) -> None:
        self.kind, self.ask, self.wire, self.site, self.corrected = kind, ask, wire, site, corrected

    def hanging(self, last: Act | None) -> tuple[dict[str, Any], list[dict[str, Any]], Said]:
        """The meter that hangs after the act, its readings, and what it said. `last`: the point's act before."""
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
            "clock": said.clock, "offset_s": said.offset_s, "model": profile.model, "phases": profile.phases,
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
        line, port = None, self.ask.beforehand(f"{prefix}port") or ""
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
        secret = self.ask.beforehand(f"{prefix}password_file", read=typed.secret)
        return Wired(
            known, port, address, line,
            baudrate=self.ask.beforehand(f"{prefix}baudrate", read=typed.baudrate),
            framing=self.ask.beforehand(f"{prefix}framing", read=typed.framing),
            meter_time=self.ask.beforehand(f"{prefix}meter_time", read=typed.meter_time) or "local",
            password=secret,
        )  # fmt: skip

    def _read(self, key: str, wired: Wired) -> Said:
        """What the meter says. Whoever is there is asked whether to try a silent one again."""
        word = self.ask.words.said

        def ask() -> dict[str, Any]:
            if key == "wire" and self.corrected is not None:
                return _said_before(self.corrected).as_json()
            if self.ask.beforehand("no_wire", read=typed.yes_or_no):
                return Said(at=self.wire.now(), failure=word["unasked"]).as_json()
            where = {"address": wired.address, "port": wired.line or wired.port}
            self.ask.say("  " + word["reading"].format(model=wired.profile.model, **where))
            return self.wire.read(wired).as_json()

        said = Said.from_json(self.ask.once(key, ask))
        while (
            said.failure is not None
            and self.ask.attended
            and not self.ask.beforehand("no_wire", read=typed.yes_or_no)
            and self._again(key, said)
        ):
            said = Said.from_json(self.ask.once(key, ask))
        if said.failure is not None:
            self.ask.say("  " + word["silent"].format(why=said.failure))
        else:
            serial, clock = (text or word["unreadable"] for text in (said.serial_number, said.clock))
            self.ask.say("  " + word["answered"].format(serial=serial, clock=clock.replace("T", " ")))
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

    def old(self, last: Act | None) -> dict[str, Any]:
        """The meter that goes, with its final readings."""
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
