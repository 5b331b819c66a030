"""A simulated IEC 62056-21 meter that sends exactly one given readout, byte for byte: recordings, replayed."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.dialogue import Done
from drivers.iec62056_21_frames import parse_identification
from drivers.iec62056_21_meter import Habits, IecMeter
from drivers.iec_places import IecProfile
from drivers.meter_side import Held, MeterSide, Wiring


@dataclass(frozen=True)
class TelegramMeter:
    """`telegram`: identification line and block as on the wire, seven-bit characters, framing and check character.

    `profile`: how its sessions go. `wiring`: its first speed and framing, 300 7E1 as optical ports have it.
    Raises ValueError for a telegram that does not begin with an identification.
    """

    telegram: bytes
    profile: IecProfile
    address: str = ""
    wiring: Wiring = Wiring(300, "7E1")  # noqa: RUF009 - it is frozen
    reaction: float | None = None

    def side(self, _: Wiring) -> MeterSide:
        """Its side; how meters usually hang on this wire is nothing to it."""
        match parse_identification(self.telegram):
            case Done(frame=found):
                habits = Habits(str(found), telegram=self.telegram, reaction=self.reaction)
                return IecMeter(self.profile, self.address, self.wiring, habits)
            case _:
                raise ValueError(f"no identification at the beginning: {self.telegram[:32]!r}")

    def held(self, _: int) -> Held:
        """Nothing: all it says is in the telegram."""
        return Held({})
