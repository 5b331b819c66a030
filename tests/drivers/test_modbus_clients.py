"""Our simulated meters asked by a client that was not written here: pymodbus', by TCP and with RTU frames."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.framer import FramerType

from drivers.dialogue import Done, Never
from tests.drivers.modbus_world import FLOATS, TARIFFS, heard

SIDES = [
    pytest.param(True, FramerType.SOCKET, id="tcp"),
    pytest.param(False, FramerType.RTU, id="rtu"),
]


@contextmanager
def serving(tcp, profile) -> Iterator[int]:
    """A meter with address 5 on a port of this machine."""

    class Meter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            buffer = b""
            while data := self.request.recv(3):  # in pieces, so that the meter must wait for the rest
                buffer += data
                outcome = heard(profile, buffer, address="5", tcp=tcp)
                if isinstance(outcome, Never):
                    return
                if isinstance(outcome, Done):
                    buffer = buffer[outcome.used :]
                    self.request.sendall(outcome.frame)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Meter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(("tcp", "framer"), SIDES)
def test_pymodbus_reads_our_simulated_meter(tcp, framer) -> None:
    with serving(tcp, TARIFFS) as port, ModbusTcpClient("127.0.0.1", port=port, framer=framer) as client:
        answer = client.read_holding_registers(0x0132, count=38, device_id=5)
        assert answer.registers[:2] == [1_000_001 >> 16, 1_000_001 & 0xFFFF]
        assert answer.registers[12:14] == [592_259 >> 16, 592_259 & 0xFFFF]
        assert answer.registers[14:16] == [0xFFFF, 0x10000 - 172]
        assert client.read_holding_registers(0x4000, device_id=5).registers == [2301]
    with serving(tcp, FLOATS) as port, ModbusTcpClient("127.0.0.1", port=port, framer=framer) as client:
        answer = client.read_input_registers(0x0048, count=2, device_id=5)
        assert client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32) == pytest.approx(1234.567)


@pytest.mark.parametrize(("tcp", "framer"), SIDES)
def test_pymodbus_understands_our_simulated_meters_refusals(tcp, framer) -> None:
    with serving(tcp, TARIFFS) as port, ModbusTcpClient("127.0.0.1", port=port, framer=framer) as client:
        refusals = [
            client.read_input_registers(0x0132, count=2, device_id=5),
            client.read_holding_registers(0x2000, count=2, device_id=5),
            client.read_holding_registers(0x0132, count=61, device_id=5),
            client.write_register(0x0132, 7, device_id=5),
            client.write_registers(0x0132, [7, 8], device_id=5),
            client.write_coil(1, True, device_id=5),
        ]
        assert all(answer.isError() for answer in refusals)
        assert [answer.exception_code for answer in refusals] == [1, 2, 3, 1, 1, 1]
        assert client.read_holding_registers(0x4000, device_id=5).registers == [2301]
