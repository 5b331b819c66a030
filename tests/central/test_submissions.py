"""Submissions: every shipped utility's files against golden ones, what they leave out, and what must never get in."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from collector.central import utility as utilities
from collector.central.submissions import gsm, iec61968
from collector.central.submissions.folder import Submissions
from collector.central.submissions.rows import REMARKS, Row
from collector.central.utility import Utility
from collector.localtime import rfc3339
from collector.model import BillingReading

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "submissions"
CLOSED = 1793480400000  # 2026-11-01 00:00 in Moscow
SHIPPED = [utilities.load(name) for name in utilities.known()]


def row(
    account: str,
    code: str,
    kwh: str | None,
    *,
    tariffs: int = 1,
    order: int = 1,
    status: str = "ready",
    revision: int = 1,
    address: str = "ул. Ленина, 12, подъезд 2",
    flat: str = "14",
    serial: str = "",
    label: str = "",
    utility: str = "own",
) -> Row:
    """A billed register of a point."""
    reading = BillingReading(**{
        "period": "2026-10", "utility": utility, "account": account, "point": f"p-{account[:8]}-{order}",
        "meter": f"m-{account[:8]}-{order}", "serial_number": serial or f"1234567{order}", "register_": code,
        "label": label or code, "start_time": None, "start_kwh": None if kwh is None else Decimal(kwh) - 100,
        "end_time": None if kwh is None else CLOSED + 59_000, "end_kwh": None if kwh is None else Decimal(kwh),
        "ratio": Decimal(1), "consumption_kwh": None if kwh is None else Decimal(100), "status": status,
        "method": "frozen" if kwh is not None else "", "quality": "0.1" if status == "ready" else "5.259",
        "revision": revision,
    })  # fmt: skip
    return Row(reading, order, tariffs, address, flat, "Europe/Moscow")


def written(
    folder: Path, utility: Utility, rows: Sequence[Row], revision: int = 1
) -> tuple[dict[str, bytes], list[dict[str, str]], list[dict[str, Any]]]:
    """The files, the remarks, and what the manifest says."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Submissions(folder, utility.head("2026-10", revision, CLOSED), utility.outputs)
    try:
        made.add(rows)
        entries = made.finish()
    finally:
        made.close()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    remarks = list(csv.DictReader(io.StringIO(files.pop(REMARKS, b"").decode())))
    return files, remarks, entries


def own(outputs: str, **keys: str) -> Utility:
    """A utility with these outputs, in YAML."""
    text = {"schema": "1", "id": "own", "title": "Own", "labels": "{1.8.0: total, 1.8.1: T1, 1.8.2: T2}", **keys}
    return utilities.parse(
        ("\n".join(f"{key}: {value}" for key, value in text.items()) + f"\noutputs:\n{outputs}\n").encode(), "own.yaml"
    )


def street(utility: Utility) -> list[Row]:
    """Accounts of every kind: one to three tariffs, two meters, held, missing, estimated, hostile texts."""

    def labelled(account: str, code: str, kwh: str | None, **more: Any) -> Row:
        return row(account, code, kwh, label=utility.label(code), utility=utility.id, **more)

    return [
        labelled("434745456346", "1.8.0", "1111", order=1),
        labelled("434745456346", "1.8.0", "2222", order=2),
        labelled("434745456347", "1.8.1", "200", tariffs=2, flat="2"),
        labelled("434745456347", "1.8.2", "100", tariffs=2, flat="2"),
        labelled("434745456348", "1.8.1", "15023", tariffs=3, flat="3"),
        labelled("434745456348", "1.8.2", "5020", tariffs=3, flat="3"),
        labelled("434745456348", "1.8.3", "0", tariffs=3, flat="3"),
        labelled("434745456349", "1.8.0", None, status="missing", flat="12", address="Садовая 5"),
        labelled("434745456350", "1.8.0", "77", status="held", flat="12а", address="Садовая 5"),
        labelled("434745456351", "1.8.0", "88", status="estimated", flat="9", address="Садовая 5"),
        labelled("7*7;7", "1.8.0", "90", flat="1", address="Садовая 5"),
        labelled("=1+1", "1.8.0", "91", flat="7", address='=HYPERLINK("http://x";"<a & \'b\'>")'),
    ]


@pytest.mark.parametrize("utility", [found for found in SHIPPED if found.outputs], ids=lambda found: found.id)
def test_a_utilitys_files_are_to_the_byte_what_they_were(utility: Utility, tmp_path: Path) -> None:
    files, remarks, _ = written(tmp_path / "submissions", utility, street(utility))
    golden = {path.name: path.read_bytes() for path in (GOLDEN / utility.id).iterdir()}
    assert {**files, REMARKS: (tmp_path / "submissions" / REMARKS).read_bytes()} == golden
    assert remarks, "this street has accounts that no form can take"


