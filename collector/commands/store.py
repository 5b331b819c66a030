"""`meterline store`: whether the series are well, and writing them again from the centre's spool."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.progress import Progress

from collector import localtime
from collector.central.engine import opened_engine
from collector.central.rebuild import absent
from collector.central.rebuild import rebuild as carry_again
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.central.store.series import Check, SeriesStore
from collector.central.worker import Counts
from collector.clock import SystemClock
from collector.commands.counted import counted
from collector.commands.groups import Group
from collector.commands.moment import instant
from collector.commands.output import Format, format_option, show
from collector.commands.registry import config_option
from collector.config import CentralConfig, load_central
from collector.exits import CheckFailed
from collector.inbox_beside import InboxBeside

COLUMNS = ("check", "state", "text")
SOME = 64  # batches, and as many again: seconds of work, and enough that no lost day stays unseen for a week
DAY = 86_400_000  # ms; contract, Time series: so far may a reading's time lie ahead of its arrival


@click.group(cls=Group)
def store() -> None:
    """The time series: check them, write them again from the spool."""


@store.command()
@config_option
@format_option
def check(config_file: Path, form: Format) -> None:
    """Look at the store, and for values of the spool in it. Exit status 5 when something is not as it should be."""
    with ExitStack() as stack:
        parts = _open(load_central(config_file), stack)
        checks = [*parts.store.check()]
        if all(item.good for item in checks):
            checks.append(_series(parts))
        show(form, COLUMNS, ([item.name, "good" if item.good else "BAD", item.text] for item in checks))
    if bad := [item.name for item in checks if not item.good]:
        raise CheckFailed(f"store: {', '.join(bad)}: not as it should be")


@store.command()
@config_option
@click.option("--from", "start", help="What was asked at this time or later: RFC 3339, or a date of the centre's zone.")
def rebuild(config_file: Path, start: str | None) -> None:
    """Write the series again from the centre's spool, as far back as it reaches.

    What is stored already stays as it is. The daemon may run meanwhile, and a rebuild that was interrupted may be
    started again.
    """
    config = load_central(config_file)
    since = 0 if start is None else instant(start, "--from", config.time_zone) - DAY
    with ExitStack() as stack:
        parts = _open(config, stack)
        total = parts.spool.count(since)
        progress = stack.enter_context(Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()))
        bar = progress.add_task("batches", total=total)
        done = Counts()
        for done in carry_again(
            lambda row, limit: parts.spool.replay(row, since, limit), parts.registry, parts.store, SystemClock()
        ):
            progress.update(bar, completed=done.batches + done.poisonous)
    click.echo(
        f"{done.batches} batches, {done.samples} samples written again; {done.quarantined} snapshots or values are in "
        f"quarantine, {done.poisonous} batches as a whole"
    )
    if parts.spool.torn:
        raise CheckFailed(f"{parts.spool.torn} batches of the spool are damaged; restart the centre, which heals it")


class _Parts(NamedTuple):
    store: SeriesStore
    registry: Registry
    spool: InboxBeside


def _open(config: CentralConfig, stack: ExitStack) -> _Parts:
    spool = stack.enter_context(InboxBeside(config.data / "spool.db"))
    engine = stack.enter_context(opened_engine(config))
    series = stack.enter_context(closing(open_store(config)))
    return _Parts(series, Registry(engine), spool)


def _series(parts: _Parts) -> Check:
    """Whether what the spool has settled is in the series."""
    now = SystemClock().millis()
    oldest = 0 if parts.store.keeps is None else now - parts.store.keeps
    batches = parts.spool.some_settled(SOME)
    given, missing = absent(batches, parts.registry, parts.store, oldest)
    if not missing:
        return Check(
            "series", True, f"{counted(given, 'value')} of {counted(len(batches), 'batch')} of the spool are all there"
        )
    first = missing[0]
    return Check(
        "series",
        False,
        f"{len(missing)} of {given} values of {len(batches)} batches of the spool are missing, such as "
        f"{first.register} of {first.meter} at {localtime.rfc3339(first.time)}; "
        "`meterline store rebuild` writes them again",
    )
