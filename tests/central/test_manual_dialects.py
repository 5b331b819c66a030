"""Messages read back: what a utility's own form prints is read as what it was printed from, and never as another's."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from collector.central import utility as utilities
from collector.central.case import billed
from collector.central.manual_desk import Place, Refused
from collector.central.manual_dialects import Said, read
from collector.central.registry import Point, Segment
from collector.central.submissions import messages
from collector.central.utility import Utility
from tests.central.books import own_utility
from tests.central.test_submissions import CLOSED, row

FORMS = [
    (utility, output)
    for utility in map(utilities.load, utilities.known())
    for output in utility.outputs
    if output.format == "messages"
]
# What accounts, addresses and names of flats are made of, the signs of every dialect among them.
TEXT = st.text("0123456789АБ*;/- ,[]().", min_size=1, max_size=16).map(str.strip).filter(bool)
ACCOUNT = st.from_regex(r"[0-9]{4,12}", fullmatch=True) | st.from_regex(r"[0-9]{12}", fullmatch=True) | TEXT
DIALS = st.integers(0, 10**9).map(str)


def places(account: str, tariffs: Sequence[int], utility: Utility, address: str = "Ленина, 12") -> list[Place]:
    """The registers of an account, a point for each number of tariffs, as the desk has them."""
    found = []
    for order, count in enumerate(tariffs, 1):
        name = f"p{account}-{order}"
        point = Point(name, 0, account, utility.id, address, "14", count, order, Decimal(1), "Europe/Moscow")
        segment = Segment(name, f"m-{order}", f"1234567{order}", "abb-b23", "gw", None, None, None, None)
        found += [Place(point, segment, code) for code in utility.in_order(billed(count))]
    return found


def printed(utility: Utility, output: messages.Output, told: Sequence[tuple[Place, str]]) -> list[str]:
    """The messages of one account."""
    rows = [
        row(
            place.point.account, place.code, value, tariffs=place.point.tariffs, order=place.point.receipt_order,
            address=place.point.address, label=utility.label(place.code), utility=utility.id,
        )
        for place, value in sorted(told, key=lambda item: (item[0].point.receipt_order, item[0].code))
    ]  # fmt: skip
    file = io.BytesIO()
    list(messages.write(output, utility.head("2026-10", 1, CLOSED), file).add(rows))
    return file.getvalue().decode().split("\n")[:-1]


@st.composite
def accounts_of(draw: st.DrawFn, output: messages.Output) -> tuple[str, list[int]]:
    """An account that a form has words for, and the tariffs of its points."""
    meters = draw(st.integers(1, min(output.meters or 3, 3)))
    account = draw(st.from_regex(output.account, fullmatch=True) if output.account != ".+" else ACCOUNT)
    return account, [draw(st.sampled_from(output.tariffs)) for _ in range(meters)]


@pytest.mark.parametrize(("utility", "output"), FORMS, ids=[f"{u.id}-{o.file}" for u, o in FORMS])
@given(st.data())
def test_what_is_printed_is_read_as_what_it_was_printed_from(
    utility: Utility, output: messages.Output, data: st.DataObject
) -> None:
    account, tariffs = data.draw(accounts_of(output))
    alike = st.builds(lambda sign, more: f"{account}{sign}{more}", st.sampled_from("* ;"), st.integers(0, 9))
    theirs = st.lists(st.integers(1, 3), min_size=1, max_size=2)
    others = data.draw(st.lists(st.tuples(ACCOUNT | alike, theirs), max_size=2))
    address = data.draw(TEXT)
    mine = places(account, tariffs, utility, address)
    known: dict[str, list[Place]] = {name: places(name, theirs, utility) for name, theirs in others} | {account: mine}
    told = [(place, data.draw(DIALS)) for place in mine]
    lines = printed(utility, output, told)
    assume(lines)  # none: this form has no words for it, and a remark says so
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        try:
            said = read(line, utility, known)
        except Refused as refused:
            # Only where another account begins the same line is there a doubt, and then nobody is billed.
            assert "this may be account" in str(refused)
            assert any(line.startswith(name) for name in known if name != account)
            return
        assert said.account == account
        found |= meant(said, known)
    assert found == {(place.point.point, place.code): value for place, value in told}


def meant(said: Said, known: Mapping[str, Sequence[Place]]) -> dict[tuple[str, str], str]:
    """(point, register) -> reading, as the desk takes what is said."""
    mine = known[said.account]
    if said.meter is not None:
        hung = [place for place in mine if place.segment is not None and place.segment.serial_number == said.meter]
        mine = sorted(hung, key=lambda place: place.code)
    return {(place.point.point, place.code): value for place, value in zip(mine, said.values, strict=True)}


def test_every_form_that_is_shipped_is_among_them() -> None:
    assert {utility.id for utility, _ in FORMS} >= {
        "dek-primorye", "elektroset", "email-a", "email-b", "energosbyt-plus-vladimir", "krasnoyarskenergosbyt",
        "stes-strezhevoy", "tatenergosbyt", "tns-energo", "udmurt-electricity", "udmurt-hot-water",
    }  # fmt: skip


VLADIMIR = utilities.load("energosbyt-plus-vladimir")
TWO_METERS = {"10001": places("10001", [1, 2], VLADIMIR)}


@pytest.mark.parametrize(
    "text", ["10001 1Э123 2ЭД200 2ЭН100", "10001 2ЭН100 1Э123 2ЭД200", " 10001 2ЭД200 2ЭН100 1Э123 "]
)
def test_glued_tags_may_stand_in_any_order(text: str) -> None:
    assert read(text, VLADIMIR, TWO_METERS) == Said("10001", None, ("123", "200", "100"))


@pytest.mark.parametrize(
    "text",
    [
        "10001 1Э123 2ЭД200",  # one is not told
        "10001 1Э123 2ЭД200 2ЭД100",  # one twice
        "10001 1Э123 2ЭД200 2Г5",  # gas
        "10001 1Э123 2ЭД200 3ЭН100",  # there is no third meter
        "10001 1Э 123 2ЭД200 2ЭН100",  # a blank in a value
        "10001 1э123 2эд200 2эн100",  # another letter
    ],
)
def test_a_tag_that_is_not_the_accounts_makes_no_reading(text: str) -> None:
    said = read(text, VLADIMIR, TWO_METERS)  # as a plain message, of which the desk refuses the values
    assert not all(value.isdecimal() for value in said.values) or len(said.values) != 3


def test_a_message_that_names_a_meter_is_of_that_meter() -> None:
    dek = utilities.load("dek-primorye")
    known = {"10001": places("10001", [1, 1], dek)}
    assert read("10001 12345672 500", dek, known) == Said("10001", "12345672", ("500",))
    assert read("10001 500 600", dek, known) == Said("10001", None, ("500", "600"))


def test_a_message_of_a_meter_has_its_registers_in_the_order_of_the_utility() -> None:
    night_first = own_utility(
        labels="{1.8.2: night, 1.8.1: day}",
        outputs='[{format: messages, file: a.txt, per: meter, line: "{account} {serial_number} {values}"}]',
    )
    known = {"10001": places("10001", [2, 1], night_first)}
    assert read("10001 12345671 320 1500", night_first, known) == Said("10001", "12345671", ("1500", "320"))


def test_a_message_that_may_be_two_accounts_is_nobodys() -> None:
    elektroset = utilities.load("elektroset")
    known = {"5": places("5", [2], elektroset), "5 6": places("5 6", [1], elektroset)}
    with pytest.raises(Refused, match="this may be account 5 or 5 6; send it with another sign"):
        read("5 6 7", elektroset, known)


def test_whoever_sends_a_message_may_put_the_name_where_the_form_has_brackets() -> None:
    email = utilities.load("email-b")
    known = {"10001": places("10001", [2], email)}
    assert read("10001; Иванов И. И.; 500 600", email, known) == Said("10001", None, ("500", "600"))


def test_an_address_that_is_not_the_accounts_makes_no_reading() -> None:
    email = utilities.load("email-a")
    known = {"10001": places("10001", [2], email)}
    assert read("10001; Ленина, 12, 14; 500 600", email, known) == Said("10001", None, ("500", "600"))
    for place in ("Ленина, 13, 14", "Ленина, 12", "Ленина, 12, 15"):
        with pytest.raises(Refused, match="no account of email-a begins this line"):
            read(f"10001; {place}; 500 600", email, known)


def test_a_refusal_names_the_forms_that_are_read() -> None:
    with pytest.raises(Refused, match=r"a message is \{account\} \{values\} or ACCOUNT\*READING\*READING or ACCOUNT"):
        read("Здравствуйте", VLADIMIR, TWO_METERS)
