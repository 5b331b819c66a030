"""What is asked of InfluxDB: every Flux text of the project, and what becomes of its answers.

Rule 1. A filter by meter is one regular expression, which InfluxDB looks up in its index. Some 250 `or`s are "nested
        too deep" for Flux, and `contains` reads the whole bucket.
Rule 2. Nothing goes into a text that was not looked at: a name that no series can have (`line_protocol.plain`) is not
        asked for, and a bucket's name goes in as hexadecimal bytes.
Rule 3. `gateway` is a tag: a meter that came to another gateway has two series, which are put together here. Where they
        differ for one instant, which no registry allows, the gateway that is last by name counts, always.
Rule 4. A question's answer is bounded: however much is stored, it comes in pages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, TypeVar

from collector import localtime
from collector.central.store.line_protocol import MEASUREMENT, plain
from collector.central.store.series import KINDS, Around, Kind, Last, Row, StoreAway, TimedValue
from drivers import obis

# Meters in one question. The time that InfluxDB takes for each rises with their number; 1000 are 30 KiB of text.
NAMED = 1000
# Meters whose pages are planned at once, and values in a page: some 10 MiB here.
PLANNED, PAGE = 100, 50_000
# What pages are made of: the time of a shard in a bucket without retention, so that no page reads one for little.
WINDOW = "7d"
# Up to here on each side of an instant it costs less to fetch all values than to let InfluxDB choose in each series.
FETCHED = 2 * 3_600_000
NEIGHBOURS = 2  # on each side: the chosen value and its witness
_LAST_MS = ((1 << 63) - 1) // 1_000_000  # the last millisecond that InfluxDB's nanoseconds can name, in 2262

T = TypeVar("T")
Ask = Callable[[str, Sequence[str]], Iterator[tuple[str, ...]]]
_KIND: Mapping[str, Kind] = {measurement: kind for kind, measurement in MEASUREMENT.items()}
_SERIES = ("_measurement", "meter", "_field", "gateway")


class Found(NamedTuple):
    """A stored value, in the order in which values are handed on. `order`: of its register; `kind`: in KINDS."""

    meter: str
    time: int
    order: tuple[int, int, int]
    kind: int
    gateway: str
    register: str
    value: int | float


class InfluxQueries:
    """Questions to a bucket. `ask(flux, columns)` gives those columns of each row. Raises StoreAway."""

    def __init__(self, ask: Ask, bucket: str) -> None:
        self._ask = ask
        self._from = f"from(bucket: {_text(bucket)})"
        self._bucket = bucket

    def span(self, kinds: Collection[Kind], meters: Collection[str] | None, start: int, end: int) -> Iterator[Row]:
        """As `SeriesStore.span`."""
        start, end = _clamped(start), _clamped(end)
        if not kinds or _empty(start, end):
            return
        names = sorted(self._names(kinds, start, end) if meters is None else set(meters))
        for some in _chunks(names, PLANNED):
            for page, first, last in self._pages(kinds, some, start, end):
                found = sorted(self._found(self._data(kinds, first, last, page)))
                for _, same in groupby(found, key=itemgetter(0, 1, 2, 3)):
                    *_, (meter, time, _, kind, _, register, value) = same
                    yield Row(meter, time, register, value, KINDS[kind])

    def around(self, wanted: Mapping[str, Collection[str]], at: int, within_ms: int) -> dict[str, dict[str, Around]]:
        """As `SeriesStore.around`."""
        first, after = at - within_ms, at + within_ms + 1
        thin = ("", "") if within_ms <= FETCHED else (f" |> tail(n: {NEIGHBOURS})", f" |> limit(n: {NEIGHBOURS})")
        found: dict[str, dict[str, Around]] = {}
        for names in _chunks(sorted(wanted), NAMED):
            codes = sorted({code for name in names for code in wanted[name] if plain(code)})
            if not codes:
                continue
            near: dict[tuple[str, str], list[tuple[int, str, int]]] = defaultdict(list)
            for start, end, few in ((first, at, thin[0]), (at, after, thin[1])):
                if _empty(start, end):
                    continue
                data = self._data(["live"], start, end, names, codes) + few
                for meter, time, _, _, gateway, register, value in self._found(data):
                    near[meter, register].append((time, gateway, int(value)))
            for (meter, register), values in near.items():
                if register in wanted[meter]:
                    found.setdefault(meter, {})[register] = _nearest(values, at)
        return found

    def frozen(self, meters: Collection[str], month_end: int) -> dict[str, dict[str, int]]:
        """As `SeriesStore.frozen`."""
        found: dict[str, dict[str, int]] = {}
        for data in self._streams(["frozen"], month_end, month_end + 1, meters):
            for meter, *_, register, value in sorted(self._found(data)):
                if meter in meters:
                    found.setdefault(meter, {})[register] = int(value)
        return found

    def last(self, meters: Collection[str] | None) -> dict[str, Last]:
        """As `SeriesStore.last`; of a whole fleet in one request."""
        newest: dict[str, tuple[int, dict[str, tuple[str, int]]]] = {}
        for data in self._streams(["live"], 0, _LAST_MS, meters):
            for meter, time, _, _, gateway, register, value in self._found(f"{data} |> last()"):
                if meters is None or meter in meters:
                    if meter not in newest or newest[meter][0] < time:
                        newest[meter] = (time, {})
                    if newest[meter][0] == time:
                        values = newest[meter][1]
                        values[register] = max(values.get(register, ("", 0)), (gateway, int(value)))
        return {meter: Last(at, {code: value for code, (_, value) in v.items()}) for meter, (at, v) in newest.items()}

    def _found(self, data: str) -> Iterator[Found]:
        """What a stream of series holds."""
        flux = f'{data} |> drop(columns: ["_start", "_stop"])'
        for measurement, meter, field, gateway, time, value in self._ask(flux, (*_SERIES, "_time", "_value")):
            kind = _KIND[measurement]
            try:
                order = obis.sort_key(field)
            except ValueError:
                continue  # somebody else's field
            number = self._read(float if kind == "quantity" else int, value)
            yield Found(meter, self._read(_millis, time), order, KINDS.index(kind), gateway, field, number)

    def _read(self, convert: Callable[[str], T], text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise StoreAway(f"the bucket {self._bucket!r} of InfluxDB holds what we never write: {error}") from None

    def _data(
        self,
        kinds: Collection[Kind],
        start: int,
        end: int,
        names: Collection[str] | None,
        codes: Collection[str] | None = None,
    ) -> str:
        """The stream of these series in start <= time < end; names None: of all meters."""
        wheres = [f"r._measurement =~ {_one_of(MEASUREMENT[kind] for kind in kinds)}"]
        wheres += [] if names is None else [f"r.meter =~ {_one_of(names)}"]
        wheres += [] if codes is None else [f"r._field =~ {_one_of(codes)}"]
        return f"{self._from} |> {_range(start, end)} |> filter(fn: (r) => {' and '.join(wheres)})"

    def _streams(self, kinds: Collection[Kind], start: int, end: int, meters: Collection[str] | None) -> Iterator[str]:
        """The stream that holds these meters' series; with those of all others where many are asked for."""
        if _empty(start, end):
            return
        if meters is None or len(meters) > NAMED:
            yield self._data(kinds, start, end, None)
        else:
            yield from (self._data(kinds, start, end, names) for names in _chunks(sorted(meters), NAMED))

    def _names(self, kinds: Collection[Kind], start: int, end: int) -> set[str]:
        """The meters that have values there, and perhaps some that have theirs beside it."""
        measurements = _one_of(MEASUREMENT[kind] for kind in kinds)
        flux = (
            'import "influxdata/influxdb/schema"\n'
            f'schema.tagValues(bucket: {_text(self._bucket)}, tag: "meter", '
            f"predicate: (r) => r._measurement =~ {measurements}, start: {_time(start)}, stop: {_time(end)})"
        )
        return {name for name, _ in self._ask(flux, ("_value", "table"))}

    def _pages(
        self, kinds: Collection[Kind], names: Sequence[str], start: int, end: int
    ) -> Iterator[tuple[list[str], int, int]]:
        """(meters, start, end) of questions that hold at most PAGE values each, or one window of one meter."""
        counts: dict[str, dict[tuple[int, int], int]] = {}
        data = f"{self._data(kinds, start, end, names)} |> window(every: {WINDOW}) |> count()"
        for meter, first, last, count in self._ask(data, ("meter", "_start", "_stop", "_value")):
            windows = counts.setdefault(meter, {})
            window = (self._read(_millis, first), self._read(_millis, last))
            windows[window] = windows.get(window, 0) + self._read(int, count)
        together: list[str] = []
        room = PAGE
        for name in (name for name in names if name in counts):
            size = sum(counts[name].values())
            if together and size > room:
                yield together, start, end
                together, room = [], PAGE
            if size <= PAGE:
                together.append(name)
                room -= size
            else:
                yield from (([name], first, last) for first, last in _packed(counts[name]))
        if together:
            yield together, start, end


