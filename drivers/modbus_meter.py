"""The side of a Modbus meter: what a simulated one answers from what it holds, and what it refuses."""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal

from drivers import values
from drivers.dialogue import Done, More, Never
from drivers.meter_side import Held, HeldFrozen, Reaction, Say, Wiring
from drivers.modbus_blocks import Extent, Value, extents, values_of
from drivers.modbus_frames import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    enveloped,
    refusal_pdu,
    registers_pdu,
    rtu_request,
    sealed,
    tcp_request,
)
from drivers.modbus_places import ClockRegister, ModbusProfile, SerialRegister


class ModbusMeter:
    """A meter on a serial line, or behind a Modbus TCP port. Modbus knows no sessions, so it keeps no state."""

    gap = 0.05
    """Seconds. A real meter forgets after 1.5 characters (serial line V1.02, 2.5.1.1); systems stall for longer."""
    wakes = None

    def __init__(self, profile: ModbusProfile, unit: int, wiring: Wiring) -> None:
        self._profile, self._unit, self._wiring = profile, unit, wiring
        self.framing = wiring.framing

    def baudrate(self, now: float) -> int:
        """The one it was set to."""
        return self._wiring.baudrate

    def hear(self, held: Held, buffer: bytes, now: float) -> More | Done[Reaction] | Never:
        """Its answer to a request. Broken ones and rubbish are passed over, as a meter does.

        `Never`, by TCP: no Modbus message. Raises ValueError where a held value does not fit its register.
        """
        answer = self._by_tcp(held, buffer) if self._wiring.tcp else self._on_the_line(held, buffer)
        if not isinstance(answer, Done):
            return answer
        return Done((Say(answer.frame, self._wiring.baudrate),) if answer.frame else (), answer.used)

    def _on_the_line(self, held: Held, buffer: bytes) -> More | Done[bytes] | Never:
        heard = rtu_request(buffer)
        if not isinstance(heard, Done):
            return heard
        if heard.frame is None or heard.frame.unit != self._unit:
            return Done(b"", heard.used)
        return Done(sealed(bytes((self._unit,)) + _served(self._profile, held, heard.frame.pdu)), heard.used)

    def _by_tcp(self, held: Held, buffer: bytes) -> More | Done[bytes] | Never:
        heard = tcp_request(buffer)
        if not isinstance(heard, Done):
            return heard
        if heard.frame.unit != self._unit:
            return Done(b"", heard.used)
        return Done(
            enveloped(heard.frame.transaction, self._unit, _served(self._profile, held, heard.frame.pdu)), heard.used
        )


def _served(profile: ModbusProfile, held: Held, pdu: bytes) -> bytes:
    """The PDU of the answer: registers, or a refusal in the order of checks of application protocol V1.1b3, 6.3."""
    function, settings = pdu[0], profile.modbus
    served = [extent for extent in extents(profile).values() if extent.function == function]
    if not served:
        return refusal_pdu(function & 0x7F, ILLEGAL_FUNCTION)
    start, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
    end = start + count
    if len(pdu) != 5 or not 1 <= count <= settings.most_registers or (settings.even and count % 2):
        return refusal_pdu(function, ILLEGAL_VALUE)
    if (settings.even and start % 2) or not _is_readable(profile, served, start, end):
        return refusal_pdu(function, ILLEGAL_ADDRESS)
    registers = bytearray(2 * count)
    known = values_of(profile)
    for extent in served:
        first, last = max(start, extent.address), min(end, extent.end)
        if first < last:
            raw = _encoded(profile, extent.name, known[extent.name], held)
            at = extent.address
            registers[2 * (first - start) : 2 * (last - start)] = raw[2 * (first - at) : 2 * (last - at)]
    return registers_pdu(function, bytes(registers))


def _is_readable(profile: ModbusProfile, served: list[Extent], start: int, end: int) -> bool:
    """Whether a simulated meter gives all registers of a request.

    It has those of its profile, and zeros in holes between them that fit into one request, since a plan may read those
    along; nothing beyond. A register that wants to be read alone refuses company.
    """
    settings = profile.modbus
    if any(start <= address < end for address in settings.alone):
        return any((extent.address, extent.end) == (start, end) for extent in served)
    known = sorted(address for extent in served for address in range(extent.address, extent.end))
    for address in range(start, end):
        above = bisect_left(known, address)
        if above == len(known) or (known[above] != address and not above):
            return False
        if known[above] != address and known[above] - known[above - 1] > settings.most_registers:
            return False
    return True


def _encoded(profile: ModbusProfile, name: str, value: Value, held: Held) -> bytes:
    """The registers' bytes of one value as the meter holds it; its "not available" marker, else zeros, for none."""
    settings = profile.modbus
    if isinstance(value, SerialRegister):
        text, size = held.serial_number, 2 * value.words
        return bytes(size) if text is None else values.encode_text(value.type, text, size, settings.word_order)
    registers, moment = held.registers, held.clock
    if name.startswith("frozen."):
        _, number, name = name.split(".", 2)
        closing = _closing(profile, int(number), held)
        registers, moment = (closing.registers, closing.moment) if closing else ({}, None)
    if isinstance(value, ClockRegister):
        return bytes(2 * value.words) if moment is None else values.encode_clock(value.type, moment)
    if (number_held := registers.get(name)) is None:
        return values.not_available(value.type, settings.word_order, settings.not_available)
    return values.encode_number(value.type, values.in_units(Decimal(number_held), value.factor), settings.word_order)


def _closing(profile: ModbusProfile, number: int, held: Held) -> HeldFrozen | None:
    """The closing that the n-th frozen set holds: by its counter, else the k-th stamped set holds the k-th last one."""
    stamped = sum(group.stamp is not None for group in profile.frozen[:number])
    back = profile.frozen[number - 1].back or stamped
    return next((closing for closing in held.frozen if closing.back == back), None)
