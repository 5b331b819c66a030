"""DRIVERS: protocol name -> where its profiles and its driver are, imported on use. The one list of protocols.

A protocol is a row here, a file of places and a driver module.

**Places** (`drivers/<protocol>_places.py`; imports no library of the protocol: the centre loads profiles too) has one
subclass of `drivers.profile.Profile`, which narrows these fields and adds its settings under the protocol's own name:

    class XProfile(Profile):
        protocol: Literal["x"]
        x: Settings                               # alias "x-y" where the name is no identifier: Field(alias="x-y")
        serial: NowhereOr[SerialRegister]         # `drivers.profile_places`
        clock: NowhereOr[ClockRegister] = "none"
        registers: Mapping[Code, Register]        # min_length=1 unless the settings can do without
        frozen: tuple[FrozenRegisters, ...] = ()
        proof: tuple[XProof, ...]                 # `drivers.profile.HexProof`, or a subclass of `Proof` with `lines`

        @classmethod
        def contradictions(cls, data): yield from super().contradictions(data); yield from ...

Its `Register`, `SerialRegister`, ... are subclasses of those in `drivers.profile_places` (what all protocols share:
caveat, unit, scale) and say where and how a value lies (`where`, `how`: one text each for tables).

**The driver** (`drivers/<protocol>.py`) gives the functions of `Driver`. A module is held against it by
`tests/drivers/test_table.py`, which walks the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from drivers.dialogue import Ask, Dialogue, Readout
    from drivers.meter_side import MeterSide, Wiring


@dataclass(frozen=True, slots=True)
class Row:
    """`driver`: the module. `profile`: module and class of its profiles, "module:Class"."""

    driver: str
    profile: str


DRIVERS = {
    "modbus": Row("drivers.modbus", "drivers.modbus_places:ModbusProfile"),
    "iec62056-21": Row("drivers.iec62056_21", "drivers.iec_places:IecProfile"),
    "mercury": Row("drivers.mercury", "drivers.mercury_places:MercuryProfile"),
}


class Planned(Protocol):
    """One step of a planned asking: a request, or a whole session where a protocol has one."""

    @property
    def text(self) -> str:
        """What is asked, in a few words: "04 0048+14", "readout 300 -> 9600"."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The values it gives: codes, serial, clock."""
        ...

    @property
    def milliseconds(self) -> float:
        """Line time that it should take, silences and pauses included."""
        ...


class Driver(Protocol):
    """What a driver module gives. `profile` is always of the row's own class."""

    def read(self, profile: Any, ask: Ask) -> Dialogue[Readout]:
        """One asking of one meter: our side. Raises DriverError."""
        ...

    def understand(self, profile: Any, proof: Any) -> Readout:
        """What the bytes of a proof say, through the parsers that `read` uses. Raises DriverError."""
        ...

    def plan(self, profile: Any, ask: Ask) -> Sequence[Planned]:
        """The line time that such an asking should take, request by request. Raises NotInProfile."""
        ...

    def normal_address(self, address: str, port: str) -> str:
        """The one spelling of an address on a port ("tcp://..." frames messages itself, all others carry characters).

        Two meters of a wire with the same normal address are the same. Raises ValueError that says what would be right.
        """
        ...

    def port_framing(self, framing: str) -> str:
        """How the port is opened for a meter of that framing: the same, or 8N1 where the driver does parity itself.

        Raises ValueError for a framing that the protocol cannot have, and says what would be right.
        """
        ...

    def meter(self, profile: Any, address: str, wiring: Wiring) -> MeterSide:
        """The meter's side, for simulated meters: a new one, in no session. Raises ValueError for a wrong address."""
        ...


def driver(protocol: str) -> Driver:
    """The module of a protocol. Raises KeyError for a protocol that is not in the table."""
    return cast(Driver, import_module(DRIVERS[protocol].driver))


def profile_class(protocol: str) -> type[Any]:
    """The class of its profiles. Raises KeyError for a protocol that is not in the table."""
    module, _, name = DRIVERS[protocol].profile.partition(":")
    found: type[Any] = getattr(import_module(module), name)
    return found
