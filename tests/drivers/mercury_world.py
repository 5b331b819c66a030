"""What simulated Mercury meters hold, and a line between them and the driver in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from drivers import mercury, profile
from drivers.dialogue import Ask, Done, Readout
from drivers.mercury_places import MercuryProfile
from drivers.meter_side import Held, HeldFrozen, Wiring
from tests.drivers.modbus_world import Line


def loaded(name: str) -> MercuryProfile:
    """A shipped profile by the number in its id."""
    found = profile.load(f"mercury-{name}")
    assert isinstance(found, MercuryProfile)
    return found


PROFILES = {name: loaded(name) for name in ("230", "234", "206", "200")}
ADDRESS = {"230": "190", "234": "20", "206": "10925856", "200": "925646"}

TARIFFS = {"1.8.1": 15_023_900, "1.8.2": 5_020_730, "1.8.3": 10, "1.8.4": 0}
INSTANTS = {"14.7.0": Decimal("49.98"), "32.7.0": Decimal("230.1"), "31.7.0": Decimal("4.66"), "36.7.0": Decimal(1072)}
THREE = {
    "1.8.0": sum(TARIFFS.values()), "3.8.0": 300_444, "13.7.0": Decimal("-0.557"), "16.7.0": Decimal("-5530.95"),
    "52.7.0": Decimal("229.87"), "72.7.0": Decimal("231.55"), "51.7.0": Decimal("15.043"), "71.7.0": Decimal("0.069"),
    "56.7.0": Decimal(-3400), "76.7.0": Decimal("12.5"),
}  # fmt: skip


def closing(text: str, back: int, less: int) -> HeldFrozen:
    """A closing: all tariffs `less` Wh lower than now, the third never."""
    tariffs = {code: max(value - less, 0) for code, value in TARIFFS.items()}
    return HeldFrozen(datetime.fromisoformat(text), back, tariffs | {"1.8.0": sum(tariffs.values())})


def held(name: str) -> Held:
    """What the meter of a profile holds."""
    serial = {"230": "38395190", "234": "32874766", "206": "10925856", "200": "6925646"}[name]
    energies = TARIFFS | (THREE if name in ("230", "234") else {})
    return Held(
        energies | INSTANTS | {"96.6.3": Decimal("3.05")},
        serial,
        datetime.fromisoformat("2026-11-03T14:15:16"),
        (closing("2026-11-01", 1, 100_000), closing("2026-10-01", 2, 400_000)),
    )


@dataclass
class Station:
    """A simulated meter as a request's bytes -> its answer's bytes. `now`: its steady clock; `heard`: the requests."""

    name: str
    wiring: Wiring = field(default_factory=Wiring)
    held: Held | None = None
    address: str = ""
    now: Callable[[], float] = field(default=lambda: 0.0)
    heard: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.address = self.address or ADDRESS[self.name]
        self.held = self.held or held(self.name)
        self.side = mercury.meter(PROFILES[self.name], self.address, self.wiring)

    def __call__(self, request: bytes) -> bytes:
        assert self.held is not None
        self.heard.append(request)
        outcome = self.side.hear(self.held, request, self.now())
        return b"".join(say.data for say in outcome.frame) if isinstance(outcome, Done) else b""


class QuietLine(Line):
    """A line that is asked after it fell silent, as the wire's rules are: a doubled answer never meets a question."""

    REST = 0.0055  # seconds of silence before a request (mercury_requests.silence at 9600 baud)

    def _send(self, data: bytes) -> None:
        while self.coming and self.coming[0][0] <= self.now + self.REST:
            self.now = max(self.now, self.coming[0][0])
            self._byte(self.now)
        super()._send(data)


def line(reply: Callable[[bytes], bytes]) -> QuietLine:
    """A line on which everything arrives 20 ms after it was asked for."""
    return QuietLine(lambda request, now: [(0.02, reply(request))])


def ask(name: str, **more: Any) -> Ask:
    """A whole asking, with what was frozen."""
    return Ask(ADDRESS[name], **{"frozen": True, **more})


def read(name: str, reply: Callable[[bytes], bytes] | None = None, **more: Any) -> Readout:
    """What an asking of a meter gives on a sound line."""
    found = line(reply or Station(name)).carry(mercury.read(PROFILES[name], ask(name, **more)))
    assert isinstance(found, Readout)
    return found
