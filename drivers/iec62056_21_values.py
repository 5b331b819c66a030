"""Value by value in programming mode: which questions give what a profile promises, and what the answers say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from drivers import iec62056_21_datasets as datasets
from drivers.dialogue import (
    LATE,
    Ask,
    DamagedFrame,
    Dialogue,
    Drain,
    DriverError,
    MeterRefused,
    NoAnswer,
    NotInProfile,
    Readout,
)
from drivers.iec62056_21_datasets import DataSet
from drivers.iec62056_21_dialect import Accepted
from drivers.iec62056_21_programming import Programming
from drivers.iec62056_21_readout import Sets, own_clock, readout
from drivers.iec62056_21_spelling import code
from drivers.iec_places import MONTH, ClockRegister, IecProfile, month_operand
from drivers.obis import TOTAL
from drivers.profile import CLOCK, SERIAL
from drivers.summed import given_codes, summands

SESSIONS = 2  # in one asking: a meter that ends its session by itself (Energomera, after 1.5 to 3 s) is asked anew

# Energomera CE208/CE308 IEC protocol, error codes: (ERR12), (E12) in CE301. Neva: (01) without the data set's name
# (wirenboard/wb-mqtt-serial, TNevaIntegrationTest). ER.. as the standard has it, unread.
_ERROR = re.compile(r"E(?:RR?)?[0-9]{1,3}")


def values(profile: IecProfile, ask: Ask, session: Programming, quality: tuple[str, ...]) -> Dialogue[Readout]:
    """Value by value. What the meter refuses is remembered by its question and by the codes that it costs."""
    settings = profile.iec
    if not any(name in profile.registers for names in questions(profile, ask).values() for name in names):
        raise NotInProfile(f"the meter refused all that was asked before; check that it is a {profile.title}")
    password = ask.password if ask.password is not None else (settings.password or "").encode("ascii")
    answers: dict[str, DataSet] = {}
    refused: set[str] = set()
    last: DriverError | None = None
    for tries in range(1, SESSIONS + 1):
        yield from session.open(Accepted(profile, session), settings.access, password)
        try:
            while (question := _next_question(profile, ask, answers, refused)) is not None:
                key, names = question
                try:
                    answers[key] = yield from session.question(settings.command, key, partial(answered, key))
                except ValueRefused as error:
                    refused.update((key, *names))
                    last = error
        except (NoAnswer, DamagedFrame):
            yield Drain(LATE * profile.line.timeout)
            yield from session.leave()
            if tries == SESSIONS:
                raise
            continue
        yield from session.leave()
        break
    found = readout(
        profile,
        Sets(answers.values()),
        tuple(name for name in given_codes(profile, ask.codes) if name not in ask.refused),
        serial=ask.serial,
        clock=ask.clock,
        frozen=ask.frozen,
        quality=quality,
    )
    if not found.registers:
        raise NotInProfile(
            f"the meter gives none of the registers asked for; check that it is a {profile.title}. It refused "
            f"{', '.join(sorted(refused)) or 'nothing'}. {last or ''}"
        )
    return replace(found, refused=found.refused | refused)


def _next_question(
    profile: IecProfile, ask: Ask, answers: Mapping[str, DataSet], refused: set[str]
) -> tuple[str, tuple[str, ...]] | None:
    """What is neither answered nor refused yet. Which months to ask for is known when the clock has answered."""
    clock = own_clock(profile, Sets(answers.values())) if ask.frozen else None
    asked = questions(profile, ask, None if clock is None else datetime.fromisoformat(clock))
    return next((it for it in asked.items() if it[0] not in answers and it[0] not in refused), None)


def questions(profile: IecProfile, ask: Ask, clock: datetime | None = None) -> dict[str, tuple[str, ...]]:
    """What is asked: the question as it is sent, and the names of the values that its answer gives.

    `clock`: the meter's own; without it no closing is asked for by its month.
    """
    names = list(given_codes(profile, ask.codes))
    if profile.is_summed and TOTAL in names:
        names += [name for name in summands(profile) if name not in names]
    found: dict[str, list[str]] = {}

    def add(question: str, value: str) -> None:
        found.setdefault(question, []).append(value)

    for name in names:
        if (register := profile.registers.get(name)) is not None:
            add(f"{register.name or name}({register.operand})", name)
    if ask.serial and not isinstance(profile.serial, str):
        for name in profile.serial.names:
            add(f"{name}({profile.serial.operand})", SERIAL)
    if (ask.clock or ask.frozen) and isinstance(profile.clock, ClockRegister):
        for place in (profile.clock.date, profile.clock.time, profile.clock.moment):
            if place is not None:
                add(f"{place}()", CLOCK)
    if ask.frozen:
        for number, group in enumerate(profile.frozen, 1):
            if ask.back is not None and (group.back or 0) > ask.back:
                continue
            for name, register in group.registers.items():
                operand = register.operand
                if MONTH in operand:
                    if clock is None:
                        continue
                    months = clock.year * 12 + clock.month - 1 - (group.back or 1)
                    operand = month_operand(operand, months // 12, months % 12 + 1)
                add(f"{register.name or name}({operand})", f"frozen.{number}.{name}")
    return {question: tuple(values) for question, values in found.items() if question not in ask.refused}


class ValueRefused(MeterRefused):
    """A sound answer that one value is not to be had; the session goes on."""


def answered(question: str, body: bytes) -> DataSet:
    """The brackets of an answer under the question they answer. Raises ValueRefused, DamagedFrame."""
    name, _, operand = question.rstrip(")").partition("(")
    sets = datasets.parse(body, proven=True)
    groups = tuple(group for one in sets for group in one.groups)
    texts = ", ".join(groups)
    if sets and sets[0].ident == "":
        raise ValueRefused(f"{question}: the meter answers ({texts}) without a name: it does not know or give it")
    if groups and all(_ERROR.fullmatch(group) for group in groups):
        raise ValueRefused(f"{question}: the meter answers {texts}", int(re.sub("[A-Z]", "", groups[0])))
    if not groups or not all(one.ident in ("", name) or _means(one.ident, name) for one in sets):
        came = body[:80].decode("ascii")
        raise DamagedFrame(
            f"{question}: this is no answer to it: {came!r}; a late one to another question?", whole=True
        )
    return DataSet(f"{name}({operand})" if operand else name, groups)


def _means(ident: str, name: str) -> bool:
    """Whether two spellings are of one code."""
    meant = code(ident)
    return meant is not None and meant == code(name)
