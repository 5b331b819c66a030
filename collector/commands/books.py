"""Opens what a command about closed months works on: registry and ledger, the series, the folder of emitted months."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from collector import localtime
from collector.central import utility as utilities
from collector.central.closing import Books
from collector.central.engine import open_engine
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.central.utility import Utility
from collector.config import load_central
from collector.exits import UsageFault

by_option = click.option("--by", help="Who decides or tells it, where that is not the login name.")


@contextmanager
def opened_books(config_file: Path, out: Path | None = None) -> Iterator[Books]:
    """The books of a centre. `out`: another folder than the configuration's."""
    config = load_central(config_file)
    with ExitStack() as stack:
        engine = open_engine(config)
        stack.callback(engine.dispose)
        store = open_store(config)
        stack.callback(store.close)
        yield Books(engine, store, out or config.out, require_act=config.require_act)


def month(text: str) -> str:
    """A period as it is typed. Raises UsageFault."""
    try:
        localtime.parse_month(text)
    except ValueError as error:
        raise UsageFault(str(error)) from None
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
