"""What stands on the page of an act, as texts in one language: sections of labelled fields, tables, persons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from collector.acts.words import Words, words
from collector.model_act import Act, Device, Language, OldMeter, Person, Reading
from collector.model_act_grounds import display_wh
from drivers.values import kilo

DASH = "\N{EM DASH}"
FULL_DIGESTS = 3
MOST_RAW = 32  # hex digits of a value's bytes on paper: 16 bytes, longer than any register; the file has all
MARK = {True: "\N{CHECK MARK}", False: "\N{BALLOT X}", None: DASH}


class Cell(NamedTuple):
    """A field: its label over its value, so many twelfths of the page wide."""

    label: str
    value: str
    width: int
    strong: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, its fields, and a table whose first row names the columns (`>`: set to the right)."""

    title: str
    cells: Sequence[Cell] = ()
    table: Sequence[Sequence[str]] = ()
    widths: Sequence[int] = ()


@dataclass(frozen=True)
class Sheet:
    """All texts of a page. `small`: what binds the paper to the file. `persons`: role and name."""

    words: Mapping[str, str]
    title: str
    number: str
    hash: str
    made: str
    place: str
    admitted: bool
    decision: str
    grounds: Sequence[str]
    sections: Sequence[Section]
    persons: Sequence[tuple[str, str]]
    small: Sequence[str]


def sheet(act: Act, language: Language) -> Sheet:
    """The texts of an act's page."""
    return _Writer(act, words(language), language).sheet()


