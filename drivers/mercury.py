"""Mercury meters, our side: what to ask for a reading, and what the answers say. (Theirs: `mercury_meter`.)

Values have names: a code, "serial", "clock", "frozen.<months back>.<code>". One answer may hold several. The names of
what a meter refuses are in `Readout.refused`, come back in `Ask.refused`, and are not asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from drivers import obis, values
from drivers.dialogue import (
    SETTLE,
    Ask,
    DamagedFrame,
    Dialogue,
    Done,
    Drain,
    DriverError,
    FrozenSet,
    Measured,
    MeterRefused,
    More,
    Never,
    NoAnswer,
    NotInProfile,
    Readout,
    character_seconds,
)
from drivers.mercury_address import normal_address
from drivers.mercury_clock import correct_clock
from drivers.mercury_frames import BAD_REQUEST, LEVEL, Question, is_sealed
from drivers.mercury_identity import identify
from drivers.mercury_meter import meter
from drivers.mercury_places import MercuryProfile, Place, Register
from drivers.mercury_requests import Readable, asks, body, is_dated, readable, silence
from drivers.mercury_session import Session, channel_test
from drivers.obis import TARIFFS, TOTAL
from drivers.profile import CLOCK, SERIAL, HexProof
from drivers.summed import given_codes, summands, summed

__all__ = [
    "channel_test", "correct_clock", "identify", "meter",
    "normal_address", "plan", "port_framing", "read", "understand",
]  # fmt: skip

# Seconds of silence before each request of an asking that is repeated because its numbers do not add up: what a
# converter gives twice comes within a hop of its network, and of its packing some tens of milliseconds.
APART = 2 * SETTLE
# What a meter counts while it is asked: by 230 V + 15 %, and seconds from first to last answer of a sound asking.
VOLTS, ASKING = 265, 2

OPENING = 11 + 4  # bytes of the channel's opening and of its answer, of the family's address and check


def port_framing(framing: str) -> str:
    """Characters have eight bits, with or without parity (INC20 1.4). Raises ValueError for others."""
    if not framing.startswith("8"):
        raise ValueError("Mercury meters send eight data bits, as delivered 8N1")
    return framing


# ----------------------------------------------------------------------------- what is asked


@dataclass(frozen=True, slots=True)
class Step:
    """One request of an asking: as its profile spells it, and the places in its answer by name."""

    request: str
    kind: Readable
    places: Mapping[str, Place]

    def check(self, data: bytes) -> None:
        """Raises WrongBytes where a value in the answer's data cannot be (BCD)."""
        for place in self.places.values():
            place.decode(place.cut(data))

    def cut(self, data: bytes) -> dict[str, bytes]:
        """Each value's own bytes by name."""
        return {name: place.cut(data) for name, place in self.places.items()}


@dataclass(frozen=True, slots=True)
class Planned:
    """One request as planned: what it asks, which values it gives, line time in milliseconds."""

    text: str
    names: tuple[str, ...]
    milliseconds: float


def _places(profile: MercuryProfile) -> dict[str, Place]:
    """All that the profile knows, by name: what needs no channel first, the clock before what is asked by its month."""
    own = {SERIAL: profile.serial, CLOCK: profile.clock}
    found: dict[str, Place] = {name: place for name, place in own.items() if isinstance(place, Place)}
    found |= profile.registers
    for group in profile.frozen:
        found |= {f"frozen.{group.back}.{code}": register for code, register in group.registers.items()}
    return found


def _steps(profile: MercuryProfile, ask: Ask, codes: Iterable[str]) -> list[Step]:
    """The requests of an asking, without what was refused before."""
    wanted = set(codes)
    if TOTAL in wanted and profile.is_summed:
        wanted.update(summands(profile))
    wanted |= {SERIAL} if ask.serial else set()
    wanted |= {CLOCK} if ask.clock or (ask.frozen and profile.frozen) else set()
    grouped: dict[tuple[str, str], dict[str, Place]] = {}
    for name, place in _places(profile).items():
        closing = _closing(name)
        if closing and ask.back is not None and int(closing.removeprefix("frozen.")) > ask.back:
            continue
        if name not in ask.refused and (name in wanted or (closing and ask.frozen)):
            grouped.setdefault((closing, place.ask), {})[name] = place
    return _alternating([Step(request, _kind(profile, request), places) for (_, request), places in grouped.items()])


def _alternating(steps: Iterable[Step]) -> list[Step]:
    """The same requests, neighbours with answers of different length as far as there are: what comes twice is damage.

    Otherwise their order is kept: serial number and clock are the first, and of lengths of their own.
    """
    rest, found = list(steps), list[Step]()
    while rest:
        before = found[-1].kind.size if found else None
        found.append(next((step for step in rest if step.kind.size != before), rest[0]))
        rest.remove(found[-1])
    return found


