"""The shipped broker: who gets in, and which topics a name reaches.

MQTT 3.1.1 acknowledges what the rule forbids and grants subscriptions that give nothing. So what is looked at is what
does not arrive, with a later message of the same connection behind it that does.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.broker import PATIENCE, Certificates, eventually
from tests.deploy.shipped import DEPLOY, Broker, compose, run_setup, secret

OWN = ("readings", "acts", "status", "reply")
TO_GATEWAY = ("receipt", "command")


class Client:
    """A connection by MQTT 3.1.1 and TLS. `arrived`: (topic, payload) in their order."""

    def __init__(
        self,
        variable: Path,
        port: int,
        user: str | None,
        password: str | None = None,
        pair: tuple[Path, Path] | None = None,
    ) -> None:
        self.arrived: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._answer: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.granted: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self.client.tls_set(variable / "authority/ca.pem", *(pair or (None, None)), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if user is not None:
            self.client.username_pw_set(user, password)
        self.client.on_connect = lambda c, u, f, reason, p: self._answer.put(reason.value)
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.granted.put([r.value for r in reasons])
        self.client.on_message = lambda c, u, message: self.arrived.put((message.topic, message.payload))
        self.client.connect("localhost", port)  # "localhost": the certificate's name is checked
        self.client.loop_start()
        self.code = self._answer.get(timeout=PATIENCE)

    def subscribe(self, *filters: str) -> list[int]:
        self.client.subscribe([(name, 1) for name in filters])
        return self.granted.get(timeout=PATIENCE)

    def publish(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> None:
        """Returns when the broker has acknowledged it."""
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE)

    def next(self) -> tuple[str, bytes]:
        return self.arrived.get(timeout=PATIENCE)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "variable"
    run_setup(folder)
    run_setup(folder, "gateway", "gw-a", "gw-b")
    return folder


@pytest.fixture(scope="module")
def broker(variable: Path) -> Iterator[Broker]:
    with Broker(variable, variable.parent / "broker") as running:
        yield running


@pytest.fixture
def connect(variable: Path, broker: Broker) -> Iterator[Connect]:
    with ExitStack() as stack:

        def make(user: str | None, password: str | None = None, pair: tuple[Path, Path] | None = None) -> Client:
            client = Client(variable, broker.certificates if pair else broker.port, user, password, pair)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def by_name(variable: Path, connect: Connect) -> Connect:
    """A user of the setup, by the password that it made."""

    def make(user: str) -> Client:
        place = "centre/mqtt_password" if user == "centre" else f"gateways/{user}/password"
        client = connect(user, secret(variable, place))
        assert client.code == 0
        return client

    return make


def pair_of(variable: Path, gateway: str) -> tuple[Path, Path]:
    return variable / f"gateways/{gateway}/client.pem", variable / f"gateways/{gateway}/client.key"


# ----------------------------------------------------------------------------- what must work


def test_what_a_gateway_says_reaches_the_centre_and_the_centres_word_the_gateway(by_name: Connect) -> None:
    centre, gateway = by_name("centre"), by_name("gw-a")
    centre.subscribe("meterline/v1/+/readings", "meterline/v1/+/acts", "meterline/v1/+/status", "meterline/v1/+/reply")
    gateway.subscribe(*(f"meterline/v1/gw-a/{kind}" for kind in TO_GATEWAY))
    for kind in OWN:
        gateway.publish(f"meterline/v1/gw-a/{kind}", kind.encode())
        assert centre.next() == (f"meterline/v1/gw-a/{kind}", kind.encode())
    for kind in TO_GATEWAY:
        centre.publish(f"meterline/v1/gw-a/{kind}", kind.encode())
        assert gateway.next() == (f"meterline/v1/gw-a/{kind}", kind.encode())


def test_a_batch_of_the_full_size_passes(by_name: Connect) -> None:
    centre, gateway = by_name("centre"), by_name("gw-a")
    centre.subscribe("meterline/v1/+/readings")
    gateway.publish("meterline/v1/gw-a/readings", b"x" * (256 * 1024 + 1))  # the centre has to see it to refuse it
    assert len(centre.next()[1]) == 256 * 1024 + 1


# ----------------------------------------------------------------------------- what must not


def test_what_a_gateway_says_under_anothers_name_arrives_nowhere(by_name: Connect) -> None:
    centre, other, gateway = by_name("centre"), by_name("gw-b"), by_name("gw-a")
    centre.subscribe("meterline/v1/+/readings", "meterline/v1/+/status", "meterline/v1/+/acts", "meterline/v1/+/reply")
    other.subscribe("meterline/v1/gw-b/receipt", "meterline/v1/gw-b/command")
    for topic in (*(f"meterline/v1/gw-b/{kind}" for kind in (*OWN, *TO_GATEWAY)), "meterline/v1/gw-a/receipt",
                  "meterline/v1/centre/readings", "meterline/v1/gw-a/x/readings", "other/topic"):  # fmt: skip
        gateway.publish(topic, b"forged", retain=True)  # acknowledged all the same
    gateway.publish("meterline/v1/gw-a/readings", b"own")
    assert centre.next() == ("meterline/v1/gw-a/readings", b"own")
    centre.publish("meterline/v1/gw-b/receipt", b"true")
    assert other.next() == ("meterline/v1/gw-b/receipt", b"true")
    late = by_name("centre")
    late.subscribe("meterline/v1/+/status")  # nothing forged was retained either
    gateway.publish("meterline/v1/gw-a/status", b"live")
    assert late.next() == ("meterline/v1/gw-a/status", b"live")


def test_a_gateway_that_subscribes_to_everything_is_granted_it_and_hears_its_own_alone(by_name: Connect) -> None:
    centre, other, gateway = by_name("centre"), by_name("gw-b"), by_name("gw-a")
    granted = gateway.subscribe(
        "#", "$SYS/#", "meterline/v1/+/receipt", "meterline/v1/gw-b/#", "meterline/v1/gw-a/receipt"
    )
    assert granted[0] != 0x80  # "#" is granted, and gives nothing
    other.publish("meterline/v1/gw-b/readings", b"secret")
    other.publish("meterline/v1/gw-b/status", b"secret", retain=True)
    centre.publish("meterline/v1/gw-b/receipt", b"secret")
    centre.publish("meterline/v1/gw-a/receipt", b"own")
    assert gateway.next() == ("meterline/v1/gw-a/receipt", b"own")
    other.publish("meterline/v1/gw-b/status", b"", retain=True)


def test_the_user_of_the_health_check_hears_no_reading(by_name: Connect, variable: Path, connect: Connect) -> None:
    health, gateway = connect("health", secret(variable, "mosquitto/health_password")), by_name("gw-a")
    health.subscribe("meterline/#", "$SYS/broker/uptime")
    gateway.publish("meterline/v1/gw-a/readings", b"secret")
    assert health.next()[0] == "$SYS/broker/uptime"


@pytest.mark.parametrize("user", ["gw-a", "centre", "health", "nobody", None])
def test_a_wrong_password_or_none_is_refused(connect: Connect, user: str | None) -> None:
    assert connect(user, "wrong" if user else None).code in (
        4,
        5,
        134,
        135,
    )  # bad user name or password, not authorised
    assert connect(user, None).code in (4, 5, 134, 135)


def test_a_gateways_password_is_its_own(connect: Connect, variable: Path) -> None:
    assert connect("gw-b", secret(variable, "gateways/gw-a/password")).code != 0


def test_plain_text_gets_no_word_out_of_either_port(broker: Broker) -> None:
    hello = bytes.fromhex("10100004 4d515454 04 02 003c 0004 74657374".replace(" ", ""))  # CONNECT, 3.1.1, "test"
    for port in (broker.port, broker.certificates):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
            plain.settimeout(PATIENCE)
            plain.sendall(hello)
            try:
                answer = plain.recv(4)
            except ConnectionResetError:
                answer = b""
            assert answer[:1] != b"\x20", "a CONNACK in plain text"


def test_no_port_is_open_without_tls() -> None:
    text = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()
    listeners = text.split("\nlistener ")[1:]
    assert [part.split()[0] for part in listeners] == ["8883", "8884"]
    assert all("\ncertfile " in part and "\nkeyfile " in part for part in listeners)
    assert compose()["services"]["mosquitto"]["ports"] == ["8883:8883", "8884:8884"]


# ----------------------------------------------------------------------------- certificates


@contextmanager
def refused() -> Iterator[None]:
    """No MQTT session: the handshake fails, or the broker closes before it says a word (TLS 1.3)."""
    try:
        yield
    except (ssl.SSLError, ConnectionError, queue.Empty):
        return
    pytest.fail("let in")


def speak(variable: Path, port: int, pair: tuple[Path, Path] | None) -> None:
    """Handshake, CONNECT; raises when there is no CONNACK."""
    context = ssl.create_default_context(cafile=variable / "authority/ca.pem")
    if pair:
        context.load_cert_chain(*pair)
    with (
        socket.create_connection(("localhost", port), PATIENCE) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        wrapped.settimeout(PATIENCE)
        wrapped.sendall(bytes.fromhex("101000044d5154540402003c000474657374"))
        if wrapped.recv(4) != b"\x20\x02\x00\x00":
            raise ConnectionError("no CONNACK of a session")


def test_a_certificate_makes_its_holder_the_gateway_of_its_name(
    by_name: Connect, connect: Connect, variable: Path
) -> None:
    centre = by_name("centre")
    # Another's user and password beside one's own certificate: the certificate says who it is.
    gateway = connect("gw-b", secret(variable, "gateways/gw-b/password"), pair_of(variable, "gw-a"))
    assert gateway.code == 0
    centre.subscribe("meterline/v1/+/readings")
    gateway.publish("meterline/v1/gw-b/readings", b"forged")
    gateway.publish("meterline/v1/gw-a/readings", b"own")
    assert centre.next() == ("meterline/v1/gw-a/readings", b"own")


def test_without_a_certificate_or_with_one_of_another_authority_nobody_comes_in(
    broker: Broker, variable: Path, tmp_path: Path
) -> None:
    stranger = Certificates.make(tmp_path)
    with refused():
        speak(variable, broker.certificates, None)
    with refused():
        speak(variable, broker.certificates, (stranger.client, stranger.client_key))
    with refused():  # the broker's own certificate proves a broker, no client
        speak(variable, broker.certificates, (variable / "mosquitto/server.pem", variable / "mosquitto/server.key"))
    speak(variable, broker.certificates, pair_of(variable, "gw-a"))


# ----------------------------------------------------------------------------- operation


def test_a_gateway_that_is_made_later_comes_in_after_a_signal(connect: Connect, broker: Broker, variable: Path) -> None:
    run_setup(variable, "gateway", "gw-late")
    word = secret(variable, "gateways/gw-late/password")
    assert connect("gw-late", word).code != 0
    if os.geteuid() == 0:
        # As root mosquitto reads with the rights of its starter; in its container the file is its own.
        assert (variable / "mosquitto/passwords").stat().st_uid == 1883
    broker.process.send_signal(signal.SIGHUP)
    eventually(lambda: connect("gw-late", word).code == 0, "gw-late is let in")


def test_the_health_check_is_content_with_this_broker_and_not_with_none(broker: Broker, variable: Path) -> None:
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_sub is not installed: apt install mosquitto-clients")
    service = compose()["services"]["mosquitto"]
    command = service["healthcheck"]["test"]
    assert command[0] == "CMD"
    folder = str(variable / "mosquitto")
    here = [part.replace("/meterline/variable", folder).replace("$$", "$") for part in command[1:]]
    environment = {"XDG_CONFIG_HOME": service["environment"]["XDG_CONFIG_HOME"].replace("/meterline/variable", folder)}

    def healthy(port: int) -> bool:
        words = [str(port) if part == "8883" else part for part in here]
        return (
            subprocess.run(words, check=False, capture_output=True, env={**os.environ, **environment}).returncode == 0
        )

    assert healthy(broker.port)
    assert not healthy(9)  # discard: nobody listens there
    environment["XDG_CONFIG_HOME"] = "/nonexistent"
    assert not healthy(broker.port)  # without the password


def test_the_health_check_of_our_daemons_sees_a_connection_and_its_end(by_name: Connect, broker: Broker) -> None:
    def healthy() -> bool:
        command = [sys.executable, str(DEPLOY / "connected.py"), str(broker.port)]
        return subprocess.run(command, check=False).returncode == 0

    client = by_name("gw-a")
    assert healthy()
    client.close()
    eventually(lambda: not healthy(), "the end is seen")
