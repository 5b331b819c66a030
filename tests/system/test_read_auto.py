"""`meterline read --profile auto`: who answers at a port, found out and read, on wires of the bench."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.clock import SystemClock
from collector.edge.discovery import tries
from drivers.iec62056_21_meter import Habits, IecMeter
from drivers.meter_side import MeterSide, Wiring
from drivers.profile import load
from hil.household import Household
from hil.line import Kind, Wire
from hil.meter import VirtualMeter
from tests.opponents import servers
from tests.opponents.wires import NullModem, Pty
from tests.system.reading import Read

SERIAL = "38395190"


def meter(profile: str, address: str, baudrate: int, framing: str) -> VirtualMeter:
    household = Household.of_seed(3, 2)
    wiring = Wiring(baudrate, framing)
    return VirtualMeter(load(profile), address, household, SERIAL, zone="Europe/Moscow", wiring=wiring)


@dataclass(frozen=True)
class Unheard(VirtualMeter):
    """A meter whose identification no profile names."""

    def side(self, usual: Wiring) -> MeterSide:
        return IecMeter(self.profile, self.address, self.wiring or usual, Habits("XYZ5UNHEARD-OF"))


@pytest.mark.parametrize("kind", ["pty", "rfc2217"])
def test_an_optical_meter_is_found_named_and_read_in_the_session_that_found_it(
    kind: Kind, tmp_path: Path, read: Read
) -> None:
    with Wire([meter("iskra-mt174", "", 300, "7E1")], SystemClock(), kind=kind) as wire:
        status, out, err = read(
            "--profile", "auto", "--port", wire.path, "--format", "json", "--trace", tmp_path / "trace"
        )
    assert status == 0, err
    found = json.loads(out)
    assert (found["profile"], found["serial_number"]) == ("iskra-mt174", SERIAL)
    assert {"1.8.0", "1.8.1", "1.8.2"} <= set(found["registers"])
    assert "found by IEC 62056-21 at 300 7E1: identification /ISk5MT174" in err
    assert f"serial number {SERIAL}; proposed: --profile iskra-mt174 --baudrate 300 --framing 7E1" in err
    sent = [line for line in (tmp_path / "trace").read_text().splitlines() if " >> af 3f " in line]
    assert len(sent) == 1, "one sign-on: the reading goes on from the identification"


def test_a_meter_of_an_unknown_identification_is_read_by_what_its_readout_says(read: Read) -> None:
    known = meter("iskra-mt174", "", 9600, "7E1")
    strange = Unheard(known.profile, "", known.household, SERIAL, zone="Europe/Moscow", wiring=known.wiring)
    with Wire([strange], SystemClock()) as wire:
        status, out, err = read("--profile", "auto", "--port", wire.path, "--format", "json")
    assert status == 0, err
    found = json.loads(out)
    assert found["profile"] == "generic-iec62056-21"
    assert found["serial_number"] == SERIAL
    assert {"1.8.0", "1.8.1", "1.8.2"} <= set(found["registers"])
    assert "identification /XYZ5UNHEARD-OF" in err
    assert "IEC 62056-21 at 300 7E1: no answer" in err
    assert "no profile names its identification" in err


def test_a_mercury_is_found_without_its_address_which_is_then_told(read: Read) -> None:
    with Wire([meter("mercury-230", "190", 9600, "8N1")], SystemClock()) as wire:
        status, out, err = read("--profile", "auto", "--port", wire.path, "--format", "json")
    assert status == 0, err
    found = json.loads(out)
    assert (found["profile"], found["address"], found["serial_number"]) == ("mercury-230", "190", SERIAL)
    assert f"family 230, serial number {SERIAL}" in err


def test_a_single_phase_mercury_is_found_by_its_address_alone(read: Read) -> None:
    with Wire([meter("mercury-206", SERIAL, 9600, "8N1")], SystemClock()) as wire:
        status, _, err = read("--profile", "auto", "--port", wire.path, "--address", SERIAL, "--baudrate", "9600")
    assert status == 0, err
    assert f"family 200, serial number {SERIAL}" in err
    assert f"proposed: --profile mercury-206 --address {SERIAL} --baudrate 9600 --framing 8N1" in err


def test_a_modbus_device_is_found_and_the_profiles_it_may_have_are_named(read: Read) -> None:
    with NullModem() as modem, servers.pymodbus(servers.Meter(1, {0: 1}, {0: 1}), modem.far):
        status, _, err = read("--profile", "auto", "--port", modem.near, "--address", "1", "--baudrate", "9600")
    assert status == 2
    assert "found by Modbus RTU at 9600 8N1, address 1: a Modbus device" in err
    assert "--profile P --address 1 --baudrate 9600 --framing 8N1" in err
    assert "abb-b23, eastron-sdm120" in err


def test_where_nobody_answers_all_that_was_tried_is_told(read: Read) -> None:
    with Pty() as pty:
        status, _, err = read("--profile", "auto", "--port", pty.path)
    assert status == 3
    told = [line.removeprefix("meterline: ") for line in err.splitlines()]
    wanted = [f"{attempt}: no answer" for attempt in tries(pty.path, "device", None, None, None)]
    assert told[:-1] == wanted
    assert len(wanted) == 10
    assert {"IEC 62056-21 at 300 7E1", "Mercury at 9600 8N1, address 0", "Modbus RTU at 19200 8E1, address 1"} <= {
        line.removesuffix(": no answer") for line in told
    }
    assert f"nobody gave a sound answer to any of {len(wanted)} questions" in told[-1]


def test_light_in_the_head_is_damage_and_not_somebody(read: Read) -> None:
    shining = Wire([], SystemClock())
    shining.head.sun(3)
    with shining as wire:
        status, _, err = read("--profile", "auto", "--port", wire.path, "--baudrate", "300", "--framing", "7E1")
    assert status == 4
    assert "keep light away" in err


@pytest.mark.parametrize(
    ("given", "protocols"),
    [
        ((None, None, None), ["iec62056-21", "iec62056-21", "iec62056-21", "mercury"]),
        (("00000201", 9600, None), ["iec62056-21", "iec62056-21", "mercury"]),
        (("A17", None, "7E1"), ["iec62056-21"] * 4),
        ((None, 9600, "8E1"), ["mercury", "modbus"]),
    ],
)
def test_what_is_given_narrows_what_is_tried(
    given: tuple[str | None, int | None, str | None], protocols: list[str]
) -> None:
    found = tries("/dev/ttyUSB0", "device", *given)
    assert [attempt.protocol for attempt in found][: len(protocols)] == protocols
    assert len(set(found)) == len(found)
    assert all(attempt.baudrate == given[1] for attempt in found if given[1])


def test_a_transparent_converter_is_tried_at_the_one_setting_it_has(read: Read) -> None:
    found = tries("socket://host:1", "socket", None, None, None)
    assert {attempt.line_settings for attempt in found} == {(9600, "8N1")}
    with Wire([meter("iskra-mt174", "", 9600, "7E1")], SystemClock(), kind="socket") as wire:
        status, _, err = read("--profile", "auto", "--port", wire.path)
    assert status == 0, err
    assert "proposed: --profile iskra-mt174 --baudrate 9600 --framing 7E1" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--port", "tcp://127.0.0.1:1"), "Modbus TCP does not tell"),
        (("--port", "/dev/null", "--framing", "7N2"), "no protocol that auto tries"),
        (("--port", "/dev/null", "--address", "!"), "no protocol that auto tries"),
    ],
)
def test_what_cannot_be_found_is_refused_before_the_port_is_touched(
    arguments: tuple[str, ...], words: str, read: Read
) -> None:
    status, _, err = read("--profile", "auto", *arguments)
    assert status == 2
    assert words in err
