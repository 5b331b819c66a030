"""Opens a batch as far as it is sound: the bytes of any sender become an envelope, or a fault that says what is wrong.

Rule 1. Without a readable key there is nobody to answer: `MessageFault` with no key. A readable key in an unsound
        envelope: `MessageFault` with the key and the code of a final refusal. A sound envelope keeps every snapshot,
        each as a `SentSnapshot` or as a `BadSnapshot` with the reason.
Rule 2. What two readers of JSON may understand differently is unsound: a key that stands twice, NaN, Infinity, half
        a character.
Rule 3. Sound bytes, nearly all there are, are read once, by pydantic; only the others are looked at more closely.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from collector.messages_sent import SentBatch, SentSnapshot
from collector.model import NAME, BatchClass, Evicted, Frozen, Name, Sequence, SpoolId

MAX_PAYLOAD = 256 << 10  # bytes of a message (docs/contract.md, Topics)
SEARCHED = 16 << 20  # bytes in which a message that is too large is searched for its key; beyond it is not read at all
DEEPEST = 16  # levels inside a snapshot or an envelope; ours have five, an act a few more
REASON = 300  # characters of a reason: a receipt carries at most 1000


class Key(NamedTuple):
    """What makes a batch one batch, and what its receipt names."""

    gateway: str
    spool: str
    sequence: int


class MessageFault(Exception):
    """A message that is refused as a whole. `code` is that of the refusal; without `key` no receipt is possible."""

    def __init__(self, code: Literal["schema", "too-large"], text: str, key: Key | None = None) -> None:
        super().__init__(text[:REASON])
        self.code = code
        self.key = key


@dataclass(frozen=True, slots=True)
class BadSnapshot:
    """A snapshot that is not one. `meter` and `asked` as far as they can be read ("" and None), `text` as it came."""

    meter: str
    asked: int | None
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sound batch; exactly one of `snapshots`, `evicted`, `act` is there. A snapshot's place is its position."""

    key: Key
    class_: BatchClass
    zone: str | None
    synced: bool
    profiles: Mapping[str, str]
    snapshots: tuple[SentSnapshot | BadSnapshot, ...] | None
    evicted: Evicted | None
    act: Mapping[str, Any] | None


def open_envelope(payload: bytes) -> Envelope:
    """A batch as far as it is sound (rule 1). Raises MessageFault."""
    if len(payload) > MAX_PAYLOAD:
        if len(payload) > SEARCHED:
            raise MessageFault("too-large", f"{len(payload)} bytes; at most {MAX_PAYLOAD} are allowed")
        key = _key(parse(payload))
        raise MessageFault("too-large", f"{len(payload)} bytes; at most {MAX_PAYLOAD} are allowed", key)
    try:
        batch = SentBatch.model_validate_json(payload)
    except ValidationError:
        return _sift(payload)
    if payload.count(b'":') != _keys_of(batch):
        return _sift(payload)
    return _envelope(batch, batch.snapshots)


def _envelope(batch: SentBatch, snapshots: tuple[SentSnapshot | BadSnapshot, ...] | None) -> Envelope:
    return Envelope(
        key=Key(batch.gateway, batch.spool, batch.sequence),
        class_=batch.class_,
        zone=batch.zone,
        synced=batch.synced,
        profiles=batch.profiles,
        snapshots=snapshots,
        evicted=batch.evicted,
        act=batch.act,
    )


def _keys_of(batch: SentBatch) -> int:
    """How many keys the JSON of this batch has; -1 when it holds what needs a closer look.

    Cheaper than a second reading: where the bytes have another number of keys, one stands twice or is not known here.
    """
    if batch.act is not None:
        return -1
    count = len(batch.model_fields_set) + len(batch.profiles)
    if batch.evicted is not None:
        count += len(batch.evicted.model_fields_set)
    for snapshot in batch.snapshots or ():
        count += len(snapshot) + len(snapshot.get("registers", ())) + len(snapshot.get("raw", ()))
        if frozen := snapshot.get("frozen"):
            count += len(frozen) + sum(map(len, frozen.values()))
        if quantities := snapshot.get("quantities"):
            count += len(quantities)
            if not all(map(isfinite, quantities.values())):
                return -1
        if failure := snapshot.get("failure"):
            count += len(failure)
    return count


