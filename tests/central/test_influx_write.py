"""Lines to InfluxDB: what a refused request is cut into, and what is never taken for a refusal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.central.store import influx_write
from collector.central.store.influx_server import Refused
from collector.central.store.influx_write import InfluxWriter, Line
from collector.central.store.line_protocol import line
from collector.central.store.series import Sample, StoreAway

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """Refuses as InfluxDB 2.7 does. A line is `<key> <value>`; the value says what is wrong with it."""

    def __init__(self, most_bytes: int = 1 << 30) -> None:
        self.stored: dict[str, str] = {}
        self.requests: list[int] = []
        self.most_bytes = most_bytes

    def write(self, lines: bytes) -> None:
        points = [text.split(" ") for text in lines.decode().split("\n")]
        self.requests.append(len(points))
        if len(lines) > self.most_bytes:
            raise Refused(413, "request entity too large")
        if bad := [f"unable to parse '{' '.join(point)}': invalid number" for point in points if "broken" in point[1]]:
            raise Refused(400, "\n".join(bad))
        clashes, old = ([key for key, value in points if word in value] for word in ("clash", "old"))
        for key, value in points:
            if "clash" not in value and "old" not in value:
                self.stored[key] = value
        if clashes:  # and not a word of those that are too old as well
            said = 'field type conflict: input field "1.8.0" on measurement "energy" is type float'
            raise Refused(422, f"failure writing points to database: partial write: {said} dropped={len(clashes)}")
        if old:
            said = (
                f"dropped {len(old)} points outside retention policy of duration 24h0m0s - oldest point energy at 2020"
            )
            raise Refused(422, f"failure writing points to database: partial write: {said} dropped={len(old)}")


KINDS = st.sampled_from(["good", "good", "good", "broken", "clash", "old"])


@given(st.lists(st.tuples(st.integers(0, 3), KINDS), max_size=40), st.integers(1, 20), st.integers(60, 400))
@settings(max_examples=300, deadline=None)
def test_all_good_lines_are_stored_and_all_others_reported_whatever_stands_beside_them(
    points: list[tuple[int, str]], most_lines: int, most_bytes: int
) -> None:
    lines = [Line(place, f"key{key} {kind}-{place}") for place, (key, kind) in enumerate(points)]
    server = Server(most_bytes)
    writer = InfluxWriter(server)
    writer._most = most_lines
    rejected = dict(writer.put(lines))
    assert rejected.keys() == {place for place, (_, kind) in enumerate(points) if kind != "good"}
    good = {f"key{key}": f"good-{place}" for place, (key, kind) in enumerate(points) if kind == "good"}
    assert server.stored == good  # of one key the last one
    words = {"broken": "invalid number", "clash": "field type conflict", "old": "beyond retention: "}
    for place, reason in rejected.items():
        assert words[points[place][1]] in reason


@pytest.mark.parametrize(
    "said",
    [
        "failure writing points to database: partial write: dropped 2000 points outside retention policy of duration "
        "24h0m0s - oldest point energy,meter=a at 2026 dropped for a Bound dropped=2000 for database: x",
        "failure writing points to database: partial write: points beyond retention policy dropped=2000",
    ],
)
def test_a_month_of_points_that_are_too_old_is_not_sent_one_by_one(said: str) -> None:
    class Strict(Server):
        def write(self, lines: bytes) -> None:
            self.requests.append(lines.count(b"\n") + 1)
            raise Refused(422, said)

    server = Strict()
    rejected = list(InfluxWriter(server).put([Line(n, f"k{n} old") for n in range(2000)]))
    assert server.requests == [2000]
    assert [item.place for item in rejected] == list(range(2000))
    assert "oldest point" not in rejected[0].reason  # that speaks of another point
    assert rejected[0].reason.startswith("beyond retention: ")


def test_a_full_count_of_another_fault_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that counted fields, say, would reach the number of points without having dropped them all."""

    class Miscounts(Server):
        def write(self, lines: bytes) -> None:
            try:
                super().write(lines)
            except Refused as no:
                raise Refused(no.status, re.sub(r"dropped=\d+", f"dropped={self.requests[-1]}", no.text)) from None

    server = Miscounts()
    rejected = list(InfluxWriter(server).put([Line(0, "a good"), Line(1, "b clash"), Line(2, "c good")]))
    assert [item.place for item in rejected] == [1]
    assert server.stored == {"a": "good", "c": "good"}


