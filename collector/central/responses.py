"""What utilities answered to what they were sent: kept for ever, chained; the newest answer about an account counts.

Rule 1. An answer is about what the account was last sent: the newest revision of its rows then. When a later revision
        changes one of them, the answer is kept and counts no longer; the account waits for another.
Rule 2. An answer changes no row and sends nothing: what is refused stands among the exceptions until it is mended.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

from sqlalchemy import Connection, Engine, select

from collector.central import chain
from collector.central.chained_rows import ChainedRows
from collector.central.database import ledger, response
from collector.central.engine import writing

Verdict = Literal["accepted", "refused"]


class Response(NamedTuple):
    """A utility's answer about an account. `revision`: of its rows then. `at`, `who`, `link`: of the answer's entry."""

    period: str
    utility: str
    account: str
    revision: int
    verdict: Verdict
    reason: str
    at: int = 0
    who: str = ""
    link: int = 0


CHAINED = ChainedRows("response", response, Response)


class Answer(NamedTuple):
    """What a utility says of one account."""

    account: str
    verdict: Verdict
    reason: str


def sent(connection: Connection, period: str, utility: str, revision: int) -> dict[str, int]:
    """account -> the newest revision of its rows, as of a revision of the month; empty where nothing is closed."""
    columns = (ledger.c.point, ledger.c.register, ledger.c.revision, ledger.c.row)
    where = (ledger.c.period == period, ledger.c.utility == utility, ledger.c.revision <= revision)
    newest: dict[tuple[str, str], tuple[str, int]] = {}
    query = select(*columns).where(*where).order_by(ledger.c.revision)
    for row in connection.execution_options(yield_per=1000).execute(query):
        newest[row.point, row.register] = (json.loads(row.row)["account"], row.revision)
    found: dict[str, int] = {}
    for account, number in newest.values():
        found[account] = max(number, found.get(account, 0))
    return found


def given(connection: Connection, period: str, utility: str, account: str | None = None) -> list[Response]:
    """All answers for a period (about one account if named), oldest first."""
    where = [response.c.period == period, response.c.utility == utility]
    if account is not None:
        where.append(response.c.account == account)
    return list(CHAINED.read(connection, *where))


def standing(connection: Connection, period: str, utility: str, revision: int) -> dict[str, Response]:
    """account -> the answer that counts as of the month's newest revision; accounts without one are absent."""
    answered = {item.account: item for item in given(connection, period, utility)}
    if not answered:
        return {}
    rows = sent(connection, period, utility, revision)
    return {account: item for account, item in answered.items() if rows.get(account) == item.revision}


def enter(
    engine: Engine,
    period: str,
    utility: str,
    answers: Sequence[Answer],
    about: dict[str, int],
    *,
    file: str,
    now: int,
    who: str,
) -> int:
    """Keep the answers of a file, all or none; how many say something new. `about`: account -> revision, for each."""
    with writing(engine) as connection:
        chain.newest(connection, lock=True)
        known = {item.account: item for item in given(connection, period, utility)}
        fresh = []
        for account, verdict, reason in answers:
            item = Response(period, utility, account, about[account], verdict, reason)
            if account not in known or CHAINED.said(known[account]) != CHAINED.said(item):
                fresh.append(item)
        if fresh:
            CHAINED.add(connection, fresh, now=now, who=who, period=period, utility=utility, file=file)
    return len(fresh)
