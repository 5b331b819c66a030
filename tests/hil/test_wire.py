"""The simulated wire and TCP port, tried with programs that were not written here: mbpoll and pymodbus."""

from __future__ import annotations

import re
import shutil
import subprocess
import termios
import time

import pytest
import serial
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from collector.clock import SystemClock
from drivers.modbus_frames import Question
from drivers.profile import load
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from hil.ports import SPEEDS
from hil.tcp import TcpMeters

MBPOLL = shutil.which("mbpoll")
needs_mbpoll = pytest.mark.skipif(MBPOLL is None, reason="mbpoll is not installed")


def still(address: str, wh: int) -> VirtualMeter:
    """An ABB B23 (u64, high word first, 0.01 kWh) that counts nothing, so that what it shows is known."""
    return VirtualMeter(load("abb-b23"), address, Household(day_wh=0, start=(wh, 0, 0, 0)), serial_number="12345678")


def polled(path: str, address: int, *, baudrate: int = 9600) -> list[int]:
    """Import total (four registers at 5000h) by mbpoll; nothing when it reports an error."""
    line = ["-m", "rtu", "-b", str(baudrate), "-P", "none", "-a", str(address), "-t", "4:hex", "-0", "-r", "20480"]
    done = subprocess.run(
        [str(MBPOLL), *line, "-c", "4", "-o", "0.5", "-1", "-q", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return [int(word, 16) for word in re.findall(r"0x([0-9A-F]{4})", done.stdout)]


@needs_mbpoll
def test_mbpoll_reads_each_meter_of_a_wire_by_its_address() -> None:
    with Wire([still("1", 123_450), still("7", 987_654_320)], SystemClock()) as wire:
        assert polled(wire.path, 1) == [0, 0, 0, 12_345]
        assert polled(wire.path, 7) == [0, 0, *divmod(98_765_432, 65_536)]
        assert polled(wire.path, 2) == []


@needs_mbpoll
def test_a_client_at_another_speed_is_heard_by_nobody() -> None:
    with Wire([still("1", 123_450)], SystemClock(), baudrate=9600) as wire:
        assert polled(wire.path, 1, baudrate=19200) == []
        assert polled(wire.path, 1, baudrate=9600) == [0, 0, 0, 12_345]


@needs_mbpoll
def test_a_mute_meter_is_silent_and_its_neighbour_is_not() -> None:
    with Wire([still("1", 123_450), still("2", 20)], SystemClock()) as wire:
        wire.mute.add("1")
        assert polled(wire.path, 1) == []
        assert polled(wire.path, 2) == [0, 0, 0, 2]


def test_pymodbus_reads_meters_behind_a_tcp_port() -> None:
    with TcpMeters([still("1", 123_450), still("2", 20)], SystemClock()) as port:
        port.mute.add("3")
        client = ModbusTcpClient("127.0.0.1", port=port.port, timeout=2, retries=0)
        assert client.connect()
        assert client.read_holding_registers(0x5000, count=4, device_id=1).registers == [0, 0, 0, 12_345]
        assert client.read_holding_registers(0x5000, count=4, device_id=2).registers == [0, 0, 0, 2]
        with pytest.raises(ModbusException):
            client.read_holding_registers(0x5000, count=4, device_id=9)
        client.close()


def test_a_client_that_asks_again_before_the_answer_came_gets_both() -> None:
    request = Question(1, 3, 0x5000, 4).rtu()
    with Wire([still("1", 123_450)], SystemClock(), turnaround=0.5) as wire:
        with serial.Serial(wire.path, 9600, timeout=10) as client:
            client.write(request)
            time.sleep(0.1)  # the meter still thinks
            client.write(request)
            answers = client.read(26)
        assert answers == 2 * answers[:13]
        assert len(answers) == 26


def test_line_speeds_are_the_systems_own_names() -> None:
    assert SPEEDS[termios.B9600] == 9600
