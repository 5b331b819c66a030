"""How codes, numbers, units, dates and data sets are spelled, and what is no spelling of any."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dialogue import DamagedFrame
from drivers.iec62056_21_datasets import DataSet, parse, to_body
from drivers.iec62056_21_readout import Sets, readout
from drivers.iec62056_21_spelling import (
    clock,
    code,
    date_of,
    is_nothing,
    moment,
    number,
    split_unit,
    time_of,
    unit_of,
    whole_wh,
)
from drivers.profile import load

GENERIC = load("generic-iec62056-21")

# ----------------------------------------------------------------------------- codes


@pytest.mark.parametrize(
    ("ident", "cde", "history"),
    [
        ("1-0:1.8.1*255", "1.8.1", ""), ("1.8.1", "1.8.1", ""), ("15.8.1", "15.8.1", ""), ("1.8", "1.8.0", ""),
        ("1.8.1*01", "1.8.1", "*01"), ("1.8.1&01", "1.8.1", "&01"), ("1-1:1.8.0*18", "1.8.0", "*18"),
        ("1.0.1.8.0.255", "1.8.0", ""), ("1.8.0.255", "1.8.0", ""), ("32.7", "32.7.0", ""), ("F.F", "97.97.0", ""),
        ("0-0:F.F.0*255", "97.97.0", ""), ("C.1.0", "96.1.0", ""), ("C.1", "96.1.0", ""), ("0.0", "0.0.0", ""),
        ("0-0:96.1.0", "96.1.0", ""), ("1-0:1.8.0*100", "1.8.0", "*100"),
        ("1-0:1.7.255*255", "1.7.0", ""), (" 1.8.0 ", "1.8.0", ""),
    ],
)  # fmt: skip
def test_every_spelling_of_a_code_means_one(ident: str, cde: str, history: str) -> None:
    found = code(ident)
    assert found is not None
    assert (found.cde, found.history) == (cde, history)


@pytest.mark.parametrize("ident", ["", "FF", "0F0880FF", "ET0PE", "1.F", "300.8.0", "1..8", "1.8.0*256", "1.8.x", "C"])
def test_what_is_no_code_means_none(ident: str) -> None:
    assert code(ident) is None


@pytest.mark.parametrize("ident", ["7-0:3.1.0", "0-1:24.2.1", "1-2:1.8.0", "8-1:1.0.0"])
def test_codes_of_other_media_and_channels_are_not_this_meters(ident: str) -> None:
    found = code(ident)
    assert found is not None
    assert not found.of_electricity


# ----------------------------------------------------------------------------- numbers and units


@given(st.decimals(min_value=0, max_value=10**12, allow_nan=False, allow_infinity=False, places=4))
def test_numbers_come_back_digit_by_digit(value: Decimal) -> None:
    assert number(f"{value:f}") == value
    assert number(f"  {value:f} ".replace(".", ",")) == value


@pytest.mark.parametrize(
    "text", ["", " ", "12.34.56", "1e3", "0x10", "12 34", "NaN", "12.", ".5", "١٢", "1_000", "--1"]
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize("text", ["", "    ", "????", "----", "*", "-", "  --.-"])
def test_fillers_are_no_value(text: str) -> None:
    assert is_nothing(text)
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("000123.4*kWh", "000123.4", "kWh"), ("024562 kWh", "024562", "kWh"), (" 20000", " 20000", ""),
        ("000001,5*kW", "000001,5", "kW"), ("1234", "1234", ""), ("Point-ID", "Point-ID", ""), ("*kWh", "", "kWh"),
        ("0123.4kWh", "0123.4", "kWh"), ("0A", "0", "A"), ("01B", "01B", ""),
    ],
)  # fmt: skip
def test_a_unit_stands_behind_a_star_or_a_blank(text: str, value: str, unit: str) -> None:
    assert split_unit(text) == (value, unit)


@pytest.mark.parametrize(
    ("text", "unit", "factor"),
    [
        ("Wh", "Wh", 1), ("kWh", "Wh", 1000), ("KWH", "Wh", 1000), ("kW.h", "Wh", 1000), ("MWh", "Wh", 10**6),
        ("GWh", "Wh", 10**9), ("kvarh", "varh", 1000), ("kVArh", "varh", 1000), ("Mvarh", "varh", 10**6),
        ("kVAh", "VAh", 1000), ("kW", "W", 1000), ("V", "V", 1), ("mA", "A", Decimal("0.001")), ("Hz", "Hz", 1),
    ],
)  # fmt: skip
def test_units_are_known_with_their_prefix(text: str, unit: str, factor: Decimal) -> None:
    assert unit_of(text) == (unit, factor)


@pytest.mark.parametrize("text", ["mWh", "m3", "GJ", "h", "kWh/imp", "", "k"])
def test_other_units_are_no_unit_of_ours(text: str) -> None:
    assert unit_of(text) is None


@given(st.integers(0, 10**15), st.sampled_from([1, 1000, 10**6]))
def test_energy_is_cut_below_one_watt_hour_and_never_rounded(milli: int, factor: int) -> None:
    assert whole_wh(Decimal(milli).scaleb(-3), Decimal(factor)) == milli * factor // 1000


# ----------------------------------------------------------------------------- dates and times


@pytest.mark.parametrize(
    ("date", "time", "order", "text"),
    [
        ("1120609", "132228", "ymd", "2012-06-09T13:22:28"), ("121221", "140253", "ymd", "2012-12-21T14:02:53"),
        ("0120216", "0155843", "ymd", "2012-02-16T15:58:43"), ("21-01-04", "23:16:43", "ymd", "2021-01-04T23:16:43"),
        ("16-03-22", "00:01:14", "ymd", "2016-03-22T00:01:14"), ("2021-01-04", "18:45", "ymd", "2021-01-04T18:45:00"),
        ("03.13.07.24", "16:07:45", "dmy", "2024-07-13T16:07:45"),
        ("3.11.09.24", "160745", "dmy", "2024-09-11T16:07:45"),
        ("04.01.21", "160745", "dmy", "2021-01-04T16:07:45"),
    ],
)  # fmt: skip
def test_dates_and_times_of_every_maker(date: str, time: str, order: str, text: str) -> None:
    assert clock(date, time, order) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("0120216091536", "2012-02-16T09:15:36"), ("16-03-14,18:45", "2016-03-14T18:45:00"),
        ("210301000000W", "2021-03-01T00:00:00"), ("2104010000", "2021-04-01T00:00:00"),
        ("16-03-01,00:00", "2016-03-01T00:00:00"), ("2026-11-01 00:00:00", "2026-11-01T00:00:00"),
    ],
)  # fmt: skip
def test_stamps_of_every_maker(text: str, stamp: str) -> None:
    assert moment(text) == stamp


@pytest.mark.parametrize("text", ["0000000000", "121120??", "", "991399000000", "04.01.21", "12345", "aaaaaa"])
def test_what_is_no_moment_is_none(text: str) -> None:
    assert moment(text) is None


@pytest.mark.parametrize("text", ["04.01.21", "2021", "", "21/1/4"])
def test_days_first_are_no_date_where_nobody_says_so(text: str) -> None:
    assert date_of(text) is None
    assert time_of("25") is None


# ----------------------------------------------------------------------------- data sets

idents = st.from_regex(r"[0-9A-FLPC][0-9A-Za-z.:*&_-]{0,15}", fullmatch=True)
groups = st.lists(st.from_regex(r"[ -'*-.0-~]{0,20}", fullmatch=True), min_size=1, max_size=4).map(tuple)


@given(st.lists(st.builds(DataSet, idents, groups), max_size=12), st.booleans())
def test_data_sets_come_back_as_they_were(sets: list[DataSet], proven: bool) -> None:
    assert parse(to_body(sets), proven=proven) == tuple(sets)
    assert parse(to_body(sets) + b"!\r\n", proven=proven) == tuple(sets)


def test_brackets_on_lines_of_their_own_belong_to_the_name_before() -> None:
    assert parse(b"ET0PE(68.42)\r\n(45.54)\r\n(22.88)\r\n", proven=True) == (
        DataSet("ET0PE", ("68.42", "45.54", "22.88")),
    )


def test_several_data_sets_stand_on_one_line() -> None:
    found = parse(b"400B(E12)(118.8)(121.1)400D(50.01)5003(009114135064195)", proven=True)
    assert [one.ident for one in found] == ["400B", "400D", "5003"]


def test_a_last_data_set_may_be_followed_by_the_end_at_once() -> None:
    assert parse(b"0.2.2(:::::G11)!\r\n", proven=False) == (DataSet("0.2.2", (":::::G11",)),)


@pytest.mark.parametrize("body", [b"1.8.0(1\r\n", b"1.8.0)1(\r\n", b"1.8.0(1))\r\n", b"1.8.0(1\x02)\r\n"])
def test_brackets_that_do_not_match_are_damage_also_under_a_check_character(body: bytes) -> None:
    with pytest.raises(DamagedFrame):
        parse(body + b"2.8.0(1)\r\n", proven=True)


def test_a_line_without_brackets_is_an_odd_habit_where_proven_and_damage_where_not() -> None:
    body = b"Hello\r\n1.8.0(1)\r\n"
    assert parse(body, proven=True)[-1].groups == ("1",)
    with pytest.raises(DamagedFrame):
        parse(b"1.8.0(1)\r\nHello\r\n2.8.0(1)\r\nHi\r\n!\r\n", proven=False)


# ----------------------------------------------------------------------------- what a readout makes of them


def values_of(text: str) -> dict[str, object]:
    found = readout(GENERIC, Sets(parse(text.replace(";", "\r\n").encode("ascii"), proven=True)))
    return {name: it.value for name, it in found.registers.items()}


def test_history_is_never_taken_for_the_value_of_now() -> None:
    assert values_of(
        "1.8.0*1(00001.0*kWh);1.8.0(00002.0*kWh);1.8.0*96(00003.0*kWh);1.8.0&01(4*kWh);2.8.0*00(5*kWh)"
    ) == {"1.8.0": 2000}


def test_a_key_that_stands_twice_with_two_texts_is_not_taken() -> None:
    assert values_of("1.8.0(1*kWh);1.8.0(2*kWh);2.8.0(3*kWh);2.8.0(3*kWh)") == {"2.8.0": 3000}


def test_another_channel_does_not_hide_the_meters_own() -> None:
    assert values_of("1-2:1.8.0(9*kWh);1-1:1.8.0(8*kWh);1-0:1.8.0(7*kWh)") == {"1.8.0": 7000}
    assert values_of("1-0:1.8.0(7*kWh);1-1:1.8.0(8*kWh)") == {"1.8.0": 7000}
    assert values_of("1-1:1.8.0(8*kWh)") == {"1.8.0": 8000}


def test_a_unit_that_is_not_the_codes_is_no_value() -> None:
    assert values_of("1.8.0(1*kvarh);2.8.0(1*GJ);3.8.0(1*kvarh);32.7.0(230*A);16.7.0(1.5)") == {"3.8.0": 1000}


def test_units_that_are_missing_are_kilowatt_hours_of_energy_and_the_base_unit_of_others() -> None:
    assert values_of("1.8.0(000001.2963);3.8.0(2);32.7.0(230.1);14.7.0(50)") == {
        "1.8.0": 1296, "3.8.0": 2000, "32.7.0": Decimal("230.1"), "14.7.0": Decimal("50"),
    }  # fmt: skip


def test_a_closing_without_a_unit_has_that_of_the_value_of_now() -> None:
    text = "0.1.2*01(2104010000);1.8.0(94500*Wh);1.8.0*01(10200);1.8.0*00(0);1.8.0*00(0);0.1.2*00(0000000000)"
    found = readout(GENERIC, Sets(parse(text.replace(";", "\r\n").encode("ascii"), proven=True)))
    assert [(one.stamp, one.registers["1.8.0"].value) for one in found.frozen] == [("2021-04-01T00:00:00", 10200)]


def test_a_slot_that_stands_several_times_is_no_closing_even_with_a_stamp() -> None:
    text = "0.1.2*00(2104010000);1.8.0(9*kWh);1.8.0*00(0);1.8.0*00(0)"
    found = readout(GENERIC, Sets(parse(text.replace(";", "\r\n").encode("ascii"), proven=True)))
    assert found.frozen == ()
