"""What a meter said when it was asked for an act, as it is kept among the answers, and who can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from drivers.profile import Profile

Source = Literal["wire", "stored", "display"]


@dataclass(frozen=True)
class Wired:
    """How a meter is asked. `line`: of the gateway, None without one. `registry`: its serial number."""

    profile: Profile
    port: str
    address: str
    line: str | None = None
    baudrate: int | None = None
    framing: str | None = None
    meter_time: Literal["local", "standard", "utc"] = "local"
    registry: str | None = None
    password: bytes | None = None


@dataclass(frozen=True)
class Said:
    """One asking. `at`: milliseconds UTC; `registers`: code -> (whole Wh, bytes in hex); `volts` of each phase.

    `failure`: why there is nothing, in words. `source`: read now, or the last that the gateway has stored.
    """

    at: int
    serial_number: str | None = None
    clock: str | None = None
    offset_s: int | None = None
    registers: Mapping[str, tuple[int, str]] | None = None
    volts: tuple[str, ...] = ()
    failure: str | None = None
    source: Source = "wire"

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Said:
        """From the journal."""
        registers = data["registers"]
        pairs = None if registers is None else {code: (wh, raw) for code, (wh, raw) in registers.items()}
        return cls(**{**data, "registers": pairs, "volts": tuple(data["volts"])})


class Wire(Protocol):
    """Who asks meters. A meter that gives nothing is a `Said` with a failure, never an exception."""

    def read(self, wired: Wired) -> Said:
        """Ask it now."""

    def normal_address(self, profile: Profile, text: str, port: str) -> str:
        """An address in its protocol's normal form. Raises ValueError that says what would be right."""

    def last_stored(self, meter: str) -> Said | None:
        """The last reading of a meter that this gateway has stored and holds, if any."""

    def now(self) -> int:
        """Milliseconds UTC."""
