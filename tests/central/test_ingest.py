"""Custody at the centre's door: store, then receipt, then acknowledge; refusals by their code; no payload ends it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from collector.central import ingest as ingest_module
from collector.central.engine import open_sqlite
from collector.central.fresh import FreshFirst
from collector.central.ingest import Ingest
from collector.central.registry import Registry
from collector.central.status import healths
from collector.messages import MAX_PAYLOAD, decode_receipt
from collector.model import Receipt
from collector.spool import Inbox, Incoming
from tests.broker import eventually
from tests.central.building import GATEWAY, SPOOL, Letter, SetClock, as_bytes, batch, bring, point, snapshot

READINGS, ACTS, STATUS = (f"meterline/v1/{GATEWAY}/{kind}" for kind in ("readings", "acts", "status"))
ACT = {"snapshots": None, "act": {"schema": 1, "kind": "sealing"}}


class Door:
    """An ingest with a real spool and registry; `log` has what left it, in its order."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.inbox = Inbox(folder / "spool.db", keep_ms=1000)
        self.clock = SetClock()
        self.log: list[Any] = []
        self.broker_takes = True
        self.full = -1  # how often a broker that takes nothing is asked until it takes again; -1: for ever
        self.woken = threading.Event()
        self.drained = FreshFirst(self.inbox)
        self.ingest = Ingest(self.inbox, Registry(engine), self.clock, self, self.woken, self.drained)

    connected = True

    def publish(self, topic: str, payload: bytes) -> bool:
        if not self.broker_takes:
            self.full -= 1
            self.broker_takes = self.full == 0
            return False
        held = {row.payload for row in self.inbox.replay(0, 10_000)}
        self.log.append((topic, decode_receipt(payload), held))
        return True

    def letter(self, payload: bytes, topic: str = READINGS) -> Letter:
        return Letter(topic, payload, self.log)

    def take(self, *payloads: bytes, topic: str = READINGS) -> list[Receipt]:
        """Everything together; the receipts that went out."""
        self.log.clear()
        letters = [self.letter(payload, topic) for payload in payloads]
        self.ingest.take(letters)
        assert all(letter.acknowledged for letter in letters)
        return self.receipts()

    def receipts(self) -> list[Receipt]:
        return [entry[1] for entry in self.log if entry[0] != "acknowledged"]

    def refusal(self, payload: bytes, topic: str = READINGS) -> tuple[str | None, bool | None]:
        (receipt,) = self.take(payload, topic=topic)
        assert not receipt.stored
        assert receipt.sha256 == hashlib.sha256(payload).hexdigest()
        assert receipt.reason
        return receipt.code, receipt.final

    def held(self) -> list[bytes]:
        return [row.payload for row in self.inbox.replay(0, 10_000)]


@pytest.fixture
def door(tmp_path: Path, engine: Engine) -> Iterator[Door]:
    bring(engine, point(1), point(2))
    door = Door(tmp_path, engine)
    yield door
    door.inbox.close()


def sound(sequence: int = 1, **changed: Any) -> bytes:
    return as_bytes(batch(snapshot(1), snapshot(2), sequence=sequence, **changed))


def status(**changed: Any) -> bytes:
    return as_bytes({"schema": 1, "gateway": GATEWAY, "online": True, "at": 1, "version": "0.1.0", **changed})


def test_a_batch_is_stored_then_receipted_then_acknowledged(door: Door) -> None:
    payload = sound()
    (receipt,) = door.take(payload)
    digest = hashlib.sha256(payload).hexdigest()
    assert receipt == Receipt(gateway=GATEWAY, spool=SPOOL, sequence=1, sha256=digest, stored=True)
    (topic, _, held_then), acknowledged = door.log
    assert topic == f"meterline/v1/{GATEWAY}/receipt"
    assert held_then == {payload}
    assert acknowledged == ("acknowledged", payload)
    assert door.woken.is_set()


def test_the_digest_is_that_of_the_bytes_as_they_came(door: Door) -> None:
    odd = sound() + b"\n \t"
    assert door.take(odd)[0].sha256 == hashlib.sha256(odd).hexdigest()
    assert door.held() == [odd]


def test_a_repeat_of_a_stored_batch_changes_nothing_and_is_receipted_again(door: Door) -> None:
    first = door.take(sound())
    door.woken.clear()
    assert door.take(sound()) == first
    assert door.held() == [sound()]
    assert not door.woken.is_set()
    assert (door.ingest.counts.stored, door.ingest.counts.repeats) == (1, 1)


