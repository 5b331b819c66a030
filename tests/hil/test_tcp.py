"""The building's meters behind a Modbus TCP gateway, as the deployment's demo serves them."""

from __future__ import annotations

from contextlib import closing

import pytest

from collector.clock import SystemClock
from collector.edge.transport import open_port
from collector.edge.wire import Wire
from drivers import modbus
from drivers.dialogue import Ask
from hil.building import MODBUS, Flat, flats, risers
from hil.tcp import TcpMeters

FLATS = flats(len(MODBUS), MODBUS)


@pytest.mark.parametrize("flat", FLATS, ids=lambda flat: flat.meter.profile.id)
def test_a_meter_of_the_building_answers_behind_a_gateway_whatever_its_own_line_is(flat: Flat) -> None:
    clock = SystemClock()
    members = [other.meter for other in risers(FLATS)[flat.line]]
    with (
        TcpMeters(members, clock) as served,
        closing(open_port(f"tcp://127.0.0.1:{served.port}", 9600, "8N1")) as port,
    ):
        readout = Wire(port, clock).carry(modbus.read(flat.meter.profile, Ask(flat.meter.address, tcp=True)))
    assert set(flat.meter.profile.energy_codes) <= set(readout.registers)
