"""Lines to InfluxDB, and which of them it does not take: what it refuses is cut in halves down to the single point.

Rule 1. A line is stored when a request that held it was answered with "done", and refused when it was sent alone and
        the server speaks of it. What a server says of many at once is no proof: of two kinds of faults in one request
        it names one, and counts the points of that one alone.
Rule 2. After 422 the good points of a request are stored already; sending them again changes nothing.
Rule 3. Later lines are sent later, also in the halves, so that of two values for one instant the later one wins.
Rule 4. A refusal that does not speak of points (a proxy's, or a fault of ours) rejects nothing: everything waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from collector.central.store.influx_server import Refused
from collector.central.store.series import Rejected, StoreAway

# Lines in one request: what InfluxDB's page "Optimize writes" calls best; half a megabyte of ours.
MOST_LINES = 5000


class Line(NamedTuple):
    """A sample's line. `place`: where the sample stands in what is written."""

    place: int
    text: str


class Server(Protocol):
    """What takes lines; raises Refused, StoreAway."""

    def write(self, lines: bytes) -> None: ...


class InfluxWriter:
    """Sends lines, as many at once as the server, and what stands before it, takes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._most = MOST_LINES

    def put(self, lines: Sequence[Line]) -> Iterator[Rejected]:
        """Store them; those that the server refuses for good. Nothing is sent before the first is asked for."""
        waiting = [lines] if lines else []
        while waiting:
            part = waiting.pop()
            if len(part) > self._most:
                waiting += [part[self._most :], part[: self._most]]
                continue
            try:
                self._server.write("\n".join([line.text for line in part]).encode())
            except Refused as no:
                if no.status == 413:
                    self._most = max(1, len(part) // 2)
                why = _why(no)
                if why is None and len(part) == 1:
                    raise StoreAway(f"InfluxDB refuses what we write, for a reason that is not in it: {no}") from None
                if why is not None and (len(part) == 1 or _all_too_old(no, len(part))):
                    yield from (Rejected(line.place, why) for line in part)
                else:
                    middle = len(part) // 2
                    waiting += [part[middle:], part[:middle]]


def _why(no: Refused) -> str | None:
    """What is wrong with a point, or None where the server does not speak of points.

    InfluxDB 2.7 says `unable to parse '<line>': <why>` with 400, `partial write: <why> dropped=<points>` with 422.
    """
    if no.status == 422 and re.search("(outside|beyond) retention policy", no.text):
        said = re.split(r" - oldest| dropped=", no.text)[0]  # what follows speaks of other points too
        return f"beyond retention: the bucket does not take values of this age any more ({said})"
    if (no.status == 422 and "partial write" in no.text) or (no.status == 400 and "unable to parse" in no.text):
        return f"refused by InfluxDB: {no.text}"
    return None


def _all_too_old(no: Refused, lines: int) -> bool:
    """Whether it dropped every point of the request for its age: a month of them need not be sent one by one.

    The one exception of rule 1: this fault is counted by points, and no other can hide behind a full count.
    """
    dropped = re.search(r"dropped (\d+) points outside|beyond retention policy dropped=(\d+)", no.text)
    return no.status == 422 and dropped is not None and int(dropped[1] or dropped[2]) == lines
