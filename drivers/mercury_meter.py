"""The side of a Mercury meter: what a simulated one answers from what it holds, its channel, its clock."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from drivers import mercury_bytes, values
from drivers.dialogue import Done, More, NotInProfile
from drivers.mercury_address import ANYBODY, on_the_wire
from drivers.mercury_bytes import SIZE
from drivers.mercury_clock import CORRECT, MOST
from drivers.mercury_frames import BAD_REQUEST, CLOSED, CORRECTED, OPEN, TEST, is_sealed
from drivers.mercury_places import ClockPlace, FrozenRegisters, MercuryProfile, Place, Register, SerialPlace
from drivers.mercury_requests import READABLE, asks, body, readable
from drivers.mercury_session import password_bytes
from drivers.meter_side import Held, HeldFrozen, MeterSide, Reaction, Say, Wiring
from drivers.modbus_frames import sealed

CLOSE = 0x02  # code of a request (INC20 2.2.3)
EVERYBODY = 0xFE  # all carry it out, none answers (INC20 1.5.2)
STAYS_OPEN = 240.0  # seconds after the last sound request (INC20 2.2.2)
LONGEST = 16  # bytes of a request: nothing here asks with more
KEPT = 2 * LONGEST  # bytes of rubbish in which a request may have begun
MADE = bytes((0x01, 0x06, 0x20))  # date of make of simulated meters: day, month, year

# Bytes of a request's body by its code: those of this project, and none else (INC20 2.1 to 2.6; M206 table 2).
_BODIES = {TEST: {1}, OPEN: {8}, CLOSE: {1}, 0x03: {5}, 0x04: {2, 3}, 0x05: {3}, 0x18: {6}, 0x08: {2, 3}}
_BODIES_200 = {int(kind.pattern[:2], 16): {len(kind.pattern.split())} for kind in READABLE["200"]}


def meter(profile: MercuryProfile, address: str, wiring: Wiring) -> MeterSide:
    """A simulated meter with its channel closed. Raises ValueError for an address or password that it cannot have."""
    try:
        return MercuryMeter(profile, on_the_wire(profile.mercury.family, address), wiring)
    except NotInProfile as error:
        raise ValueError(str(error)) from None


class MercuryMeter:
    """One meter. Its channel closes 240 s after the last sound request; its clock may be moved once a day."""

    gap = 0.05
    """Seconds. A real one ends a request after 5 ms at 9600 baud (INC20 table 1.1); systems stall for longer."""
    wakes = None

    def __init__(self, profile: MercuryProfile, address: bytes, wiring: Wiring) -> None:
        self._profile, self._address, self._wiring = profile, address, wiring
        settings = profile.mercury
        password = settings.default_password.encode() if wiring.password is None else wiring.password
        self._names = self._own_names(address)
        self._opening = bytes((OPEN, settings.level)) + password_bytes(password, settings.password)
        self._open_until = 0.0
        self._moved = timedelta()
        self._moved_on: date | None = None

    def baudrate(self, now: float) -> int:
        """The one it was set to."""
        return self._wiring.baudrate

    @property
    def framing(self) -> str:
        """The one it was set to."""
        return self._wiring.framing

    def hear(self, held: Held, buffer: bytes, now: float) -> More | Done[Reaction]:
        """Its answer to the first sound request in what came; broken ones, others' and rubbish are passed over.

        Raises ValueError where a held value does not fit its place.
        """
        bodies = _BODIES if self._profile.mercury.family == "230" else _BODIES_200
        width = len(self._address)
        for at in range(len(buffer) - width):
            for size in bodies.get(buffer[at + width], ()):
                frame = buffer[at : at + width + size + 2]
                if len(frame) < width + size + 2 or not is_sealed(frame):
                    continue
                name, asked = frame[:width], frame[width:-2]
                said = self._say(name, asked, self._heard(held, asked, now)) if name in self._names else ()
                return Done(said, at + len(frame))
        return Done((), len(buffer) - KEPT) if len(buffer) > 2 * KEPT else More()

    def _own_names(self, address: bytes) -> frozenset[bytes]:
        """What a request to it may begin with."""
        names = {address}
        if self._profile.mercury.family == "230":
            names |= {bytes((ANYBODY,)), bytes((EVERYBODY,))}
        return frozenset(names)

    def _say(self, name: bytes, asked: bytes, data: bytes | None) -> Reaction:
        if data is None or name == bytes((EVERYBODY,)):
            return ()
        head = name if self._profile.mercury.family == "230" else name + asked[:1]
        return (Say(sealed(head + data), self._wiring.baudrate),)

    # ------------------------------------------------------------------------- what it does

    def _heard(self, held: Held, asked: bytes, now: float) -> bytes | None:
        """The data of its answer; None: it stays silent."""
        if self._profile.mercury.family == "200":
            return self._served(held, asked)
        if asked[0] in (TEST, OPEN, CLOSE):
            return bytes((self._channel(asked, now),))
        kind = readable("230", asked.hex(" ").upper())
        if (kind is None or kind.session) and now >= self._open_until:
            return bytes((CLOSED,))
        self._open_until = now + STAYS_OPEN if now < self._open_until else 0.0
        if asked[:2] == CORRECT:
            return bytes((self._correct(held, asked[2:]),))
        return self._served(held, asked) or bytes((BAD_REQUEST,))

    def _channel(self, asked: bytes, now: float) -> int:
        """The status of a request about the channel. Which one a wrong password has, no document says."""
        if asked[0] == OPEN:
            self._open_until = now + STAYS_OPEN if asked == self._opening else 0.0
            return 0 if asked == self._opening else BAD_REQUEST
        if asked[0] == CLOSE:
            self._open_until = 0.0
        return 0

    def _correct(self, held: Held, wanted: bytes) -> int:
        """Move the clock (INC20 2.3.11)."""
        clock = self._clock(held)
        if clock is None:
            return BAD_REQUEST
        try:
            second, minute, hour = (int(f"{byte:02x}") for byte in wanted)
            target = clock.replace(hour=hour, minute=minute, second=second)
        except ValueError:
            return BAD_REQUEST
        if abs(target - clock) > timedelta(seconds=MOST):
            return BAD_REQUEST
        if self._moved_on == clock.date():
            return CORRECTED
        self._moved, self._moved_on = self._moved + (target - clock), clock.date()
        return 0

    def _clock(self, held: Held) -> datetime | None:
        return None if held.clock is None else held.clock + self._moved

    # ------------------------------------------------------------------------- what it holds

    def _served(self, held: Held, asked: bytes) -> bytes | None:
        """The data that a request reads: all that the profile has in it, the rest masked; None: it has nothing."""
        family = self._profile.mercury.family
        kind = readable(family, asked.hex(" ").upper())
        found = self._places(held, asked)
        if kind is None or not found:
            return None
        data = bytearray((b"\xff" if family == "230" else b"\x00") * kind.size)
        if asked == b"\x08\x00":
            data[4:7] = MADE
        for place, value in found:
            raw = self._encoded(place, value)
            data[place.at : place.at + len(raw)] = raw
        return bytes(data)

    def _places(self, held: Held, asked: bytes) -> list[tuple[Place, Any]]:
        """The places in the answer to a request, each with what is held there."""
        profile = self._profile
        own: list[tuple[Place, Any]] = [
            (register, held.registers.get(code)) for code, register in profile.registers.items()
        ]
        own += [(it, held.serial_number) for it in (profile.serial,) if isinstance(it, Place)]
        own += [(it, self._clock(held)) for it in (profile.clock,) if isinstance(it, Place)]
        found = [(place, value) for place, value in own if asks(place.ask, asked)]
        for group in profile.frozen:
            found += _of_months(group, held.frozen, asked)
        return found

    @staticmethod
    def _encoded(place: Place, value: Any) -> bytes:
        if isinstance(place, SerialPlace):
            return mercury_bytes.encode_serial(place.type, value or "0")
        if isinstance(place, ClockPlace):
            return bytes(SIZE[place.type]) if value is None else mercury_bytes.encode_clock(place.type, value)
        assert isinstance(place, Register)
        own = None if value is None else values.in_units(Decimal(value), place.factor)
        return mercury_bytes.encode_number(place.type, own)


def _of_months(group: FrozenRegisters, closings: tuple[HeldFrozen, ...], asked: bytes) -> list[tuple[Place, Any]]:
    """The frozen registers in the answer to a request for a month, each with what is held of that month's closing."""
    found: list[tuple[Place, Any]] = []
    for code, register in group.registers.items():
        if asks(register.ask, asked):
            own = (it.registers for it in closings if body(register.ask, it.moment) == asked)
            found.append((register, next(own, {}).get(code)))
    return found
