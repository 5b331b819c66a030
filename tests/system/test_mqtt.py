"""The MQTT connection against a real mosquitto, and against brokers that misbehave."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client
import pytest

from collector import mqtt, mqtt_attempt
from collector.mqtt import Connection, Message, Settings
from tests.broker import PATIENCE, Certificates, Mosquitto, Relay, eventually, free_port, only_mqtt_311

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


class Peer:
    """A connection under test, with everything it said and received."""

    def __init__(self, settings: Settings, *, answer: Callable[[Message], None] | None = None, **more: Any) -> None:
        self.messages: list[Message] = []
        self.states: list[tuple[bool, str]] = []
        self._answer = answer or Message.acknowledge
        self.connection = Connection(
            settings,
            on_message=self._take,
            on_change=lambda connected, why: self.states.append((connected, why)),
            **{"first_delay": 0.02, "longest_delay": 0.1, **more},
        )

    def _take(self, message: Message) -> None:
        self.messages.append(message)
        self._answer(message)

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    @property
    def words(self) -> str:
        return "\n".join(why for _, why in self.states)

    def until_connected(self) -> Peer:
        eventually(lambda: self.connection.connected, self.words)
        return self


@contextmanager
def peer(settings: Settings, **more: Any) -> Iterator[Peer]:
    it = Peer(settings, **more)
    it.connection.start()
    try:
        yield it
    finally:
        it.connection.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@VERSIONS
def test_what_one_publishes_another_receives(broker: Mosquitto, version: Any) -> None:
    settings = Settings(broker.url, protocol=version)
    with peer(replace(settings, client_id="b"), subscriptions=["a/+", "c"]) as b, peer(settings) as a:
        b.until_connected()
        a.until_connected()
        assert a.connection.publish("a/b", b"\x00\xff")
        assert a.connection.publish("other", b"not for us")
        assert a.connection.publish("c", b"x" * 262_144)
        eventually(lambda: len(b.messages) == 2)
        assert [(m.topic, m.payload) for m in b.messages] == [("a/b", b"\x00\xff"), ("c", b"x" * 262_144)]
        eventually(lambda: a.connection.waiting == 0)


def test_nothing_is_taken_while_there_is_no_connection(tmp_path: Path) -> None:
    with peer(Settings(f"mqtt://127.0.0.1:{free_port()}")) as a:
        eventually(lambda: a.states)
        assert not a.connection.publish("t", b"x")
        assert not a.connection.connected
        assert "refuses connections" in a.words


@VERSIONS
def test_a_message_that_nobody_acknowledged_comes_again(broker: Mosquitto, version: Any) -> None:
    with Relay(broker.port) as relay:
        settings = Settings(f"mqtt://127.0.0.1:{relay.port}", protocol=version, client_id="centre")
        held: list[Message] = []
        with (
            peer(settings, subscriptions=["t"], clean=False, answer=held.append) as b,
            peer(Settings(broker.url)) as a,
        ):
            b.until_connected()
            a.until_connected()
            a.connection.publish("t", b"one")
            eventually(lambda: len(held) == 1)
            relay.cut()
            eventually(lambda: len(held) == 2, "redelivery")
            held[0].acknowledge()  # came by a connection that is gone: must not count for the new one
            held[1].acknowledge()
            eventually(lambda: broker.log.count("Received PUBACK from centre") == 1)
            relay.cut()
            eventually(lambda: len(b.states) >= 5 and b.connection.connected)
            a.connection.publish("t", b"two")
            eventually(lambda: len(held) == 3)
            assert [message.payload for message in held] == [b"one", b"one", b"two"]
            assert broker.log.count("Received PUBACK from centre") == 1


@VERSIONS
def test_after_a_restart_of_the_broker_subscriptions_are_there_and_the_library_sends_nothing_again(
    broker: Mosquitto, version: Any
) -> None:
    with Relay(broker.port) as relay:
        sender = Settings(f"mqtt://127.0.0.1:{relay.port}", protocol=version)
        with peer(Settings(broker.url, protocol=version), subscriptions=["t"]) as b, peer(sender) as a:
            b.until_connected()
            a.until_connected()
            relay.deaf.set()  # the broker's PUBACK never comes: a library with a memory would send it again
            assert a.connection.publish("t", b"before")
            eventually(lambda: b.payloads == [b"before"])
            relay.cut()
            broker.stop()
            eventually(lambda: not a.connection.connected and not b.connection.connected)
            assert not a.connection.publish("t", b"while down")
            relay.deaf.clear()
            broker.start()
            a.until_connected()
            b.until_connected()
            assert a.connection.waiting == 0
            assert a.connection.publish("t", b"after")
            eventually(lambda: b"after" in b.payloads)
            assert b.payloads == [b"before", b"after"]


@VERSIONS
def test_the_will_speaks_when_the_connection_breaks_and_is_silent_after_a_goodbye(
    broker: Mosquitto, version: Any
) -> None:
    with peer(Settings(broker.url), subscriptions=["status"]) as b, Relay(broker.port) as relay:
        b.until_connected()
        settings = Settings(f"mqtt://127.0.0.1:{relay.port}", protocol=version, client_id="gw")
        with peer(settings, will=("status", b"gone")) as a:
            a.until_connected()
            relay.cut()
            eventually(lambda: b.payloads == [b"gone"])
            eventually(lambda: len(a.states) >= 3 and a.connection.connected)
        eventually(lambda: "gw disconnected" in broker.log or "Client gw disconnected." in broker.log)
        with peer(Settings(broker.url), subscriptions=["status"]) as late:
            eventually(lambda: late.payloads == [b"gone"], "the will is retained")
            assert late.messages[0].retained
    assert b.payloads == [b"gone"]


@VERSIONS
def test_a_wrong_password_is_said_and_tried_again(tmp_path: Path, version: Any) -> None:
    with Mosquitto(tmp_path, users={"gw": "right"}) as broker:
        settings = Settings(broker.url, protocol=version, username="gw", password="wrong", client_id="gw")
        with peer(settings) as a:
            eventually(lambda: a.states)
            assert "refuses gw: not authorised" in a.words
            assert "wrong" not in a.words.replace("wrong password", "")
            assert not a.connection.connected
        with peer(replace(settings, password="right")) as a:
            a.until_connected()


def test_a_message_is_acknowledged_once_however_often_it_is_said() -> None:
    calls: list[str] = []
    message = Message("t", b"", False, lambda: calls.append("acknowledged"))
    message.acknowledge()
    message.acknowledge()
    assert calls == ["acknowledged"]


def test_a_stop_lets_what_is_under_way_arrive(broker: Mosquitto) -> None:
    with peer(Settings(broker.url), subscriptions=["t"]) as b, peer(Settings(broker.url)) as a:
        b.until_connected()
        a.until_connected()
        assert all(a.connection.publish("t", b"%d" % number) for number in range(300))
        a.connection.stop(flush=PATIENCE)
        eventually(lambda: len(b.messages) == 300)


def test_the_password_is_in_no_repr() -> None:
    assert "secret" not in repr(Settings("mqtt://x", username="u", password="secret"))


@VERSIONS
def test_what_the_rules_forbid_arrives_nowhere_and_harms_nothing(tmp_path: Path, version: Any, caplog: Any) -> None:
    rules = "user gw\ntopic readwrite mine/#\n"
    with Mosquitto(tmp_path, users={"gw": "p"}, acl=rules) as broker:
        settings = Settings(broker.url, protocol=version, username="gw", password="p")
        with peer(settings, subscriptions=["mine/in", "theirs"]) as a:
            a.until_connected()
            assert a.connection.publish("theirs", b"no")
            assert a.connection.publish("mine/in", b"yes")
            eventually(lambda: a.payloads == [b"yes"])
            eventually(lambda: a.connection.waiting == 0)
        if version == "5":
            assert "refuses what we publish (Not authorized)" in caplog.text


@pytest.mark.parametrize("legacy", [only_mqtt_311, lambda p: None if p[8] == 4 else b""], ids=["refuses", "hangs up"])
def test_auto_speaks_311_with_a_broker_that_does_not_know_5(broker: Mosquitto, legacy: Any) -> None:
    with Relay(broker.port, first=legacy) as relay:
        with peer(Settings(f"mqtt://127.0.0.1:{relay.port}"), subscriptions=["t"]) as a:
            a.until_connected()
            assert a.states == [(True, f"connected to mqtt://127.0.0.1:{relay.port} with MQTT 3.1.1")]
            a.connection.publish("t", b"x")
            eventually(lambda: a.payloads == [b"x"])
            relay.cut()
            eventually(lambda: len(a.states) == 3)
        assert relay.connections == 3  # one with 5, then 3.1.1 is known


def test_a_version_that_is_demanded_is_not_changed(broker: Mosquitto) -> None:
    with Relay(broker.port, first=only_mqtt_311) as relay, peer(Settings(f"mqtt://127.0.0.1:{relay.port}", "5")) as a:
        eventually(lambda: relay.connections >= 3)
        assert not a.connection.connected
        assert "it does not speak this version of MQTT" in a.words


def test_a_broker_that_refuses_311_is_not_asked_for_older_versions() -> None:
    seen: list[bytes] = []

    def refuse(packet: bytes) -> bytes:
        seen.append(packet)
        return bytes([0x20, 2, 0, 1])

    with Relay(0, first=refuse) as relay, peer(Settings(f"mqtt://127.0.0.1:{relay.port}", "3.1.1")) as a:
        eventually(lambda: len(seen) >= 3)
        assert "does not speak MQTT 3.1.1" in a.words
    assert {packet[packet.index(b"MQTT") + 4] for packet in seen} == {4}


def test_a_subscription_that_is_refused_is_no_connection_and_is_said() -> None:
    answer = bytes([0x20, 3, 0, 0, 0]) + bytes([0x90, 4, 0, 1, 0, 0x87])  # CONNACK, SUBACK "not authorized" (MQTT 5)
    relay = Relay(0, first=lambda _: answer)
    with relay, peer(Settings(f"mqtt://127.0.0.1:{relay.port}", "5"), subscriptions=["a/receipt"]) as a:
        eventually(lambda: "refuses the subscription to a/receipt (Not authorized)" in a.words)
        assert not any(connected for connected, _ in a.states)


@contextmanager
def scripted(answer: bytes) -> Iterator[tuple[Peer, list[bytes]]]:
    """A broker that sends `answer` and then only listens; what it heard."""
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = server.accept()
        heard.append(client.recv(65536))
        client.sendall(answer)
        while data := client.recv(65536):
            heard.append(data)

    threading.Thread(target=serve, daemon=True).start()
    with server, peer(Settings(f"mqtt://127.0.0.1:{server.getsockname()[1]}", "5")) as a:
        a.until_connected()
        yield a, heard


def test_no_more_is_under_way_than_the_broker_allows() -> None:
    with scripted(bytes([0x20, 6, 0, 0, 3, 0x21, 0, 2])) as (a, _):  # CONNACK, Receive Maximum 2 (MQTT 5, 3.2.2.3.3)
        assert [a.connection.publish("t", b"x") for _ in range(3)] == [True, True, False]


def test_what_is_too_large_for_the_broker_is_said_and_does_not_hold_up_the_rest(caplog: Any) -> None:
    limit = bytes([0x20, 8, 0, 0, 5, 0x27, 0, 0, 1, 0])  # CONNACK, Maximum Packet Size 256 (MQTT 5, 3.2.2.3.6)
    with scripted(limit) as (a, heard):
        assert a.connection.publish("t", b"L" * 300)
        assert a.connection.publish("t", b"small")
        eventually(lambda: b"small" in b"".join(heard))
        assert b"LLL" not in b"".join(heard)
    assert "the broker takes at most 256: raise its limit" in caplog.text


def test_only_the_connection_s_own_thread_writes_to_the_socket(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that write at once would mix their packets."""
    writers: set[int] = set()
    send = paho.mqtt.client.Client._sock_send

    def note(client: Any, data: bytes) -> int:
        writers.add(threading.get_ident())
        return send(client, data)

    monkeypatch.setattr(paho.mqtt.client.Client, "_sock_send", note)
    with peer(Settings(broker.url)) as a:
        a.until_connected()
        assert all(a.connection.publish("t", b"x" * 1000) for _ in range(50))
        eventually(lambda: a.connection.waiting == 0)
        assert writers == {a.connection._thread.ident}