def _packed(windows: Mapping[tuple[int, int], int]) -> Iterator[tuple[int, int]]:
    """Windows that follow each other, put together as long as they hold at most PAGE values."""
    ordered = sorted(windows)
    begin, size = ordered[0][0], 0
    for previous, window in zip([ordered[0], *ordered], ordered, strict=False):
        if size and size + windows[window] > PAGE:
            yield begin, previous[1]
            begin, size = window[0], 0
        size += windows[window]
    yield begin, ordered[-1][1]


def _nearest(values: Iterable[tuple[int, str, int]], at: int) -> Around:
    """`values`: time, gateway, value."""
    times = {time: value for time, _, value in sorted(values)}
    before = [TimedValue(time, value) for time, value in times.items() if time < at]
    after = [TimedValue(time, value) for time, value in times.items() if time >= at]
    return Around(tuple(before[: -NEIGHBOURS - 1 : -1]), tuple(after[:NEIGHBOURS]))


def _chunks(names: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """At most so many at a time, of those that a series can have."""
    sound = [name for name in names if plain(name)]
    for first in range(0, len(sound), most):
        yield sound[first : first + most]


def _one_of(names: Iterable[str]) -> str:
    """A regular expression for these texts, of which each can be in a series, and for no others."""
    return f"/^(?:{'|'.join(name.replace('.', '[.]') for name in names)})$/"


def _text(text: str) -> str:
    """A Flux string: each byte by its number, so that nothing in it means anything."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def _time(millis: int) -> str:
    return f"time(v: {millis * 1_000_000})"


def _range(start: int, end: int) -> str:
    return f"range(start: {_time(_clamped(start))}, stop: {_time(_clamped(end))})"


def _clamped(millis: int) -> int:
    """The nearest instant that InfluxDB can name; of ours, none is before 1970."""
    return min(max(millis, 0), _LAST_MS)


def _empty(start: int, end: int) -> bool:
    """Whether nothing can lie between; InfluxDB answers such a question with an error."""
    return _clamped(start) >= _clamped(end)


def _millis(text: str) -> int:
    return localtime.to_millis(datetime.fromisoformat(text))
