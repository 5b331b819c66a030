"""The simulated Modbus TCP port and clients that behave badly."""

from __future__ import annotations

import socket
import struct

import pytest

from collector.clock import SystemClock
from drivers.modbus_frames import Question
from drivers.profile import load
from hil.household import Household
from hil.meter import VirtualMeter
from hil.tcp import TcpMeters


def test_a_client_that_is_killed_leaves_no_trace_and_the_next_one_is_served(
    capfd: pytest.CaptureFixture[str],
) -> None:
    meter = VirtualMeter(load("abb-b23"), "1", Household(0, start=(123_450, 0, 0, 0)), "12345678")
    request = Question(1, 3, 0x5000, 4).tcp(7)
    with TcpMeters([meter], SystemClock(), turnaround=0.1) as port:
        for _ in range(3):
            client = socket.create_connection(("127.0.0.1", port.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as by SIGKILL
            client.sendall(2 * request)
            client.close()
        with socket.create_connection(("127.0.0.1", port.port), timeout=10) as client:
            client.sendall(request)
            assert client.recv(100)[-2:] == (12_345).to_bytes(2, "big")
    assert capfd.readouterr().err == ""
