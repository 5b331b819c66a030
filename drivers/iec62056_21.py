"""IEC 62056-21 meters, our side: readout, programming mode and pushed readouts. (Theirs: `iec62056_21_meter`.)

Modes A, B, C and D are read. A mode E meter is read in mode C, which it offers beside HDLC; one that speaks HDLC only
is refused. The port is open for 8N1, parity is added and verified here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from drivers import iec62056_21_datasets as datasets
from drivers.dialogue import (
    Ask,
    DamagedFrame,
    Dialogue,
    Done,
    Drain,
    DriverError,
    MeterRefused,
    More,
    Never,
    NoAnswer,
    NotInProfile,
    Readout,
    character_seconds,
)
from drivers.iec62056_21_characters import STRIPPED, port_framing
from drivers.iec62056_21_datasets import DataSet
from drivers.iec62056_21_frames import (
    ADDRESS,
    SOH,
    Block,
    Identification,
    parse_block,
    parse_command,
    parse_end,
    parse_identification,
    parse_readout,
)
from drivers.iec62056_21_readout import Sets, own_clock, readout, without_energy
from drivers.iec62056_21_session import START, Session, WrongMeter
from drivers.iec62056_21_spelling import code
from drivers.iec_places import MONTH, ClockRegister, Dialect, Exchange, IecProfile, IecProof, month_operand
from drivers.meter_side import MeterSide, Wiring
from drivers.profile import CLOCK, SERIAL
from drivers.summed import TOTAL, given_codes, is_summed, summands

__all__ = ["meter", "normal_address", "plan", "port_framing", "read", "understand"]

NO_CHECKSUM, NO_PARITY = "no-checksum", "no-parity"  # qualities (docs/contract.md)

F = TypeVar("F")

SESSIONS = 2  # in one asking: a meter that ends its session by itself (Energomera, after 1.5 to 3 s) is asked anew

# Energomera CE208/CE308 IEC protocol, error codes: (ERR12), (E12) in CE301. Neva: (01) without the data set's name
# (wirenboard/wb-mqtt-serial, TNevaIntegrationTest). ER.. as the standard has it, unread.
_ERROR = re.compile(r"E(?:RR?)?[0-9]{1,3}")


def normal_address(address: str, port: str) -> str:  # noqa: ARG001 - the same on every port
    """An address as it is sent: up to 32 digits, letters, blanks; empty for the only meter of a wire.

    Leading zeros stay: some meters want them. Raises ValueError that says what would be right.
    """
    address = address.strip()
    if not ADDRESS.fullmatch(address):
        raise ValueError("an IEC 62056-21 address has at most 32 digits and letters; none where a meter is alone")
    return address


def meter(profile: IecProfile, address: str, wiring: Wiring) -> MeterSide:
    """The meter's side. Raises ValueError for an address that none can have."""
    from drivers.iec62056_21_meter import IecMeter

    return IecMeter(profile, normal_address(address, ""), wiring)


# ----------------------------------------------------------------------------- our side


def read(profile: IecProfile, ask: Ask) -> Dialogue[Readout]:
    """One asking of one meter. Raises DriverError: see `iec62056_21_session` for its kinds."""
    settings = profile.iec
    given_codes(profile, ask.codes)  # what the profile has not is said before the meter is asked
    session = Session(
        ask, first=profile.line.timeout, check=settings.check, fastest=settings.fastest, wake=settings.wake
    )
    if settings.session == "programming":
        return (yield from _values(profile, ask, session))
    accepted = _Accepted(profile, session)
    take = session.pushed if settings.session == "push" else session.readout
    block: Block = yield from take(accepted)
    sets = Sets(datasets.parse(block.body, proven=block.proven), accepted.dialect)
    found = readout(
        profile,
        sets,
        ask.codes,
        serial=ask.serial,
        clock=ask.clock,
        frozen=ask.frozen,
        quality=_quality(ask.framing, block.proven),
    )
    if not found.registers and not (profile.takes_every and (found.serial_number or found.clock)):
        raise without_energy(profile, sets)
    return found


