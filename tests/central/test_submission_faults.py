"""Submissions that a utility would refuse or misread: profiles that could make one, and rows that must not get in."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from collector import localtime
from collector.central import utility as utilities
from collector.central.month_ends import SETTLE
from collector.central.utility import Utility
from drivers.strict_yaml import ConfigError
from tests.central.test_submissions import own, row, written

SHIPPED = [utilities.load(name) for name in utilities.known()]
LIST = "- {format: building, file: b.csv, encoding: windows-1251}"


def faults(outputs: str) -> str:
    with pytest.raises(ConfigError) as refused:
        own(outputs)
    return str(refused.value)


# ----------------------------------------------------------------------------- the building's list


def test_a_building_list_has_no_account_or_meter_with_a_question_mark_in_it(tmp_path: Path) -> None:
    rows = [row("1", "1.8.0", "5"), row("2日", "1.8.0", "6"), row("3", "1.8.0", "7", serial="№日")]
    files, remarks, entries = written(tmp_path, own(LIST), rows)
    records = files["b.csv"].decode("windows-1251").split("\n")
    assert [record for record in records if "?" in record] == []
    assert (len(records), entries[0]["rows"]) == (
        4,
        1,
    )  # a header, a meter, the building's total and the last line feed
    assert "total of 1,5" in records[2]
    assert [(remark["account"], remark["sent"]) for remark in remarks] == [("2日", "no"), ("3", "no")]
    assert remarks[0]["reason"] == "account '2日' cannot be written in cp1251"


def test_what_a_building_list_lacks_letters_for_is_said(tmp_path: Path) -> None:
    files, remarks, _ = written(tmp_path, own(LIST), [row("1", "1.8.0", "5", address="дом 😀", flat="日")])
    assert files["b.csv"].decode("windows-1251").split("\n")[1].startswith("дом ?,,?,1,")
    assert [(remark["account"], remark["sent"], remark["reason"]) for remark in remarks] == [
        ("1", "yes", "'😀日' cannot be written in cp1251: `?`")
    ]


# ----------------------------------------------------------------------------- registry


def test_a_row_without_its_value_is_remarked_though_it_is_in_the_file(tmp_path: Path) -> None:
    columns = "columns: [{title: account, value: '{account}'}, {title: kWh, value: '{end}'}], trailer: ['{sum_end}']"
    utility = own(f"- {{format: registry, file: a.csv, unready: row, {columns}}}")
    rows = [row("1", "1.8.0", "5"), row("2", "1.8.0", "6", status="held"), row("3", "1.8.0", None, status="missing")]
    files, remarks, _ = written(tmp_path, utility, rows)
    assert files["a.csv"].decode().splitlines() == ["account,kWh", "1,5", "2,", "3,", "5"]
    assert [(remark["account"], remark["register"], remark["sent"], remark["reason"][:7]) for remark in remarks] == [
        ("2", "1.8.0", "yes", "held: s"), ("3", "1.8.0", "yes", "missing"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("encoding: rot13, columns: [{title: a, value: a}]", "an encoding such as utf-8, windows-1251, koi8-r"),
        ("encoding: idna, columns: [{title: a, value: a}]", "an encoding such as utf-8, windows-1251, koi8-r"),
        ("encoding: koi8-r, columns: [{title: №, value: a}]", "'№' cannot be written in koi8-r"),
        ("encoding: koi8-r, columns: [{title: a, value: a}], trailer: [№]", "'№' cannot be written in koi8-r"),
        ("encoding: koi8-r, bom: true, columns: [{title: a, value: a}]", "bom: a mark of byte order is utf-8's alone"),
        ("per: meter, columns: [{title: a, value: '{end}'}]", "{end}: of a meter's registers, say which: {end 1.8.1}"),
        ("per: meter, columns: [{title: a, value: '{status}'}]", "{status}: of a meter's registers, say which"),
    ],
)
def test_a_table_that_nobody_could_load_is_refused_with_its_profile(output: str, said: str) -> None:
    assert said in faults(f"- {{format: registry, file: a, {output}}}")


# ----------------------------------------------------------------------------- names of files


@pytest.mark.parametrize(
    ("first", "second"),
    [("{year}-{month}.csv", "{period}.csv"), ("a.csv", "A.csv"), ("remarks.csv", "a.csv"), ("REMARKS.csv", "a.csv")],
)
def test_two_files_that_would_be_one_are_refused(first: str, second: str) -> None:
    both = "\n".join(f'- {{format: building, file: "{name}"}}' for name in (first, second))
    assert "would be written twice" in faults(both)


@pytest.mark.parametrize("name", [".", "..", "...", "a/b", "", ".hidden"])
def test_a_file_is_called_as_a_file(name: str) -> None:
    assert "a file's name has letters" in faults(f'- {{format: building, file: "{name}"}}')


# ----------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    "keys",
    [
        'line: "{account}{values}"',
        'line: "{account} {address}{values}"',
        'line: "{account} {values}", value: "{number}{value}"',
        'line: "{account} {values}", value: "{value}{number}"',
        'line: "{account} {values}", join: "0"',
    ],
)
def test_a_message_in_which_two_numbers_run_together_is_refused_with_its_profile(keys: str) -> None:
    assert "nobody can tell where" in faults(f"- {{format: messages, file: a.txt, {keys}}}")


@pytest.mark.parametrize(
    ("address", "flat", "place"), [("Мира 5", "14", "Мира 5, 14"), ("Мира 5", "", "Мира 5"), ("", "14", "14")]
)
def test_an_address_is_told_with_its_flat_where_there_is_one(
    address: str, flat: str, place: str, tmp_path: Path
) -> None:
    files, _, _ = written(tmp_path, utilities.load("email-a"), [row("998", "1.8.0", "5", address=address, flat=flat)])
    assert files == {"email.txt": f"998; {place}; 5\n".encode()}


def test_a_sheet_to_read_out_has_no_empty_meter(tmp_path: Path) -> None:
    by_hand = row("1234567890", "1.8.0", "77", label="total")
    by_hand = by_hand._replace(reading=by_hand.reading._replace(serial_number=""))
    files, _, _ = written(tmp_path, own("- {format: phone, file: p.txt}"), [by_hand])
    assert files["p.txt"].decode().splitlines()[2:] == ["1234 5678 90", "    total                      77"]


# ----------------------------------------------------------------------------- days


@pytest.mark.parametrize("utility", [found for found in SHIPPED if found.window], ids=lambda found: found.id)
@pytest.mark.parametrize("period", ["2026-02", "2026-04", "2026-10", "2026-12", "2028-02"])
def test_the_files_of_a_month_are_there_while_its_utility_takes_them(utility: Utility, period: str) -> None:
    """The central service closes SETTLE after the edge; a day is left for exceptions at least."""
    assert utility.window is not None
    assert utility.time_zone is not None
    opens, closes = utility.window.of(period, utility.time_zone)
    made = utility.edge_of(period, utility.time_zone).at + SETTLE
    assert opens <= made <= closes - 24 * 3_600_000, (localtime.rfc3339(opens), localtime.rfc3339(closes))


def test_remarks_are_a_table_whatever_an_account_is_called(tmp_path: Path) -> None:
    files, remarks, _ = written(
        tmp_path, own('- {format: messages, file: s.txt, line: "{account}*{values}"}'), [row('=a"*,', "1.8.0", "5")]
    )
    assert files == {"s.txt": b""}
    assert [remark["account"] for remark in remarks] == ["'=a\"*,"]
    whole = (tmp_path / "remarks.csv").read_text()
    assert all(len(record) == 6 for record in csv.reader(io.StringIO(whole)))
