"""gateway.yaml with meters of several protocols: what may share a wire, and what is said of what may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.commands.config import config
from collector.config import GatewayConfig, load_gateway
from collector.edge.setup import meter_setup
from drivers.strict_yaml import ConfigError

MODBUS = "{id: modbus, profile: orno-we-517, address: 1, serial_number: 1}"
NEVA = '{id: neva, profile: neva-mt324, address: "00000201", serial_number: "00000201"}'
CE102M = '{id: ce102m, profile: energomera-ce102m, address: "123456789", serial_number: "123456789"}'
MERCURY = "{id: mercury, profile: mercury-230, address: 17, serial_number: 12345617}"
SINGLE = "{id: single, profile: mercury-206, address: 10925856, serial_number: 10925856}"
OPTICAL = '{id: optical, profile: iskra-mt174, address: "", serial_number: 12345678}'


def written(folder: Path, *meters: str, port: str = "/dev/ttyUSB0", line: str = "") -> Path:
    lines = "".join(f"\n      - {meter}" for meter in meters)
    (folder / "gateway.yaml").write_text(
        "schema: 1\ngateway: gw-1\ntime_zone: Europe/Moscow\nmqtt: {url: mqtt://127.0.0.1}\nspool: {path: spool.db}\n"
        f"lines:\n  - name: riser-1\n    port: {port}\n{line}    meters:{lines}\n"
    )
    return folder / "gateway.yaml"


def sound(folder: Path, *meters: str, **more: str) -> GatewayConfig:
    return load_gateway(written(folder, *meters, **more))


def faults(folder: Path, *meters: str, **more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        sound(folder, *meters, **more)
    return [fault.partition("lines.0.")[2] for fault in caught.value.faults]


def test_three_protocols_share_a_wire_each_with_its_own_line_settings(tmp_path: Path) -> None:
    (line,) = sound(tmp_path, MODBUS, NEVA, MERCURY, SINGLE, CE102M).lines
    setups = {meter.id: meter_setup(meter) for meter in line.meters}
    assert {name: setup.framing for name, setup in setups.items()} == {
        "modbus": "8E1", "neva": "7E1", "mercury": "8N1", "single": "8N1", "ce102m": "7E1",
    }  # fmt: skip
    assert setups["modbus"].line_settings == (setups["modbus"].baudrate, "8E1")
    assert setups["neva"].line_settings == (9600, "8N1"), "the driver adds and verifies parity"


def test_the_line_s_settings_count_for_meters_that_have_none_of_their_own(tmp_path: Path) -> None:
    own = NEVA.replace("}", ", framing: 7E1}")
    (line,) = sound(tmp_path, MODBUS, own, line="    baudrate: 9600\n    framing: 8E1\n").lines
    assert [meter.framing for meter in line.meters] == ["8E1", "7E1"]
    (fault,) = faults(tmp_path, MODBUS, NEVA, line="    framing: 8E1\n")
    assert fault.startswith("meters.1.framing: IEC 62056-21 has characters of 7E1")
    assert "this meter would get 8E1" in fault


def test_a_mercury_must_not_have_the_address_of_a_modbus_meter_on_its_wire(tmp_path: Path) -> None:
    """It would hear reading of registers (03) as an order to write."""
    (fault,) = faults(tmp_path, MODBUS.replace("address: 1,", "address: 17,"), MERCURY)
    assert fault.startswith("meters.1.address: address 17 is taken on this line by modbus")


@pytest.mark.parametrize(
    ("meter", "words"),
    [(MODBUS, "Modbus RTU needs eight data bits"), (MERCURY, "Mercury meters send eight data bits")],
)
def test_seven_data_bits_are_for_iec_meters_alone(meter: str, words: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, meter.replace("}", ", framing: 7E1}"))
    assert words in fault


def test_a_meter_without_an_address_is_alone_among_those_of_its_protocol(tmp_path: Path) -> None:
    sound(tmp_path, OPTICAL, MODBUS, MERCURY)
    for first, second in ((OPTICAL, NEVA), (NEVA, OPTICAL), (OPTICAL, OPTICAL.replace("optical", "other"))):
        (fault,) = faults(tmp_path, MODBUS, first, second)
        assert fault.startswith("meters.2.address: a meter without an address must be the only one of its protocol")


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        (MERCURY, MERCURY.replace("id: mercury", "id: other").replace("17,", "017,"), "17"),
        (NEVA, NEVA.replace("id: neva", "id: other"), "00000201"),
    ],
)
def test_an_address_is_taken_once_however_it_is_spelled(first: str, second: str, shown: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, first, second)
    assert fault.startswith(f"meters.1.address: address {shown} is taken on this line by")


def test_the_same_number_in_two_protocols_is_two_addresses(tmp_path: Path) -> None:
    sound(tmp_path, MODBUS, MERCURY, NEVA.replace("00000201", "17", 1))


@pytest.mark.parametrize(
    ("meter", "words"),
    [
        (MERCURY.replace("17,", "0,"), "0 asks whatever Mercury hangs there"),
        (NEVA.replace("00000201", "a/b", 1), "at most 32 digits and letters"),
    ],
)
def test_an_address_that_its_protocol_cannot_have_is_named(meter: str, words: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, meter)
    assert words in fault


@pytest.mark.parametrize("meter", [NEVA, MERCURY, OPTICAL])
def test_only_modbus_meters_hang_on_modbus_tcp(meter: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, meter, port="tcp://10.0.0.5:502")
    assert "does not speak Modbus TCP" in fault


def test_a_transparent_converter_serves_7e1_and_8n1_together_and_nothing_else(tmp_path: Path) -> None:
    port = "socket://10.0.0.5:4001"
    eight = MODBUS.replace("}", ", framing: 8N1}")
    assert sound(tmp_path, NEVA, MERCURY, eight, port=port).warnings == ()
    (fault,) = faults(tmp_path, NEVA, MODBUS, port=port)
    assert "needs the converter at 9600 8E1, neva at 9600 8N1" in fault


def test_a_session_that_cannot_leave_300_baud_is_warned_of(tmp_path: Path) -> None:
    (warning,) = sound(tmp_path, OPTICAL, port="socket://10.0.0.5:4001").warnings
    assert "begins at 300 baud stays there" in warning
    assert sound(tmp_path, OPTICAL, port="rfc2217://10.0.0.5:4001").warnings == ()


def test_a_password_is_read_from_its_file_and_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("geheim\n")
    (tmp_path / "word").chmod(0o600)
    ((meter,),) = [line.meters for line in sound(tmp_path, NEVA.replace("}", ", password_file: word}")).lines]
    assert meter_setup(meter).password == b"geheim"
    assert "geheim" not in repr(meter)
    for command in ("check", "plan"):
        said = CliRunner().invoke(config, [command, str(tmp_path / "gateway.yaml")])
        assert said.exit_code == 0
        assert "geheim" not in said.output


def test_each_protocol_s_plan_is_in_milliseconds_of_its_wire(tmp_path: Path) -> None:
    path = written(tmp_path, MODBUS, NEVA, MERCURY, OPTICAL.replace('""', '"300"'))
    said = CliRunner().invoke(config, ["plan", str(path), "--format", "json"])
    assert said.exit_code == 0, said.output
    (line,) = json.loads(said.stdout)["lines"]
    plans = {meter["meter"]: meter for meter in line["meters"]}
    for plan in plans.values():
        assert plan["interval_ms"] == pytest.approx(sum(step["milliseconds"] for step in plan["interval"]), abs=0.01)
        assert all(step["text"] for step in plan["interval"])
        assert plan["boundary_ms"] >= plan["interval_ms"]
        assert {"1.8.0", "1.8.1", "1.8.2"} <= {name for step in plan["interval"] for name in step["names"]}
    # An MT174 reads out in one to two seconds from 300 baud on; a Neva has a sign-on and a password before questions;
    # Modbus and Mercury answer each in some tens of milliseconds.
    assert 1000 < plans["optical"]["interval_ms"] < 5000
    assert plans["modbus"]["interval_ms"] < plans["mercury"]["interval_ms"] < 500 < plans["neva"]["interval_ms"]
    table = CliRunner().invoke(config, ["plan", str(path)]).stdout
    for plan in plans.values():
        assert f"{plan['interval_ms']:.1f}" in table or len(plan["interval"]) > 1