def test_one_bad_line_among_thousands_costs_a_few_requests() -> None:
    server = Server()
    lines = [Line(n, f"k{n} {'broken' if n == 1234 else 'good'}") for n in range(5000)]
    assert [item.place for item in InfluxWriter(server).put(lines)] == [1234]
    assert len(server.requests) <= 2 * 13 + 1  # 2^13 > 5000
    assert len(server.stored) == 4999


@pytest.mark.parametrize("no", [Refused(400, "Bad Request"), Refused(400, "invalid precision"), Refused(422, "no")])
def test_a_refusal_that_does_not_speak_of_points_rejects_none(no: Refused) -> None:
    class Proxy(Server):
        def write(self, lines: bytes) -> None:
            raise no

    with pytest.raises(StoreAway, match=no.text):
        list(InfluxWriter(Proxy()).put([Line(0, "a good"), Line(1, "b good")]))


def test_what_stands_before_the_server_teaches_how_much_it_takes() -> None:
    server = Server(most_bytes=1000)
    writer = InfluxWriter(server)
    lines = [Line(n, f"key{n:04d} good") for n in range(500)]
    assert list(writer.put(lines)) == []
    assert len(server.stored) == 500
    server.requests.clear()
    assert list(writer.put(lines)) == []
    assert max(server.requests) * 12 <= 1000  # nothing is sent in vain any more


def test_a_proxy_that_takes_not_even_one_line_rejects_nothing() -> None:
    with pytest.raises(StoreAway, match="413"):
        list(InfluxWriter(Server(most_bytes=3)).put([Line(0, "a good")]))


def test_at_most_so_many_lines_go_in_one_request_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    lines = [Line(n, f"key {n}") for n in range(2 * influx_write.MOST_LINES + 1)]
    assert list(InfluxWriter(server).put(lines)) == []
    assert server.requests == [influx_write.MOST_LINES, influx_write.MOST_LINES, 1]
    assert server.stored == {"key": str(2 * influx_write.MOST_LINES)}


# -------------------------------------------------------------------------------------------------- line protocol


def test_lines_are_those_of_the_contract() -> None:
    meter, gateway = "lenina-12-014", "gw-lenina-12"
    samples = [
        Sample("live", meter, gateway, 1793480462120, {"1.8.0": 20044630, "1.8.1": 15023900, "1.8.2": 5020730}),
        Sample("frozen", meter, gateway, 1793480400000, {"1.8.0": 20044610, "1.8.1": 15023900}),
        Sample("quantity", meter, gateway, 1793480462120, {"32.7.0": 230.1}),
    ]
    contract = (ROOT / "docs" / "contract.md").read_text()
    assert "\n".join(line(sample) for sample in samples) in contract


@pytest.mark.parametrize("value", [0.1, -12.5, 1e-7, 1e16, 5e-324, 1.7976931348623157e308, -0.0, 230])
def test_a_quantity_is_a_float_that_reads_back_the_same(value: float) -> None:
    text = line(Sample("quantity", "m", "g", 1, {"32.7.0": value}))
    (shown,) = re.fullmatch(r"quantity,gateway=g,meter=m 32.7.0=(\S+) 1", text).groups()  # type: ignore[union-attr]
    assert (float(shown), "i" in shown) == (value, False)


@pytest.mark.parametrize("name", ["a b", "a,b", "a=b", "a\nb", "a\\", "", "ä", 'a"b'])
def test_a_name_that_would_need_escaping_makes_no_line(name: str) -> None:
    for sample in (
        Sample("live", name, "g", 1, {"1.8.0": 1}),
        Sample("live", "m", name, 1, {"1.8.0": 1}),
        Sample("live", "m", "g", 1, {name: 1}),
    ):
        with pytest.raises(ValueError, match=r"can be no (tag|field)"):
            line(sample)
