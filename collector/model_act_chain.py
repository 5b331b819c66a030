"""An act's canonical bytes, its hash, and the chain that the acts of a point form: sealing, opening, verifying. Pure.

Rule 1. The hash is SHA-256 over the object without `hash`, as RFC 8785 writes it. It is taken over what came, not over
        what this version makes of it: nothing is added, dropped or spelled anew before it is checked.
Rule 2. An act is never edited. `previous` names the act before it at the point, `supersedes` the one that it corrects.
Rule 3. A chain has one beginning, and no act follows two or is followed by two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import rfc8785
from pydantic import ValidationError

from collector.messages_envelope import MessageFault, in_words, parse, unsound
from collector.model_act import Act

HASH = "hash"
MOST_BYTES = 128 << 10  # of an act: half of a message (docs/contract.md, Topics), so that it always fits into one


class ActFault(Exception):
    """This is no act, or it was altered. The text says what was expected and what came."""


class Fault(NamedTuple):
    """What is wrong in a chain: the point, the number of the act, a sentence."""

    point: str
    number: str
    text: str


def canonical(data: Mapping[str, Any]) -> bytes:
    """The bytes of RFC 8785. Raises ActFault for what has none, as a number that no double holds."""
    try:
        return rfc8785.dumps(dict(data))
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise ActFault(f"an act is JSON as RFC 8785 writes it: {error}") from None


def hash_of(data: Mapping[str, Any]) -> str:
    """`sha256:` and the digest over everything but `hash`."""
    content = {name: value for name, value in data.items() if name != HASH}
    return "sha256:" + hashlib.sha256(canonical(content)).hexdigest()


def sealed(data: Mapping[str, Any]) -> Act:
    """The act of these fields, with its hash. Raises ActFault with all that is missing or wrong."""
    return checked({**data, HASH: hash_of(data)})


def checked(data: Any) -> Act:
    """The act that a JSON value is. Raises ActFault when its form or its hash is wrong."""
    if not isinstance(data, Mapping):
        raise ActFault("an act is a JSON object")
    if fault := unsound(data):
        raise ActFault(fault)
    text = canonical(data)
    if len(text) > MOST_BYTES:
        raise ActFault(f"{len(text)} bytes; an act has at most {MOST_BYTES}")
    try:
        act = Act.model_validate_json(text)
    except ValidationError as error:
        raise ActFault(in_words(error)) from None
    if (right := hash_of(data)) != act.hash:
        raise ActFault(f"act {act.number} was altered: its hash says {act.hash}, its content gives {right}")
    return act


def opened(text: bytes) -> Act:
    """The act in these bytes, however they are spaced. Raises ActFault."""
    if len(text) > 2 * MOST_BYTES:
        raise ActFault(f"{len(text)} bytes; an act has at most {MOST_BYTES}")
    try:
        return checked(parse(text))
    except MessageFault as fault:
        raise ActFault(str(fault)) from None


def as_data(act: Act) -> dict[str, Any]:
    """The JSON object of an act that this version made or checked: what is optional and absent stays away."""
    data = act.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return dict(data)


def written(act: Act) -> bytes:
    """The act's canonical bytes, hash included."""
    return canonical(as_data(act))


def chain_faults(acts: Iterable[Act]) -> list[Fault]:
    """What is wrong with the acts of some points, each by itself and together (rule 3). Empty: all is well."""
    by_point: dict[str, list[Act]] = {}
    for act in acts:
        by_point.setdefault(act.point, []).append(act)
    return [fault for point in sorted(by_point) for fault in _faults_at(by_point[point])]


def _faults_at(acts: list[Act]) -> list[Fault]:
    faults = []
    known = {act.hash: act for act in acts}
    follows: dict[str | None, Act] = {}
    for act in sorted(known.values(), key=lambda act: (act.instant, act.number)):

        def fault(text: str, act: Act = act) -> None:
            faults.append(Fault(act.point, act.number, text))

        if act.hash != hash_of(as_data(act)):
            fault(f"was altered: its hash says {act.hash}")
        rival = follows.setdefault(act.previous, act)
        if rival is not act:
            where = "begins the chain" if act.previous is None else f"follows {act.previous}"
            fault(f"{where}, and so does act {rival.number}: two acts cannot both come next")
        if act.previous is None:
            continue
        before = known.get(act.previous)
        if before is None:
            fault(f"follows {act.previous}, which is not here")
        elif before.instant > act.instant:
            fault(f"was made at {act.made}, before the act that it follows ({before.number}, {before.made})")
        if act.supersedes is not None and act.supersedes not in known:
            fault(f"corrects {act.supersedes}, which is not here")
    return faults


def in_force(acts: Iterable[Act]) -> list[Act]:
    """The acts that no other one corrects, in the order of the chain as far as it holds, else of time."""
    acts = list(acts)
    corrected = {act.supersedes for act in acts}
    return sorted((act for act in acts if act.hash not in corrected), key=lambda act: (act.instant, act.number))


def head(acts: Iterable[Act]) -> Act | None:
    """The last act of one point's chain: that which no other follows; the newest where several claim it."""
    acts = list(acts)
    followed = {act.previous for act in acts}
    loose = [act for act in acts if act.hash not in followed]
    return max(loose, key=lambda act: (act.instant, act.number), default=None)
