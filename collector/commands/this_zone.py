"""The time zone of --time-zone, and of this computer where nobody gives one."""

from __future__ import annotations

import os
from contextlib import suppress

from collector.exits import UsageFault
from collector.localtime import zone

LOCALTIME = "/etc/localtime"  # a link to a zone's file, whose place is its name: .../zoneinfo/Europe/Moscow


def this_zone() -> str | None:
    """As TZ has it, else as localtime(5) has; None where neither names a zone."""
    for name in (os.environ.get("TZ", "").lstrip(":"), os.path.realpath(LOCALTIME).partition("/zoneinfo/")[2]):
        with suppress(ValueError):
            return zone(name).key
    return None


def given_or_this_zone(given: str | None) -> str | None:
    """What --time-zone says, else `this_zone`. Raises UsageFault."""
    if given is None:
        return this_zone()
    try:
        return zone(given).key
    except ValueError as error:
        raise UsageFault(f"--time-zone: {error}") from None
