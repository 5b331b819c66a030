"""Proofs of a profile out of a recorded conversation: each exchange that gives values of it, once.

Pure: the conversation comes as pairs of what was said and what came, bytes as on the wire. The profile's own driver
says what they mean, so nothing is taken for a proof that `profile check` would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from drivers.dialogue import Done, DriverError
from drivers.iec62056_21_characters import PARITY, STRIPPED, off_wire, sound
from drivers.iec62056_21_frames import SOH, parse_identification
from drivers.iec_places import Exchange, IecProof
from drivers.profile import Profile, Proof
from drivers.proof import shown
from drivers.table import driver

Heard = tuple[bytes, bytes]
"""What was said, and what came until something was said again."""
SIGN_ON = b"/?"


def captured(profile: Profile, conversation: Sequence[Heard], *, source: str, device: str | None = None) -> list[Proof]:
    """Proofs of kind `captured`, in the order of the conversation; of several for the same values, the first.

    What gives nothing (other meters, damage, sessions' beginnings and passwords) is left out.
    """
    plain = [(said, came.removeprefix(said)) for said, came in conversation]  # an adapter's echo is not the meter's
    form = type(profile.proof[0])
    found: dict[tuple[str, ...], Proof] = {}
    for fields in _telegrams(plain) if issubclass(form, IecProof) else _frames(plain):
        told = {"kind": "captured", "source": source, "device": device, "gives": {}, **fields}
        proof = form.model_construct(**told)
        if gives := _given(profile, proof):
            proof = _without_noise(profile, proof.model_copy(update={"gives": gives}))
            found.setdefault(tuple(sorted(gives)), proof)
    return list(found.values())


def _given(profile: Profile, proof: Proof) -> dict[str, str]:
    try:
        return shown(driver(profile.protocol).understand(profile, proof))
    except (DriverError, ValueError):  # ValueError: registers that the meter answers with what no value can be
        return {}


def _without_noise(profile: Profile, proof: Any) -> Proof:
    """The answer without what its parser passes over at both ends."""
    for end in (slice(1, None), slice(None, -1)):
        while len(proof.answer) > 1:
            less = proof.model_copy(update={"answer": proof.answer[end]})
            if _given(profile, less) != proof.gives:
                break
            proof = less
    kept: Proof = proof
    return kept


def _frames(conversation: Sequence[Heard]) -> Iterator[dict[str, Any]]:
    yield from ({"request": said, "answer": came} for said, came in conversation if said and came)


def _telegrams(conversation: Sequence[Heard]) -> Iterator[dict[str, Any]]:
    """Exchanges of IEC 62056-21: a readout belongs to its sign-on, a date and the time after it to each other."""
    framing = _framing(b"".join(said + came for said, came in conversation))
    plain = [(off_wire(said, framing), off_wire(came, framing)) for said, came in conversation]
    for at, (said, came) in enumerate(plain):
        if not sound(said + came):
            continue
        after = plain[at + 1] if at + 1 < len(plain) else (b"", b"")
        if SIGN_ON in said or (not said and b"/" in came):
            begun = said[max(said.find(SIGN_ON), 0) :] or SIGN_ON + b"!\r\n"
            more = b"" if _more_than_identification(came) else after[1]
            if sound(more):
                yield {"request": begun, "answer": came + more}
        elif said.startswith(SOH) and came:
            yield {"request": said, "answer": came}
            if after[0].startswith(SOH) and after[1] and sound(after[0] + after[1]):
                then = Exchange.model_construct(request=after[0], answer=after[1])
                yield {"request": said, "answer": came, "then": (then,)}


def _framing(data: bytes) -> str:
    """The one in which the fewest characters are damaged."""
    return min((*PARITY, STRIPPED), key=lambda framing: sum(byte > 0x7F for byte in off_wire(data, framing)))


def _more_than_identification(characters: bytes) -> bool:
    match parse_identification(characters):
        case Done(used=used):
            return bool(characters[used:].strip())
        case _:
            return True
