"""The table of protocols: each row's module gives what a driver gives, and a new row is all that a protocol needs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import jsonschema
import pytest
import yaml

from drivers import profile, proof
from drivers.profile import Profile
from drivers.strict_yaml import ConfigError
from drivers.table import DRIVERS, Driver, Row, driver, profile_class
from tests.drivers.tiny import TinyProfile

TINY = """\
schema: 1
id: tiny
title: A meter of a test
protocol: ti-ny
source: invented
phases: 1
max_current: 60
line: {baudrate: 9600, framing: 8N1, source: invented}
ti-ny: {loud: yes}
serial: {letter: A}
registers: {1.8.0: {unit: Wh}}
proof:
  - {kind: computed, source: invented, telegram: "42.", gives: {1.8.0: 0.042}}
"""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(DRIVERS, "ti-ny", Row("tests.drivers.tiny", "tests.drivers.tiny:TinyProfile"))
    yield


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        profile.parse(text.encode(), "tiny.yaml")
    return caught.value.faults


@pytest.mark.parametrize("protocol", DRIVERS)
def test_every_driver_gives_the_functions_of_a_driver_with_their_arguments(protocol: str) -> None:
    module, kind = driver(protocol), profile_class(protocol)
    assert issubclass(kind, Profile)
    for name, wanted in inspect.getmembers(Driver, inspect.isfunction):
        if name.startswith("_"):
            continue
        given = inspect.signature(getattr(module, name)).parameters
        asked = inspect.signature(wanted).parameters
        assert [*given] == [*asked][1:], name
        assert [it.kind for it in given.values()] == [it.kind for it in asked.values()][1:], name


def test_a_row_is_all_that_a_protocol_needs(tiny: None) -> None:
    item = profile.parse(TINY.encode(), "tiny.yaml")
    assert isinstance(item, TinyProfile)
    assert item.settings.in_words == ("loud: yes",)
    assert list(proof.failures(item)) == []
    assert item.proven.lines == ("<< 42.",)
    assert profile.parse(yaml.safe_dump(item.as_written()).encode(), "tiny.yaml").registers == item.registers
    wrong = profile.parse(TINY.replace('"42."', '"43."').encode(), "tiny.yaml")
    assert list(proof.failures(wrong)) == ["tiny, proof 1 (computed): 1.8.0 must be 0.042, the answer gives 0.043"]


def test_faults_of_a_protocols_own_keys_and_contradictions_are_listed_with_the_common_ones(tiny: None) -> None:
    text = TINY.replace("loud: yes", "lout: yes").replace("phases: 1", "phases: 3").replace("letter", "leter")
    text = text.replace("max_current: 60", "max_current: much").replace("1.8.0: 0.042", "1.8.1: 0.042")
    found = faults(text)
    assert {fault.split(": ")[1] for fault in found} == {
        "max_current", "phases", "proof", "proof.0.gives.1.8.1", "serial.leter", "serial.letter", "ti-ny.lout",
        "ti-ny.loud",
    }  # fmt: skip
    assert all(fault.startswith("tiny.yaml:") for fault in found)


def test_another_protocols_keys_are_unknown(tiny: None) -> None:
    assert any("modbus: unknown key" in fault for fault in faults(TINY + "modbus: {function: 03}\n"))


def test_a_generic_profile_needs_no_registers_and_proves_energy_that_it_does_not_list(tiny: None) -> None:
    text = TINY.replace("loud: yes", "loud: yes, every: obis").replace("registers: {1.8.0: {unit: Wh}}\n", "")
    item = profile.parse(text.encode(), "tiny.yaml")
    assert item.takes_every
    assert (item.energy_codes, item.proof_kind) == ((), "computed")
    assert any("no proof gives a register that counts" in it for it in faults(text.replace("1.8.0: 0", "32.7.0: 0")))
    assert any("proof.0.gives.import" in it for it in faults(text.replace("{1.8.0: 0", "{import: 0, 1.8.0: 0")))


def test_the_json_schema_knows_every_protocols_keys(tiny: None) -> None:
    schema = profile.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    good = yaml.load(TINY, yaml.BaseLoader)
    assert list(checker.iter_errors(good)) == []
    for damage in ({"protocol": "modbus"}, {"protocol": "tiny"}, {"modbus": {}}, {"ti-ny": {"loud": "no"}}):
        assert list(checker.iter_errors(good | damage)), damage
