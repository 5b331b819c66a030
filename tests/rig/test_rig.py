"""What must hold on every real line: run on the rig that hil/rig.yaml names (or METERLINE_RIG), else skipped."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from collector.clock import SystemClock
from collector.edge.doctor import findings
from collector.edge.doctor_examination import Examination, Patient, Way
from collector.edge.transport import open_port
from collector.edge.wire import Wire
from collector.serials import same_serial
from drivers import obis
from drivers.table import driver
from hil import rig
from hil.characters import Setting
from hil.ends import client_end
from hil.play import Play, Player, parts
from hil.rig import RigMeter

FILE = Path(os.environ.get("METERLINE_RIG", Path(__file__).resolve().parents[2] / "hil" / "rig.yaml"))
ASKINGS = 5
CLOCK = SystemClock()
METERS = rig.load(FILE) if FILE.exists() else ()

pytestmark = pytest.mark.skipif(
    not METERS, reason=f"no rig: {FILE.name} names no adapters and meters here; hil/README.md says how"
)
each_meter = pytest.mark.parametrize("meter", METERS or [None], ids=str)


@each_meter
def test_the_line_doctor_finds_the_line_healthy(meter: RigMeter) -> None:
    way = Way(meter.profile.protocol, meter.address, meter.baudrate, meter.framing)
    password = meter.ask(tcp=False, can_switch=True).password
    with closing(open_port(meter.port, *meter.port_settings)) as transport:
        seen = Examination(transport, CLOCK, lambda _: None).examine([Patient(way, meter.profile, password)])
    assert [finding for finding in findings(seen) if finding.level == "fault"] == []


@each_meter
def test_the_meter_is_the_one_that_the_rig_names_and_gives_all_of_its_profile(meter: RigMeter) -> None:
    readout, _ = meter.read()
    if meter.serial_number is not None:
        assert readout.serial_number is not None
        assert same_serial(readout.serial_number, meter.serial_number)
    given = {*readout.registers, *readout.absent, *readout.refused}
    assert given >= {code for code in meter.profile.energy_codes if "." in code}


@each_meter
def test_energy_never_falls_from_one_asking_to_the_next(meter: RigMeter) -> None:
    last: dict[str, int] = {}
    for _ in range(ASKINGS):
        readout, _ = meter.read()
        energy = {code: it.value for code, it in readout.registers.items() if obis.parse(code).is_energy}
        assert energy, "a meter counts something"
        assert {code: value for code, value in last.items() if energy[code] < value} == {}
        last = energy


@each_meter
def test_a_recording_of_the_meter_is_read_again_from_a_replay(meter: RigMeter) -> None:
    readout, spoken = meter.read()
    if "://" in meter.port and meter.port.startswith("tcp"):
        pytest.skip("by Modbus TCP each asking has numbers of its own")
    player = Player(Play(parts(spoken)), client_end("pty", "", Setting(meter.baudrate)), at_once=True)
    thread = Thread(target=player.run)
    thread.start()
    try:
        with closing(open_port(player.name, *meter.port_settings)) as transport:
            ask = meter.ask(tcp=False, can_switch=not meter.port.startswith("socket"))
            again = Wire(transport, CLOCK).carry(driver(meter.profile.protocol).read(meter.profile, ask))
    finally:
        player.stop()
        thread.join()
        player.close()
    assert again.registers == readout.registers
    assert again.serial_number == readout.serial_number
