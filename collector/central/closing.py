"""Closes a month for a utility: gathers what is known, lets `close` decide, appends to the ledger, writes the files.

Rule 1. Ledger first, folder second: rows, their run and its link are one transaction, then the folder appears by one
        rename. A crash between them costs nothing: the next close writes the missing folder from the ledger, to the
        byte.
Rule 2. Nothing new: no row, no folder. Something new: rows of the next revision, and a folder with the whole state.
Rule 3. Points are taken in the order of the files, some thousand at a time: memory does not grow with the rows.
Rule 4. Nobody waits while a close computes: it reads as of one instant, new rows wait in a file without a name, and
        when all are there they are added, if nobody else has closed the month meanwhile.
"""

from __future__ import annotations

import pickle
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from sqlalchemy import Connection, Engine

from collector import localtime
from collector.central import chain, ledger
from collector.central import utility as utilities
from collector.central.billing_files import STATUSES, Draft, folder_lock
from collector.central.close import close_points
from collector.central.edge_value import wall
from collector.central.engine import writing
from collector.central.gathering import Gathering, LoadProfile, Member
from collector.central.ledger import Entry, Run
from collector.central.registry import Registry
from collector.central.store.series import SeriesStore
from collector.central.submissions import Output
from collector.central.submissions.rows import Head
from collector.central.utility import Utility
from collector.exits import CheckFailed, Unreachable, UsageFault
from collector.model import BillingReading, Finding
from drivers import profile as profiles

_AT_ONCE = 500  # points: some MiB of snapshots and JSON, few enough for a processor's caches
_TRIES = 5  # a close that somebody else overtook computes again; two at once make one wait, no third comes by chance
MOST_SHOWN = 200  # rows and exceptions that are handed back for a person to read; the files have all


class NotReady(NamedTuple):
    """A row that is not ready, and what is said of it."""

    reading: BillingReading
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """What a close found and did or, as a preview, would do.

    `revision`: of the newest folder (None: none yet). `changed`: rows that are new against the ledger. `counts`: by
    status. `checks`: how often which check spoke. `rows`, `exceptions`: the first of them. `edges`: the first and the
    last instant at which the period ends. `again`: the next period where it is closed already and its starts changed.
    """

    period: str
    utility: str
    edges: tuple[int, int]
    revision: int | None
    folder: Path | None
    changed: int
    counts: Mapping[str, int]
    checks: Mapping[str, int]
    rows: Sequence[BillingReading]
    exceptions: Sequence[NotReady]
    again: str | None

    @property
    def expected(self) -> int:
        """How many rows there are."""
        return sum(self.counts.values())

    @property
    def complete(self) -> bool:
        """Whether every row is ready."""
        return self.counts["ready"] == self.expected


@dataclass(frozen=True, slots=True)
class Books:
    """Where a centre keeps what a close needs: registry and ledger, the series, and the folder for emitted months."""

    engine: Engine
    store: SeriesStore
    out: Path
    require_act: bool = False
    load_profile: LoadProfile = profiles.load


class NoPoints(UsageFault):
    """The utility has no points to bill in the period."""


class Overtaken(Unreachable):
    """Somebody else closed the same month meanwhile, again and again. Close it once more."""


def _go_on() -> None:
    """Nobody wants a close to end before its end."""


def close_month(
    books: Books,
    period: str,
    utility: Utility,
    now: int,
    who: str = "meterline",
    *,
    between: Callable[[], None] = _go_on,
) -> Closed:
    """Close a period YYYY-MM for a utility. `now` (ms UTC) is after the edge; it and `who` go into the ledger's chain.

    `between` is called after every few hundred points: what it raises ends the close, and nothing is written.
    Raises UsageFault before the edge or where the utility has no points, ConfigError for an unknown meter profile,
    StoreAway, Overtaken, CheckFailed where the ledger does not give the bytes of an emitted folder any more.
    """
    return close_gathered(books, gather(books, period, utility), now, who, between=between)


def close_gathered(
    books: Books, gathering: Gathering, now: int, who: str, *, between: Callable[[], None] = _go_on
) -> Closed:
    """The same, for whoever has gathered just now what there is to close."""
    check_due(gathering, now)
    period, utility = gathering.period, gathering.utility
    folder = books.out / period / utility.id
    with folder_lock(folder, between):
        for _ in range(_TRIES):
            closed = _close(books, gathering, folder, now, who, between=between)
            if closed is not None:
                return closed
            gathering = gather(books, period, utility)
    raise Overtaken(f"{period} of {utility.id} is being closed by others all the time; close it again")


