"""Mercury meters of both families on one simulated wire with a Modbus one, through the real port and wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from collector.clock import SystemClock
from collector.edge import wire as edge
from collector.edge.transport import open_port
from drivers import mercury
from drivers.dialogue import Ask, MeterRefused, NoAnswer, Readout
from drivers.meter_side import Wiring
from drivers.profile import load
from drivers.table import driver
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter

ON_THE_WIRE = {"mercury-230": "1", "abb-b23": "2", "mercury-206": "3", "mercury-234": "4", "mercury-200": "5"}


def meters() -> dict[str, VirtualMeter]:
    return {
        name: VirtualMeter(load(name), address, Household.of_seed(n, 3), str(4_140_001 + n), "Europe/Moscow")
        for n, (name, address) in enumerate(ON_THE_WIRE.items())
    }


@pytest.fixture
def bench() -> Iterator[tuple[Wire, edge.Wire]]:
    clock = SystemClock()
    with (
        Wire(list(meters().values()), clock) as wire,
        closing(open_port(wire.path, 9600, "8N1")) as port,
    ):
        yield wire, edge.Wire(port, clock)


def read(ours: edge.Wire, name: str, **more: object) -> Readout:
    profile = load(name)
    ask = Ask(ON_THE_WIRE[name], **more)  # type: ignore[arg-type]  # what a test gives
    return ours.carry(driver(profile.protocol).read(profile, ask))


def test_each_meter_of_a_mixed_wire_is_read_in_turn(bench: tuple[Wire, edge.Wire]) -> None:
    _, ours = bench
    held = meters()
    for name in (*ON_THE_WIRE, *reversed(ON_THE_WIRE)):
        found = read(ours, name, codes=("1.8.1", "1.8.2"), clock=False)
        assert found.serial_number is not None
        assert int(found.serial_number) == int(held[name].serial_number or 0)
        assert found.registers["1.8.1"].value > 0
        assert not found.refused
    assert ours.counts.stray == 0


def test_frozen_months_come_with_the_months_of_the_calendar(bench: tuple[Wire, edge.Wire]) -> None:
    _, ours = bench
    for name in ("mercury-230", "mercury-206", "mercury-234"):
        found = read(ours, name, frozen=True)
        (closing_,) = found.frozen
        assert closing_.back == 1
        assert 0 < closing_.registers["1.8.1"].value <= found.registers["1.8.1"].value
        assert closing_.registers["1.8.0"].value <= found.registers["1.8.0"].value


def test_the_channel_test_finds_who_is_there_and_only_them(bench: tuple[Wire, edge.Wire]) -> None:
    _, ours = bench
    ours.carry(mercury.channel_test("4", first=0.3))
    read(ours, "abb-b23")
    ours.carry(mercury.channel_test("1", first=0.3))
    with pytest.raises(NoAnswer):
        ours.carry(mercury.channel_test("77", first=0.3))


def test_another_password_than_ours_is_a_refusal_that_says_what_to_do() -> None:
    theirs = Wiring(password=b"654321")
    other = VirtualMeter(load("mercury-230"), "1", Household.of_seed(1, 2), "4140001", wiring=theirs)
    clock = SystemClock()
    with Wire([other], clock) as wire, closing(open_port(wire.path, 9600, "8N1")) as port:
        ours = edge.Wire(port, clock)
        with pytest.raises(MeterRefused, match="the password of level 1 is another"):
            read(ours, "mercury-230")
        assert read(ours, "mercury-230", password=b"654321").registers["1.8.0"].value
