"""points.csv: what is taken, and that every fault is named with its line and what would be right."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.central import points_csv
from collector.central.points_csv import HEADER, Device, PointRow, parse
from drivers.strict_yaml import ConfigError

GOOD = {
    "point": "lenina-12-kv14", "account": "434745456346", "utility": "generic", "address": "Lenina 12", "flat": "14",
    "tariffs": "2", "receipt_order": "", "meter": "lenina-12-014", "serial_number": "00000201", "profile": "abb-b23",
    "gateway": "gw-lenina-12", "ratio": "", "time_zone": "",
}  # fmt: skip
BY_HAND = {**GOOD, "meter": "", "serial_number": "", "profile": "", "gateway": ""}


def text(*rows: dict[str, str], header: tuple[str, ...] = HEADER) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(row.values() for row in rows)
    return out.getvalue().encode()


def read(data: bytes) -> list[PointRow]:
    return parse(data, "points.csv", default_zone="Europe/Moscow", utilities={"generic"})


def faults(data: bytes) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(data)
    return refused.value.faults


def other(number: int, **changed: str) -> dict[str, str]:
    """Another sound row beside GOOD."""
    return {**GOOD, "point": f"p{number}", "meter": f"m{number}", "serial_number": f"9{number}", **changed}


def test_a_row_is_read_with_its_defaults() -> None:
    (row,) = read(text(GOOD))
    device = Device("lenina-12-014", "00000201", "abb-b23", "gw-lenina-12")
    assert (row.line, row.receipt_order, row.ratio, row.time_zone) == (2, 1, Decimal(1), "Europe/Moscow")
    assert (row.point, row.account, row.utility, row.tariffs) == ("lenina-12-kv14", "434745456346", "generic", 2)
    assert row.device == device


def test_what_a_row_gives_is_taken_as_it_stands() -> None:
    (row,) = read(
        text({**GOOD, "receipt_order": "3", "ratio": "40.50", "time_zone": "Asia/Omsk", "address": 'A "B", 1'})
    )
    assert (row.receipt_order, row.ratio, row.time_zone) == (3, Decimal("40.5"), "Asia/Omsk")
    assert row.address == 'A "B", 1'


def test_a_row_without_a_meter_is_a_point_read_by_hand() -> None:
    assert read(text(BY_HAND))[0].device is None


def test_the_mark_and_the_line_ends_of_spreadsheets_are_passed_over() -> None:
    data = b"\xef\xbb\xbf" + text(GOOD, other(1)).replace(b"\n", b"\r\n") + b"\r\n"
    assert [row.line for row in read(data)] == [2, 3]


def test_a_header_alone_is_an_empty_list() -> None:
    assert read(text()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"point": "kv 14"}, "point: a name is 1 to 63"),
        ({"point": ""}, "point: a name is 1 to 63"),
        ({"point": "x" * 64}, "point: a name is 1 to 63"),
        ({"meter": "дом-1"}, "meter: a name is 1 to 63"),
        ({"gateway": "-gw"}, "gateway: a name is 1 to 63"),
        ({"account": ""}, "account: 1 to 64 printable"),
        ({"account": "1" * 65}, "account: 1 to 64 printable"),
        ({"account": "12\t3"}, "account: 1 to 64 printable"),
        ({"account": " 123"}, "account: 1 to 64 printable"),
        ({"address": "x" * 501}, "address: 0 to 500 printable"),
        ({"address": "a\nb"}, "address: 0 to 500 printable"),
        ({"flat": "x" * 51}, "flat: 0 to 50 printable"),
        ({"serial_number": "1" * 65}, "serial_number: 1 to 64 printable"),
        ({"tariffs": "0"}, "tariffs: a whole number from 1 to 4 (here: '0')"),
        ({"tariffs": "5"}, "tariffs: a whole number from 1 to 4 (here: '5')"),
        ({"tariffs": ""}, "tariffs: a whole number from 1 to 4"),
        ({"tariffs": "²"}, "tariffs: a whole number from 1 to 4"),
        ({"receipt_order": "0"}, "receipt_order: a whole number from 1 to 999"),
        ({"receipt_order": "1.0"}, "receipt_order: a whole number"),
        ({"ratio": "0"}, "ratio: a decimal number above 0"),
        ({"ratio": "-1"}, "ratio: a decimal number above 0"),
        ({"ratio": "1,5"}, "ratio: a decimal number above 0"),
        ({"ratio": "1e3"}, "ratio: a decimal number above 0"),
        ({"ratio": "NaN"}, "ratio: a decimal number above 0"),
        ({"time_zone": "Moscow"}, "time_zone: 'Moscow' is not a time zone"),
        ({"time_zone": "../etc/passwd"}, "is not a time zone"),
        ({"utility": "gazprom"}, "utility: 'gazprom' is not known; known are generic"),
        ({"profile": "abb-b24"}, "profile 'abb-b24' is not known"),
        ({"profile": "/etc/x.yaml"}, "the id of a shipped profile, not a file"),
        ({"profile": "eastron-sdm630"}, "tariffs: 2 bills 1.8.1, 1.8.2; eastron-sdm630 has no 1.8.1, 1.8.2"),
        ({"profile": "gavazzi-em340", "tariffs": "3"}, "gavazzi-em340 has no 1.8.3 (it has 1.8.0, 1.8.1, 1.8.2)"),
        ({"meter": ""}, "meter: empty; meter, serial_number, profile, gateway are all given, or all empty"),
        ({"serial_number": "", "gateway": ""}, "serial_number, gateway: empty"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line_and_what_would_be_right(change: dict[str, str], told: str) -> None:
    (fault,) = faults(text(other(1), {**GOOD, **change}))
    assert fault.startswith("points.csv:3: ")
    assert told in fault


def test_all_faults_of_all_rows_are_told_at_once_in_the_order_of_the_file() -> None:
    found = faults(text({**GOOD, "ratio": "x", "tariffs": "9"}, other(1), other(2, utility="u"), other(3, point="p1")))
    assert [fault.split(": ")[0] for fault in found] == ["points.csv:2", "points.csv:2", "points.csv:4", "points.csv:5"]


def test_faults_beyond_a_thousand_are_counted() -> None:
    found = faults(text(*(other(n, ratio="x") for n in range(1200))))
    assert len(found) == 1001
    assert found[-1] == "points.csv: and 200 faults more"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "points.csv:1: the header must be point,account,"),
        (
            text(GOOD).replace(b",", b";"),
            "points.csv:1: the columns are separated by semicolons; separate them by commas",
        ),
        (text(GOOD).replace(b",", b"\t"), "separated by tabs"),
        (text(header=HEADER[:-1]), "missing: time_zone"),
        (text(header=(*HEADER, "note")), "unknown: 'note'"),
        (text(header=HEADER[::-1]), "in another order"),
        (text(header=tuple(column.upper() for column in HEADER)), "missing: point, account"),
        (text(other(1)) + b"a,b,c\n", "points.csv:3: 3 columns instead of 13"),
        (text(other(1)) + b'"open,,,\n', "points.csv:3: not CSV"),
        (text(other(1)) + b'"a"b,,,\n', "points.csv:3: not CSV"),
    ],
)
def test_a_file_that_is_not_this_csv_says_what_is_wrong(data: bytes, told: str) -> None:
    assert told in faults(data)[0]


def test_a_file_in_another_encoding_is_named_by_line() -> None:
    rows = text(GOOD).decode() + "п,1,generic,улица,1,1,,,,,,,\n"
    assert faults(rows.encode("cp1251")) == [
        "points.csv:3: not UTF-8 (byte 1 of the line is 0xef); save the file as UTF-8"
    ]


def test_a_row_over_several_lines_is_named_by_its_first() -> None:
    data = text({**GOOD, "address": "a\nb\nc"}, other(1, ratio="x"))
    assert [fault.split(": ")[0] for fault in faults(data)] == ["points.csv:2", "points.csv:5"]


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (other(1, point="lenina-12-kv14"), "points.csv:3: point: 'lenina-12-kv14' is in line 2 already"),
        (other(1, meter="lenina-12-014"), "points.csv:3: meter: 'lenina-12-014' is in line 2 already"),
        (other(1, serial_number="201"), "points.csv:3: serial_number: '201' is in line 2 already"),
        (other(1, serial_number=" 0000 0201".strip()), "serial_number: '0000 0201' is in line 2 already"),
        (
            other(1, point="Lenina-12-KV14"),
            "point: 'Lenina-12-KV14' differs from 'lenina-12-kv14' in line 2 only in case",
        ),
        (other(1, meter="LENINA-12-014"), "meter: 'LENINA-12-014' differs from 'lenina-12-014' in line 2 only in case"),
        (
            other(1, gateway="GW-lenina-12"),
            "gateway: 'GW-lenina-12' differs from 'gw-lenina-12' in line 2 only in case",
        ),
    ],
)
def test_two_rows_that_cannot_both_be_right_are_refused(second: dict[str, str], told: str) -> None:
    (fault,) = faults(text(GOOD, second))
    assert told in fault


def test_two_makers_may_have_given_out_the_same_serial_number() -> None:
    assert len(read(text(GOOD, other(1, serial_number="00000201", profile="gavazzi-em340")))) == 2


def test_a_file_with_too_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_csv, "MOST_ROWS", 2)
    assert faults(text(GOOD, other(1), other(2), other(3))) == [
        "points.csv:4: more than 2 rows; cut the file into several"
    ]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_csv, "MOST_BYTES", 10)
    assert "a file has at most 10" in faults(text(GOOD))[0]


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_behind_the_header_are_rows_or_a_named_fault(tail: bytes) -> None:
    data = text() + tail
    try:
        read(data)
    except ConfigError as error:
        assert all(fault.startswith("points.csv:") for fault in error.faults)


@given(st.lists(st.text(max_size=70), min_size=13, max_size=13))
@settings(max_examples=200, deadline=None)
def test_any_texts_in_a_row_are_a_row_or_a_named_fault(cells: list[str]) -> None:
    try:
        data = text(dict(zip(HEADER, cells, strict=True)))
        rows = read(data)
    except UnicodeEncodeError:
        return
    except ConfigError as error:
        assert all(fault.startswith("points.csv:") for fault in error.faults)
    else:
        assert len(rows) <= 1