def _close(
    books: Books, gathering: Gathering, folder: Path, now: int, who: str, *, between: Callable[[], None]
) -> Closed | None:
    """One try; None where somebody else was first."""
    period, utility = gathering.period, gathering.utility.id
    tally = _Tally()
    with books.engine.connect() as connection:
        runs = ledger.runs(connection, period, utility)
        revision = runs[-1].revision + 1 if runs else 1
        with Draft(folder, *_form(gathering.utility, period, revision)) as draft, _Staged(folder) as staged:
            for entries, fresh in _entries(connection, gathering, revision):
                between()
                staged.add([ledger.storable(entry, now) for entry in fresh])
                tally.add(entries, fresh)
                draft.add(entries)
            connection.rollback()  # what follows begins with what is there then
            if tally.changed:
                manifest = draft.finish(runs[-1].manifest if runs else None)
                run = Run(revision, now, manifest, tally.checks, gathering.utility.digest or None)
                if not _append(books.engine, gathering, staged, runs, run, who=who, between=between):
                    return None
                runs.append(run)
                draft.publish()
        _restore(connection, folder, period, utility, runs)
        again = _closed_after(connection, period, utility) if tally.changed else None
    return tally.closed(gathering, runs[-1].revision, folder / f"r{runs[-1].revision}", again)


def _append(
    engine: Engine,
    gathering: Gathering,
    staged: _Staged,
    runs: Sequence[Run],
    run: Run,
    *,
    who: str,
    between: Callable[[], None],
) -> bool:
    """Rows, run and link into the ledger; False, and nothing is done, where somebody else has closed the month."""
    period, utility = gathering.period, gathering.utility.id
    with writing(engine) as connection:
        chain.newest(connection, lock=True)
        if len(ledger.runs(connection, period, utility)) != len(runs):
            return False
        added: list[ledger.RowKey] = []
        for rows in staged:
            between()
            added += ledger.append(connection, rows)
        ledger.append_run(connection, period, utility, run, gathering.utility.text, rows=added, who=who)
    return True