class _Accepted:
    """Whether an identification is one of the profile's meters; with what is different in its dialect."""

    def __init__(self, profile: IecProfile, session: Session | None = None) -> None:
        self.dialect: Dialect | None = None
        self._profile, self._session = profile, session

    def __call__(self, meter: Identification) -> None:
        """Raises WrongMeter."""
        settings, name = self._profile.iec, str(meter)
        if settings.identification is not None and not re.fullmatch(settings.identification, name):
            raise WrongMeter(
                f"the meter calls itself /{name}, which is no {self._profile.title} "
                f"({settings.identification}); use the profile of that meter, or generic-iec62056-21"
            )
        self.dialect = next((one for one in settings.dialects if re.fullmatch(one.identification, name)), None)
        if self.dialect is not None and self._session is not None:
            self._session.check = self.dialect.check or settings.check
            self._session.fastest = self.dialect.fastest or settings.fastest


def _quality(framing: str, proven: bool) -> tuple[str, ...]:
    return (() if proven else (NO_CHECKSUM,)) + ((NO_PARITY,) if framing == STRIPPED else ())


# ----------------------------------------------------------------------------- programming mode


def _values(profile: IecProfile, ask: Ask, session: Session) -> Dialogue[Readout]:
    """Value by value. What the meter refuses is remembered by its question and by the codes that it costs."""
    settings = profile.iec
    if not any(name in profile.registers for names in _questions(profile, ask).values() for name in names):
        raise NotInProfile(f"the meter refused all that was asked before; check that it is a {profile.title}")
    password = ask.password if ask.password is not None else (settings.password or "").encode("ascii")
    answers: dict[str, DataSet] = {}
    refused: set[str] = set()
    last: DriverError | None = None
    for tries in range(1, SESSIONS + 1):
        yield from session.open(_Accepted(profile, session), settings.access, password)
        try:
            while (question := _next_question(profile, ask, answers, refused)) is not None:
                key, names = question
                try:
                    answers[key] = yield from session.question(settings.command, key, partial(_answer, key))
                except ValueRefused as error:
                    refused.update((key, *names))
                    last = error
        except (NoAnswer, DamagedFrame):
            yield Drain(profile.line.timeout)
            yield from session.leave()
            if tries == SESSIONS:
                raise
            continue
        yield from session.leave()
        break
    if not answers:
        raise NotInProfile(
            f"the meter refuses all of {', '.join(sorted(refused))}; check that it is a {profile.title}. {last}"
        )
    found = readout(
        profile,
        Sets(answers.values()),
        tuple(name for name in given_codes(profile, ask.codes) if name not in ask.refused),
        serial=ask.serial,
        clock=ask.clock,
        frozen=ask.frozen,
        quality=_quality(ask.framing, True),
    )
    return replace(found, refused=found.refused | refused)


def _next_question(
    profile: IecProfile, ask: Ask, answers: Mapping[str, DataSet], refused: set[str]
) -> tuple[str, tuple[str, ...]] | None:
    """What is neither answered nor refused yet. Which months to ask for is known when the clock has answered."""
    clock = own_clock(profile, Sets(answers.values())) if ask.frozen else None
    questions = _questions(profile, ask, None if clock is None else datetime.fromisoformat(clock))
    return next((it for it in questions.items() if it[0] not in answers and it[0] not in refused), None)


def _questions(profile: IecProfile, ask: Ask, clock: datetime | None = None) -> dict[str, tuple[str, ...]]:
    """What is asked: the question as it is sent, and the names of the values that its answer gives.

    `clock`: the meter's own; without it no closing is asked for by its month.
    """
    names = list(given_codes(profile, ask.codes))
    if is_summed(profile) and TOTAL in names:
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


def _answer(question: str, body: bytes) -> DataSet:
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


# ----------------------------------------------------------------------------- proofs


def understand(profile: IecProfile, proof: IecProof) -> Readout:
    """What the bytes of a proof say, through the parsers that `read` uses. Raises DriverError."""
    if proof.request.startswith(SOH):
        sets, proven = Sets(_answered(profile, one) for one in proof.exchanges), True
    else:
        sets, proven = _read_out(profile, proof.answer)
    found = readout(profile, sets, quality=_quality("", proven))
    if not found.registers and not found.frozen and not found.serial_number and not found.clock:
        raise without_energy(profile, sets)
    return found