def _closing(name: str) -> str:
    """ "frozen.2" of "frozen.2.1.8.0"; empty for what is no frozen register."""
    return ".".join(name.split(".")[:2]) if name.startswith("frozen.") else ""


def _kind(profile: MercuryProfile, request: str) -> Readable:
    kind = readable(profile.mercury.family, request)
    assert kind is not None, "a profile asks what may be asked (mercury_places)"
    return kind


def plan(profile: MercuryProfile, ask: Ask) -> tuple[Planned, ...]:
    """The requests of one asking, with the line time each should take. Raises NotInProfile.

    With the channel's opening where one is needed: whether it is still open is known when the meter is asked.
    """
    steps = _steps(profile, ask, given_codes(profile, ask.codes))
    beside = ask.turnaround + silence(profile.mercury.family, ask.baudrate, ask.framing)
    character = character_seconds(ask.baudrate, ask.framing)
    found: list[Planned] = []
    for step in steps:
        text = step.request
        question = Question(
            profile.mercury.family, bytes(4)[: _width(profile)], bytes(len(text.split())), step.kind.size
        )
        seconds = (len(question.frame()) + question.length) * character + beside
        if step.kind.session and not any(planned.text == "open" for planned in found):
            found.append(Planned("open", (), 1000 * (OPENING * character + beside)))
        found.append(Planned(text, tuple(step.places), 1000 * seconds))
    return tuple(found)


def _width(profile: MercuryProfile) -> int:
    return 1 if profile.mercury.family == "230" else 4


# ----------------------------------------------------------------------------- our side


def read(profile: MercuryProfile, ask: Ask) -> Dialogue[Readout]:
    """One asking of one meter: request after request, each asked again as its trouble needs.

    What the meter refuses by itself (a request it does not know, a level too low for it) is left out and named in
    `Readout.refused`. Raises DriverError; NotInProfile where a code is not in the profile or the meter has none of the
    registers asked for.
    """
    codes = given_codes(profile, ask.codes)
    steps = _steps(profile, ask, codes)
    if not any(name in profile.registers for step in steps for name in step.places):
        raise NotInProfile(f"the meter refused all of {', '.join(codes)} before; check that it is a {profile.title}")
    session = Session(profile, ask)
    got, refused, last = yield from _ask_all(profile, session, steps)
    if not _adds_up(profile, got):
        got, refused, last = yield from _ask_all(profile, session, steps, apart=APART)
    if not any(name in profile.registers for name in got):
        raise NotInProfile(
            f"the meter refuses all of {', '.join(codes)}; check that it is a {profile.title}. Last: {last}"
        )
    return _readout(profile, got, codes, frozenset(refused))


def _ask_all(
    profile: MercuryProfile, session: Session, steps: Iterable[Step], apart: float = 0.0
) -> Dialogue[tuple[dict[str, bytes], set[str], DriverError | None]]:
    """Request after request: what came by name, the names of what the meter refuses, its last refusal.

    `apart`: seconds of silence before each request, in which what came twice is thrown away.
    """
    got: dict[str, bytes] = {}
    refused: set[str] = set()
    last: DriverError | None = None
    for step in steps:
        month = None
        if is_dated(step.request):
            month = _month_of(got.get(CLOCK), profile, int(next(iter(step.places)).split(".")[1]))
            if month is None:
                continue  # the meter does not know its month, or does not say
        if apart:
            yield Drain(apart)
        try:
            sent = body(step.request, month)
            data = yield from session.ask(sent, step.kind.size, step.check, session=step.kind.session)
        except (MeterRefused, NoAnswer) as error:
            if not _may_lack(step, error, bool(got)):
                raise
            last = error
            refused.update(step.places)
            continue
        got |= step.cut(data)
    return got, refused, last


def _adds_up(profile: MercuryProfile, got: Mapping[str, bytes]) -> bool:
    """Whether tariffs and total agree, live and of each closing, where all of them came.

    Answers say neither what they answer nor that they came twice. Of an answer that a converter gives once more the
    second is taken for the next question's, that one's for the one after it, and so on: then a tariff has what is
    another's. A meter whose own tariffs do not add up is asked twice each time, and believed.
    """
    closings = {"", *(f"frozen.{group.back}." for group in profile.frozen)}
    return all(_agree(profile, {name: got.get(closing + name) for name in (TOTAL, *TARIFFS)}) for closing in closings)