class _Staged:
    """New rows on their way into the ledger, in a file without a name: a process that ends leaves nothing of it."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._chunks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Sequence[ledger.Storable]) -> None:
        """The next rows."""
        if rows:
            pickle.dump(rows, self._file, protocol=5)
            self._chunks += 1

    def __iter__(self) -> Iterator[Sequence[ledger.Storable]]:
        self._file.seek(0)
        for _ in range(self._chunks):
            yield pickle.load(self._file)  # ours: nobody else can open it


def preview_month(books: Books, period: str, utility: Utility) -> Closed:
    """What `close_month` would do now, without a trace. Also before the edge. Raises as it does."""
    return preview_gathered(books, gather(books, period, utility))


def preview_gathered(books: Books, gathering: Gathering) -> Closed:
    """The same, for whoever has gathered just now what there is to close."""
    period, utility = gathering.period, gathering.utility.id
    tally = _Tally()
    with books.engine.connect() as connection:
        runs = ledger.runs(connection, period, utility)
        for entries, fresh in _entries(connection, gathering, runs[-1].revision + 1 if runs else 1):
            tally.add(entries, fresh)
    folder = books.out / period / utility / f"r{runs[-1].revision}" if runs else None
    return tally.closed(gathering, runs[-1].revision if runs else None, folder, None)


def gatherings(books: Books, period: str) -> list[Gathering]:
    """What each utility that has points to bill in a period has to close, by id. Raises ConfigError."""
    named = map(utilities.load, Registry(books.engine).utilities())
    with books.engine.connect() as connection:
        found = [_gather(connection, books, period, utility) for utility in named]
    return [gathering for gathering in found if gathering.members]


def utilities_with_points(books: Books, period: str) -> list[Utility]:
    """The utilities that have points to bill in a period, by id. Raises ConfigError for one that is not known."""
    return [gathering.utility for gathering in gatherings(books, period)]


def gather(books: Books, period: str, utility: Utility) -> Gathering:
    """What a utility has to bill in a period. Raises UsageFault where it has no points, ConfigError."""
    with books.engine.connect() as connection:
        gathering = _gather(connection, books, period, utility)
    _check_members(gathering)
    return gathering


def missing_rows(books: Books, gathering: Gathering, members: Sequence[Member]) -> dict[str, tuple[str, ...]]:
    """point -> registers that would be missing (or estimated) now, of these members. Raises StoreAway."""
    found: dict[str, tuple[str, ...]] = {}
    with books.engine.connect() as connection:
        for start in range(0, len(members), _AT_ONCE):
            for rows in close_points(gathering.cases(connection, members[start : start + _AT_ONCE], {})):
                lacking = [row.reading for row in rows if row.reading.status in ("missing", "estimated")]
                if lacking:
                    found[lacking[0].point] = tuple(reading.register_ for reading in lacking)
    return found


def check_due(gathering: Gathering, now: int) -> None:
    """Raises UsageFault where the period has not ended for all points."""
    last = max(gathering.members, key=lambda member: member.closing.at)
    if now < last.closing.at:
        zone = last.point.time_zone
        raise UsageFault(
            f"{gathering.period} of {gathering.utility.id} ends at {wall(last.closing.at, zone)} ({zone}), and there "
            f"it is {wall(now, zone)} now; close it after that, or look at what there is with --preview"
        )


def _gather(connection: Connection, books: Books, period: str, utility: Utility) -> Gathering:
    return Gathering(
        connection,
        Registry(books.engine),
        books.store,
        utility,
        period,
        require_act=books.require_act,
        load_profile=books.load_profile,
    )


def _check_members(gathering: Gathering) -> None:
    if not gathering.members:
        text = f"{gathering.utility.id} has no points to bill in {gathering.period}"
        raise NoPoints(f"{text}; see `meterline registry list`")


def _entries(connection: Connection, gathering: Gathering, revision: int) -> Iterator[tuple[list[Entry], list[Entry]]]:
    """What counts now, in the order of the files, some thousand points at a time; and which of it is new."""
    members = gathering.members
    for start in range(0, len(members), _AT_ONCE):
        chunk = members[start : start + _AT_ONCE]
        # A point's rows of a period are all of one utility (Rule 1 of gathering): before its first run there are none.
        names = [member.point.point for member in chunk] if revision > 1 else []
        stored = ledger.newest(connection, gathering.period, names)
        entries: list[Entry] = []
        fresh: list[Entry] = []
        cases = gathering.cases(connection, chunk, stored)
        for case, rows in zip(cases, close_points(cases), strict=True):
            known = dict(stored.get(case.point.point, {}))
            for row in rows:
                before = known.get(row.reading.register_)
                if before is None or not ledger.same(row, before):
                    known[row.reading.register_] = ledger.entry(row, revision, before)
                    fresh.append(known[row.reading.register_])
            entries += (known[code] for code in sorted(known))
        yield entries, fresh


def _form(utility: Utility, period: str, revision: int) -> tuple[Head, Sequence[Output], int | None]:
    """What the submissions of a folder are part of, which ones the utility takes, and what its flats may differ by."""
    at = utility.edge_of(period, utility.time_zone or "UTC").at
    return utility.head(period, revision, at), utility.outputs, utility.checks.flats


def _form_then(
    connection: Connection, period: str, utility: str, run: Run
) -> tuple[Head, Sequence[Output], int | None]:
    """The same of an emitted folder: the profile may be another by now."""
    if run.profile is None:
        return Head(period, utility, "", run.revision, (), {}, 0, 0), (), None
    text = ledger.profile_text(connection, run.profile)
    return _form(utilities.parse(text.encode(), f"profile of {utility} as of r{run.revision}"), period, run.revision)


def _restore(connection: Connection, folder: Path, period: str, utility: str, runs: Sequence[Run]) -> None:
    """Write emitted folders that are not there: a crash came before the rename, or they go into another place."""
    previous = None
    for run in runs:
        if not (folder / f"r{run.revision}").exists():
            with Draft(folder, *_form_then(connection, period, utility, run)) as draft:
                draft.add(ledger.state(connection, period, utility, run.revision))
                if draft.finish(previous) != run.manifest:
                    raise CheckFailed(
                        f"the ledger does not give the files of {draft.place} as they were emitted: either it was "
                        "altered, or another version of Meterline wrote them; restore the folder from a backup"
                    )
            draft.publish()
        previous = run.manifest


def _closed_after(connection: Connection, period: str, utility: str) -> str | None:
    """The period that follows, if it is closed already."""
    after = localtime.next_month(period)
    return after if ledger.runs(connection, after, utility) else None


@dataclass(slots=True)
class _Tally:
    """What a close counts on its way."""

    changed: int = 0
    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(STATUSES, 0)))
    checks: Counter[str] = field(default_factory=Counter)
    rows: list[BillingReading] = field(default_factory=list)
    exceptions: list[NotReady] = field(default_factory=list)

    def add(self, entries: Sequence[Entry], fresh: Sequence[Entry]) -> None:
        """Count what counts now, and what of it is new."""
        self.changed += len(fresh)
        for entry in entries:
            self.counts[entry.reading.status] += 1
            for finding in entry.findings:
                self.checks[finding.check] += 1
            if len(self.rows) < MOST_SHOWN:
                self.rows.append(entry.reading)
            if entry.reading.status != "ready" and len(self.exceptions) < MOST_SHOWN:
                self.exceptions.append(NotReady(entry.reading, entry.findings))

    def closed(self, gathering: Gathering, revision: int | None, folder: Path | None, again: str | None) -> Closed:
        """All of it."""
        edges = [member.closing.at for member in gathering.members]
        return Closed(
            period=gathering.period,
            utility=gathering.utility.id,
            edges=(min(edges), max(edges)),
            revision=revision,
            folder=folder,
            changed=self.changed,
            counts=self.counts,
            checks=self.checks,
            rows=self.rows,
            exceptions=self.exceptions,
            again=again,
        )