def _answered(profile: IecProfile, exchange: Exchange) -> DataSet:
    asked = _whole(parse_command(exchange.request, profile.iec.check))
    return _answer(asked.data or "", _whole(parse_block(exchange.answer, profile.iec.check)).body)


def _read_out(profile: IecProfile, characters: bytes) -> tuple[Sets, bool]:
    """The data sets of a readout with its identification (or, as some are recorded, without), and if it is proven."""
    accepted, identification = _Accepted(profile), None
    if b"/" in characters:
        named = parse_identification(characters)
        identification = _whole(named)
        accepted(identification)
        characters = characters[named.used :] if isinstance(named, Done) else b""
    check = (accepted.dialect.check if accepted.dialect else None) or profile.iec.check
    read = parse_readout(characters, check, identification)
    block = _whole(read)
    if isinstance(read, Done) and not block.proven and isinstance(lost := parse_end(characters[read.used :]), Never):
        raise lost.error
    return Sets(datasets.parse(block.body, proven=block.proven), accepted.dialect), block.proven


def _whole(outcome: More | Done[F] | Never) -> F:
    match outcome:
        case Done(frame):
            return frame
        case Never(error):
            raise error
        case _:
            raise DamagedFrame("the frame is not whole: its end is missing")


# ----------------------------------------------------------------------------- what it costs


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a planned asking."""

    text: str
    names: tuple[str, ...]
    milliseconds: float


SIGN_ON, SELECT, IDENTIFIED = 15, 6, 24  # characters: /?12345678!, an option select, a usual identification
DATA_SET = 30  # characters: 1-0:1.8.0*255(0000112.628*kWh) and its line end
USUAL_SETS = 24  # data sets of a readout whose registers no profile lists (MT174, E350 and LEM EM4TII: 18 to 23)
QUESTION, ANSWER = 16, 40  # characters: SOH R1 STX 0F0880FF() ETX BCC, and a usual answer


def plan(
    profile: IecProfile,
    codes: Iterable[str] = (),
    *,
    baudrate: int,
    framing: str,
    turnaround: float,
    refused: frozenset[str] = frozenset(),
    serial: bool = False,
    clock: bool = False,
    frozen: bool = False,
) -> tuple[Step, ...]:
    """What one asking costs, by usual lengths: what a meter puts into its readout nobody knows before it is read.

    Arguments as in `Ask`. Raises NotInProfile.
    """
    ask = Ask(address="", codes=tuple(codes), serial=serial, clock=clock, frozen=frozen, refused=refused)
    questions = _questions(profile, ask)
    names = tuple(name for values in questions.values() for name in values)
    fast = profile.iec.fastest if baudrate == START else baudrate
    fast = min(fast, 9600) if baudrate == START else fast  # what most meters offer
    wait = max(turnaround, 0.2)
    slow_char, fast_char = character_seconds(baudrate, framing), character_seconds(fast, framing)
    signing = (SIGN_ON + SELECT + IDENTIFIED) * slow_char + 3 * wait
    if profile.iec.session == "push":
        return (Step("wait for what it sends", names, (_readout_length(profile) * slow_char) * 1000),)
    if profile.iec.session == "readout":
        seconds = signing + _readout_length(profile) * fast_char
        speeds = f"{baudrate} -> {fast}" if fast != baudrate else str(baudrate)
        return (Step(f"readout {speeds}", names, seconds * 1000),)
    opening = signing + 2 * (QUESTION * fast_char + wait)
    steps = [Step("programming mode", (), opening * 1000)]
    cost = (QUESTION + ANSWER) * fast_char + 2 * wait
    steps += [Step(f"{profile.iec.command} {key}", values, cost * 1000) for key, values in questions.items()]
    return tuple(steps)


def _readout_length(profile: IecProfile) -> int:
    return DATA_SET * max(USUAL_SETS, len(profile.registers) + 6)
