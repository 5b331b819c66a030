"""The layer of faults on a paced wire and a TCP port; what the collector makes of each is in test_fault_table."""

from __future__ import annotations

import socket

import pytest

from collector.clock import SystemClock
from collector.edge.transport import open_port
from drivers.meter_side import Wiring
from drivers.modbus_frames import Question
from drivers.profile import load
from hil.faults import FAULTS, NEVER, Fault, Faulty, ailing, on_one_wire
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from hil.tcp import TcpMeters
from hil.unpaced import VirtualClock

QUESTION = Question(1, 3, 0x5000, 4)
SOUND = bytes.fromhex("01 03 08 00 00 00 00 00 00 30 39")  # 123.45 kWh, without its CRC


def meter(address: str = "1", wh: int = 123_450) -> VirtualMeter:
    return VirtualMeter(load("abb-b23"), address, Household(0, start=(wh, 0, 0, 0)), "12345678")


def answers(faults: list[Fault], times: int, seed: int = 1) -> list[bytes]:
    """What a faulty meter says to the same request, again and again, a second apart."""
    clock = VirtualClock(0)
    (faulty,) = on_one_wire([(meter(), faults)], clock, seed)
    assert isinstance(faulty, Faulty)
    side, said = faulty.side(Wiring()), []
    for _ in range(times):
        outcome = side.hear(faulty.held(clock.millis()), QUESTION.rtu(), clock.monotonic())
        said.append(b"".join(say.data for say in outcome.frame))  # type: ignore[union-attr]
        clock.seconds += 1
    return said


def test_each_fault_has_one_line_that_says_what_it_is() -> None:
    assert len(FAULTS) == 24
    for name, text in FAULTS.items():
        assert text.endswith("."), name
        assert "\n" not in text, name


def test_the_same_seed_has_the_same_faults_and_another_one_has_others() -> None:
    faults = [Fault("bit-flips", 0.5)]
    assert answers(faults, 40) == answers(faults, 40)
    assert answers(faults, 40) != answers(faults, 40, seed=2)


def test_a_share_of_the_answers_is_struck() -> None:
    sound = sum(said[:-2] == SOUND for said in answers([Fault("bit-flips", 0.3)], 400))
    assert 240 < sound < 320


def test_a_fault_strikes_from_its_beginning_to_before_its_end() -> None:
    said = answers([Fault("silence", 1.0, 3_000, 6_000)], 8)
    assert [bool(data) for data in said] == [True, True, True, False, False, False, True, True]
    assert not Fault("silence", 1.0, 5).is_on(4)
    assert Fault("silence", 1.0, 5).is_on(NEVER - 1)


def test_a_rollover_of_a_dial_whose_digits_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="how many digits"):
        ailing(meter(), [Fault("rollover")])


def test_the_clock_of_a_meter_that_jumped_froze_its_month_when_it_showed_midnight() -> None:
    hour = 3_600_000
    ill = ailing(meter(), [Fault("clock-jump", start=100 * hour)])
    assert ill.passed(99 * hour) == 99 * hour
    assert ill.passed(101 * hour) == 100 * hour, "skipped by the jump"
    assert ill.passed(200 * hour) == 198 * hour
    assert ill.own(150 * hour) == 152 * hour


def test_an_adapter_that_echoes_gives_the_request_back_before_the_answer() -> None:
    with Wire([meter()], SystemClock(), echo=True) as wire:
        port = open_port(wire.path, 9600, "8N1")
        port.write(QUESTION.rtu())
        came = b""
        while len(came) < 8 + 13:
            piece = port.read(5, 4096)
            assert piece, came.hex(" ")
            came += piece
        port.close()
    assert came[:8] == QUESTION.rtu()
    assert came[8:-2] == SOUND


def test_a_tcp_port_answers_with_the_exception_code_of_its_meter() -> None:
    clock = SystemClock()
    meters = on_one_wire([(meter(), [Fault("refusal")]), (meter("2", 20), [])], clock, 1)
    with TcpMeters(meters, clock) as port, socket.create_connection(("127.0.0.1", port.port), timeout=10) as client:
        client.sendall(QUESTION.tcp(7))
        assert client.recv(100) == bytes.fromhex("00 07 00 00 00 03 01 83 04")
        client.sendall(Question(2, 3, 0x5000, 4).tcp(8))
        assert client.recv(100)[-2:] == b"\x00\x02"