def test_a_server_that_never_answers_is_left_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(mqtt_attempt, "ANSWER", 0.2)
    gc.disable()  # what is only collected some day is not closed
    request.addfinalizer(gc.enable)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, peer(Settings(f"mqtt://127.0.0.1:{silent.getsockname()[1]}")) as a:
        for _ in range(4):
            left, _ = silent.accept()
            left.settimeout(PATIENCE)
            while left.recv(1000):  # until it closes
                pass
        eventually(lambda: "takes connections and does not answer" in a.words)


def test_bytes_that_are_not_mqtt_are_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_attempt, "ANSWER", 0.2)
    answers = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\xff\xff\xff\xff\xff", b"\x20\x02", bytes(64), b"\xff" * 64]
    strange = socket.create_server(("127.0.0.1", 0))
    with strange, peer(Settings(f"mqtt://127.0.0.1:{strange.getsockname()[1]}")) as a:
        for answer in answers * 2:
            client, _ = strange.accept()
            client.recv(1024)
            client.sendall(answer)
            client.close()
        strange.accept()
        assert not a.connection.connected


def test_a_name_that_nobody_knows_is_said() -> None:
    with peer(Settings("mqtt://broker.invalid")) as a:
        eventually(lambda: a.states)
        assert "the name broker.invalid is not known" in a.words


