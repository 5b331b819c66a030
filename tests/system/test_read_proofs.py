"""`meterline read` with each Modbus profile, against servers not written here that hold what its proofs hold."""

from __future__ import annotations

import json

import pytest

from drivers import profile
from tests.opponents import servers
from tests.opponents.servers import Meter, words
from tests.system.reading import Read

MODBUS = sorted(name for name, it in profile.load_all().items() if it.protocol == "modbus")


@pytest.mark.parametrize("name", MODBUS)
def test_the_proof_of_each_modbus_profile_is_what_is_read_from_a_server_that_holds_its_registers(
    name: str, read: Read
) -> None:
    shipped = profile.load(name)
    for proof in shipped.proof:
        address = int.from_bytes(proof.request[2:4], "big")
        held = words(address, proof.answer[3:-2])
        with servers.pymodbus(Meter(proof.request[0], held, held)) as port:
            status, out, err = read(
                "--profile",
                name,
                "--port",
                f"tcp://127.0.0.1:{port}",
                "--address",
                proof.request[0],
                "--format",
                "json",
            )
        if all(code in ("serial", "clock") for code in proof.gives):
            assert status == 4  # a meter that gives none of its registers is another meter
            continue
        assert status == 0, err
        found = json.loads(out)
        read_back = {code: it["value"] for code, it in found["registers"].items()}
        read_back |= {
            key: found[field] for key, field in (("serial", "serial_number"), ("clock", "meter_clock")) if found[field]
        }
        assert read_back == {code: text for code, text in proof.gives.items() if text != "not available"}
