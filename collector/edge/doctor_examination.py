"""What the line doctor does at a port, in order: listens, asks a few times, and where nobody is understood, otherwise.

Rule 1. Nothing is written into a meter, and no password is said but the one that is given.
Rule 2. Other settings are tried with the protocol's shortest question only, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from collector.clock import Clock
from collector.config_fields import BAUDRATES
from collector.edge.discovery import tries
from collector.edge.doctor import Evidence, Way
from collector.edge.doctor_watch import Watch
from collector.edge.greetings import GREETINGS, IEC_WAIT, MODBUS_WAIT, Greeted
from collector.edge.transport import Transport, parse_port
from collector.edge.wire import Trace
from drivers.dialogue import Ask, Dialogue, DriverError, NotInProfile, Readout, Stranger
from drivers.iec62056_21_characters import PARITY, STRIPPED
from drivers.profile import Profile
from drivers.table import driver

IDLE = 1.0  # seconds of listening before anything is asked; another master on the line asks more often
ASKINGS = 4  # a fault that strikes every second answer is then seen with fifteen of sixteen
ENOUGH = 20.0  # seconds after which no further asking begins: a readout at 300 baud takes minutes
LIKELY = (9600, 19200, 2400, 4800, 1200, 300, 38400, 57600, 115200, 600)  # speeds by how often meters have them
assert set(LIKELY) == set(BAUDRATES)

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Patient:
    """Who is asked: `profile` None where only the protocol is known. `way`: as the operator says that it is set."""

    way: Way
    profile: Profile | None = None
    password: bytes | None = None

    @property
    def line_settings(self) -> tuple[int, str]:
        """How the port is set for it."""
        return self.way.baudrate, driver(self.way.protocol).port_framing(self.way.framing)

    @property
    def timeout(self) -> float:
        """Seconds that it is given to begin its answer."""
        if self.profile is not None:
            return self.profile.line.timeout
        return IEC_WAIT if self.way.protocol == "iec62056-21" else MODBUS_WAIT

    def greeting(self) -> Dialogue[Greeted]:
        """The shortest question."""
        way = self.way
        return GREETINGS[way.protocol].dialogue(way.address, way.baudrate, way.framing)

    def reading(self, transport: Transport) -> Dialogue[Readout] | None:
        """One register and the serial number; None without a profile."""
        profile, way = self.profile, self.way
        if profile is None:
            return None
        ask = Ask(
            way.address,
            codes=profile.energy_codes[:1],
            clock=False,
            password=self.password,
            baudrate=way.baudrate,
            framing=way.framing,
            turnaround=profile.line.turnaround,
            tcp=transport.tcp,
            can_switch=transport.can_switch,
        )
        return driver(profile.protocol).read(profile, ask)


class Examination:
    """One examination of one port. `told` hears what is done meanwhile."""

    def __init__(self, transport: Transport, clock: Clock, told: Told, trace: Trace | None = None) -> None:
        self._watch = Watch(transport, clock, trace)
        self._port = transport
        self._clock, self._told = clock, told
        self._serials: list[str] = []
        self._ended: DriverError | None = None
        self._tried = 0

    def examine(self, patients: list[Patient]) -> Evidence:
        """What is seen of the first of `patients` that is understood, else of the one of whom most came.

        Several are given where nobody knows who hangs there. Raises PortError.
        """
        self._told(f"listening for {IDLE:g} s")
        idle = self._watch.listen(IDLE)
        seen: list[Evidence] = []
        for patient in patients:
            seen.append(replace(self._asked(patient, 1 if idle else ASKINGS, alone=len(patients) == 1), idle=idle))
            if seen[-1].sound:
                return replace(seen[-1], tried=self._tried)
        most = max(range(len(seen)), key=lambda at: (len(seen[at].damaged), -at))
        elsewhere = self._elsewhere(patients[most]) if len(patients) == 1 and not idle else None
        return replace(seen[most], elsewhere=elsewhere, tried=self._tried)

    def _asked(self, patient: Patient, times: int, *, alone: bool) -> Evidence:
        """Ask it some times; once, if it is silent or one of several that are not known."""
        self._told(f"asking: {patient.way.protocol} at {patient.way}")
        self._tried += 1
        self._watch.exchanges = []
        self._serials, self._ended = [], None
        begun = self._clock.monotonic()
        for _ in range(times):
            before = len(self._watch.exchanges), self._watch.heard
            self._ask(patient)
            new = self._watch.exchanges[before[0] :]
            if self._watch.heard == before[1] or self._clock.monotonic() - begun > ENOUGH:
                break
            if not alone and not any(exchange.sound for exchange in new):
                break
        return self._evidence(patient)

    def _ask(self, patient: Patient, *, briefly: bool = False) -> None:
        """Ask once: a reading where the profile is known, else, or `briefly`, the shortest question."""
        reading = None if briefly else patient.reading(self._port)
        try:
            self._watch.wire.set_line(*patient.line_settings)
            if reading is None:
                self._watch.ask(patient.greeting())
                return
            found = self._watch.ask(reading)
        except DriverError as error:
            if isinstance(error, NotInProfile | Stranger):
                self._ended = error
            return
        self._serials += [found.serial_number] if found.serial_number else []

    def _elsewhere(self, patient: Patient) -> Way | None:
        """Another way in which it is understood, twice; None where it is not, or if it is in its own, too."""
        if self._port.tcp or self._understood(patient):
            return None
        for way in _ways(patient.way):
            other = replace(patient, way=way)
            if not self._port.can_switch and other.line_settings != patient.line_settings:
                continue
            self._told(f"trying: {way}")
            self._tried += 1
            if self._understood(other) and self._understood(other):
                return way
        return None

    def _understood(self, patient: Patient) -> bool:
        kept, self._watch.exchanges = self._watch.exchanges, []
        self._ask(patient, briefly=True)
        new, self._watch.exchanges = self._watch.exchanges, kept
        return any(exchange.sound for exchange in new)

    def _evidence(self, patient: Patient) -> Evidence:
        return Evidence(
            patient.way,
            tuple(self._watch.exchanges),
            serials=tuple(self._serials),
            ended=self._ended,
            timeout=patient.timeout,
            can_switch=self._port.can_switch,
            parity=patient.way.protocol == "iec62056-21",
        )


def _ways(way: Way) -> Iterator[Way]:
    """Other ways, the likely ones first: another parity, another speed, whoever there is."""
    framings = [*PARITY, STRIPPED] if way.protocol == "iec62056-21" else ["8N1", "8E1", "8O1"]
    usual = framings[0]
    found = [replace(way, framing=framing) for framing in framings]
    found += [replace(way, baudrate=rate) for rate in LIKELY]
    found += [replace(way, baudrate=rate, framing=usual) for rate in LIKELY if way.framing != usual]
    anybody = GREETINGS[way.protocol].address
    if way.protocol != "modbus" and anybody != way.address:
        found.append(replace(way, address=anybody))
    yield from (other for other in dict.fromkeys(found) if other != way)


def patients(
    *,
    port: str,
    profile: Profile | None,
    address: str | None,
    baudrate: int | None,
    framing: str | None,
    password: bytes | None = None,
) -> list[Patient]:
    """Who may hang at a port: the profile's meter, as it leaves the factory where nothing is given; else all usual.

    Raises ValueError for an address or a framing that the protocol cannot have; empty where none fits.
    """
    if profile is None:
        found = tries(port, parse_port(port).scheme, address, baudrate, framing)
        return [Patient(Way(it.protocol, it.address, it.baudrate, it.framing)) for it in found]
    by = driver(profile.protocol)
    rate, characters = baudrate or profile.line.baudrate, framing or profile.line.framing
    by.port_framing(characters)
    whom = GREETINGS[profile.protocol].address if address is None else by.normal_address(address, port)
    return [Patient(Way(profile.protocol, whom, rate, characters), profile, password)]
