"""A batch as the centre reads it: the model's own fields and checks, with each snapshot a plain dict of what was sent.

A snapshot as an object of `collector.model` costs twice as much time and nearly three times the memory, and a centre
reads hundreds of them a second. What a key means the model says; a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from collector.model import Batch, Code, FailureKind, HexText, Millis, Month, Name, Purpose, Wh


class SentFailure(TypedDict):
    """As `model.Failure`."""

    kind: FailureKind
    text: Annotated[str, Field(max_length=1000)]


class SentSnapshot(TypedDict):
    """As `model.Snapshot`; what was not sent is not there, and null may stand where None does. Nobody changes one."""

    meter: Name
    profile: Name
    purpose: Purpose
    asked: Millis
    serial_number: NotRequired[Annotated[str, Field(max_length=64)] | None]
    answered: NotRequired[Millis | None]
    clock: NotRequired[Annotated[str, Field(max_length=64)] | None]
    registers: NotRequired[dict[Code, Wh]]
    frozen: NotRequired[dict[Month, dict[Code, Wh]]]
    quantities: NotRequired[dict[Code, float]]
    raw: NotRequired[dict[str, HexText]]
    quality: NotRequired[tuple[Annotated[str, Field(max_length=32)], ...]]
    failure: NotRequired[SentFailure | None]


class SentBatch(Batch):
    """As `model.Batch`."""

    snapshots: tuple[SentSnapshot, ...] | None = None  # type: ignore[assignment]  # the same, read into less
