"""What the checks at the door said of accepted snapshots: the first of each meter, check and day is kept.

A finding never drops a value. It is no part of a bill: the close asks the same checks about what proves its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from collector.central.database import insert_new, live_finding

DAY = 86_400_000
# Findings that are remembered, some 40 MiB of RAM: of a day of 100,000 meters of which each has something wrong.
MOST = 200_000


class LiveFinding(NamedTuple):
    """What a check said of a meter's asking at `time` (ms)."""

    time: int
    meter: str
    check: str
    level: str
    quality: str
    text: str

    @property
    def key(self) -> tuple[str, str, int]:
        """Of those with one key the first is kept."""
        return self.meter, self.check, self.time // DAY


class Repeats:
    """Which findings are kept already: a meter with something wrong is found out each time that it is asked.

    A hint in RAM: what is forgotten here is offered to the database once more, which has it.
    """

    def __init__(self) -> None:
        self._kept: set[tuple[str, str, int]] = set()

    def without(self, found: Sequence[LiveFinding]) -> list[LiveFinding]:
        """Those that are not known to be kept, one for each key."""
        first: dict[tuple[str, str, int], LiveFinding] = {}
        for item in found:
            first.setdefault(item.key, item)
        return [item for key, item in first.items() if key not in self._kept]

    def note(self, kept: Sequence[LiveFinding]) -> None:
        """These are in the database now."""
        if len(self._kept) + len(kept) > MOST:
            self._kept.clear()
        self._kept.update(item.key for item in kept)


def keep_findings(connection: Connection, found: Sequence[LiveFinding]) -> None:
    """Add findings; of those about the same meter, check and day the first one stays."""
    if found:
        rows = [{**item._asdict(), "day": item.key[2], "text": item.text.replace("\0", "\ufffd")} for item in found]
        connection.execute(insert_new(connection, live_finding), rows)


def live_findings(connection: Connection, since: int) -> Iterator[LiveFinding]:
    """Those of the days since an instant, by meter and time."""
    columns = [live_finding.c[name] for name in LiveFinding._fields]
    query = (
        select(*columns).where(live_finding.c.day >= since // DAY).order_by(live_finding.c.meter, live_finding.c.time)
    )
    for row in connection.execution_options(yield_per=1000).execute(query):
        yield LiveFinding(*tuple(row))
