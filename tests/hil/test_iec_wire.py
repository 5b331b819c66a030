"""Simulated IEC 62056-21 meters on wires of all kinds: speeds, framings, neighbours, heads, and readers not ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import serial
from iec62056_21.client import Iec6205621Client
from iec62056_21.transports import SerialTransport

from collector.clock import SystemClock
from collector.edge import wire as edge
from collector.edge.transport import open_port
from drivers import modbus
from drivers.dialogue import Ask, DamagedFrame, DriverError, NoAnswer, Readout
from drivers.iec62056_21 import read
from drivers.iec62056_21_characters import off_wire, on_wire
from drivers.meter_side import Wiring
from drivers.profile import load
from hil.household import Household
from hil.line import Kind, Wire
from hil.meter import VirtualMeter
from hil.telegram import TelegramMeter
from tests.broker import eventually
from tests.drivers.test_iec62056_21_meter import LEM, LISTS, READOUT, WORDS, profile

CLOCK = SystemClock()
FAST = Wiring(9600, "7E1")
OPTICAL = Wiring(300, "7E1")
GENERIC = profile("iec62056-21: {session: readout, every: 'true'}\nserial: {names: [C.1.0]}")
STILL = Household(day_wh=0, start=(20_044_630, 0, 0, 0))


def meter(of: Any, address: str = "", wiring: Wiring = FAST) -> VirtualMeter:
    return VirtualMeter(of, address, STILL, "00000201", wiring=wiring)


def asked(
    path: str,
    of: Any,
    said: list[bytes] | None = None,
    *,
    baudrate: int = 9600,
    framing: str = "7E1",
    port: str = "8N1",
    **ask: Any,
) -> Readout:
    """What our own reader makes of a meter on the wire; `said` gets what it says."""

    def traced(direction: str, data: bytes, _: float) -> None:
        if said is not None and direction == ">>":
            said.append(data)

    with closing(open_port(path, baudrate, port)) as transport:
        dialogue = read(of, Ask(ask.pop("address", ""), baudrate=baudrate, framing=framing, frozen=True, **ask))
        try:
            return edge.Wire(transport, CLOCK, traced).carry(dialogue)
        finally:
            # A pseudo terminal does not remember at which speed unread bytes were written: the simulated wire must have
            # read the session's end before somebody opens the port at another one.
            time.sleep(0.2)


def heard(path: str, said: bytes, *, wait: float = 1.0, **settings: Any) -> bytes:
    """What comes in a while after some bytes, by pyserial alone."""
    with serial.serial_for_url(path, **{"baudrate": 9600, "timeout": wait, "exclusive": None} | settings) as port:
        port.write(said)
        return port.read(200)


KINDS: tuple[Kind, ...] = ("pty", "socket", "rfc2217")


@pytest.mark.parametrize("kind", KINDS)
def test_readout_and_programming_mode_are_read_over_every_kind_of_port(kind: Kind) -> None:
    with Wire([meter(READOUT)], CLOCK, kind=kind) as wire:
        found = asked(wire.path, READOUT)
        assert found.serial_number == "00000201"
        assert {code: it.value for code, it in found.registers.items()} == {"1.8.0": 20_044_630, "1.8.1": 20_044_630}
        assert [block.registers["1.8.0"].value for block in found.frozen] == [20_044_630] * 3
    with Wire([meter(WORDS, "201")], CLOCK, kind=kind) as wire:
        found = asked(wire.path, WORDS, address="201")
        assert {code: it.value for code, it in found.registers.items()} == {"1.8.0": 20_044_630, "1.8.1": 20_044_630}
        assert found.serial_number == "00000201"


@pytest.mark.parametrize("kind", ("pty", "rfc2217"))
def test_a_change_of_speed_in_the_middle_of_a_session_is_followed(kind: Kind) -> None:
    with Wire([TelegramMeter(LEM, GENERIC)], CLOCK, baudrate=300, kind=kind) as wire:
        said: list[bytes] = []
        found = asked(wire.path, GENERIC, said, baudrate=300)
        assert said[-1] == on_wire(b"\x06050\r\n", "7E1")  # and not asked again, at 300
        assert found.serial_number == "03878504"
        assert {code: it.value for code, it in found.registers.items() if code[2] == "8"} == {
            "1.8.0": 0, "2.8.0": 0, "3.8.0": 0, "4.8.0": 0
        }  # fmt: skip


def test_a_converter_that_cannot_switch_is_read_at_its_own_speed() -> None:
    with Wire([TelegramMeter(LEM, GENERIC, wiring=FAST)], CLOCK, kind="socket") as wire:
        assert asked(wire.path, GENERIC, can_switch=False).serial_number == "03878504"


@pytest.mark.parametrize("kind", ("pty", "rfc2217"))
def test_another_speed_than_the_meters_is_heard_by_nobody(kind: Kind) -> None:
    with Wire([meter(READOUT)], CLOCK, kind=kind) as wire:
        assert heard(wire.path, b"/?!\r\n", baudrate=19200, wait=0.4) == b""
        bits = {"bytesize": 7, "parity": "E"} if kind == "rfc2217" else {}
        said = b"/?!\r\n" if bits else bytes.fromhex("af3f218d0a")  # parity by hand where the port has none
        assert heard(wire.path, said, **bits).startswith(b"/" if bits else b"\xaf")


def test_parity_is_in_bit_7_for_a_port_without_and_taken_off_by_one_that_has_it() -> None:
    with Wire([meter(READOUT)], CLOCK, kind="rfc2217") as wire:
        with_parity = heard(wire.path, bytes.fromhex("af3f218d0a"), bytesize=8, parity="N", wait=0.5)
        without = heard(wire.path, b"/?!\r\n", bytesize=7, parity="E", wait=0.5)
    assert without.startswith(b"/ISk5MT174-0001\r\n")
    assert with_parity.startswith(on_wire(b"/ISk5MT174-0001\r\n", "7E1"))


def test_a_wrong_framing_garbles_on_rfc2217() -> None:
    with Wire([meter(READOUT)], CLOCK, kind="rfc2217") as wire:
        for wrong in ({"parity": "E"}, {"bytesize": 7, "parity": "O"}, {"bytesize": 7}):
            assert heard(wire.path, b"/?!\r\n", wait=0.4, **wrong) == b"", wrong
        assert heard(wire.path, b"/?!\r\n", wait=0.4, bytesize=7, parity="E") != b""


def test_modbus_and_iec_meters_share_a_wire_each_with_its_own_speed_and_framing() -> None:
    abb = VirtualMeter(load("abb-b23"), "5", STILL, "1234567", wiring=Wiring(19200, "8E1"))
    neighbours = [meter(WORDS, "201"), abb, meter(LISTS, "202", OPTICAL), meter(WORDS, "203")]
    with Wire(neighbours, CLOCK) as wire:
        for address in ("201", "203"):
            assert asked(wire.path, WORDS, address=address).registers["1.8.0"].value == 20_044_630
        assert asked(wire.path, LISTS, address="202", baudrate=300).registers["1.8.1"].value == 20_044_630
        with closing(open_port(wire.path, 19200, "8E1")) as transport:
            found = edge.Wire(transport, CLOCK).carry(modbus.read(load("abb-b23"), Ask("5", baudrate=19200)))
        assert found.registers["1.8.0"].value == 20_044_630


# ----------------------------------------------------------------------------- heads


@contextmanager
def lem() -> Iterator[Wire]:
    with Wire([TelegramMeter(LEM, GENERIC, wiring=FAST)], CLOCK) as wire:
        yield wire


def test_a_head_that_is_lifted_in_the_middle_of_a_readout_gives_no_reading() -> None:
    with lem() as wire:
        wire.head.lift(after=5 + 27 + 6 + 300)  # sign-on, identification, option select, some of the data sets
        with pytest.raises(DriverError) as caught:
            asked(wire.path, GENERIC)
        assert isinstance(caught.value, DamagedFrame | NoAnswer)
        wire.head.put_back()
        assert asked(wire.path, GENERIC).serial_number == "03878504"


def test_a_lifted_head_is_silence() -> None:
    with lem() as wire:
        wire.head.lift()
        with pytest.raises(NoAnswer):
            asked(wire.path, GENERIC)


def test_sunlight_gives_characters_and_no_reading() -> None:
    with lem() as wire:
        wire.head.lift()
        wire.head.sun(seed=4)
        assert len(heard(wire.path, b"", wait=0.5)) > 4
        wire.head.sun(seed=None)
        eventually(lambda: heard(wire.path, b"", wait=0.3) == b"", "what was on its way has come")
        assert heard(wire.path, b"", wait=0.3) == b""


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_whatever_sunlight_makes_is_no_reading(seed: int) -> None:
    with lem() as wire:
        wire.head.lift()
        wire.head.sun(seed=seed)
        with pytest.raises(DriverError):
            asked(wire.path, GENERIC)


# ----------------------------------------------------------------------------- a reader that was not written here


class Transport(SerialTransport):
    """The package's own transport on a pty: it wants 7E1, which a pty does not carry, so parity is put on here."""

    def _send(self, data: bytes) -> None:
        super()._send(on_wire(data, "7E1"))

    def _recv(self, chars: int = 1) -> bytes:
        data: bytes = super()._recv(chars)
        return off_wire(data, "7E1")


def test_the_iec62056_21_package_reads_our_simulated_meter() -> None:
    # The package needs 0.7 s from its option select to its own change of speed; 62056-21 gives the meter 1.5 s.
    with Wire([TelegramMeter(LEM, GENERIC, reaction=1.2)], CLOCK, baudrate=300) as wire:
        client = Iec6205621Client(transport=Transport(port=wire.path, timeout=5), battery_powered=False)
        client.connect()
        answer = client.standard_readout()
        client.disconnect()
    values = {data.address: data.value for data in answer.data}
    assert values["0-0:C.1.0*255"] == "03878504"
    assert values["1-0:1.8.0*255"] == "000000000.0"
