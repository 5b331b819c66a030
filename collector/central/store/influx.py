"""Time series in a bucket of InfluxDB 2: what every deployment uses. Keeps the rules of `series.py`.

Rule 1. Nothing is asked of the server before the first use, and after a fault nothing is believed that was found out
        before it: the centre starts, and goes on, whoever is away.
Rule 2. Nothing is written before the bucket has been seen, and that it keeps values for longer than the spool does.
Rule 3. InfluxDB overwrites. What would be a second frozen value is found by looking first.
Rule 4. Nothing is read while some shard has a field of ours with another type: InfluxDB answers with the values of one
        type and says nothing of the others, which would be values that are missing on a bill.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from collector.central.store.influx_query import InfluxQueries
from collector.central.store.influx_server import Bucket, InfluxServer, Refused, StoreStopped
from collector.central.store.influx_write import InfluxWriter, Line
from collector.central.store.line_protocol import FIELD_TYPE, MEASUREMENT, line
from collector.central.store.series import (
    KINDS,
    Around,
    Check,
    Conflict,
    Kind,
    Last,
    Rejected,
    Row,
    Sample,
    StoreAway,
    WriteResult,
)
from collector.config_central import Influx
from drivers import obis

log = logging.getLogger(__name__)

_DAY = 86_400_000  # ms


class InfluxStore:
    """A `SeriesStore` in the bucket of central.yaml. `keep_ms`: for how long the centre's spool can rebuild it."""

    def __init__(self, config: Influx, keep_ms: int) -> None:
        self._config = config
        self._keep_ms = keep_ms
        self._server = InfluxServer(config)
        self._queries = InfluxQueries(self._server.query, config.bucket)
        self._writer = InfluxWriter(self._server)
        self._bucket: Bucket | None = None  # the one that was seen last
        self._may_write = False
        self._clashes: Mapping[Kind, Sequence[str]] | None = None  # fields that hide ours, None for not known

    def write(self, samples: Sequence[Sample]) -> WriteResult:
        with self._trusting():
            self._see_bucket()
            result = WriteResult()
            lines = list(_lines(self._without_known(samples, result), result.rejected))
            result.rejected.extend(self._writer.put(lines))
            return result

    def span(self, kinds: Collection[Kind], meters: Collection[str] | None, start: int, end: int) -> Iterator[Row]:
        with self._trusting():
            self._see_types(kinds)
            yield from self._queries.span(kinds, meters, start, end)

    def around(self, wanted: Mapping[str, Collection[str]], at: int, within_ms: int) -> dict[str, dict[str, Around]]:
        with self._trusting():
            self._see_types(["live"])
            return self._queries.around(wanted, at, within_ms)

    def frozen(self, meters: Collection[str], month_end: int) -> dict[str, dict[str, int]]:
        with self._trusting():
            self._see_types(["frozen"])
            return self._queries.frozen(meters, month_end)

    def last(self, meters: Collection[str] | None) -> dict[str, Last]:
        with self._trusting():
            self._see_types(["live"])
            return self._queries.last(meters)

    @property
    def keeps(self) -> int | None:
        return None if self._bucket is None else self._bucket.keeps

    def check(self) -> Iterator[Check]:
        yield Check("server", True, f"InfluxDB {self._server.version()} at {self._config.url}")
        try:
            self._bucket = bucket = self._server.bucket()
            yield Check("bucket", True, f"{self._config.bucket!r} of organisation {self._config.org!r}")
            fault = self._too_short(bucket)
            yield Check("retention", not fault, fault or _kept(bucket))
            self._server.write(b"")
            yield Check("token", True, f"{self._config.token_file} holds one that may read and write the bucket")
        except (StoreStopped, Refused) as error:
            yield Check("access", False, str(error))
            return
        clashes = self._find_clashes()
        for kind in KINDS:
            fields = clashes[kind]
            yield Check(f"types of {MEASUREMENT[kind]}", not fields, _clash_text(kind, fields) if fields else "as ours")

    def close(self) -> None:
        self._server.close()

    @contextmanager
    def _trusting(self) -> Iterator[None]:
        """Rule 1."""
        try:
            yield
        except StoreAway:
            self._may_write, self._clashes = False, None
            raise

    def _see_bucket(self) -> None:
        """Rule 2. Raises StoreStopped."""
        if self._may_write:
            return
        bucket = self._server.bucket()
        if fault := self._too_short(bucket):
            raise StoreStopped(fault)
        if self._bucket is not None and self._bucket.id != bucket.id:
            log.error(
                "the bucket %r of InfluxDB is another one than before, and what was written until now is not in it; "
                "`meterline store rebuild` writes it again as far back as the spool reaches",
                self._config.bucket,
            )
        self._bucket, self._may_write = bucket, True

    def _too_short(self, bucket: Bucket) -> str:
        if bucket.keeps is None or bucket.keeps > self._keep_ms:
            return ""
        return (
            f"the bucket {self._config.bucket!r} of InfluxDB drops values after {bucket.keeps / _DAY:g} days and "
            f"spool.keep is {self._keep_ms / _DAY:g} days: give the bucket a longer retention, or none"
        )

    def _see_types(self, kinds: Collection[Kind]) -> None:
        """Rule 4. Raises StoreStopped."""
        if self._clashes is None:
            self._clashes = self._find_clashes()
        for kind in kinds:
            if fields := self._clashes[kind]:
                raise StoreStopped(_clash_text(kind, fields))

    def _find_clashes(self) -> dict[Kind, list[str]]:
        """The fields of ours that somebody has written with a type of his own."""
        found: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
        kinds = {measurement: kind for kind, measurement in MEASUREMENT.items()}
        for (measurement, field), types in self._server.field_types().items():
            if measurement in kinds and _is_code(field) and types != {FIELD_TYPE[kinds[measurement]]}:
                found[kinds[measurement]].append(f"{field} ({', '.join(sorted(types))})")
        return found

    def _without_known(self, samples: Sequence[Sample], result: WriteResult) -> Iterator[tuple[int, Sample]]:
        """Rule 3: the samples to write with their places; of frozen ones, what is not stored yet."""
        wanted: dict[int, set[str]] = defaultdict(set)
        for sample in samples:
            if sample.kind == "frozen":
                wanted[sample.time].add(sample.meter)
        stored = {end: self.frozen(meters, end) for end, meters in wanted.items()}
        for place, sample in enumerate(samples):
            if sample.kind != "frozen":
                yield place, sample
                continue
            known = stored[sample.time].setdefault(sample.meter, {})
            fresh = {}
            for code, value in sample.values.items():
                if code not in known:
                    fresh[code], known[code] = value, int(value)
                elif known[code] != value:
                    result.conflicts.append(Conflict(place, code, known[code], int(value)))
            if fresh:
                yield place, sample._replace(values=fresh)


def _lines(samples: Iterator[tuple[int, Sample]], rejected: list[Rejected]) -> Iterator[Line]:
    for place, sample in samples:
        try:
            yield Line(place, line(sample))
        except ValueError as error:
            rejected.append(Rejected(place, f"no point of InfluxDB can be made of it: {error}"))


def _is_code(field: str) -> bool:
    try:
        obis.parse(field)
    except ValueError:
        return False
    return True


def _kept(bucket: Bucket) -> str:
    return "values are kept for ever" if bucket.keeps is None else f"values are kept for {bucket.keeps / _DAY:g} days"


def _clash_text(kind: Kind, fields: Sequence[str]) -> str:
    return (
        f"the bucket holds fields of measurement {MEASUREMENT[kind]} that are not {FIELD_TYPE[kind]} everywhere: "
        f"{', '.join(sorted(fields))}. InfluxDB answers with one of the types and hides the other; find out who else "
        "writes there, give him a bucket of his own, and delete what he has written"
    )