def test_a_utility_is_either_known_by_its_form_or_says_that_it_is_not() -> None:
    for utility in SHIPPED:
        assert bool(utility.outputs) != (utility.format == "unknown") or utility.id == "generic", utility.id


def test_a_utility_without_a_form_gets_no_submission(tmp_path: Path) -> None:
    files, remarks, entries = written(tmp_path, utilities.load("altai"), street(utilities.load("altai")))
    assert (files, remarks, entries) == ({}, [], [])


STES = '- {format: messages, file: sms.txt, line: "{account}*{values}", join: "*"}'


def test_an_account_of_which_one_register_is_held_gets_no_message_at_all(tmp_path: Path) -> None:
    rows = [row("1", "1.8.1", "5", tariffs=2), row("1", "1.8.2", "7", tariffs=2, status="held"), row("2", "1.8.0", "9")]
    files, remarks, _ = written(tmp_path, own(STES), rows)
    assert files == {"sms.txt": b"2*9\n"}
    assert [(remark["account"], remark["register"], remark["sent"]) for remark in remarks] == [("1", "1.8.2", "no")]
    assert "held" in remarks[0]["reason"]


def test_two_meters_are_not_told_as_day_and_night(tmp_path: Path) -> None:
    utility = utilities.load("udmurt-electricity")
    files, remarks, _ = written(tmp_path, utility, [row("1", "1.8.0", "5"), row("1", "1.8.0", "6", order=2)])
    assert files == {"sms.txt": b""}
    assert "meters of the account: 2; this form tells 1 apart" in remarks[0]["reason"]


def test_a_message_that_names_the_meter_is_not_sent_without_its_number(tmp_path: Path) -> None:
    by_hand = row("1", "1.8.0", "5")
    by_hand = by_hand._replace(reading=by_hand.reading._replace(serial_number=""))
    files, remarks, _ = written(tmp_path, utilities.load("dek-primorye"), [by_hand])
    assert files == {"sms.txt": b""}
    assert remarks[0]["reason"] == "no serial number is known of the meter, and this message names it"


@pytest.mark.parametrize("account", ["12*34", "*", "1*"])
def test_an_account_with_the_sign_that_separates_values_is_left_out_with_the_reason(
    account: str, tmp_path: Path
) -> None:
    files, remarks, _ = written(tmp_path, own(STES), [row(account, "1.8.0", "5")])
    assert files == {"sms.txt": b""}
    assert "'*', which ends a field" in remarks[0]["reason"]


def test_an_account_that_is_not_of_the_utilitys_form_is_left_out(tmp_path: Path) -> None:
    utility = own('- {format: messages, file: sms.txt, line: "{account}*{values}", join: "*", account: "[0-9]{12}"}')
    files, remarks, _ = written(tmp_path, utility, [row("123", "1.8.0", "5"), row("1" * 12, "1.8.0", "6")])
    assert files == {"sms.txt": b"111111111111*6\n"}
    assert "not of the form [0-9]{12}" in remarks[0]["reason"]


def test_only_accounts_with_something_new_are_sent_again_in_a_revision(tmp_path: Path) -> None:
    rows = [row("1", "1.8.0", "5"), row("2", "1.8.0", "6", revision=2)]
    files, remarks, _ = written(tmp_path, own(STES), rows, revision=2)
    assert (files, remarks) == ({"sms.txt": b"2*6\n"}, [])


def test_a_message_longer_than_one_sms_is_left_out_and_shown(tmp_path: Path) -> None:
    latin = [row("1", "1.8.0", "12345678", order=place) for place in range(1, 19)]
    cyrillic = [row("Щ", "1.8.0", "12345678", order=place) for place in range(1, 8)]
    files, remarks, _ = written(tmp_path, own(STES), [*latin, *cyrillic])
    assert files["sms.txt"].decode() == "Щ*" + "*".join(["12345678"] * 7) + "\n"
    assert "takes 163 characters, an SMS has 160" in remarks[0]["reason"]
    longer = [row("Щ" * 8, "1.8.0", "12345678", order=place) for place in range(1, 8)]
    files, remarks, _ = written(tmp_path / "2", own(STES), longer)
    assert files["sms.txt"] == b""
    assert "takes 71 characters, an SMS has 70" in remarks[0]["reason"]
    by_mail = own('- {format: messages, file: m.txt, line: "{account} {values}", carrier: email}')
    files, remarks, _ = written(tmp_path / "3", by_mail, latin)
    assert files["m.txt"].count(b"12345678") == 18
    assert remarks == []


