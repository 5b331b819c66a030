"""Faults between a meter and its wire: functions that turn what a meter says into what is on the wire instead.

The first line of each docstring is its documentation; its name with hyphens is its name in bench.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from drivers.iec62056_21_characters import on_wire
from drivers.iec62056_21_frames import Block
from drivers.iec_places import IecProfile
from drivers.mercury_frames import BUSY
from drivers.mercury_places import MercuryProfile
from drivers.meter_side import Reaction, Say, Wiring
from drivers.modbus_frames import enveloped, refusal_pdu, sealed
from drivers.profile import Profile

SLOW = 0.3  # seconds more than usual; the profiles' time-outs begin at 0.5 s
LATE = (1.0, 1.6)  # seconds: after the usual time-outs (0.5 to 1.5 s), and not three times later than they allow
SERVER_FAILURE = 4  # Modbus application protocol V1.1b3, 7
STX = 0x02


@dataclass(frozen=True)
class Answer:
    """What a meter is about to say, and where.

    `heard`: the request as it came to the meter. `others`: what the neighbours on the wire said last. `twin`: what
    another meter at the same address says to the same request.
    """

    reaction: Reaction
    heard: bytes
    profile: Profile
    wiring: Wiring
    chance: Random
    others: Sequence[Reaction] = ()
    twin: Reaction = ()


Spoiler = Callable[[Answer], Reaction]


def bit_flips(answer: Answer) -> Reaction:
    """One to five bits of an answer are flipped on the way."""
    say, before = answer.chance.choice(answer.reaction), answer.reaction
    data = bytearray(say.data)
    for _ in range(answer.chance.randint(1, 5)):
        data[answer.chance.randrange(len(data))] ^= 1 << answer.chance.randrange(8)
    return tuple(replace(it, data=bytes(data)) if it is say else it for it in before)


def noise(answer: Answer) -> Reaction:
    """One to six random characters follow each frame, at once or in the pause between two."""
    heard: list[Say] = []
    for say in answer.reaction:
        rubbish = answer.chance.randbytes(answer.chance.randint(1, 6))
        heard += [say, Say(rubbish, say.baudrate, answer.chance.choice((0.0, 0.02)))]
    return tuple(heard)


def truncated(answer: Answer) -> Reaction:
    """The answer breaks off before its end."""
    *before, last = answer.reaction
    return (*before, replace(last, data=last.data[: answer.chance.randrange(len(last.data))]))


def late(answer: Answer) -> Reaction:
    """The answer comes after the question was given up (1.0 to 1.6 s later than usual)."""
    return _delayed(answer.reaction, answer.chance.uniform(*LATE))


def slow(answer: Answer) -> Reaction:
    """The meter thinks 0.3 s longer than it usually does."""
    return _delayed(answer.reaction, SLOW)


def _delayed(reaction: Reaction, seconds: float) -> Reaction:
    first, *rest = reaction
    return (replace(first, pause=(first.pause or 0.0) + seconds), *rest)


def doubled(answer: Answer) -> Reaction:
    """The answer comes twice, at once or in the pause before the next question."""
    pause = answer.chance.choice((0.0, 0.01))
    return (*answer.reaction, *(replace(say, pause=pause) for say in answer.reaction))


def foreign(answer: Answer) -> Reaction:
    """In the place of the answer comes the last one of another meter on the wire."""
    return answer.chance.choice(answer.others) if answer.others else answer.reaction


def wrong_check(answer: Answer) -> Reaction:
    """The answer's CRC or BCC is wrong, its parity is not."""
    *before, last = answer.reaction
    if isinstance(answer.profile, IecProfile) and last.data[0] & 0x7F != STX:
        return answer.reaction  # identifications and acknowledgements have no check character
    return (*before, replace(last, data=last.data[:-1] + bytes((last.data[-1] ^ 0x03,))))


def parity_stripped(answer: Answer) -> Reaction:
    """A converter that is set to seven bits takes bit 7, where the parity is, off each character."""
    return tuple(replace(say, data=bytes(byte & 0x7F for byte in say.data)) for say in answer.reaction)


def silence(_: Answer) -> Reaction:
    """The meter does not answer."""
    return ()


def refusal(answer: Answer) -> Reaction:
    """The meter answers with an exception code: it is busy with itself (older Mercury have none)."""
    say, profile = answer.reaction[-1], answer.profile
    if isinstance(profile, IecProfile):
        if say.data[0] & 0x7F != STX:
            return answer.reaction
        data = on_wire(Block(b"(ER07)").to_bytes(profile.iec.check), answer.wiring.framing)
    elif isinstance(profile, MercuryProfile):
        if profile.mercury.family != "230":
            return answer.reaction
        data = sealed(bytes((say.data[0], BUSY)))
    elif answer.wiring.tcp:
        transaction, unit, function = int.from_bytes(answer.heard[:2], "big"), answer.heard[6], answer.heard[7]
        data = enveloped(transaction, unit, refusal_pdu(function, SERVER_FAILURE))
    else:
        unit, function = say.data[0], say.data[1] & 0x7F
        data = sealed(bytes((unit,)) + refusal_pdu(function, SERVER_FAILURE))
    return (replace(say, data=data),)


def wrong_baud(answer: Answer) -> Reaction:
    """The meter is set to half the speed that it is asked with."""
    return tuple(replace(say, baudrate=say.baudrate // 2) for say in answer.reaction)


def two_at_one_address(answer: Answer) -> Reaction:
    """Another meter has the same address: it answers first, or both answer at once."""
    if not answer.twin:
        return answer.reaction
    if answer.chance.random() < 0.5:
        return (*answer.twin, *answer.reaction)
    return tuple(_collided(own, other) for own, other in zip(answer.reaction, answer.twin, strict=False))


def _collided(own: Say, other: Say) -> Say:
    """Two drivers on one pair of wires: where they differ the level is nobody's, here that of a 0, a driven bit."""
    size = max(len(own.data), len(other.data))
    pairs = zip(own.data.ljust(size, b"\xff"), other.data.ljust(size, b"\xff"), strict=True)
    return replace(own, data=bytes(one & two for one, two in pairs))


WIRE_FAULTS: tuple[Spoiler, ...] = (
    bit_flips, noise, truncated, late, doubled, foreign, wrong_check, parity_stripped, silence, slow, refusal,
    wrong_baud, two_at_one_address,
)  # fmt: skip
