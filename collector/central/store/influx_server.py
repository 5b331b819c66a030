"""One bucket of an InfluxDB 2 server: what is sent and asked over HTTP, and what each of its refusals means for us.

Rule 1. One request at a time, and its answer is waited for: the batching writer of influxdb-client, which gives up
        after a while with a line in the log, is never used. What is not answered with "done" is not done.
Rule 2. 400, 413 and 422 speak of what was sent (`Refused`): whoever sent it looks for the part that is meant.
Rule 3. 401, 403 and 404 stay until somebody changes something (`StoreStopped`), and the text says what. The token is
        read from its file again at the next try.
Rule 4. Everything else is an absent server (`StoreAway`): 429, 5xx, no answer, half an answer. `Retry-After` is obeyed.
        A text has nothing in it that changes from try to try, so that a log shows a change of what is wrong.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.dialect import Dialect
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from collector.central.store.series import StoreAway
from collector.config_central import Influx

# A header asks for longer only by mistake; a server that is well again is found after this at the latest.
LONGEST_PAUSE = 900.0  # seconds
_SAID = 500  # characters of an answer that are shown: a whole line of line protocol and what is wrong with it
NO_CONTENT = 204  # how InfluxDB says that all is stored
_HEADER_ONLY = Dialect(header=True, annotations=[])


class StoreStopped(StoreAway):
    """The server is there and refuses us, or cannot be trusted, until somebody changes what the text names."""


class Refused(Exception):
    """The server does not take what was sent: 400, 413 or 422, and its words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


class Bucket(NamedTuple):
    """A bucket as the server has it. `keeps`: milliseconds after which it drops a value, None for never."""

    id: str
    keeps: int | None


