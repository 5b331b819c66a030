"""The utility's answer: what is taken and what is refused, who sees it, and that it is kept in the chain."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DatabaseError

from collector.central.audit import verify
from collector.central.database import response
from collector.central.engine import writing
from collector.central.restore import restore
from collector.clock import SystemClock
from collector.config import load_central
from collector.spool import Inbox
from tests.central.books import FIRST, SECOND, Centre, at, point
from tests.central.building import Meterline, central_yaml
from tests.central.drill import empty, made, state

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return central_yaml(tmp_path)


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    """Two flats, September and October closed; the second account holds a blank. It is 2 November."""
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 08:00:00"))
    centre = Centre(tmp_path, point(1), point(2, account="43 45;*"))
    for meter in ("m1", "m2"):
        centre.month_of(meter, "2026-09", FIRST)
        centre.month_of(meter, "2026-10", SECOND)
    centre.close("2026-09")
    centre.close("2026-10")
    yield centre
    centre.store.close()
    centre.engine.dispose()


Answer = Callable[..., tuple[int, str]]


@pytest.fixture
def answer(tmp_path: Path, config: Path, meterline: Meterline) -> Answer:
    """Imports a text as the utility's answer for October; (exit status, what was said)."""

    def say(text: str | bytes, *more: str, period: str = "2026-10") -> tuple[int, str]:
        file = tmp_path / "answer.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        options = ("--config", config, "--utility", "generic", "--period", period, *more)
        done = meterline("response", "import", file, *options)
        return done.status, done.err

    return say


def stored(centre: Centre) -> list[tuple[str, int, str, str]]:
    """Every answer, oldest first."""
    columns = (response.c.account, response.c.revision, response.c.verdict, response.c.reason)
    with centre.engine.connect() as connection:
        rows = connection.execute(select(*columns).order_by(response.c.id)).all()
    return [(row.account, row.revision, row.verdict, row.reason) for row in rows]


def listed(config: Path, meterline: Meterline) -> list[tuple[str, str, str]]:
    """(account, check, text) of the exceptions of October."""
    out = meterline("exceptions", "list", "2026-10", "--config", config, "--format", "csv").out
    return [(row["account"], row["check"], row["text"]) for row in csv.DictReader(out.splitlines())]


@pytest.mark.parametrize(
    "text",
    [
        "account,verdict,reason\n10001,accepted,\n43 45;*,refused,no such account\n",
        'account;verdict;reason\r\n10001;accepted;\r\n"43 45;*";refused;no such account\r\n',
        "\ufeffAccount,Verdict,Reason\n43 45;*,refused,no such account\n\n10001,accepted,\n10001,accepted,\n",
        "10001 accepted\n43 45;* refused: no such account",
    ],
)
def test_an_answer_is_a_table_or_a_line_for_each_account(centre: Centre, answer: Answer, text: str) -> None:
    status, said = answer(text)
    assert (status, said.splitlines()[0]) == (0, "1 accepted, 1 refused; 2 of them new")
    assert sorted(stored(centre)) == [("10001", 1, "accepted", ""), ("43 45;*", 1, "refused", "no such account")]


