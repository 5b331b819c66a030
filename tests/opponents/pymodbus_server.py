"""A Modbus server by pymodbus, as a process: `python pymodbus_server.py tcp` or `... rtu DEVICE`; registers on stdin.

stdin: one line of JSON, `{"unit": 1, "holding": {"72": 17607, ...}, "input": {...}}`. Says `ready PORT` when it serves.
"""

from __future__ import annotations

import asyncio
import json
import sys

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def registers(words: dict[str, int]) -> list[SimData]:
    """The words by address, each a block of its own: what is not there is refused."""
    return [SimData(int(at), values=word, datatype=DataType.REGISTERS) for at, word in words.items()]


async def serve(kind: str, device: str, meter: dict[str, dict[str, int]]) -> None:
    bits = [SimData(0, values=True, datatype=DataType.BITS)]
    simulated = SimDevice(int(meter["unit"]), (bits, bits, registers(meter["holding"]), registers(meter["input"])))
    port = 0
    if kind == "tcp":
        server = ModbusTcpServer(simulated, address=("127.0.0.1", 0), ignore_missing_devices=True)
        await server.serve_forever(background=True)
        port = server.transport.sockets[0].getsockname()[1]
    else:
        server = ModbusSerialServer(
            simulated, framer=FramerType.RTU, port=device, baudrate=9600, ignore_missing_devices=True
        )
        await server.serve_forever(background=True)
    print(f"ready {port}", flush=True)
    await server.serving


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[-1], json.loads(sys.stdin.readline())))
