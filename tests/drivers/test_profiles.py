"""Strict loading of profiles: each fault by file, line, key and what would be right, and all of them at once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers import profile, proof
from drivers.modbus_places import ModbusProfile
from drivers.profile import METERS
from drivers.profile_spelling import Spelled, Wire, whole
from drivers.strict_yaml import ConfigError
from drivers.table import DRIVERS

SHIPPED = sorted(METERS.glob("*.yaml"))
GOOD = """\
schema: 1
id: brand-model
title: A meter of a test
protocol: modbus
source: invented
phases: 1
max_current: 60
line:
  baudrate: 9600
  framing: 8E1
  source: invented
modbus:
  function: 04
  word_order: big
  most_registers: 60
serial: none
registers:
  1.8.0: {address: "0048", type: f32, unit: kWh}
  2.8.0:
    address: 004A
    type: f32
    unit: Wh
proof:
  - kind: computed
    source: invented
    request: 01 04 00 48 00 02 F1 DD
    answer: 01 04 04 00 00 00 00 FB 84
    gives: {1.8.0: 0.000}
"""


def faults(text: str, name: str = "brand-model.yaml") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        profile.parse(text.encode(), name)
    return caught.value.faults


def with_line(old: str, new: str) -> str:
    """The good profile with one text replaced, which must stand in it exactly once."""
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_a_good_profile_loads_and_its_texts_are_typed() -> None:
    item = profile.parse(GOOD.encode(), "brand-model.yaml")
    assert (item.phases, item.max_current, item.line.baudrate, item.line.framing) == (1, 60, 9600, "8E1")
    assert (item.line.turnaround, item.line.timeout) == (0.02, 0.5)
    assert item.modbus.function == 4
    assert (item.registers["2.8.0"].address, item.registers["2.8.0"].factor) == (0x4A, Decimal(1))
    assert item.registers["1.8.0"].factor == Decimal(1000)
    assert item.proof[0].answer == bytes.fromhex("01 04 04 00000000 FB84")
    assert (item.energy_codes, item.tariffs, item.proof_kind) == (("1.8.0", "2.8.0"), 0, "computed")
    assert item.all_caveats == ()


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("phases: 1\n", "phases: 1\nphase: 1\n", "phase", "unknown key"),
        ("phases: 1\n", "phases: 1\ndigest: sha256:0\n", "digest", "unknown key"),
        ("phases: 1", "phases: 2", "phases", "one of 1, 3"),
        ("schema: 1", "schema: 2", "schema", "one of 1"),
        ("protocol: modbus", "protocol: modbos", "protocol", "one of modbus"),
        ("id: brand-model", "id: Brand_Model", "id", "lower-case letters"),
        ("max_current: 60", "max_current: 6e1", "max_current", "a whole number from 1 to 10000"),
        ("max_current: 60", "max_current: 0", "max_current", "a whole number from 1 to 10000"),
        ("max_current: 60", "max_current: ٦٠", "max_current", "a whole number from 1 to 10000"),
        ("baudrate: 9600", "baudrate: 9601", "line.baudrate", "one of 300, 600"),
        ("framing: 8E1", "framing: 8X1", "line.framing", "e.g. 8N1"),
        ("  source: invented\nmodbus", "  timeout: 0.5\n  source: x\nmodbus", "line.timeout", "whole milliseconds"),
        ("  source: invented\nmodbus:", "modbus:", "line.source", "required and is missing"),
        ("function: 04", "function: 4", "modbus.function", "one of 03, 04"),
        ("word_order: big", "word_order: middle", "modbus.word_order", "'big' or 'little'"),
        ("most_registers: 60", "most_registers: 126", "modbus.most_registers", "from 1 to 125"),
        ("most_registers: 60", "most_registers: 60\n  even: 1", "modbus.even", "true or false"),
        ("serial: none", "serial: unknown", "serial", "'none'"),
        ("serial: none", "serial: {address: '0010', type: hex}", "serial", "words: needed for ascii"),
        ("address: 004A", "address: 0x4A", "registers.2.8.0.address", "four upper-case hex digits"),
        ("address: 004A", "address: 004a", "registers.2.8.0.address", "four upper-case hex digits"),
        ("  2.8.0:\n", "  2.08.0:\n", "registers.2.08.0", "write 2.8.0"),
        ("    unit: Wh\n", "    unit: W\n", "registers.2.8.0.unit", "the unit of 2.8.0 is kWh"),
        ("    unit: Wh\n", "", "registers.2.8.0.unit", "the unit of 2.8.0 is kWh"),
        ("    unit: Wh\n", "    unit: Joule\n", "registers.2.8.0.unit", "is not a unit known here"),
        ("    unit: Wh\n", "    unit: Wh\n    scale: -1\n", "registers.2.8.0.scale", "positive decimal number"),
        ("    unit: Wh\n", "    unit: Wh\n    scale: 0.0\n", "registers.2.8.0.scale", "positive decimal number"),
        ("    unit: Wh\n", "    unit: Wh\n    scale: NaN\n", "registers.2.8.0.scale", "positive decimal number"),
        ("address: 004A", "address: 0049", "registers.2.8.0.address", "it overlaps registers.1.8.0"),
        ("request: 01 04 00 48 00 02 F1 DD", "request: 01 04 0", "proof.0.request", "pairs of hex digits"),
        ("kind: computed", "kind: guessed", "proof.0.kind", "'captured', 'document' or 'computed'"),
        ("gives: {1.8.0: 0.000}", "gives: {}", "proof.0.gives", "at least 1 item"),
        ("gives: {1.8.0: 0.000}", "gives: {2.8.0: 0.000}", "proof", "no proof gives 1.8.0"),
        ("gives: {1.8.0: 0.000}", "gives: {1.8.0: 0, 1.8.1: 0}", "proof.0.gives.1.8.1", "not a register of"),
        ("gives: {1.8.0: 0.000}", "gives: {1.8.0: 0, serial: 1}", "proof.0.gives.serial", "not a register"),
        ("gives: {1.8.0: 0.000}", "gives: {1.8.0: 0, frozen.1.1.8.0: 1}", "proof.0.gives.frozen.1.1.8.0", "not a"),
        ("serial: none", "total: sum\nserial: none", "total", "this one has 1.8.0"),
        ("most_registers: 60", "most_registers: 1", "registers.1.8.0", "it has 2 registers"),
        ("most_registers: 60", "most_registers: 60\n  even: true\nclock: {address: '0101', type: iec870-words}",
         "clock.address", "even addresses"),
    ],
)  # fmt: skip
def test_each_fault_names_file_line_key_and_what_would_be_right(old: str, new: str, key: str, says: str) -> None:
    text = with_line(old, new)
    found = faults(text)
    assert any(f": {key}: " in fault and says in fault for fault in found), found
    lines = [int(fault.split(":")[1]) for fault in found if f": {key}: " in fault]
    assert all(1 <= line <= text.count("\n") for line in lines)
    assert all(fault.startswith("brand-model.yaml:") for fault in found)


def test_a_fault_names_the_line_where_it_stands() -> None:
    text = with_line("    unit: Wh\n", "    unit: A\n")
    assert faults(text) == [
        f"brand-model.yaml:{line_of(text, 'unit: A')}: registers.2.8.0.unit: "
        "the unit of 2.8.0 is kWh (another prefix will do), not A"
    ]


def test_a_key_that_stands_twice_is_refused() -> None:
    assert any(
        "phases: this key stands twice" in fault for fault in faults(with_line("phases: 1\n", "phases: 1\n" * 2))
    )


def test_a_missing_proof_is_refused() -> None:
    text = GOOD[: GOOD.index("proof:")]
    assert faults(text) == ["brand-model.yaml:1: proof: this key is required and is missing"]
    assert any("proof: " in fault and "at least 1 item" in fault for fault in faults(text + "proof: []\n"))


def test_several_faults_are_all_listed_at_once() -> None:
    text = GOOD.replace("phases: 1", "phases: 4").replace("004A", "4A").replace("kWh}", "W}").replace("kind:", "kinds:")
    text = text.replace("gives: {1.8.0: 0.000}", "gives: {1.8.0: 0, 9.9.9: 0}")
    keys = sorted(fault.split(": ")[1] for fault in faults(text))
    assert keys == [
        "phases", "proof.0.gives.9.9.9", "proof.0.kind", "proof.0.kinds", "registers.1.8.0.unit",
        "registers.2.8.0.address",
    ]  # fmt: skip


def test_an_id_must_be_the_name_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "other-name.yaml"
    path.write_text(GOOD)
    with pytest.raises(ConfigError) as caught:
        profile.load(str(path))
    assert caught.value.faults == [f"{path}:2: id: must be the file's name, other-name (here: 'brand-model')"]


def test_a_profile_that_is_not_known_is_answered_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"eastron-sdm120.*schneider-iem3155"):
        profile.load("eastron")
    with pytest.raises(ConfigError, match="not known"):
        profile.load("../../etc/passwd")
    with pytest.raises(ConfigError, match="cannot be read"):
        profile.load("/no/such/file.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text", "schema: 1"])
def test_a_file_that_is_no_profile_is_a_fault_and_not_a_crash(text: str) -> None:
    assert faults(text)


def test_bytes_that_are_not_utf_8_are_a_fault() -> None:
    with pytest.raises(ConfigError, match="byte 7 is not UTF-8"):
        profile.parse(b"title: \xff", "x.yaml")


def test_frozen_registers_need_a_stamp_or_a_counter_and_units_of_their_codes() -> None:
    block = "frozen:\n  - registers: {1.8.0: {address: '0100', type: u32, unit: V}}\nproof:\n"
    found = faults(with_line("proof:\n", block))
    assert any("frozen.0: frozen registers need either a stamp or a counter" in fault for fault in found)
    assert any("frozen.0.registers.1.8.0.unit: the unit of 1.8.0 is kWh" in fault for fault in found)


def test_a_proof_of_a_meter_without_a_total_may_give_the_sum() -> None:
    text = with_line('  1.8.0: {address: "0048"', '  1.8.1: {address: "0048"').replace("serial:", "total: sum\nserial:")
    item = profile.parse(text.replace("{1.8.0: 0.000}", "{1.8.0: 0.000, 1.8.1: 0.000}").encode(), "brand-model.yaml")
    assert list(proof.failures(item)) == []
    assert item.proof_kind == "computed"
    assert any("1.8.0 is not a register" in fault for fault in faults(text.replace("total: sum\n", "")))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.text(max_size=8) | st.sampled_from(["1", "none", "0048", "f32", "1.8.0", "kWh", "modbus"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=6)
            | st.sampled_from([*ModbusProfile.model_fields, "schema", "address", "type", "unit", "1.8.0", "gives"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_whatever_a_file_holds_is_a_profile_or_faults(data: Any) -> None:
    with pytest.raises(ValidationError):
        ModbusProfile.model_validate(data)


# ----------------------------------------------------------------------------- as written


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_profile_written_out_is_the_same_profile(path: Path) -> None:
    item = profile.load_file(path)
    again = profile.parse(yaml.safe_dump(item.as_written()).encode(), path.name)
    assert again.as_written() == item.as_written()
    assert again.registers == item.registers
    assert again.digest != item.digest


@given(st.integers(1, 125))
def test_a_whole_number_reads_what_it_writes(number: int) -> None:
    spelled = whole(1, 125)
    assert spelled.value(spelled.write(number)) == number


@given(st.integers(0, 0xFFFF))
def test_a_wire_address_reads_what_it_writes(address: int) -> None:
    spelled = next(part for part in Wire.__metadata__ if isinstance(part, Spelled))
    assert spelled.value(spelled.write(address)) == address


def test_nothing_of_a_profile_can_be_changed() -> None:
    item = profile.parse(GOOD.encode(), "brand-model.yaml")
    with pytest.raises(ValidationError):
        item.phases = 3
    with pytest.raises(ValidationError):
        item.registers["1.8.0"].address = 1


# ----------------------------------------------------------------------------- the schema for editors


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_json_schema_accepts_every_shipped_file_as_an_editor_reads_it(path: Path) -> None:
    checker = jsonschema.Draft202012Validator(profile.json_schema())
    assert [error.message for error in checker.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("phases: 1\n", "phases: 1\nphase: 1\n"),
        ("address: 004A", "address: 0x4A"),
        ("kind: computed", "kind: guessed"),
        ("function: 04", "function: five"),
        ("  2.8.0:\n", "  import:\n"),
        ("title: A meter of a test\n", ""),
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(old: str, new: str) -> None:
    checker = jsonschema.Draft202012Validator(profile.json_schema())
    assert list(checker.iter_errors(yaml.safe_load(GOOD))) == []
    assert list(checker.iter_errors(yaml.safe_load(with_line(old, new))))
    assert faults(with_line(old, new))


def test_the_json_schema_is_one_and_says_what_keys_mean() -> None:
    schema = profile.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    definitions = schema["$defs"]
    assert set(DRIVERS) == set(schema["properties"]["protocol"]["enum"])
    register = definitions["Register"] if "Register" in definitions else definitions["drivers__modbus_places__Register"]
    assert "hex, counted from 0" in register["properties"]["address"]["description"]
    assert definitions["ModbusProfile"]["properties"]["title"]["type"] == "string"


# ----------------------------------------------------------------------------- the check itself can fail


def test_a_proof_that_gives_another_value_fails_in_words() -> None:
    good = METERS / "eastron-sdm630.yaml"
    text = good.read_text().replace('gives: {15.8.0: "24547.768"}', 'gives: {15.8.0: "24547.769"}')
    item = profile.parse(text.encode(), good.name)
    assert list(proof.failures(item)) == [
        "eastron-sdm630, proof 2 (captured): 15.8.0 must be 24547.769, the answer gives 24547.768"
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("word_order: little", "word_order: big", "1.8.0 must be 123456.700, the answer gives"),
        ("1.8.0: {address: \"0034\"", "1.8.0: {address: \"0036\"", "1.8.0 must be 123456.700, the answer gives 0.000"),
        ("unit: kWh, scale: 0.1}\n  1.8.1", "unit: kWh, scale: 0.01}\n  1.8.1", "the answer gives 12345.670"),
        ("not_available: [max]", "not_available: []", "the answer gives 1.8.1 too, 214748364.700"),
        ("answer: 01 03 04 09 1B 00 00 89 A8", "answer: 01 03 04 09 1C 00 00 89 A8", "the answer is refused"),
        ("function: 03 #", "function: 04 #", "32.7.0 must be 233.1; the answer gives none"),
    ],
)  # fmt: skip
def test_a_wrong_order_address_scale_marker_or_function_breaks_a_proof(old: str, new: str, says: str) -> None:
    text = (METERS / "gavazzi-em340.yaml").read_text()
    assert text.count(old) == 1
    item = profile.parse(text.replace(old, new).encode(), "gavazzi-em340.yaml")
    assert any(says in failure for failure in proof.failures(item)), list(proof.failures(item))


def test_the_strongest_proof_of_the_billed_energy_speaks_for_a_profile() -> None:
    loaded = {path.stem: profile.load_file(path) for path in SHIPPED}
    assert loaded["orno-we-515"].proven.label == "captured (sibling)"
    assert loaded["abb-b23"].proven.label == "document (sibling)"
    assert loaded["orno-we-517"].proof_kind == "computed"  # its captures show voltages only