HEAD = "account,verdict,reason\n"
FAULTS = [
    (HEAD + "10009,accepted,\n", "answer.csv: line 2: account '10009' is not in what was sent; it has to be exact"),
    (HEAD + "010001,accepted,\n", "line 2: account '010001' is not in what was sent"),
    (HEAD + "10001,Accepted,\n", "line 2: verdict 'Accepted'; it is accepted or refused"),
    (HEAD + "10001,refused,\n", "line 2: account 10001 is refused without a reason"),
    (HEAD + "10001,refused," + "x" * 401, "line 2: a reason of 401 characters; at most 400"),
    (HEAD + "10001,accepted\n", "line 2: 2 columns instead of 3"),
    (HEAD + '10001,refused,"why\n', "line 2: not CSV"),
    (HEAD + "10001,refused,a\x1bb\n", "line 2: the line holds characters that cannot be printed"),
    (HEAD.encode() + b"10001,refused,\xff\n", "line 2: byte 15 of the line is 0xff, which is not UTF-8"),
    (HEAD + "10001,accepted,\n10001,refused,no\n", "line 3: account 10001 has another answer in line 2"),
    (HEAD, "there is no answer in it"),
    ("", "there is no answer in it"),
    ("account,verdict\n10001,accepted\n", "line 1: a line is ACCOUNT accepted, or ACCOUNT refused REASON"),
    ("10001 refused\n", "line 1: account 10001 is refused without a reason"),
    ("10001 perhaps\n", "line 1: a line is ACCOUNT accepted"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_fault_is_said_with_its_line_and_nothing_is_half_imported(
    centre: Centre, answer: Answer, text: str | bytes, said: str
) -> None:
    status, words = answer(text)
    assert status == 2
    assert said in words
    assert stored(centre) == []


def test_every_fault_is_said_at_once(centre: Centre, answer: Answer) -> None:
    status, said = answer(HEAD + "10001,accepted,\n10009,accepted,\n43 45;*,no,\n")
    assert (status, "line 3" in said, "line 4" in said, stored(centre)) == (2, True, True, [])


def test_a_month_that_is_not_closed_has_no_answer(centre: Centre, answer: Answer) -> None:
    status, said = answer(HEAD + "10001,accepted,\n", period="2026-11")
    assert (status, "2026-11 of generic is not closed: nothing was sent" in said) == (2, True)
    status, said = answer(HEAD + "10001,accepted,\n", "--revision", "2")
    assert (status, "2026-10 of generic is at r1" in said) == (2, True)


def test_the_same_answer_changes_nothing_and_another_takes_its_place(centre: Centre, answer: Answer) -> None:
    refusal = HEAD + "10001,refused,no such account\n"
    answer(refusal)
    assert "0 of them new" in answer(refusal)[1]
    assert len(stored(centre)) == 1
    assert "1 of them new" in answer(HEAD + "10001,accepted,\n")[1]
    assert [row[2] for row in stored(centre)] == ["refused", "accepted"]


def test_a_refused_account_stands_among_the_exceptions_until_it_is_accepted(
    centre: Centre, config: Path, meterline: Meterline, answer: Answer
) -> None:
    answer(HEAD + "10001,refused,=no such account\n43 45;*,accepted,\n")
    assert listed(config, meterline) == [("10001", "refused", "'=no such account")]
    answer(HEAD + "10001,accepted,\n")
    assert listed(config, meterline) == []
    said = meterline("exceptions", "list", "2026-10", "--config", config).err
    assert said == "2026-10: every row is ready, and no account stands refused\n"
    said = meterline("exceptions", "list", "2026-11", "--config", config).err
    assert said == "2026-11 of generic is not closed; `meterline close 2026-11 --status` shows how it stands\n"


def test_an_answer_counts_no_longer_when_something_newer_of_the_account_was_sent(
    centre: Centre, config: Path, meterline: Meterline, answer: Answer
) -> None:
    answer(HEAD + "10001,refused,too much\n43 45;*,refused,no such account\n")
    answered = meterline("exceptions", "reject", "2026-10", "kv1", "--register", "1.8.1", "--reason", "misread",
                         "--config", config)  # fmt: skip
    assert answered.status == 0
    refusals = [row for row in listed(config, meterline) if row[1] == "refused"]
    assert refusals == [("43 45;*", "refused", "no such account")]
    answer(HEAD + "10001,accepted,\n")
    assert stored(centre)[-1] == ("10001", 2, "accepted", "")
    answer(HEAD + "10001,refused,late word about the first\n", "--revision", "1")
    assert stored(centre)[-1][:3] == ("10001", 1, "refused")
    assert [row for row in listed(config, meterline) if row[1] == "refused"] == refusals


def test_explain_tells_every_answer_about_the_account(
    centre: Centre, config: Path, meterline: Meterline, answer: Answer
) -> None:
    answer(HEAD + "10001,refused,no such account\n", "--by", "Olga")
    answer(HEAD + "10001,accepted,\n")
    lines = [line for line in meterline("explain", "kv1", "2026-10", "--config", config).out.splitlines()
             if line.startswith("generic ")]  # fmt: skip
    assert lines[0].startswith("generic refused what account 10001 was sent with r1: no such account (entered by Olga")
    assert lines[1].startswith("generic accepted what account 10001 was sent with r1 (entered by ")
    assert len(lines) == 2


def test_the_status_of_a_month_counts_the_answers(
    centre: Centre, config: Path, meterline: Meterline, answer: Answer
) -> None:
    def answers() -> str:
        return meterline("close", "2026-10", "--status", "--config", config).out.splitlines()[-1].rstrip()

    assert answers().endswith(" none")
    answer(HEAD + "10001,refused,no such account\n43 45;*,accepted,\n")
    assert answers().endswith(" 1 accepted, 1 refused")


def test_an_answer_is_a_link_of_the_chain_and_cannot_be_changed(centre: Centre, answer: Answer) -> None:
    answer(HEAD + "10001,refused,no such account\n")
    verdict = verify(centre.engine, centre.out)
    assert (verdict.faults, verdict.links) == ([], 3)
    with pytest.raises(DatabaseError, match="append-only"), writing(centre.engine) as connection:
        connection.execute(update(response).values(verdict="accepted"))


def test_an_answer_that_was_altered_all_the_same_is_found(centre: Centre, answer: Answer) -> None:
    answer(HEAD + "10001,refused,no such account\n")
    with writing(centre.engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE response DISABLE TRIGGER ALL")
        else:
            connection.exec_driver_sql("DROP TRIGGER response_no_update")
        connection.execute(update(response).values(verdict="accepted"))
    assert any(
        "link 3 (response): its rows are not those" in fault for fault in verify(centre.engine, centre.out).faults
    )


def test_a_row_that_no_link_stands_for_is_found(centre: Centre) -> None:
    row = {"link": 1, "period": "2026-10", "utility": "generic", "account": "10001", "revision": 1}
    with writing(centre.engine) as connection:
        connection.execute(response.insert(), {**row, "verdict": "accepted", "reason": ""})
    assert "response: 1 rows are in no link of the chain" in verify(centre.engine, centre.out).faults


def test_a_backup_carries_the_answers(
    centre: Centre, config: Path, meterline: Meterline, answer: Answer, tmp_path: Path, database: str
) -> None:
    if database == "postgresql":
        pytest.skip("the tables of a backup are the same; test_backup_restore crosses the databases")
    answer(HEAD + "10001,refused,no such account\n")
    Inbox((whole := load_central(config)).data / "spool.db", keep_ms=whole.spool.keep).close()
    archive = made(whole, tmp_path / "backup.zip")
    other = empty(tmp_path / "other")
    restore(other, archive, SystemClock().millis(), "olga")
    assert state(other)["response"] == state(whole)["response"]
    assert len(state(other)["response"]) == 1