@VERSIONS
def test_tls_with_our_authority_is_trusted_and_nothing_else_is(tmp_path: Path, version: Any) -> None:
    own, foreign = Certificates.make(tmp_path / "own"), Certificates.make(tmp_path / "foreign")
    with Mosquitto(tmp_path, tls=own) as broker:
        settings = Settings(broker.url, protocol=version, ca_file=own.ca)
        with peer(settings) as a:
            a.until_connected()
        with peer(replace(settings, ca_file=foreign.ca)) as a:
            eventually(lambda: a.states)
            assert "its certificate is not trusted" in a.words
        with peer(replace(settings, ca_file=None)) as a:
            eventually(lambda: a.states)
            assert "its certificate is not trusted" in a.words
        with peer(Settings(f"mqtt://127.0.0.1:{broker.port}")) as a:
            eventually(lambda: a.states)
            assert "closed the connection before it answered" in a.words


def test_a_certificate_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    own = Certificates.make(tmp_path / "own")
    broker = Mosquitto(tmp_path, tls=own)
    other_name = f"mqtts://127.1:{broker.port}"  # the same computer, by a name that the certificate does not carry
    with broker, peer(Settings(other_name, ca_file=own.ca)) as a:
        eventually(lambda: a.states)
        assert "its certificate is not trusted" in a.words


