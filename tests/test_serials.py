"""When two serial numbers name the same meter."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.serials import plain_serial, same_serial


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("00000201", "201", True),
        ("12 345 678", "12345678", True),
        ("ABC-0012", "abc-0012", True),
        (" 0a1 ", "0A1", True),
        ("0A1", "A1", False),  # leading zeros count unless all are digits
        ("0", "000", True),
        ("201", "2010", False),
        ("", "", False),
        (" ", " ", False),
        ("", "0", False),
    ],
)
def test_blanks_case_and_the_zeros_before_digits_do_not_count(one: str, other: str, same: bool) -> None:
    assert same_serial(one, other) is same
    assert same_serial(other, one) is same


@settings(deadline=None)
@given(st.text(), st.text())
def test_what_counts_of_a_serial_number_is_the_same_when_it_is_taken_again(one: str, other: str) -> None:
    assert plain_serial(plain_serial(one)) == plain_serial(one)
    assert same_serial(one, other) == (plain_serial(one) == plain_serial(other) != "")