def _agree(profile: MercuryProfile, raw: Mapping[str, bytes | None]) -> bool:
    found: dict[str, int] = {}
    for code, data in raw.items():
        register = profile.registers.get(code)
        measured = None if data is None or register is None else _measured(code, register, data)
        if measured is not None:
            found[code] = measured.value
    total = found.pop(TOTAL, None)
    if total is None or len(found) < sum(code in profile.registers for code in TARIFFS):
        return True
    counted = profile.phases * profile.max_current * VOLTS * ASKING / 3600
    return abs(total - sum(found.values())) <= len(found) + counted


def _may_lack(step: Step, error: DriverError, answered: bool) -> bool:
    """Whether the meter is only without this: it says so, or it answers all else and is silent to this alone.

    Old variants do not answer requests that they do not know (INC20 2.5.17.2; M206). A live energy register is never
    given up for silence: every meter has those, and the next asking would leave them out.
    """
    if isinstance(error, MeterRefused):
        return error.code in (BAD_REQUEST, LEVEL)
    return answered and not any(name[0].isdigit() and obis.parse(name).is_energy for name in step.places)


def _month_of(clock: bytes | None, profile: MercuryProfile, back: int) -> datetime | None:
    """The first day of the month that began with a closing, `back` closings ago (1: the last) by the meter's clock."""
    if clock is None or isinstance(profile.clock, str):
        return None
    text = profile.clock.decode(clock)
    if text is None:
        return None
    now = datetime.fromisoformat(text)
    months = 12 * now.year + now.month - back  # of the months counted from 0
    return datetime(months // 12, months % 12 + 1, 1)  # noqa: DTZ001 - the meter's own, naive


def understand(profile: MercuryProfile, proof: HexProof) -> Readout:
    """What a recorded exchange says: all values of the profile that lie in the answer. Raises DriverError."""
    request, answer, width = proof.request, proof.answer, _width(profile)
    if not is_sealed(request):
        raise DamagedFrame(f"the request's check (CRC) is wrong: {request.hex(' ')}")
    sent = request[width:-2]
    places = {name: place for name, place in _places(profile).items() if asks(place.ask, sent)}
    if not places:
        raise NotInProfile(f"the profile does not ask {sent.hex(' ').upper()}")
    spelled = next(iter(places.values())).ask
    step = Step(spelled, _kind(profile, spelled), places)
    question = Question(profile.mercury.family, request[:width], sent, step.kind.size)
    match question.parser(step.check)(answer):
        case Done(frame=data):
            return _readout(profile, step.cut(data), given_codes(profile, ()), frozenset())
        case More(wanted=wanted):
            raise DamagedFrame(f"asked for {question}: at least {wanted} bytes are missing; came {answer.hex(' ')}")
        case Never(error=error):
            raise error


# ----------------------------------------------------------------------------- what the bytes say


def _readout(
    profile: MercuryProfile, got: Mapping[str, bytes], codes: tuple[str, ...], refused: frozenset[str]
) -> Readout:
    measured = {code: _measured(code, it, got[code]) for code, it in profile.registers.items() if code in got}
    if profile.is_summed:
        measured[TOTAL] = summed(profile, measured)
    serial = clock = None
    if not isinstance(profile.serial, str) and SERIAL in got:
        serial = profile.serial.decode(got[SERIAL])
    if not isinstance(profile.clock, str) and CLOCK in got:
        clock = profile.clock.decode(got[CLOCK])
    absent = [code for code in codes if code in measured and measured[code] is None]
    frozen = []
    for group in profile.frozen:
        asked = {code: it for code, it in group.registers.items() if f"frozen.{group.back}.{code}" in got}
        kept = {code: _measured(code, it, got[f"frozen.{group.back}.{code}"]) for code, it in asked.items()}
        if profile.is_summed and kept:
            kept[TOTAL] = summed(profile, kept)
        absent += [f"frozen.{group.back}.{code}" for code, it in kept.items() if it is None]
        if there := {code: it for code, it in kept.items() if it is not None}:
            frozen.append(FrozenSet(there, back=group.back))
    return Readout(
        registers={code: it for code in codes if (it := measured.get(code)) is not None},
        serial_number=serial,
        clock=clock,
        frozen=tuple(frozen),
        refused=refused,
        absent=tuple(absent),
    )


def _measured(code: str, register: Register, raw: bytes) -> Measured | None:
    """One value; None where the meter does not have it."""
    value = register.decode(raw)
    if value is None:
        return None
    meaning = obis.parse(code)
    carried = values.whole_wh if meaning.is_energy else values.si_value
    return Measured(carried("s64", Decimal(value), register.factor), meaning.unit, raw)