# ----------------------------------------------------------------------------- a closer look


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys stood twice."""

    twice: str | None = None

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> _Object:
        found = cls(pairs)
        if len(found) < len(pairs):
            names = [name for name, _value in pairs]
            found.twice = next(name for name in names if names.count(name) > 1)
        return found


def parse(payload: bytes) -> Any:
    """Any JSON value. Raises MessageFault without a key."""
    try:
        return json.loads(payload.decode(), object_pairs_hook=_Object.of, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise MessageFault("schema", f"not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise MessageFault("schema", "not JSON of ours: nested too deep") from None
    except ValueError as error:
        raise MessageFault("schema", f"not JSON: {error}") from None


def _integer(digits: str) -> int | float:
    """Python refuses to read thousands of digits; to us such a number is as good as infinite."""
    return int(digits) if len(digits) < 400 else inf


def _sift(payload: bytes) -> Envelope:
    """The slow way: the envelope by itself, then every snapshot by itself."""
    data = parse(payload)
    key = _key(data)
    if key is None:
        raise MessageFault("schema", "no readable key; expected gateway, spool and sequence of a batch")
    snapshots = data.get("snapshots")
    head = _Object(data)
    head.twice = data.twice
    if isinstance(snapshots, list):
        head["snapshots"] = []
    if fault := unsound(head):
        raise MessageFault("schema", fault, key)
    try:
        batch = SentBatch.model_validate_json(json.dumps(head))
    except ValidationError as error:
        raise MessageFault("schema", in_words(error), key) from None
    return _envelope(batch, None if batch.snapshots is None else tuple(map(_snapshot, snapshots)))


class _ReadableKey(Frozen):
    gateway: Name
    spool: SpoolId
    sequence: Sequence


def _key(data: Any) -> Key | None:
    if not isinstance(data, _Object) or data.twice in Key._fields:
        return None
    try:
        found = _ReadableKey.model_validate(data)
    except ValidationError:
        return None
    return Key(found.gateway, found.spool, found.sequence)


_SENT = TypeAdapter(SentSnapshot)


def _snapshot(data: Any) -> SentSnapshot | BadSnapshot:
    reason = unsound(data)
    if reason is None:
        try:
            return _SENT.validate_json(json.dumps(data))
        except ValidationError as error:
            reason = in_words(error)
    meter, asked = (data.get("meter"), data.get("asked")) if isinstance(data, dict) else (None, None)
    return BadSnapshot(
        meter=meter if isinstance(meter, str) and re.fullmatch(NAME, meter) else "",
        asked=asked if type(asked) is int and abs(asked) < 1 << 53 else None,
        reason=reason[:REASON],
        text=_text(data),
    )


def unsound(data: Any) -> str | None:
    """What rule 2 and the depth of our messages forbid, in words."""
    level = [data]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, _Object):
                if value.twice is not None:
                    return f"the key {value.twice[:60]!r} stands twice"
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
                return "a text holds half a character (a lone surrogate)"
            elif isinstance(value, float) and not isfinite(value):
                return "a number is not finite"
        if not below:
            return None
        level = below
    return f"nested deeper than {DEEPEST} levels"


def _text(data: Any) -> str:
    try:
        return json.dumps(data)
    except RecursionError:
        return "(nested too deep to be written down)"


def in_words(error: ValidationError) -> str:
    """The first three faults of a schema check: where, what was expected, what came."""
    found = error.errors(include_url=False, include_context=False)
    faults = []
    for item in found[:3]:
        where = ".".join(str(part) for part in item["loc"])
        given = repr(item["input"])
        faults.append(f"{where or 'the whole'}: {item['msg']} (here: {given[:60]})")
    more = [f"and {len(found) - 3} more"] if len(found) > 3 else []
    return "; ".join(faults + more)
