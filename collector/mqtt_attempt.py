"""One attempt at an MQTT connection: a paho client from its connect to its end, and why it ended, in words."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from paho.mqtt.client import Client, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger(__name__)

KEEPALIVE = 60  # seconds; a dead link is noticed within two of them, a phone network keeps its mapping for more
ANSWER = 10.0  # seconds a broker may take to accept a connection, a TLS handshake, a login, a subscription
IN_FLIGHT = 10  # publications without PUBACK at once: the smallest Receive Maximum that a broker is known to set
MOST_WAITING = 1000  # publications that wait for their turn: the receipts of a busy second, not the backlog of a day
BRIEF = 60.0  # seconds; a connection that ends sooner may have been thrown out for another of the same name
STUCK = 300.0  # seconds without any PUBACK while some are due: the broker takes and does not answer
NOBODY = 0x10  # "No matching subscribers" (MQTT 5, 3.4.2.1); brokers of 3.1.1 cannot say it
SESSION = 86_400  # seconds that a broker keeps the session of a client that is not `clean`


class Section(Protocol):
    """What a configuration says about a broker."""

    @property
    def url(self) -> str: ...
    @property
    def protocol(self) -> Literal["auto", "5", "3.1.1"]: ...
    @property
    def username(self) -> str | None: ...
    @property
    def ca_file(self) -> Path | None: ...
    @property
    def cert_file(self) -> Path | None: ...
    @property
    def key_file(self) -> Path | None: ...
    def password(self) -> str | None: ...


@dataclass(frozen=True)
class Settings:
    """How a broker is reached: `mqtt://host[:1883]` or `mqtts://host[:8883]`, and who we are there."""

    url: str
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_id: str = ""

    @classmethod
    def of(cls, section: Section, client_id: str) -> Settings:
        """The settings that a configuration gives. Raises ValueError when the password file cannot be read."""
        return cls(
            url=section.url,
            protocol=section.protocol,
            username=section.username,
            password=section.password(),
            ca_file=section.ca_file,
            cert_file=section.cert_file,
            key_file=section.key_file,
            client_id=client_id,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("mqtts:")


class Message:
    """A message as it came."""

    __slots__ = ("_acknowledge", "payload", "retained", "topic")

    def __init__(self, topic: str, payload: bytes, retained: bool, acknowledge: Callable[[], None]) -> None:
        self.topic = topic
        self.payload = payload
        self.retained = retained
        self._acknowledge: Callable[[], None] | None = acknowledge

    def acknowledge(self) -> None:
        """Tell the broker to forget it (QoS 1). The first call counts; on a connection that is gone it does nothing."""
        acknowledge, self._acknowledge = self._acknowledge, None
        if acknowledge is not None:
            acknowledge()


class Attempt:
    """One paho client from its connect to its end."""

    def __init__(self, settings: Settings, *, legacy: bool, will: tuple[str, bytes] | None, clean: bool) -> None:
        self.settings = settings
        self.legacy = legacy
        self.clean = clean
        self.unspoken = False  # whether the broker left before it said a word of this protocol version
        self._reason = ""  # why the broker refused or left, in words
        self._welcome = False  # whether it accepted the login
        self._up_since: float | None = None  # and every subscription
        self._sent = self._answered = 0
        self._last_word = 0.0  # when it last acknowledged something, or the first of what waits was sent
        self._counting = threading.Lock()
        # By packet identifier: whom to tell that nobody heard it. The broker may answer before `publish` knows it.
        self._unanswered: dict[int, Callable[[], None] | None] = {}
        self._early: dict[int, bool] = {}
        self._most = MOST_WAITING
        self._largest: int | None = None
        self._refused: set[str] = set()
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=clean if legacy else None,
            protocol=MQTTProtocolVersion.MQTTv311 if legacy else MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.client.connect_timeout = ANSWER
        self.client.max_inflight_messages_set(IN_FLIGHT)
        # paho lets the publishing thread write to the socket when it knows of no event loop: two threads would write at
        # once. With this callback set it leaves writing to `loop`, which its socket pair wakes.
        self.client.on_socket_register_write = lambda *_: None
        self.client.username_pw_set(settings.username, settings.password)
        if will is not None:
            self.client.will_set(will[0], will[1], qos=1, retain=True)

    @property
    def stood(self) -> float:
        """For how many seconds the connection has been up."""
        return 0.0 if self._up_since is None else time.monotonic() - self._up_since

    @property
    def waiting(self) -> int:
        """How many publications have no PUBACK yet."""
        return max(0, self._sent - self._answered)

    def run(
        self,
        subscriptions: tuple[str, ...],
        stop: threading.Event,
        up: Callable[[Attempt], None],
        receive: Callable[[Message], None] | None,
    ) -> str:
        """Connect and serve until the end; why it ended, in words. Raises what `up` and `receive` raise."""
        client = self.client

        def ready() -> None:
            self._up_since = time.monotonic()
            up(self)

        def on_connect(_c: Client, _u: Any, _f: Any, code: ReasonCode, properties: Properties | None) -> None:
            if code.is_failure:
                self.unspoken = code.getName() == "Unsupported protocol version"
                self._reason = _refusal(code.getName(), self.settings)
                return
            self._welcome = True
            allowed = getattr(properties, "ReceiveMaximum", IN_FLIGHT)
            if allowed < IN_FLIGHT:
                self._most = allowed  # paho cannot be told any more to have less in flight; so nothing waits in it
            self._largest = getattr(properties, "MaximumPacketSize", None)
            if subscriptions:
                client.subscribe([(topic, 1) for topic in subscriptions])
            else:
                ready()

        def on_subscribe(_c: Client, _u: Any, _m: int, codes: list[ReasonCode], _p: Any) -> None:
            for topic, code in zip(subscriptions, codes, strict=False):
                if code.is_failure:
                    self._reason = f"the broker refuses the subscription to {topic} ({code.getName()}): check its rules"
            if not self._reason:
                ready()

        def on_message(_c: Client, _u: Any, message: MQTTMessage) -> None:
            def acknowledge() -> None:
                client.ack(message.mid, message.qos)

            try:
                topic = message.topic
            except UnicodeDecodeError:
                acknowledge()  # a topic that is not UTF-8 is nobody's
                return
            wrapped = Message(topic, bytes(message.payload), message.retain, acknowledge)
            if receive is None:
                wrapped.acknowledge()
            else:
                receive(wrapped)

        def on_publish(_c: Client, _u: Any, mid: int, code: ReasonCode, _p: Any) -> None:
            nobody, unheard = code.value == NOBODY, None
            with self._counting:
                self._answered += 1
                self._last_word = time.monotonic()
                if mid in self._unanswered:
                    unheard = self._unanswered.pop(mid)
                else:
                    self._early[mid] = nobody
            if nobody and unheard is not None:
                unheard()
            if code.is_failure and code.getName() not in self._refused:
                self._refused.add(code.getName())
                log.warning("%s refuses what we publish (%s): check its rules", self.settings.url, code.getName())

        def on_disconnect(_c: Client, _u: Any, flags: DisconnectFlags, code: ReasonCode, _p: Any) -> None:
            if flags.is_disconnect_packet_from_server and not self._reason:
                what = _REFUSALS.get(code.getName(), code.getName())
                self._reason = f"{self.settings.url} ended the connection: {what}"

        client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
        client.on_publish, client.on_disconnect = on_publish, on_disconnect
        try:
            self._connect()
        except (OSError, ValueError) as error:
            return in_words(error, self.settings)
        deadline = time.monotonic() + ANSWER
        while not stop.is_set():
            result = client.loop(timeout=0.5)
            now = time.monotonic()
            if self._reason:
                return self._reason
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.unspoken = not self._welcome
                return self._lost(result)
            if self._up_since is None and now > deadline:
                self.unspoken = not self._welcome
                return f"{self.settings.url} takes connections and does not answer; is it an MQTT broker?"
            if self.waiting and now - self._last_word > STUCK:
                return f"{self.settings.url} has acknowledged nothing for {STUCK:.0f} s"
        self._leave()
        return "stopped"

    def publish(self, topic: str, payload: bytes, retain: bool, unheard: Callable[[], None] | None = None) -> bool:
        """As Connection.publish."""
        if self._largest is not None and len(payload) + len(topic) + 16 > self._largest:
            # Offered again and again it would hold everything behind it up: it goes the way of a lost message.
            log.error("%s: %d bytes, the broker takes at most %d: raise its limit", topic, len(payload), self._largest)
            return True
        if self.waiting >= self._most:
            return False
        info = self.client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        with self._counting:
            if self._sent <= self._answered:
                self._last_word = time.monotonic()
            self._sent += 1
            nobody = self._early.pop(info.mid, None)
            if nobody is None:
                self._unanswered[info.mid] = unheard
        if nobody and unheard is not None:
            unheard()
        return True

    def close(self) -> None:
        """Close the socket, whatever state it is in."""
        sock = self.client.socket()
        if sock is not None:
            sock.close()

    def _connect(self) -> None:
        host, port = self.settings.address
        if self.settings.tls:
            self.client.tls_set_context(_context(self.settings))
        if self.legacy:
            self.client.connect(host, port, KEEPALIVE)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no type here
        if not self.clean:
            properties.SessionExpiryInterval = SESSION
        self.client.connect(host, port, KEEPALIVE, clean_start=self.clean, properties=properties)

    def _leave(self) -> None:
        """Say goodbye, so that the broker forgets the will; a broker that does not read gets a second for it."""
        self.client.disconnect()
        for _ in range(10):
            if self.client.loop(timeout=0.1) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def _lost(self, result: MQTTErrorCode) -> str:
        url = self.settings.url
        if self._welcome:
            # Brokers that do not say why they close (MQTT 3.1.1 cannot) do so for a second client of the same name.
            twin = f"; does another box carry the name {self.settings.client_id}?" if self.stood < BRIEF else ""
            return f"the connection to {url} was lost after {self.stood:.0f} s{twin if self.settings.client_id else ''}"
        version = "3.1.1" if self.legacy else "5"
        if result == MQTTErrorCode.MQTT_ERR_PROTOCOL:
            return f"{url} does not speak MQTT {version}"
        hint = "; it may want a client certificate (cert_file, key_file)" if self.settings.tls else ""
        return f"{url} closed the connection before it answered (MQTT {version}){hint}"


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996 forbids what is older
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


def in_words(error: Exception, settings: Settings) -> str:
    """Why a broker cannot be reached, and what to look at."""
    url, (host, _) = settings.url, settings.address
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{url}: its certificate is not trusted: {error.verify_message}; check ca_file and the name in url"
    if isinstance(error, ssl.SSLError):
        return f"{url}: TLS failed: {error.reason or error}; is this its TLS port, are cert_file and key_file a pair?"
    if isinstance(error, socket.gaierror):
        return f"{url}: the name {host} is not known; check it and the name server"
    if isinstance(error, ConnectionRefusedError):
        return f"{url} refuses connections; does the broker run, is the port right?"
    if isinstance(error, TimeoutError):
        return f"{url} does not answer within {ANSWER:.0f} s; check address, route and firewall"
    return f"{url} cannot be reached: {error}"


_CREDENTIALS = "check username, password_file and the broker's users (some brokers say so of a wrong password too)"
_REFUSALS = {
    "Bad user name or password": "wrong user name or password; check username and password_file",
    "Not authorized": f"not authorised; {_CREDENTIALS}",
    "Client identifier not valid": "it does not take our client id",
    "Session taken over": "another client came with our name; do two boxes carry the same gateway name?",
    "Packet too large": "a message was larger than its limit",
    "Unsupported protocol version": "it does not speak this version of MQTT",
}


def _refusal(name: str, settings: Settings) -> str:
    who = f" {settings.username}" if settings.username else " us"
    return f"{settings.url} refuses{who}: {_REFUSALS.get(name, name)}"
