"""OBIS codes: what is one, what it counts, and in which unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import obis
from drivers.obis import Obis

BYTE = st.integers(0, 255)


@given(BYTE, BYTE, BYTE)
def test_a_code_survives_its_text(c: int, d: int, e: int) -> None:
    assert obis.parse(str(Obis(c, d, e))) == Obis(c, d, e)
    assert obis.sort_key(f"{c}.{d}.{e}") == (c, d, e)


@pytest.mark.parametrize(
    "text", ["", "1.8", "1.8.0.255", "1-0:1.8.0", "1.8.0 ", " 1.8.0", "1.8.x", "256.8.0", "1.8.0\n"]
)
def test_what_is_no_code_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 1\.8\.0"):
        obis.parse(text)


@pytest.mark.parametrize("text", ["01.8.0", "1.08.0", "1.8.00"])
def test_a_code_with_leading_zeros_is_told_how_to_be_written(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 1\.8\.0 \(no leading zeros\)"):
        obis.parse(text)


def test_digits_of_other_scripts_are_no_digits() -> None:
    with pytest.raises(ValueError, match="is not an OBIS code"):
        obis.parse("1.8.\u0660")


@given(st.text(max_size=12))
def test_any_text_is_a_code_or_a_value_error(text: str) -> None:
    try:
        assert str(obis.parse(text)) == text
    except ValueError as error:
        assert repr(text) in str(error)


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        ("1.8.0", "kWh"), ("1.8.4", "kWh"), ("2.8.1", "kWh"), ("15.8.0", "kWh"), ("21.8.0", "kWh"), ("62.8.0", "kWh"),
        ("3.8.0", "kvarh"), ("4.8.2", "kvarh"), ("5.8.0", "kvarh"), ("9.8.0", "kVAh"),
        ("32.7.0", "V"), ("52.7.0", "V"), ("72.7.0", "V"), ("31.7.0", "A"), ("51.7.0", "A"), ("71.7.0", "A"),
        ("16.7.0", "W"), ("36.7.0", "W"), ("56.7.0", "W"), ("76.7.0", "W"), ("1.7.0", "W"), ("3.7.0", "var"),
        ("9.7.0", "VA"), ("14.7.0", "Hz"), ("13.7.0", ""), ("33.7.0", ""),
    ],
)  # fmt: skip
def test_a_code_has_its_unit(code: str, unit: str) -> None:
    assert obis.parse(code).unit == unit
    assert obis.parse(code).is_energy == unit.endswith("h")


@pytest.mark.parametrize("code", ["0.8.0", "1.6.0", "1.9.0", "81.7.0", "96.1.0", "255.8.0", "14.8.0", "11.8.0"])
def test_a_code_without_a_known_unit_is_no_energy_and_says_so(code: str) -> None:
    assert not obis.parse(code).is_energy
    with pytest.raises(ValueError, match="no unit is known"):
        obis.parse(code).unit


def test_codes_sort_by_their_numbers() -> None:
    assert sorted(["15.8.0", "2.8.0", "1.8.10", "1.8.2"], key=obis.sort_key) == ["1.8.2", "1.8.10", "2.8.0", "15.8.0"]


def test_the_voltage_of_a_meters_battery_is_a_quantity_and_no_energy() -> None:
    assert obis.parse("96.6.3").unit == "V"
    assert not obis.parse("96.6.3").is_energy
    with pytest.raises(ValueError, match="no unit is known"):
        _ = obis.parse("96.6.0").unit