def test_a_repeat_in_the_same_round_is_a_repeat(door: Door) -> None:
    assert [receipt.stored for receipt in door.take(sound(), sound())] == [True, True]
    assert door.held() == [sound()]


def test_other_bytes_under_the_same_key_are_a_conflict_and_the_first_stay(door: Door) -> None:
    door.take(sound())
    assert door.refusal(sound() + b" ") == ("conflict", True)
    assert door.held() == [sound()]


def test_batches_are_taken_in_any_order(door: Door) -> None:
    order = [7, 3, 9, 1]
    assert all(receipt.stored for receipt in door.take(*(sound(number) for number in order)))
    assert [row.sequence for row in door.inbox.unsettled("readings", 10)] == order


def test_a_gateway_that_the_registry_does_not_know_is_turned_away_for_now(door: Door, engine: Engine) -> None:
    payload, topic = sound(gateway="gw-new"), "meterline/v1/gw-new/readings"
    assert door.refusal(payload, topic) == ("unknown-gateway", False)
    bring(engine, point(3, gateway="gw-new"))
    door.clock.now += 1000
    assert [receipt.stored for receipt in door.take(payload, topic=topic)] == [True]


@pytest.mark.parametrize("payload", [sound(), status()])
def test_while_the_registry_is_away_nothing_is_lost_and_nobody_is_called_unknown(
    door: Door, monkeypatch: pytest.MonkeyPatch, payload: bytes
) -> None:
    def away(_registry: Registry) -> frozenset[str]:
        raise OperationalError("SELECT", None, Exception("database is locked"))

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "gateways", away)
        codes = [
            (receipt.code, receipt.final)
            for receipt in door.take(payload, topic=STATUS if payload == status() else READINGS)
        ]
    assert codes == ([] if payload == status() else [("busy", False)])
    assert door.inbox.unreadable(5) == []
    door.clock.now += 1000
    assert door.take(sound())[0].stored


