"""How old readings are when InfluxDB first shows them: looked at from outside, over and over."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from tests.influxdb import ORG, Influxd

PAUSE = 0.1  # seconds between two looks; the age that is found is too great by so much and the time of a look


class Sample(NamedTuple):
    """A point of `energy`: whose, and when it was asked (ms since 1970)."""

    meter: str
    asked: int


class Watch:
    """When each point of the bucket was first seen (s since 1970), of those asked since it began."""

    def __init__(self, server: Influxd, bucket: str, field: str) -> None:
        self.seen: dict[Sample, float] = {}
        self._server, self._bucket, self._field = server, bucket, field
        self._began = time.time() - 1
        self._stop = threading.Event()

    def ages(self) -> dict[Sample, float]:
        """Seconds from the asking to the first sight."""
        return {sample: seen - sample.asked / 1000 for sample, seen in list(self.seen.items())}

    def look(self, since: float) -> None:
        """Note what is there now of what was asked since then."""
        flux = (
            f'from(bucket: "{self._bucket}") |> range(start: {int(max(since, self._began))}) '
            f'|> filter(fn: (r) => r._measurement == "energy" and r._field == "{self._field}") '
            '|> group() |> keep(columns: ["_time", "meter"])'
        )
        query = {"query": flux, "dialect": {"annotations": []}}
        text: bytes = self._server.call("POST", f"/api/v2/query?org={ORG}", query)
        now = time.time()
        for row in csv.DictReader(text.decode().splitlines()):
            sample = Sample(row["meter"], round(datetime.fromisoformat(row["_time"]).timestamp() * 1000))
            self.seen.setdefault(sample, now)

    @contextmanager
    def running(self, back: float) -> Iterator[None]:
        """Look all the time, `back` seconds far; at the end once more at everything, so that none is left out."""

        def work() -> None:
            while not self._stop.wait(PAUSE):
                self.look(time.time() - back)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self.look(self._began)


def percentile(ages: list[float], share: float) -> float:
    """The age that this share of them does not exceed. `ages` is sorted."""
    return ages[min(len(ages) - 1, int(share * len(ages)))]
