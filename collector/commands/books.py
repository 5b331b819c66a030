"""Opens what a command about closed months works on: registry and ledger, the series, the folder of emitted months."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from collector import localtime
from collector.central import utility as utilities
from collector.central.closing import Books
from collector.central.engine import opened_engine
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.central.utility import Utility
from collector.commands.registry import user_name
from collector.config import load_central
from collector.exits import UsageFault

FIRST_YEAR, LAST_YEAR = 2000, 9998  # no reading is older (contract, Time series); and a month needs one after it

by_option = click.option("--by", help="Who decides or tells it, where that is not the login name.")


@contextmanager
def opened_books(config_file: Path, out: Path | None = None) -> Iterator[Books]:
    """The books of a centre. `out`: another folder than the configuration's."""
    config = load_central(config_file)
    with opened_engine(config) as engine, closing(open_store(config)) as store:
        yield Books(engine, store, out or config.out, require_act=config.require_act)


def month(text: str) -> str:
    """A period as it is typed. Raises UsageFault."""
    try:
        year, _ = localtime.parse_month(text)
    except ValueError as error:
        raise UsageFault(str(error)) from None
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise UsageFault(f"{text}: a month from {FIRST_YEAR} to {LAST_YEAR} is wanted; nothing was read in that one")
    return text


def only_utility(registry: Registry, name: str | None, now: int) -> Utility:
    """The utility of this name or, where none is named, the only one that has points. Raises UsageFault."""
    if name is not None:
        return utilities.load(name)
    found = sorted({point.utility for point in registry.points(now)})
    if len(found) != 1:
        shown = f"the registry has points of {', '.join(found)}" if found else "the registry has no points yet"
        raise UsageFault(f"{shown}; say which utility is meant with --utility")
    return utilities.load(found[0])


def signed(by: str | None) -> str:
    """The name that goes into the ledger: who says it, and who typed it."""
    login = user_name()
    if by is None or by == login:
        return login
    if not by.strip() or not by.isprintable() or len(by) > 200:
        raise UsageFault("--by: a name of 1 to 200 printable characters is wanted")
    return f"{by.strip()} (entered by {login})"