class InfluxServer:
    """The bucket of central.yaml. Nothing is opened before the first request. One thread at a time."""

    def __init__(self, config: Influx, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self._monotonic = monotonic
        self._client: InfluxDBClient | None = None
        self._pause_until = 0.0
        self._pause_text = ""

    def write(self, lines: bytes) -> None:
        """Store these lines (milliseconds), durable on return; none: ask for the right to write. Raises Refused,
        StoreAway.

        After a 422 all lines are stored that it does not mean, after a 400 or a 413 none.
        """
        parameters = [("org", self.config.org), ("bucket", self.config.bucket), ("precision", "ms")]
        _, status = self._call("POST", "/api/v2/write", parameters, {"Content-Type": "text/plain"}, lines)
        if status != NO_CONTENT:  # whoever answers so kindly, nothing else means "stored"
            raise self._away(
                f"{status} for what we wrote instead of {NO_CONTENT}; is it InfluxDB 2 that listens there?"
            )

    def query(self, flux: str, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """These columns (two or more) of every row of the answer, as they come.

        Raises StoreAway, also in the middle, when the answer breaks off.
        """
        pick: Callable[[list[str]], tuple[str, ...]] | None = None
        with self._answered():
            rows: Iterator[list[str]] = self._connected().query_api().query_csv(flux, dialect=_HEADER_ONLY)
            for row in rows:
                if row[1:2] == ["result"]:  # the header that stands before each table of another form
                    pick = _picker(row, columns)
                elif pick is None or row[1:2] == ["error"]:  # how an answer goes on whose query failed on the way
                    raise self._away(f"it broke off its answer: {' '.join(chain(row, *islice(rows, 2)))[:_SAID]}")
                else:
                    yield pick(row)

    def bucket(self) -> Bucket:
        """The bucket. Raises StoreStopped where the token sees none of that name."""
        parameters = [("org", self.config.org), ("name", self.config.bucket)]
        answer = self._json("/api/v2/buckets", parameters)
        try:
            if not answer["buckets"]:
                raise self._stopped(404, f"bucket {self.config.bucket!r} not found")
            (found,) = answer["buckets"]
            seconds = sum(rule["everySeconds"] for rule in found["retentionRules"] if rule["type"] == "expire")
            return Bucket(str(found["id"]), 1000 * seconds or None)
        except (KeyError, TypeError, ValueError):
            raise self._away(f"it describes its bucket in a way we do not know: {str(answer)[:_SAID]}") from None

    def field_types(self) -> Mapping[tuple[str, str], frozenset[str]]:
        """(measurement, field) -> the types under which some shard of the bucket has it.

        Raises StoreStopped for a token of another organisation: InfluxQL, which alone tells the types, knows only the
        buckets of the token's own.
        """
        database, _, policy = self.config.bucket.partition("/")  # how InfluxQL names a bucket
        parameters = [("db", database), ("rp", policy or "autogen"), ("q", "SHOW FIELD KEYS")]
        answer = self._json("/query", parameters)
        types: dict[tuple[str, str], frozenset[str]] = {}
        try:
            (result,) = answer["results"]
            if str(result.get("error", "")).startswith("database not found"):
                raise self._stopped(404, str(result["error"]))
            if "error" in result:
                raise KeyError
            for series in result.get("series", ()):
                for field, kind in series["values"]:
                    types[series["name"], field] = types.get((series["name"], field), frozenset()) | {kind}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._away(f"it does not tell the types of the bucket's fields: {str(answer)[:_SAID]}") from None
        return types

    def version(self) -> str:
        """What the server calls its version."""
        with self._answered():
            return str(self._connected().version())

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> InfluxDBClient:
        if self._monotonic() < self._pause_until:
            raise self._away(self._pause_text)
        if self._client is None:
            try:
                token = self.config.token()
            except ValueError as error:
                raise StoreStopped(f"InfluxDB at {self.config.url}: {error}") from None
            self._client = InfluxDBClient(self.config.url, token, org=self.config.org, timeout=self.config.timeout)
        return self._client

    def _json(self, path: str, parameters: list[tuple[str, str]]) -> Any:
        answer, _ = self._call("GET", path, parameters, {"Accept": "application/json"})
        return answer

    def _call(
        self, method: str, path: str, parameters: list[tuple[str, str]], headers: dict[str, str], body: Any = None
    ) -> tuple[Any, int]:
        """A request: what its JSON says, and its status."""
        with self._answered():
            api = self._connected().api_client
            try:
                answer, status, _ = api.call_api(path, method, None, parameters, headers, body, response_type="object")
            except ApiException as error:
                if body is not None and error.status in (400, 413, 422):
                    raise Refused(error.status, _said(error)) from error
                raise
        return answer, int(status)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Turns what influxdb-client raises into what it means for us."""
        try:
            yield
        except ApiException as error:
            raise self._meaning(error) from error
        except (HTTPError, OSError) as error:
            raise self._away(self._no_answer(error)) from error
        except (ValueError, IndexError, csv.Error) as error:
            raise self._away(f"it answers with something else than InfluxDB does: {error}") from error

    def _meaning(self, error: ApiException) -> StoreAway:
        """Rules 3 and 4."""
        status, said = int(error.status or 0), _said(error)
        if status in (401, 403, 404):
            return self._stopped(status, said)
        if (pause := _retry_after(error)) is not None:
            self._pause_until = self._monotonic() + min(max(pause, 0.0), LONGEST_PAUSE)
            self._pause_text = f"it asks for a pause ({status} {said})"
            return self._away(self._pause_text)
        return self._away(f"{status} {said}" if status else said)

    def _stopped(self, status: int, said: str) -> StoreStopped:
        self.close()  # the next try begins with the token as it stands in its file then
        bucket = f"bucket {self.config.bucket!r} of organisation {self.config.org!r}"
        to_do = {
            401: f"it does not know the token in {self.config.token_file}; put a valid one there",
            403: f"the token in {self.config.token_file} has no right to this; let it read and write {bucket}",
            404: f"it has no {bucket}, or does not show it to the token in {self.config.token_file}; create it, make a "
            "token in this organisation that may read and write it, or correct store.influxdb in central.yaml",
        }[status]
        return StoreStopped(f"InfluxDB at {self.config.url}: {to_do} ({status} {said})")

    def _away(self, text: str) -> StoreAway:
        return StoreAway(f"InfluxDB at {self.config.url}: {text}")

    def _no_answer(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):  # which is one of these, too
            return f"no answer within {self.config.timeout / 1000:g} s"
        cause = error.__cause__ or error
        return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)


def _picker(header: list[str], columns: Sequence[str]) -> Callable[[list[str]], tuple[str, ...]]:
    """Takes these columns out of a row; what a table has not (another writer's, without our tags) is empty."""
    width = len(header)
    places = [header.index(column) if column in header else width for column in columns]
    pick: Callable[[list[str]], tuple[str, ...]] = itemgetter(*places)
    return pick if width not in places else lambda row: pick([*row, ""])


def _said(error: ApiException) -> str:
    """The server's own words, however it, or a proxy before it, packs them."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        text = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        text = body or error.reason or "without a word"
    return " ".join(str(text).split())[:_SAID]


def _retry_after(error: ApiException) -> float | None:
    """Seconds that the server asks us to wait (RFC 9110, 10.2.3: a number of them, or a date), or None."""
    headers: Any = error.headers or {}
    text = str(headers.get("Retry-After", "")).strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
