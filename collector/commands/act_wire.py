"""Asks a meter for an act: takes its line from a running gateway for as long as the act takes, and gives it back."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, closing
from types import TracebackType

from collector import control
from collector.acts.said import Said, Wired
from collector.clock import Clock
from collector.config import GatewayConfig
from collector.edge.meter_clock import drift_seconds
from collector.edge.transport import open_port, parse_port
from collector.edge.wire import Wire
from collector.exits import Unreachable
from collector.messages import open_envelope
from collector.messages_envelope import BadSnapshot
from collector.outbox_beside import newest_payloads
from drivers import obis
from drivers.dialogue import Ask, DriverError, Readout
from drivers.profile import Profile
from drivers.table import driver

# Seconds for which a line is held at the most: the meter is changed meanwhile. A technician who is not back after an
# hour is asked again by `act resume`, and the neighbours on the line are read.
HELD = 3600.0
VOLTS = ("32.7.0", "52.7.0", "72.7.0")
OF_ACT = ("1.8.", "2.8.")  # registers that an act records: import and export, in all tariffs


class Head:
    """The optical head or line under the hand of a technician (`collector.acts.said.Wire`). A context."""

    def __init__(self, config: GatewayConfig | None, zone: str, clock: Clock) -> None:
        self._config, self._zone, self._clock = config, zone, clock
        self._held = ExitStack()
        self._lines: set[str] = set()

    def __enter__(self) -> Head:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def now(self) -> int:
        return self._clock.millis()

    def read(self, wired: Wired) -> Said:
        if wired.line is not None:
            self._hold(wired.line)
        profile = wired.profile
        registers = tuple(code for code in profile.registers if code.startswith(OF_ACT) or code in VOLTS)
        total = ("1.8.0",) if profile.total == "sum" and "1.8.0" not in registers else ()
        scheme = parse_port(wired.port).scheme
        ask = Ask(
            address=wired.address,
            codes=(*total, *registers),
            baudrate=wired.baudrate or profile.line.baudrate,
            framing=wired.framing or profile.line.framing,
            turnaround=profile.line.turnaround,
            password=wired.password,
            tcp=scheme == "tcp",
            can_switch=scheme != "socket",
            transaction=secrets.randbelow(1 << 16),
        )
        try:
            with closing(open_port(wired.port, ask.baudrate, ask.framing)) as transport:
                readout: Readout = Wire(transport, self._clock).carry(driver(profile.protocol).read(profile, ask))
        except (DriverError, Unreachable) as error:
            return Said(at=self._clock.millis(), failure=str(error))
        at = self._clock.millis()
        return Said(
            at=at,
            serial_number=readout.serial_number,
            clock=readout.clock,
            offset_s=drift_seconds(readout.clock, at, self._zone, wired.meter_time),
            registers={c: (m.value, m.raw.hex()) for c, m in readout.registers.items() if obis.parse(c).is_energy},
            volts=tuple(format(readout.registers[c].value, "f") for c in VOLTS if c in readout.registers),
        )

    def normal_address(self, profile: Profile, text: str, port: str) -> str:
        return driver(profile.protocol).normal_address(text, port)

    def last_stored(self, meter: str) -> Said | None:
        if self._config is None:
            return None
        for payload in newest_payloads(self._config.spool.path):
            for snapshot in open_envelope(payload).snapshots or ():
                if isinstance(snapshot, BadSnapshot) or snapshot["meter"] != meter or snapshot.get("failure"):
                    continue
                raw = snapshot.get("raw", {})
                registers = {code: (wh, raw.get(code, "")) for code, wh in snapshot.get("registers", {}).items()}
                found = {code: pair for code, pair in registers.items() if code.startswith(OF_ACT)}
                if found:
                    serial_number, clock = snapshot.get("serial_number"), snapshot.get("clock")
                    return Said(snapshot["asked"], serial_number, clock, None, found, source="stored")
        return None

    def _hold(self, line: str) -> None:
        """Have a running gateway let go of the line, once; a pause that an act before this one left is taken over."""
        if self._config is None or line in self._lines:
            return
        spool = self._config.spool.path
        try:
            self._held.enter_context(control.paused(spool, line, HELD))
        except control.Refused:
            control.resume(spool, line)
            self._held.enter_context(control.paused(spool, line, HELD))
        self._lines.add(line)