def test_a_flood_from_an_unknown_gateway_does_not_become_a_flood_of_queries(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    gateways = Registry.gateways
    monkeypatch.setattr(Registry, "gateways", lambda self: looked.append(1) or gateways(self))
    door.take(*(sound(number, gateway="gw-x") for number in range(1, 50)), topic="meterline/v1/gw-x/readings")
    assert len(looked) == 1


def test_who_calls_himself_another_is_refused_under_his_own_name(door: Door) -> None:
    payload = sound(gateway="gw-other")
    assert door.refusal(payload) == ("mismatch", True)
    assert door.receipts()[0].gateway == GATEWAY
    assert door.held() == []


@pytest.mark.parametrize(
    ("topic", "content"),
    [(READINGS, ACT), (ACTS, {}), (ACTS, {"snapshots": None, "evicted": {"snapshots": 1, "from": 1, "to": 2}})],
)
def test_acts_and_readings_keep_to_their_own_topics(door: Door, topic: str, content: dict[str, Any]) -> None:
    assert door.refusal(sound(**content), topic) == ("mismatch", True)


def test_an_act_is_stored_receipted_and_left_for_whoever_takes_acts(door: Door) -> None:
    assert [receipt.stored for receipt in door.take(sound(**ACT), topic=ACTS)] == [True]
    assert [row.sequence for row in door.inbox.unsettled("acts", 10)] == [1]
    assert door.inbox.unsettled("readings", 10) == []


def test_a_tombstone_is_stored_and_receipted_like_a_batch(door: Door) -> None:
    tombstone = sound(snapshots=None, evicted={"snapshots": 180, "from": 1, "to": 2}, **{"class": "interval"})
    assert [receipt.stored for receipt in door.take(tombstone)] == [True]


@pytest.mark.parametrize(
    "changed",
    [
        {"schema": 2},
        {"class": "urgent"},
        {"snapshots": None},
        {"synced": "yes"},
        {"profiles": []},
        {"act": {}},
        {"snapshots": 5},
    ],
)
def test_an_unsound_envelope_with_a_readable_key_is_refused_for_good(door: Door, changed: dict[str, Any]) -> None:
    assert door.refusal(sound(**changed)) == ("schema", True)
    assert door.held() == []


@pytest.mark.parametrize("size", [MAX_PAYLOAD + 1, 10 << 20])
def test_a_message_that_is_too_large_is_refused_for_good(door: Door, size: int) -> None:
    assert door.refusal(sound().ljust(size)) == ("too-large", True)
    assert door.held() == []


def test_a_message_of_just_the_size_that_is_allowed_is_taken(door: Door) -> None:
    assert door.take(sound().ljust(MAX_PAYLOAD))[0].stored


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xff\xfe", b"[]", b"null", b"{}", b'{"gateway":', bytes(range(256)) * 400,
        as_bytes(batch(spool="B7E3C1D09A44")), as_bytes(batch(sequence=0)), as_bytes(batch(gateway="a/b")),
        b"[" * 100_000, b" " * (17 << 20),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_has_no_readable_key_is_counted_and_kept_and_not_answered(door: Door, payload: bytes) -> None:
    assert door.take(payload) == []
    assert (door.held(), door.ingest.counts.unreadable) == ([], 1)
    (kept,) = door.inbox.unreadable(5)
    assert (kept.topic, kept.size, kept.payload) == (READINGS, len(payload), payload[: 64 << 10])


@pytest.mark.parametrize(
    "topic", ["meterline/v1/a b/readings", "meterline/v2/gw/readings", "meterline/v1/gw/readings/x", "", "x"]
)
def test_a_topic_that_is_none_of_ours_is_kept_and_not_answered(door: Door, topic: str) -> None:
    assert door.take(sound(), topic=topic) == []
    assert door.inbox.unreadable(5)[0].topic == topic


def test_a_bad_snapshot_does_not_refuse_its_envelope(door: Door) -> None:
    payload = as_bytes(batch(snapshot(1), {"meter": 5}, snapshot(2, registers={"1.8.0": "x"})))
    assert door.take(payload)[0].stored


def test_one_commit_holds_all_that_has_come(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    puts: list[int] = []
    put = door.inbox.put

    def counted(rows: Sequence[Incoming], now: int) -> Any:
        puts.append(len(rows))
        return put(rows, now)

    monkeypatch.setattr(door.inbox, "put", counted)
    for number in range(1, 101):
        door.ingest.offer(door.letter(sound(number)))
    stop = threading.Event()
    thread = threading.Thread(target=door.ingest.run, args=(stop,))
    thread.start()
    eventually(lambda: len(door.held()) == 100)
    stop.set()
    thread.join()
    assert puts == [100]
    assert sum(entry[0] == "acknowledged" for entry in door.log) == 100


def test_a_round_holds_no_more_bytes_than_it_may(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "ROUND_BYTES", 1)
    for number in range(1, 4):
        door.ingest.offer(door.letter(sound(number)))
    assert [len(door.ingest._collect()) for _ in range(3)] == [1, 1, 1]
    assert door.ingest._waiting == 0


@pytest.mark.parametrize(("name", "value"), [("QUEUE_BYTES", 1), ("QUEUE_MESSAGES", 1)])
def test_what_does_not_fit_into_the_queue_is_busy_at_once_and_nothing_is_stored(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(ingest_module, name, value)
    bring(engine, point(1), point(2))
    door = Door(tmp_path, engine)
    first, second, third = door.letter(sound(1)), door.letter(sound(2)), door.letter(b"nonsense")
    for letter in (first, second, third):
        door.ingest.offer(letter)  # nobody takes them out
    assert (first.acknowledged, second.acknowledged, third.acknowledged) == (False, True, True)
    (receipt,) = door.receipts()
    assert (receipt.sequence, receipt.stored, receipt.code, receipt.final) == (2, False, "busy", False)
    assert door.held() == []
    door.ingest.take(door.ingest._collect())
    assert door.held() == [sound(1)]
    door.inbox.close()


def test_a_full_disk_is_busy_and_said_and_later_taken(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    connection = door.inbox._file.connection
    connection.execute("PRAGMA max_page_count=30")  # SQLite's own way to say that the disk is full
    big = [sound(number).ljust(60_000) for number in range(1, 6)]
    receipts = [receipt for payload in big for receipt in door.take(payload)]
    assert {(receipt.stored, receipt.code, receipt.final) for receipt in receipts[2:]} == {(False, "busy", False)}
    assert "disk is full" in door.ingest.trouble
    assert caplog.text.count("batches are turned away") == 1  # said once, not five times
    connection.execute("PRAGMA max_page_count=100000")
    assert all(receipt.stored for payload in big for receipt in door.take(payload))
    assert (door.ingest.trouble, len(door.held())) == ("", 5)
    assert "batches are stored again" in caplog.text


def test_receipts_wait_for_their_turn_and_messages_for_their_receipts(door: Door) -> None:
    door.broker_takes, door.full = False, 5  # its limit of unacknowledged publications is reached, five looks long
    assert [receipt.sequence for receipt in door.take(sound(1), sound(2))] == [1, 2]
    assert [entry[0] for entry in door.log[-2:]] == ["acknowledged"] * 2
    assert door.ingest.counts.lost_receipts == 0


@pytest.mark.parametrize("gone", [True, False])
def test_a_receipt_that_the_broker_does_not_take_is_given_again_for_the_repeat(
    door: Door, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    door.broker_takes, door.connected = False, not gone
    monkeypatch.setattr(SetClock, "monotonic", lambda self: next(seconds))
    seconds = iter(range(1000))
    assert door.take(sound(1), sound(2)) == []
    assert door.ingest.counts.lost_receipts == 2
    door.broker_takes = True
    assert [receipt.stored for receipt in door.take(sound(1), sound(2))] == [True, True]
    assert door.held() == [sound(1), sound(2)]


def test_a_message_that_breaks_our_own_code_ends_neither_the_service_nor_its_neighbours(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = sound(2)
    open_envelope = ingest_module.opened

    def broken(payload: bytes) -> Any:
        if payload == poison:
            raise ZeroDivisionError("a bug")
        return open_envelope(payload)

    monkeypatch.setattr(ingest_module, "opened", broken)
    receipts = door.take(sound(1), poison, sound(3))
    assert {receipt.sequence for receipt in receipts if receipt.stored} == {1, 3}
    assert "a bug" in door.inbox.unreadable(5)[0].reason
    assert door.held() == [sound(1), sound(3)]


# ------------------------------------------------------------------------------------------------------------ status


def test_a_status_of_a_known_gateway_is_kept(door: Door, engine: Engine) -> None:
    assert door.take(status(), status(online=False), topic=STATUS) == []
    with engine.connect() as connection:
        (health,) = healths(connection)
    assert (health.gateway, health.online, health.at) == (GATEWAY, False, door.clock.now)


@pytest.mark.parametrize(
    ("payload", "topic"),
    [(status(gateway="gw-x"), STATUS), (status(gateway="gw-x"), "meterline/v1/gw-x/status"), (b"", STATUS)],
)
def test_a_status_of_nobody_known_is_ignored(door: Door, engine: Engine, payload: bytes, topic: str) -> None:
    door.take(payload, topic=topic)
    with engine.connect() as connection:
        assert healths(connection) == []
    assert (door.ingest.counts.ignored, door.inbox.unreadable(5)) == (1, [])


@pytest.mark.parametrize("payload", [b"{", status(online="maybe"), status(schema=2), status().ljust(MAX_PAYLOAD + 1)])
def test_a_status_that_cannot_be_read_is_kept_as_unreadable(door: Door, payload: bytes) -> None:
    door.take(payload, topic=STATUS)
    assert door.inbox.unreadable(5)[0].size == len(payload)


# -------------------------------------------------------------------------------------------------------------- fuzz

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_fields = st.sampled_from([*sorted(batch(snapshot(1))), "act", "evicted", "extra"])
_snapshot_fields = st.sampled_from([*sorted(snapshot(1)), "frozen", "quantities", "raw", "failure", "clock"])


@st.composite
def _almost(draw: st.DrawFn) -> bytes:
    """A sound batch with some fields replaced by anything, or some bytes damaged."""
    inner = {**snapshot(1), **draw(st.dictionaries(_snapshot_fields, _values, max_size=2))}
    message = {**batch(inner, snapshot(2)), **draw(st.dictionaries(_fields, _values, max_size=2))}
    payload = bytearray(json.dumps(message).encode())
    for place, byte in draw(st.lists(st.tuples(st.integers(0, len(payload) - 1), st.integers(0, 255)), max_size=2)):
        payload[place] = byte
    return bytes(payload[: draw(st.integers(len(payload) - 20, len(payload)))])


@pytest.fixture(scope="module")
def any_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    engine = open_sqlite(folder / "central.db")
    bring(engine, point(1), point(2))
    door = Door(folder, engine)
    yield door
    door.inbox.close()
    engine.dispose()


@given(
    st.lists(st.binary(max_size=400) | _values.map(lambda value: json.dumps(value).encode()) | _almost(), max_size=3)
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_payloads_are_acknowledged_and_only_what_is_stored_is_called_stored(
    any_door: Door, payloads: list[bytes]
) -> None:
    broken_before = any_door.ingest.counts.unreadable
    receipts = any_door.take(*payloads)
    assert len(receipts) + any_door.ingest.counts.unreadable - broken_before == len(payloads)
    held = {hashlib.sha256(payload).hexdigest() for payload in any_door.held()}
    assert all((receipt.sha256 in held) == receipt.stored for receipt in receipts)
    reasons = [kept.reason for kept in any_door.inbox.unreadable(1000)]
    assert not any("broke our code" in reason for reason in reasons)
