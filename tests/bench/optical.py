"""How long one optical mode C meter takes to be read, against the shortest time that IEC 62056-21 allows for it."""

from __future__ import annotations

from contextlib import closing

from collector.clock import SystemClock
from collector.edge.transport import Transport, open_port
from collector.edge.wire import Wire
from drivers import iec62056_21
from drivers.dialogue import Ask, character_seconds
from drivers.meter_side import Wiring
from drivers.profile import load
from hil import line as bench
from hil.household import Household
from hil.meter import VirtualMeter
from tests.bench.figure import Figure

START, FRAMING = 300, "7E1"
READINGS = 5
# name of a profile, and the reaction time of its meters: each side waits that long before it speaks, the meter twice
# (identification, readout), we once (option select). Lower-case third letter: 20 ms (pwitab/iec62056-21 client.py).
METERS = {"landis-e350": 0.2, "iskra-mt174": 0.02}


class Spoken:
    """A trace: seconds that the characters themselves take at the port's speed, and from the first to the last."""

    def __init__(self, port: Transport) -> None:
        self.characters = 0.0
        self._port = port
        self._begun: float | None = None
        self._ended = 0.0

    def __call__(self, _direction: str, data: bytes, at: float) -> None:
        self.characters += len(data) * character_seconds(self._port.baudrate, self._port.framing)
        self._begun = at if self._begun is None else self._begun
        self._ended = at

    @property
    def seconds(self) -> float:
        """From the first character of the sign-on to the last of the readout."""
        return self._ended - (self._begun or 0.0)


def once(profile: str) -> tuple[float, float]:
    """Seconds that one reading took, and those that it takes at least."""
    known, clock = load(profile), SystemClock()
    meter = VirtualMeter(known, "", Household.of_seed(1, 2), "12345678", wiring=Wiring(START, FRAMING))
    with (
        bench.Wire([meter], clock, baudrate=START) as wire,
        closing(open_port(wire.path, START, iec62056_21.port_framing(FRAMING))) as port,
    ):
        spoken = Spoken(port)
        ask = Ask(address="", baudrate=START, framing=FRAMING)
        readout = Wire(port, clock, spoken).carry(iec62056_21.read(known, ask))
    assert readout.registers["1.8.0"].value > 0
    return spoken.seconds, spoken.characters + 3 * METERS[profile]


def figures() -> list[Figure]:
    """The optical port's figures: the median of some readings."""
    found = []
    for profile in METERS:
        taken, least = sorted(once(profile) for _ in range(READINGS))[READINGS // 2]
        found.append(
            Figure(f"optical: one {profile}, from 300 baud on / the protocol's minimum", f"{taken / least:.3f}", "1.05",
                   f"{taken:.3f} s against {least:.3f} s")
        )  # fmt: skip
    return found