class _Writer:
    def __init__(self, act: Act, texts: Words, language: Language) -> None:
        self._act, self._texts, self._language = act, texts, language
        self._word = texts.page

    def sheet(self) -> Sheet:
        act, word = self._act, self._word
        moment = act.instant
        return Sheet(
            words=word,
            title=self._texts.kinds[act.kind],
            number=act.number,
            hash=act.hash,
            made=f"{word['made']}: {self._day(act.made[:10])} {moment:%H:%M:%S} (UTC{act.made[19:]})",
            place=f"{word['place_made']}: {act.address}",
            admitted=act.decision.admitted,
            decision=self._decision(),
            grounds=self._grounds(),
            sections=list(self._sections()),
            persons=[self._person(person) for person in act.persons],
            small=self._small(),
        )

    # ------------------------------------------------------------------------- decision

    def _decision(self) -> str:
        decision, word = self._act.decision, self._word
        if not decision.admitted:
            return word["refused"]
        if decision.billing_from is None:
            return word["accepted"]
        return f"{word['admitted']} {word['billing_from']} {self._day(decision.billing_from)}"

    def _grounds(self) -> list[str]:
        decision = self._act.decision
        lines = [f"{self._texts.grounds[code]} [{code}]" for code in decision.grounds]
        found = [f"{self._word['grounds']}: {'; '.join(lines)}"] if lines else []
        return [*found, *([decision.text] if decision.text else [])]

    # ------------------------------------------------------------------------- sections

    def _sections(self) -> Sequence[Section]:
        act, word = self._act, self._word
        found = [Section(word["point"], self._point())]
        if act.old_meter is not None:
            found += self._old(act.old_meter)
        if act.meter is not None:
            found.append(Section(word["meter"], self._device(act.meter)))
            title = "initial_readings" if act.old_meter is not None else "readings"
            found.append(self._readings(word[title], act.meter, act.readings))
        if act.seals:
            found.append(self._seals())
        if act.checks:
            some = f" ({DASH} {word['unchecked']})" if None in act.checks.values() else ""
            found.append(Section(word["checks"] + some, self._checks()))
        return found

    def _point(self) -> list[Cell]:
        act, word = self._act, self._word
        address = f"{act.address}, {word['flat']} {act.flat}" if act.flat else act.address
        return [
            Cell(word["account"], act.account, 3, strong=True),
            Cell(word["point_id"], act.point, 3),
            Cell(word["utility"], act.utility, 3),
            Cell(word["contract"], act.contract or DASH, 3),
            Cell(word["address"], address, 6),
            Cell(word["place"], act.place, 6),
        ]

    def _device(self, device: Device) -> list[Cell]:
        word, numbers = self._word, device.serial_number
        sides = (("wire", numbers.wire), ("plate", numbers.plate), ("registry", numbers.registry))
        maximum = DASH if device.max_current is None else f"{device.max_current} A"
        connection = ", ".join(part for part in (device.gateway, device.line, device.address) if part) or DASH
        years = DASH if device.interval_years is None else self._years(device.interval_years)
        return [
            Cell(word["model"], device.model or device.profile, 6, strong=True),
            Cell(word["meter_id"], device.id, 3),
            Cell(word["tariffs"], str(device.tariffs), 3),
            *(Cell(f"{word['serial']} {word[side]}", number or DASH, 2, strong=True) for side, number in sides),
            Cell(
                f"{word['year']}, {word['accuracy_class']}",
                f"{device.year or DASH}, {self._point_or_comma(device.accuracy_class or DASH)}",
                3,
            ),
            Cell(
                f"{word['phases']}, {word['max_current']}, {word['digits']}",
                f"{device.phases or DASH}, {maximum}, {device.digits or DASH}",
                3,
            ),
            Cell(word["verified"], self._day(device.verified), 3),
            Cell(word["interval"], years, 3),
            Cell(word["verify_by"], self._day(device.verify_by), 3, strong=True),
            Cell(word["certificate"], device.certificate or DASH, 3),
            *self._transformers(device),
            Cell(word["connection"], connection, 6),
            Cell(f"{word['profile']}: {device.profile}. {word['digest']}", device.digest, 12),
        ]

    def _transformers(self, device: Device) -> list[Cell]:
        word, found = self._word, device.transformers
        ratio = self._ratio(device)
        if found is None:
            return [Cell(word["ratio"], f"{ratio} ({word['direct']})" if ratio == "1" else ratio, 6)]
        parts = (("ct", found.current), ("vt", found.voltage), ("serials", ", ".join(found.serial_numbers)))
        text = ", ".join(f"{word[name]} {value}" for name, value in parts if value)
        return [Cell(word["ratio"], ratio, 3, strong=True), Cell(word["transformers"], text, 3)]

    def _readings(self, title: str, device: Device, readings: Sequence[Reading]) -> Section:
        word = self._word
        head = (word["register"], f">{word['over_wire']}", f">{word['display']}", f">{word['difference']}", word["raw"])
        rows = [head, *(self._reading(it) for it in readings)]
        if device.clock is None:
            clock = word["no_clock"]
        else:
            clock = f"{device.clock.replace('T', ' ')}, {word['offset']} {device.offset_s or 0:+} {word['seconds']}"
        return Section(f"{title}. {word['clock']}: {clock}", (), rows, (14, 18, 18, 16, 34))

    def _reading(self, it: Reading) -> tuple[str, ...]:
        tariff = it.register_.rpartition(".")[2]
        name = self._word["total"] if tariff == "0" else f"T{tariff}"
        wire = DASH if it.wire_wh is None else kilo(it.wire_wh)
        difference = DASH
        if it.wire_wh is not None and it.display is not None:
            difference = f"{(display_wh(it.display) - it.wire_wh) / 1000:+.3f}"
        numbers = map(self._point_or_comma, (wire, it.display or DASH, difference))
        return (f"{it.register_} ({name})", *numbers, _short(it.raw))

    def _old(self, old: OldMeter) -> list[Section]:
        word, device = self._word, old.meter
        numbers = device.serial_number
        moment = datetime.fromisoformat(old.read_at)
        when = f"{self._day(old.read_at[:10])} {moment:%H:%M:%S}"
        source = f"{word['source_' + old.source]} ({word['read_at']} {when}{self._age(moment)})"
        serial = f"{numbers.wire or numbers.plate or DASH} ({word['plate']} {numbers.plate or DASH})"
        cells = [
            Cell(word["model"], device.model or device.profile, 6, strong=True),
            Cell(word["meter_id"], device.id, 3),
            Cell(word["tariffs"], str(device.tariffs), 1),
            Cell(word["ratio"], self._ratio(device), 2),
            Cell(word["serial"], serial, 6, strong=True),
            Cell(word["reason"], old.reason, 6),
        ]
        readings = self._readings(f"{word['final_readings']}: {source}", device, old.readings)
        return [Section(word["old_meter"], cells), readings]

    def _age(self, moment: datetime) -> str:
        """How much older than the act a stored reading is."""
        hours = (self._act.instant - moment).total_seconds() / 3600
        return f", {self._point_or_comma(f'{hours:.1f}')} {self._word['hours_before']}" if hours >= 1 else ""

    def _years(self, count: int) -> str:
        """`16 лет`, `4 года`, `21 год`; English has one form for one, and one for all others."""
        last, teens = count % 10, count % 100 in (11, 12, 13, 14)
        if self._language == "en":
            form = "one" if count == 1 else "many"
        else:
            form = "one" if last == 1 and not teens else "few" if last in (2, 3, 4) and not teens else "many"
        return f"{count} {self._word[f'years_{form}']}"

    def _ratio(self, device: Device) -> str:
        return self._point_or_comma(f"{Decimal(str(device.ratio)).normalize():f}")

    def _point_or_comma(self, number: str) -> str:
        """A number as the language writes it: the hash covers the one with a point (GOST 8.417: a comma in Russian)."""
        return number.replace(".", ",") if self._language == "ru" else number

    def _seals(self) -> Section:
        word = self._word
        head = (word["seal_number"], word["seal_type"], word["seal_place"], word["before"], word["after"])
        rows = [
            (
                it.number,
                it.type,
                it.place,
                *(word[f"state_{state}"] if state else DASH for state in (it.before, it.after)),
            )
            for it in self._act.seals
        ]
        return Section(word["seals"], (), [head, *rows], (20, 20, 36, 12, 12))

    def _checks(self) -> list[Cell]:
        found = self._act.checks
        names = [name for name in self._texts.checks if name in found]
        return [Cell("", f"{MARK[found[name]]} {self._texts.checks[name]}", 4) for name in names]

    # ------------------------------------------------------------------------- below

    def _person(self, person: Person) -> tuple[str, str]:
        word = self._word
        role = word[f"role_{person.role}"]
        state = {"absent": word["absent"], "refused": word["refused_to_sign"]}.get(person.state)
        return role, ", ".join(part for part in (person.name, state) if part)

    def _small(self) -> list[str]:
        act, word = self._act, self._word
        found = [f"{word['note']}: {act.note}"] if act.note else []
        if act.evidence:
            # A few in full; of many the first digits: all of them are under the act's own hash.
            digits = 64 if len(act.evidence) <= FULL_DIGESTS else 16
            listed = "; ".join(f"{it.name} {it.sha256[:digits]}" for it in act.evidence)
            found.append(f"{word['evidence']} (SHA-256): {listed}")
        if act.supersedes:
            found.append(f"{word['supersedes']}: {act.supersedes}")
        found.append(f"{word['previous']}: {act.previous or word['first']}")
        found.append(f"{word['hash']}: {act.hash}")
        return [*found, word["copies"]]

    def _day(self, text: str | None) -> str:
        if text is None:
            return DASH
        return f"{date.fromisoformat(text):%d.%m.%Y}" if self._language == "ru" else text


def _short(raw: str | None) -> str:
    if raw is None:
        return DASH
    return raw if len(raw) <= MOST_RAW else f"{raw[:MOST_RAW]}\N{HORIZONTAL ELLIPSIS}"