@pytest.mark.parametrize(
    ("text", "takes", "has"),
    [
        ("a" * 160, 160, 160),
        ("[]{}", 8, 160),
        ("€", 2, 160),
        ("Э", 1, 70),
        ("😀", 2, 70),
        ("@£$¥", 4, 160),
        ("`", 1, 70),
    ],
)
def test_a_text_messages_room_is_that_of_its_alphabet(text: str, takes: int, has: int) -> None:
    assert gsm.room(text) == (takes, has)


def test_the_default_alphabet_has_its_127_characters_beside_the_escape() -> None:
    assert len(gsm.DEFAULT) == 127


@given(
    accounts=st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20), unique=True),
    kwh=st.integers(0, 10**9),
)
def test_what_is_sent_is_read_back_as_the_account_and_value_that_were_meant(
    accounts: list[str], kwh: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [row(account, "1.8.0", str(kwh)) for account in sorted(accounts)]
    files, remarks, _ = written(tmp_path_factory.mktemp("sent"), own(STES), rows)
    sent = dict(line.split("*") for line in files["sms.txt"].decode().split("\n")[:-1])
    left_out = {account for account in accounts if "*" in account}
    assert sent == {account: str(kwh) for account in set(accounts) - left_out}
    assert len(remarks) == len(left_out)


REGISTRY = """- format: registry
  file: "{utility}-{year}{month}.csv"
  encoding: windows-1251
  delimiter: semicolon
  ends: crlf
  columns: [{title: account, value: "{account}"}, {title: address, value: "{address}"}, {title: kWh, value: "{end}"}]
  trailer: [total, "{rows}", "{sum_end}"]"""


def test_a_registry_is_in_its_own_encoding_and_ends_with_control_totals(tmp_path: Path) -> None:
    rows = [row("1", "1.8.1", "5.5", tariffs=2), row("1", "1.8.2", "7", tariffs=2), row("2", "1.8.0", "9", flat="")]
    files, _, entries = written(tmp_path, own(REGISTRY), rows)
    records = files["own-202610.csv"].decode("windows-1251").split("\r\n")
    assert records[0] == "account;address;kWh"
    assert records[1] == "1;ул. Ленина, 12, подъезд 2;5.5"
    assert records[-2:] == ["total;3;21.5", ""]
    assert entries[0]["rows"] == 3


def test_a_sign_that_the_encoding_lacks_is_a_question_mark_in_an_address_and_never_in_an_account(
    tmp_path: Path,
) -> None:
    rows = [row("1", "1.8.0", "5", address="дом 😀"), row("日", "1.8.0", "6"), row("3", "1.8.0", "7", serial="№日")]
    files, remarks, _ = written(tmp_path, own(REGISTRY), rows)
    assert files["own-202610.csv"].decode("windows-1251").split("\r\n")[1:] == ["1;дом ?;5", "total;1;5", ""]
    assert [(remark["account"], remark["sent"]) for remark in remarks] == [("1", "yes"), ("日", "no"), ("3", "no")]


def test_no_cell_of_a_table_is_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    utility = own(
        "- {format: registry, file: a.csv, columns: [{title: a, value: '{account}'}, {title: b, value: '{address}'},"
        " {title: c, value: '{consumption}'}]}\n- {format: building, file: b.csv}"
    )
    found = row("-x", "1.8.0", "5", address="@SUM(A1)", serial="=2", flat="+1", label="x")
    negative = Row(found.reading._replace(consumption_kwh=Decimal(-5)), *found[1:])
    files, _, _ = written(tmp_path, utility, [negative])
    cells = [cell for file in files.values() for record in csv.reader(io.StringIO(file.decode())) for cell in record]
    assert "-5" in cells
    assert [cell for cell in cells if re.match(r"[=+@\t-]", cell) and not re.fullmatch(r"-?[0-9]+", cell)] == []


def test_a_building_is_listed_by_entrance_and_flat_as_people_count(tmp_path: Path) -> None:
    places = [("b", "10"), ("a", "9"), ("a", "12а"), ("a", "12"), ("c", "1")]
    entrance = {"a": "Lenina 1, подъезд 2", "b": "Lenina 1, подъезд 10", "c": "Lenina 1, entrance 1"}
    rows = [
        row(str(account), "1.8.0", str(account * 10), address=entrance[place], flat=flat)
        for account, (place, flat) in enumerate(places, 1)
    ]
    files, _, _ = written(tmp_path, own("- {format: building, file: b.csv}"), rows)
    records = list(csv.reader(io.StringIO(files["b.csv"].decode())))
    assert records[0] == ["address", "entrance", "flat", "account", "meter", "total", "status"]
    assert [tuple(record[1:3]) for record in records[1:-1]] == [
        ("1", "1"),
        ("2", "9"),
        ("2", "12"),
        ("2", "12а"),
        ("10", "10"),
    ]
    assert records[-1] == ["Lenina 1", "", "", "", "total of 5", "150", ""]


# ----------------------------------------------------------------------------- IEC 61968-9

SCHEMA = Path(iec61968.__file__).parent / "iec61968_envelope.xsd"
NAMES = {"m": iec61968.READINGS, "e": iec61968.MESSAGE}


def message(folder: Path, rows: Sequence[Row], revision: int = 1) -> etree._Element:
    files, _, _ = written(folder, own("- {format: iec61968-9, file: a.xml}"), rows, revision)
    document = etree.fromstring(files["a.xml"])
    etree.XMLSchema(etree.parse(SCHEMA)).assertValid(document)
    return document


def test_meter_readings_are_valid_against_the_schema_and_say_what_the_ledger_says(tmp_path: Path) -> None:
    rows = street(own("- {format: iec61968-9, file: a.xml}"))
    document = message(tmp_path, rows)
    ready = [found for found in rows if found.reading.status == "ready"]
    assert [value.text for value in document.iterfind(".//m:value", NAMES)] == [
        str(found.reading.end_kwh) for found in ready
    ]
    assert document.findtext(".//e:Timestamp", namespaces=NAMES) == rfc3339(CLOSED)
    types = [found.get("ref") for found in document.iterfind(".//m:ReadingType", NAMES)]
    assert types[0] == "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
    assert types[3] == "0.0.0.1.1.1.12.0.0.0.0.2.0.0.0.3.72.0"
    accounts = [found.text for found in document.iterfind(".//m:UsagePoint/m:Names/m:name", NAMES)]
    assert accounts[-1] == "=1+1"


def test_the_same_revision_is_the_same_message_and_another_one_is_not(tmp_path: Path) -> None:
    rows = [row("1", "1.8.0", "5")]

    def ids(document: etree._Element) -> tuple[str | None, str | None]:
        found = [document.findtext(f".//e:{name}", namespaces=NAMES) for name in ("MessageID", "CorrelationID")]
        return found[0], found[1]

    first, again, second = (message(tmp_path / str(place), rows, revision) for place, revision in enumerate((1, 1, 2)))
    assert etree.tostring(first) == etree.tostring(again)
    assert ids(first)[0] != ids(second)[0]
    assert ids(first)[1] == ids(second)[1]


@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=60))
def test_no_text_of_an_account_breaks_out_of_the_xml(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    document = message(tmp_path_factory.mktemp("xml"), [row(text, "1.8.0", "5")])
    assert document.findtext(".//m:UsagePoint/m:Names/m:name", namespaces=NAMES) == text
    assert len(document.findall(".//m:MeterReading", NAMES)) == 1


def test_the_schema_refuses_what_is_not_ours(tmp_path: Path) -> None:
    document = message(tmp_path, [row("1", "1.8.0", "5")])
    schema = etree.XMLSchema(etree.parse(SCHEMA))
    value = document.find(".//m:value", NAMES)
    assert value is not None
    for wrong in ("-5", "five", ""):
        value.text = wrong
        assert not schema.validate(document)


# ----------------------------------------------------------------------------- the profile's part


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        ('- {format: messages, file: a.txt, line: "{account} {nobody}"}', "{account} {address}"),
        ('- {format: messages, file: a.txt, line: "{values}"}', "line needs {account} and {values}"),
        ('- {format: messages, file: ../a.txt, line: "{account} {values}"}', "a file's name has letters"),
        ('- {format: telex, file: a.txt}', "one of 'messages'"),
        ("- {file: a.txt}", "the key 'format' is required"),
        ("- {format: registry, file: a, encoding: utf-7, columns: [{title: a, value: a}]}", "ASCII's bytes"),
        ("- {format: registry, file: a, encoding: utf-16, columns: [{title: a, value: a}]}", "ASCII's bytes"),
        ('- {format: registry, file: a, columns: [{title: a, value: "{end 1.8}"}]}', "own.yaml:6"),
        ("- {format: building, file: a, entrance: x}", "group called entrance"),
        ("- {format: building, file: a}\n- {format: building, file: a}", "written twice"),
        ("- {format: building, file: remarks.csv}", "written twice"),
    ],
)  # fmt: skip
def test_a_fault_of_an_output_is_refused_with_its_line(outputs: str, fault: str) -> None:
    with pytest.raises(utilities.ConfigError) as refused:
        own(outputs)
    assert fault in str(refused.value)


def test_a_byte_order_mark_comes_where_it_is_asked_for(tmp_path: Path) -> None:
    utility = own('- {format: registry, file: a, bom: true, columns: [{title: a, value: "{account}"}]}')
    files, _, _ = written(tmp_path, utility, [row("1", "1.8.0", "5")])
    assert files["a"].startswith(codecs.BOM_UTF8 + b"a\n1\n")
