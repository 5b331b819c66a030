"""A protocol of one register that no meter speaks: what a row of the table needs, and no more.

A request is "?", address, "!"; the answer is the energy in decimal digits and a full stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from drivers import profile_places as shared
from drivers.dialogue import Ask, Dialogue, Done, Measured, More, Never, Readout, exchange
from drivers.meter_side import Held, Reaction, Say, Wiring
from drivers.profile import Profile, Proof
from drivers.profile_faults import Fault
from drivers.profile_places import NowhereOr
from drivers.profile_spelling import Code, Text


class Settings(shared.Settings):
    every: Literal["obis"] | None = None
    loud: Literal["yes"]

    @property
    def in_words(self) -> tuple[str, ...]:
        return (f"loud: {self.loud}",)


class Register(shared.Register):
    @property
    def where(self) -> str:
        return "everywhere"

    @property
    def how(self) -> str:
        return ""


class SerialPlace(shared.Place):
    letter: Text


class TinyProof(Proof):
    telegram: Text

    @property
    def lines(self) -> tuple[str, ...]:
        return (f"<< {self.telegram}",)


class TinyProfile(Profile):
    protocol: Literal["ti-ny"]
    tiny: Settings = Field(alias="ti-ny")
    serial: NowhereOr[SerialPlace]
    registers: Mapping[Code, Register] = Field(default_factory=dict)
    proof: tuple[TinyProof, ...] = Field(min_length=1)

    @property
    def takes_every(self) -> bool:
        return self.tiny.every is not None

    @classmethod
    def contradictions(cls, data: dict[str, Any]) -> Iterator[Fault]:
        yield from super().contradictions(data)
        if data.get("phases") == "3":
            yield ("phases",), "a tiny meter has one phase"


@dataclass(frozen=True)
class Whole:
    text: str = "?"
    names: tuple[str, ...] = ("1.8.0",)
    milliseconds: float = 10.0


class TinyMeter:
    framing = "8N1"
    gap = 1.0
    wakes = None

    def __init__(self, address: str) -> None:
        self._address = address

    def baudrate(self, now: float) -> int:
        return 9600

    def hear(self, held: Held, buffer: bytes, now: float) -> More | Done[Reaction] | Never:
        end = buffer.find(b"!") + 1
        if not end:
            return More()
        mine = buffer[:end].endswith(f"?{self._address}!".encode())
        return Done((Say(f"{held.registers['1.8.0']}.".encode(), 9600),) if mine else (), end)


def parse(data: bytes) -> More | Done[int] | Never:
    text, point, _ = data.partition(b".")
    return Done(int(text), len(text) + 1) if point else More()


def readout(value: int) -> Readout:
    return Readout({"1.8.0": Measured(value, "kWh", str(value).encode())})


def read(profile: TinyProfile, ask: Ask) -> Dialogue[Readout]:
    value = yield from exchange(f"?{ask.address}!".encode(), parse, first=1.0, between=1.0)
    return readout(value)


def understand(profile: TinyProfile, proof: TinyProof) -> Readout:
    found = parse(proof.telegram.encode())
    assert isinstance(found, Done)
    return readout(found.frame)


def plan(profile: TinyProfile, ask: Ask) -> tuple[Whole, ...]:
    return (Whole(),)


def normal_address(address: str, port: str) -> str:
    return address


def port_framing(framing: str) -> str:
    return framing


def meter(profile: TinyProfile, address: str, wiring: Wiring) -> TinyMeter:
    return TinyMeter(address)
