"""What every kind of answer means for us, from a server that says what no healthy one can be brought to say."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from collector.central.store.influx import InfluxStore
from collector.central.store.influx_server import LONGEST_PAUSE, InfluxServer, Refused, StoreStopped
from collector.central.store.series import Sample, StoreAway
from collector.config_central import Influx
from tests.broker import free_port
from tests.scripted_http import Answer, Asked, ScriptedHttp

T0 = 1_793_480_400_000
DAY = 86_400_000
SECRET = "Geheimnis-7f3a"
ONE = [Sample("live", "m1", "gw", T0, {"1.8.0": 5})]


def said(status: int, message: str, **headers: str) -> Answer:
    """As InfluxDB packs its words."""
    return Answer(status, json.dumps({"code": "x", "message": message}).encode(), headers)


def healthy(asked: Asked) -> Answer:
    """What an empty InfluxDB answers."""
    if asked.path == "/api/v2/buckets":
        bucket = {"id": "b1", "name": "readings", "retentionRules": [{"type": "expire", "everySeconds": 0}]}
        return Answer(200, json.dumps({"buckets": [bucket]}).encode())
    if asked.path == "/query":
        return Answer(200, b'{"results":[{"statement_id":0}]}')
    return Answer(204 if asked.path == "/api/v2/write" else 200)


def settings(folder: Path, url: str, **changed: Any) -> Influx:
    (folder / "token").write_text(SECRET + "\n")
    return Influx.model_validate(
        {"url": url, "org": "meterline", "bucket": "readings", "token_file": folder / "token", **changed}
    )


@contextmanager
def served(folder: Path, script: Callable[[Asked], Answer | None]) -> Iterator[tuple[ScriptedHttp, InfluxStore]]:
    """A store on a server that is healthy where the script says nothing."""
    with ScriptedHttp(lambda asked: script(asked) or healthy(asked)) as http:
        store = InfluxStore(settings(folder, http.url), 60 * DAY)
        yield http, store
        store.close()


def writes(answer: Answer) -> Callable[[Asked], Answer | None]:
    return lambda asked: answer if asked.path == "/api/v2/write" else None


def asks(answer: Answer) -> Callable[[Asked], Answer | None]:
    return lambda asked: answer if asked.path == "/api/v2/query" else None


def test_a_write_is_one_request_of_plain_lines_in_milliseconds(tmp_path: Path) -> None:
    with served(tmp_path, lambda _: None) as (http, store):
        store.write([*ONE, Sample("quantity", "m1", "gw", T0, {"32.7.0": 230.1})])
        store.write(ONE)
    assert [asked.path for asked in http.asked] == ["/api/v2/buckets", "/api/v2/write", "/api/v2/write"]
    first = http.asked[1]
    assert (
        first.body
        == f"energy,gateway=gw,meter=m1 1.8.0=5i {T0}\nquantity,gateway=gw,meter=m1 32.7.0=230.1 {T0}".encode()
    )
    assert first.parameters == {"org": "meterline", "bucket": "readings", "precision": "ms"}
    assert first.headers["Authorization"] == f"Token {SECRET}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said(500, "unexpected error writing points to database: no space left on device"), "500 .*no space left"),
        (said(503, "unavailable"), "503 unavailable"),
        (Answer(502, b"<html>\n<h1>502\tBad Gateway</h1>\n</html>"), "502 <html> <h1>502 Bad Gateway</h1> </html>"),
        (Answer(429), "429 Too Many Requests"),
        (Answer(200, b"<html>Welcome to the hotel's wireless network</html>"), "200 .*instead of 204"),
        (Answer(307, headers={"Location": "http://127.0.0.1:1/"}), "307"),
        (Answer(400, b"Bad Request"), "400 Bad Request"),
        (Answer(500, b"\xff\xfe\x00", cut=False), "something else than InfluxDB"),
        (Answer(500, b"half", cut=True), "IncompleteRead"),
    ],
)
def test_what_is_not_done_is_an_absent_store(tmp_path: Path, answer: Answer, words: str) -> None:
    with served(tmp_path, writes(answer)) as (_, store), pytest.raises(StoreAway, match=words) as fault:
        store.write(ONE)
    assert not isinstance(fault.value, StoreStopped)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("path", ["/api/v2/buckets", "/query", "/api/v2/query"])
def test_a_refusal_of_anything_but_a_write_is_an_absent_store(tmp_path: Path, path: str, status: int) -> None:
    """Any other error would put batches into quarantine as broken."""
    no = served(tmp_path, lambda asked: said(status, "no") if asked.path == path else None)
    with no as (_, store), pytest.raises(StoreAway, match=f"{status} no"):
        store.write([Sample("frozen", "m1", "gw", T0, {"1.8.0": 5})])


def test_a_check_says_what_a_write_would_be_told(tmp_path: Path) -> None:
    with served(tmp_path, writes(said(400, "no such thing"))) as (_, store):
        assert [(item.name, item.good) for item in store.check()][-1] == ("access", False)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, r"does not know the token in .*token; put a valid one there \(401 because\)"),
        (403, r"no right to this; let it read and write bucket 'readings' of organisation 'meterline' \(403 because\)"),
        (404, r"has no bucket 'readings'.*create it.*or correct store\.influxdb in central\.yaml \(404 because\)"),
    ],
)
def test_what_a_person_has_to_change_is_said(tmp_path: Path, status: int, words: str) -> None:
    with served(tmp_path, writes(said(status, "because"))) as (_, store), pytest.raises(StoreStopped, match=words):
        store.write(ONE)


def test_after_a_fault_the_bucket_is_looked_at_again(tmp_path: Path) -> None:
    answers = iter([said(500, "no"), Answer(204), Answer(204)])
    with served(tmp_path, lambda asked: next(answers) if asked.path == "/api/v2/write" else None) as (http, store):
        with pytest.raises(StoreAway):
            store.write(ONE)
        store.write(ONE)
        store.write(ONE)
    assert [asked.path.rpartition("/")[2] for asked in http.asked] == ["buckets", "write", "buckets", "write", "write"]


# ------------------------------------------------------------------------------------------------------- Retry-After


class Stopwatch:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "at_least", "at_most"),
    [
        (lambda now: "7", 7.0, 7.0),
        (lambda now: http_date(now + timedelta(seconds=LONGEST_PAUSE / 2)), 1.0, LONGEST_PAUSE / 2),
        (lambda now: "99999999999999999999", LONGEST_PAUSE, LONGEST_PAUSE),
        (lambda now: http_date(datetime(2000, 1, 1, tzinfo=UTC)), 0.0, 0.0),
    ],
    ids=["seconds", "date", "for ever", "past"],
)
def test_a_pause_that_the_server_asks_for_is_kept(
    tmp_path: Path, status: int, header: Callable[[datetime], str], at_least: float, at_most: float
) -> None:
    watch = Stopwatch()
    first = iter([said(status, "slow down", **{"Retry-After": header(datetime.now(UTC))})])
    with ScriptedHttp(lambda asked: next(first, None) or healthy(asked)) as http:
        server = InfluxServer(settings(tmp_path, http.url), watch)
        with pytest.raises(StoreAway, match=f"asks for a pause \\({status} slow down\\)") as fault:
            server.write(b"x")
        watch.now += max(0.0, at_least - 0.01)
        if at_least:
            with pytest.raises(StoreAway) as again:
                server.write(b"x")
            assert (str(again.value), len(http.asked)) == (str(fault.value), 1)
        watch.now = 1000.0 + at_most
        server.write(b"x")
        assert len(http.asked) == 2


@pytest.mark.parametrize("header", ["", "soon", "-5", "1.5", "٣"])
def test_a_pause_that_nobody_understands_is_none(tmp_path: Path, header: str) -> None:
    first = iter([Answer(503, headers={"Retry-After": header.encode().decode("latin-1")})])
    with ScriptedHttp(lambda asked: next(first, None) or healthy(asked)) as http:
        server = InfluxServer(settings(tmp_path, http.url), Stopwatch())
        with pytest.raises(StoreAway, match="503"):
            server.write(b"x")
        server.write(b"x")


# ------------------------------------------------------------------------------------------------ nobody, or no answer


def test_a_server_that_is_not_there_is_said_the_same_way_each_time(tmp_path: Path) -> None:
    store = InfluxStore(settings(tmp_path, f"http://127.0.0.1:{free_port()}"), 60 * DAY)
    texts = set()
    for _ in range(3):
        with pytest.raises(StoreAway, match="Connection refused") as fault:
            store.write(ONE)
        texts.add(str(fault.value))
    assert len(texts) == 1  # else the log would tell news at each try


def test_a_name_that_nobody_knows_is_an_absent_store(tmp_path: Path) -> None:
    with pytest.raises(StoreAway, match=r"InfluxDB at http://nowhere\.invalid:8086: "):
        InfluxStore(settings(tmp_path, "http://nowhere.invalid:8086"), 60 * DAY).write(ONE)


def test_a_server_that_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        store = InfluxStore(settings(tmp_path, url, timeout="1s"), 60 * DAY)
        with pytest.raises(StoreAway, match="no answer within 1 s"):
            store.write(ONE)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v2/buckets", b"<html>"),
        ("/api/v2/buckets", b'{"buckets": [{}]}'),
        ("/api/v2/buckets", b'{"buckets": [1]}'),
        ("/query", b"[1]"),
        ("/query", b'{"results": [1]}'),
        ("/query", b'{"results": [{"series": [{"name": "energy", "values": [1]}]}]}'),
    ],
)
def test_a_server_that_speaks_something_else_is_an_absent_store(tmp_path: Path, path: str, body: bytes) -> None:
    words = "in a way we do not know|does not tell the types"
    served_so = served(tmp_path, lambda asked: Answer(200, body) if asked.path == path else None)
    with served_so as (_, store), pytest.raises(StoreAway, match=words):
        store.write([Sample("frozen", "m1", "gw", T0, {"1.8.0": 5})])


# --------------------------------------------------------------------------------------------------------- the token


def test_a_token_of_another_organisation_is_no_use(tmp_path: Path) -> None:
    """It may have every right to the bucket, and InfluxQL does not find it; seen with InfluxDB 2.7."""
    said = b'{"results":[{"statement_id":0,"error":"database not found: readings"}]}'
    served_so = served(tmp_path, lambda asked: Answer(200, said) if asked.path == "/query" else None)
    with served_so as (_, store), pytest.raises(StoreStopped, match="make a token in this organisation that may read"):
        store.last(None)


def test_a_new_token_in_its_file_is_used_at_the_next_try(tmp_path: Path) -> None:
    def script(asked: Asked) -> Answer | None:
        return None if asked.headers["Authorization"] == "Token new" else said(401, "unauthorized access")

    with served(tmp_path, script) as (_, store):
        with pytest.raises(StoreStopped, match="401"):
            store.write(ONE)
        (tmp_path / "token").write_text("new\n")
        assert store.write(ONE).rejected == []


def test_a_token_file_that_is_gone_stops_the_writer_and_not_the_centre(tmp_path: Path) -> None:
    with served(tmp_path, lambda _: None) as (http, store):
        (tmp_path / "token").unlink()
        with pytest.raises(StoreStopped, match="token cannot be read: No such file"):
            store.write(ONE)
        assert http.asked == []
        (tmp_path / "token").write_text(SECRET)
        store.write(ONE)


def test_the_token_is_in_no_text_and_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    for status in (400, 401, 403, 404, 429, 500):
        with served(tmp_path, writes(said(status, "no"))) as (_, store), pytest.raises(StoreAway) as fault:
            store.write(ONE)
        assert SECRET not in str(fault.value)
    assert SECRET not in caplog.text


# ------------------------------------------------------------------------------------------------- answers to questions


@pytest.mark.parametrize("meters", [None, [f"m{n}" for n in range(1000)], [f"m{n}" for n in range(50_000)]])
def test_the_last_value_of_a_whole_fleet_is_one_question(tmp_path: Path, meters: list[str] | None) -> None:
    with served(tmp_path, lambda _: None) as (http, store):
        store.last(meters)
        store.frozen(meters or [], T0)
        store.around({meter: ["1.8.0"] for meter in meters or []}, T0, 1000)
    asked = [len(one.body) for one in http.asked if one.path == "/api/v2/query"]
    assert len(asked) == 1 + (0 if meters is None else 1 + 2 * len(meters) // 1000)
    assert max(asked) < 100_000  # bytes


HEADER = b",result,table,_time,_value,_field,_measurement,gateway,meter\r\n"
ROW = b",_result,0,2026-10-31T21:00:00Z,%d,1.8.0,energy,gw,m1\r\n"


def test_an_answer_is_read_to_its_end(tmp_path: Path) -> None:
    with served(tmp_path, asks(Answer(200, HEADER + ROW % 5 + b"\r\n"))) as (_, store):
        assert store.last(None)["m1"].values == {"1.8.0": 5}
    with served(tmp_path, asks(Answer(200, b"\r\n"))) as (_, store):
        assert store.last(None) == {}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(200, HEADER + ROW % 5, cut=True), "InfluxDB at"),
        (
            Answer(200, HEADER + ROW % 5 + b"\r\n,error,reference\r\n,out of memory,897\r\n"),
            "broke off .*out of memory",
        ),
        (Answer(200, b",error,reference\r\n,out of memory,897\r\n"), "broke off .*out of memory"),
        (Answer(200, b"<html>\r\n<p>hello</p>\r\n"), "broke off .*<html> <p>hello"),
        (Answer(200, HEADER + ROW % 5 + b",_result,0\r\n"), "something else than InfluxDB"),
        (Answer(200, HEADER + b",_result,0,yesterday,5,1.8.0,energy,gw,m1\r\n"), "never write: .*'yesterday'"),
        (
            Answer(200, HEADER + b",_result,0,2026-10-31T21:00:00Z,5.5,1.8.0,energy,gw,m1\r\n"),
            "never write: .*'5.5'",
        ),
        (Answer(200, HEADER + b'"\xff'), "something else than InfluxDB"),
        (said(400, "compilation failed: error @1:1"), "400 compilation failed"),
        (said(500, "query queue length exceeded"), "500 query queue"),
    ],
)
def test_half_an_answer_is_none(tmp_path: Path, answer: Answer, words: str) -> None:
    """What is missing in an answer would be missing on a bill."""
    with served(tmp_path, asks(answer)) as (_, store):
        with pytest.raises(StoreAway, match=words):
            store.last(None)
        with pytest.raises(StoreAway, match=words):
            store.frozen(["m1"], T0)
        with pytest.raises(StoreAway, match=words):  # else a second frozen value could take the place of the first
            store.write([Sample("frozen", "m1", "gw", T0, {"1.8.0": 6})])


def test_another_writers_fields_and_tags_are_passed_over(tmp_path: Path) -> None:
    others = b",_result,0,2026-10-31T21:00:00Z,on,state,energy,gw,m1\r\n"
    bare = b"\r\n,result,table,_time,_value,_field,_measurement\r\n,_result,1,2026-10-31T21:00:00Z,9,1.8.0,energy\r\n"
    with served(tmp_path, asks(Answer(200, HEADER + others + ROW % 5 + bare))) as (_, store):
        assert store.last(["m1"]).keys() == {"m1"}
        assert store.last(["m1"])["m1"].values == {"1.8.0": 5}


def test_a_refusal_has_the_servers_words() -> None:
    assert str(Refused(422, "partial write")) == "422 partial write"