def test_tls_towards_a_port_without_tls_is_said(broker: Mosquitto, tmp_path: Path) -> None:
    own = Certificates.make(tmp_path / "own")
    with peer(Settings(f"mqtts://127.0.0.1:{broker.port}", ca_file=own.ca)) as a:
        eventually(lambda: a.states)
        assert "mqtts://" in a.words
        assert not a.connection.connected


@VERSIONS
def test_a_client_certificate_opens_a_broker_that_wants_one(tmp_path: Path, version: Any) -> None:
    own = Certificates.make(tmp_path / "own")
    with Mosquitto(tmp_path, tls=own, client_certificates=True) as broker:
        settings = Settings(broker.url, protocol=version, ca_file=own.ca)
        with peer(replace(settings, cert_file=own.client, key_file=own.client_key)) as a:
            a.until_connected()
        with peer(settings) as a:
            eventually(lambda: a.states)
            assert not a.connection.connected
        with peer(replace(settings, cert_file=own.client, key_file=own.server_key)) as a:
            eventually(lambda: a.states)
            assert "a pair" in a.words


def test_a_fault_in_a_handler_does_not_end_the_connection(broker: Mosquitto) -> None:
    first = threading.Event()

    def stumble(message: Message) -> None:
        if not first.is_set():
            first.set()
            raise OSError("disk full")
        message.acknowledge()

    settings = Settings(broker.url, client_id="centre")
    with peer(settings, subscriptions=["t"], clean=False, answer=stumble) as b, peer(Settings(broker.url)) as a:
        b.until_connected()
        a.until_connected()
        a.connection.publish("t", b"one")
        eventually(lambda: b.payloads == [b"one", b"one"], "it was not acknowledged, so it comes again")


@VERSIONS
def test_a_burst_larger_than_what_may_be_in_flight_is_taken_and_arrives(broker: Mosquitto, version: Any) -> None:
    """The receipts of a grouped commit."""
    settings = Settings(broker.url, protocol=version)
    with peer(settings, subscriptions=["t"]) as b, peer(settings) as a:
        b.until_connected()
        a.until_connected()
        assert all(a.connection.publish("t", b"%d" % number) for number in range(500))
        eventually(lambda: len(b.messages) == 500)
        assert b.payloads == [b"%d" % number for number in range(500)]


