"""Batch, Receipt and Status to bytes and back; how a pass is cut into batches; the topics they travel on.

Equal messages have equal bytes: UTF-8 JSON with sorted keys, no blanks, nothing that is absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from collector.messages_envelope import (
    MAX_PAYLOAD,
    BadSnapshot,
    Envelope,
    Key,
    MessageFault,
    in_words,
    open_envelope,
    parse,
    unsound,
)
from collector.messages_sent import SentSnapshot
from collector.model import NAME, Batch, BatchClass, Evicted, Receipt, Snapshot, Status

__all__ = [
    "ACTS_OF_ALL", "MAX_PAYLOAD", "READINGS_OF_ALL", "STATUS_OF_ALL", "BadSnapshot", "Envelope", "Group", "Key",
    "MessageFault", "SentSnapshot", "acts_topic", "decode_batch", "decode_receipt", "decode_status", "encode",
    "open_envelope", "parse_topic", "readings_topic", "receipt_topic", "split", "status_topic", "tombstone", "topic_of",
]  # fmt: skip

ENVELOPE = 1024  # bytes of a batch around its snapshots and profiles at most: three names, a zone, the field names
PROFILE = 160  # bytes of one entry in `profiles` at most: a name of 63, a digest of 71, quotes

MessageModel = TypeVar("MessageModel", Receipt, Status)


# ----------------------------------------------------------------------------- to bytes


def encode(message: Batch | Receipt | Status) -> bytes:
    """The canonical bytes. Raises ValueError where a number is not finite."""
    short = isinstance(message, Batch)  # a status says its zeros too
    data = message.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=short)
    data["schema"] = message.schema_
    match message:
        case Batch(snapshots=tuple()):
            data["synced"] = message.synced  # false is said too: it keeps values off the bill
        case Status(spool=spool) if spool is not None:
            data["spool"] = spool.model_dump(mode="json")  # with its nulls: not damaged, not known yet
    return _canonical(data)


def tombstone(gateway: str) -> Callable[[str, int, int, int, int], bytes]:
    """What a gateway's spool sends in the place of a batch that had to go.

    (spool, sequence, snapshots, first, last) -> bytes: so many snapshots, asked from `first` to `last` (milliseconds).
    """

    def bytes_of(spool: str, sequence: int, snapshots: int, first: int, last: int) -> bytes:
        evicted = Evicted.model_validate({"snapshots": snapshots, "from": first, "to": last})
        return encode(Batch(gateway=gateway, spool=spool, sequence=sequence, class_="interval", evicted=evicted))

    return bytes_of


def _canonical(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()


# ----------------------------------------------------------------------------- from bytes


def decode_batch(payload: bytes) -> Batch:
    """A batch in which everything is sound. Raises MessageFault."""
    envelope = open_envelope(payload)
    for snapshot in envelope.snapshots or ():
        if isinstance(snapshot, BadSnapshot):
            raise MessageFault("schema", f"a snapshot of {snapshot.meter or '?'}: {snapshot.reason}", envelope.key)
    return Batch.model_validate_json(payload)


def decode_receipt(payload: bytes) -> Receipt:
    """Raises MessageFault."""
    return _decode(Receipt, payload)


def decode_status(payload: bytes) -> Status:
    """Raises MessageFault."""
    return _decode(Status, payload)


def _decode(model: type[MessageModel], payload: bytes) -> MessageModel:
    if len(payload) > MAX_PAYLOAD:
        raise MessageFault("too-large", f"{len(payload)} bytes; at most {MAX_PAYLOAD} are allowed")
    if fault := unsound(parse(payload)):
        raise MessageFault("schema", fault)
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        raise MessageFault("schema", in_words(error)) from None


# ----------------------------------------------------------------------------- cutting a pass into batches


class Group(NamedTuple):
    """Snapshots for one batch; `first` and `last` are when they were asked (milliseconds)."""

    class_: BatchClass
    snapshots: tuple[Snapshot, ...]

    @property
    def first(self) -> int:
        return min(snapshot.asked for snapshot in self.snapshots)

    @property
    def last(self) -> int:
        return max(snapshot.asked for snapshot in self.snapshots)


def split(snapshots: Iterable[Snapshot]) -> list[Group]:
    """The same snapshots in groups of one class whose batches stay within MAX_PAYLOAD; `keep` first, order kept.

    A single one that is larger loses raw bytes, the longest first: its values matter more than their proof.
    """
    snapshots = tuple(snapshots)
    groups: list[Group] = []
    of_class: BatchClass
    for of_class in ("keep", "interval"):
        mine = [snapshot for snapshot in snapshots if snapshot.batch_class == of_class]
        groups.extend(Group(of_class, tuple(some)) for some in _cut(mine))
    return groups


def _cut(snapshots: list[Snapshot]) -> Iterator[list[Snapshot]]:
    some: list[Snapshot] = []
    profiles: set[str] = set()
    size = ENVELOPE
    for snapshot in map(_fitting, snapshots):
        more = _size(snapshot) + (0 if snapshot.profile in profiles else PROFILE)
        if some and size + more > MAX_PAYLOAD:
            yield some
            some, profiles, size = [], set(), ENVELOPE
            more = _size(snapshot) + PROFILE
        some.append(snapshot)
        profiles.add(snapshot.profile)
        size += more
    if some:
        yield some


def _fitting(snapshot: Snapshot) -> Snapshot:
    while snapshot.raw and ENVELOPE + PROFILE + _size(snapshot) > MAX_PAYLOAD:
        longest = max(snapshot.raw, key=lambda name: len(snapshot.raw[name]))
        raw = {name: value for name, value in snapshot.raw.items() if name != longest}
        snapshot = snapshot.model_copy(update={"raw": raw})
    return snapshot


def _size(snapshot: Snapshot) -> int:
    """Bytes of a snapshot in its batch, with the comma behind it."""
    return len(_canonical(snapshot.model_dump(mode="json", by_alias=True, exclude_defaults=True))) + 1


# ----------------------------------------------------------------------------- topics

ROOT = "meterline/v1"
KINDS = ("readings", "acts", "receipt", "status", "command", "reply")
READINGS_OF_ALL, ACTS_OF_ALL, STATUS_OF_ALL = (f"{ROOT}/+/{kind}" for kind in ("readings", "acts", "status"))


def readings_topic(gateway: str) -> str:
    return f"{ROOT}/{gateway}/readings"


def topic_of(gateway: str, payload: bytes) -> str:
    """The topic of a batch of ours: keys are sorted, so that one with an act begins with it."""
    return acts_topic(gateway) if payload.startswith(b'{"act":') else readings_topic(gateway)


def acts_topic(gateway: str) -> str:
    return f"{ROOT}/{gateway}/acts"


def receipt_topic(gateway: str) -> str:
    return f"{ROOT}/{gateway}/receipt"


def status_topic(gateway: str) -> str:
    return f"{ROOT}/{gateway}/status"


def parse_topic(topic: str) -> tuple[str, str]:
    """(gateway, kind). Raises ValueError when it is none of ours."""
    root, _, rest = topic.partition("/v1/")
    gateway, _, kind = rest.partition("/")
    if root != "meterline" or not re.fullmatch(NAME, gateway) or kind not in KINDS:
        raise ValueError(f"{topic[:100]!r} is none of our topics; expected {ROOT}/<gateway>/{'|'.join(KINDS)}")
    return gateway, kind