@VERSIONS
def test_a_broker_that_acknowledges_nothing_gets_a_bounded_number_and_is_left(
    broker: Mosquitto, version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_attempt, "STUCK", 0.5)
    monkeypatch.setattr(mqtt_attempt, "MOST_WAITING", 50)
    with Relay(broker.port) as relay, peer(Settings(f"mqtt://127.0.0.1:{relay.port}", protocol=version)) as a:
        a.until_connected()
        relay.deaf.set()
        taken = sum(a.connection.publish("t", b"x" * 1000) for _ in range(200))
        assert 10 <= taken <= 50
        eventually(lambda: "has acknowledged nothing" in a.words)
        relay.deaf.clear()
        eventually(lambda: len(a.states) >= 3 and a.connection.connected)
        assert a.connection.publish("t", b"x")


def test_two_boxes_with_one_name_are_suspected_in_words(broker: Mosquitto) -> None:
    settings = Settings(broker.url, client_id="gw-1")
    with peer(settings) as a:
        a.until_connected()
        with peer(settings):
            eventually(lambda: "does another box carry the name gw-1?" in a.words)


def test_a_broker_that_says_why_it_ends_a_connection_is_quoted() -> None:
    taken_over = bytes([0x20, 3, 0, 0, 0]) + bytes([0xE0, 1, 0x8E])  # CONNACK, DISCONNECT (MQTT 5, 3.14.2.1)
    with Relay(0, first=lambda _: taken_over) as relay, peer(Settings(f"mqtt://127.0.0.1:{relay.port}", "5")) as a:
        eventually(lambda: "do two boxes carry the same gateway name?" in a.words)


def test_a_connection_that_never_lasts_is_tried_more_and_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login that succeeds ends no series of failures: two boxes with one name would throw each other out for ever."""
    waits: list[float] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is not None:
                waits.append(timeout)
            return super().wait(0)

    def drop(packet: bytes) -> bytes:
        return bytes([0x20, 3, 0, 0, 0])  # CONNACK of MQTT 5: welcome; and the relay hangs up

    with Relay(0, first=drop) as relay:
        it = Peer(Settings(f"mqtt://127.0.0.1:{relay.port}", "5"), first_delay=1.0, longest_delay=60.0)
        it.connection._stop = Event()
        it.connection.start()
        eventually(lambda: len(waits) >= 9)
        it.connection.stop()
    steps = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(step / 2 <= wait <= step for step, wait in zip(steps, waits, strict=False))
    assert any(connected for connected, _ in it.states)


def test_the_constants_keep_their_order() -> None:
    assert mqtt.LONGEST_DELAY <= 60 < mqtt_attempt.STUCK
    assert mqtt_attempt.IN_FLIGHT < mqtt_attempt.MOST_WAITING


def test_that_nobody_is_subscribed_is_told_of_each_message_of_its_own(broker: Mosquitto) -> None:
    """However the broker's word and the end of `publish` fall: the identifier is known only when `publish` ends."""
    told: list[int] = []
    with (
        peer(Settings(broker.url, protocol="5")) as a,
        peer(Settings(broker.url, client_id="b"), subscriptions=["heard/#"]) as b,
    ):
        a.until_connected()
        b.until_connected()
        for number in range(200):
            topic = "heard" if number % 3 else "nobody"
            eventually(partial(a.connection.publish, topic, b"x", unheard=partial(told.append, number)))
        assert a.connection.publish("nobody", b"x")  # of this one nobody wants to know
        eventually(lambda: not a.connection.waiting and len(b.messages) >= 133)
        eventually(lambda: len(told) == 67)
    assert sorted(told) == list(range(0, 200, 3))


def test_an_older_broker_says_of_no_message_that_nobody_heard_it(broker: Mosquitto) -> None:
    told: list[int] = []
    with peer(Settings(broker.url, protocol="3.1.1")) as a:
        a.until_connected()
        assert a.connection.publish("nobody", b"x", unheard=lambda: told.append(1))
        eventually(lambda: not a.connection.waiting)
    assert told == []
