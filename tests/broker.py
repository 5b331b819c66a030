"""A real mosquitto for tests: on a free port of the loopback, with users, rules and TLS as a test wants them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
OPENSSL = shutil.which("openssl")
PATIENCE = 60.0  # seconds that a test waits for another process before it fails; a busy computer needs some of it


# Below those that Linux gives to clients (net.ipv4.ip_local_port_range, from 32768 on): between our look and a server's
# start nobody gets such a port by chance, nor does who waits for the server find himself there and take that for it.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A TCP port of the loopback that nobody has now."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class Certificates:
    """A throw-away authority, a server's certificate for `localhost` and 127.0.0.1, and a client's."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make them with openssl. Skips the test where that is not installed."""
        if OPENSSL is None:
            pytest.skip("openssl is not installed: apt install openssl")
        folder.mkdir(parents=True, exist_ok=True)

        def openssl(*arguments: str | Path) -> None:
            subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True, cwd=folder)

        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=Test authority",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
                "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
        for name, extension in (
            ("server", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"),
            ("client", "extendedKeyUsage=clientAuth\n"),
        ):
            (folder / f"{name}.ext").write_text(extension)
            openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
        return cls(*(folder / n for n in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")))


class Mosquitto:
    """A broker process. `users`: name -> password (else everybody may come in); `acl`: the text of its rules.

    `more` is added to its configuration. As a context it starts and stops. Skips where it is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tls: Certificates | None = None,
        client_certificates: bool = False,
        users: Mapping[str, str] | None = None,
        acl: str | None = None,
        more: str = "",
    ) -> None:
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed: apt install mosquitto")
        self.folder = folder / "mosquitto"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if users else 'true'}",
            "persistence false",
            "log_dest stderr",
            "log_type all",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it gives up its rights and cannot read the test's files
        if tls is not None:
            lines += [f"cafile {tls.ca}", f"certfile {tls.server}", f"keyfile {tls.server_key}"]
            lines.append(f"require_certificate {'true' if client_certificates else 'false'}")
        if users:
            passwords = self.folder / "passwords"
            passwords.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
            passwords.chmod(0o600)
            tool = shutil.which("mosquitto_passwd")
            if tool is None:
                pytest.skip("mosquitto_passwd is not installed: apt install mosquitto")
            subprocess.run([tool, "-U", str(passwords)], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        if acl is not None:
            rules = self.folder / "rules"
            rules.write_text(acl)
            rules.chmod(0o600)
            lines.append(f"acl_file {rules}")
        self._config = self.folder / "mosquitto.conf"
        self._config.write_text("\n".join([*lines, more, ""]))

    @property
    def url(self) -> str:
        """As in `mqtt.url` of a configuration."""
        return f"{'mqtts' if self.tls else 'mqtt'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the broker has written so far."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        assert MOSQUITTO is not None
        with (self.folder / "log").open("ab") as out:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=out, stderr=out)
        end = time.monotonic() + PATIENCE
        while True:
            if self._process.poll() is not None:
                pytest.fail(f"mosquitto ended with {self._process.returncode}: {self.log[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end:
                    self.stop()
                    pytest.fail(f"mosquitto does not take connections: {self.log[-2000:]}")
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop; the port stays the broker's for the next start."""
        if self._process is not None:
            self._process.kill()  # not the goodbye of a clean stop: what a power cut looks like to its clients
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start on the same port: sessions are gone, as after a power cut."""
        self.stop()
        self.start()

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Relay:
    """Stands between a client and a broker: passes bytes on, cuts, falls silent, or knows MQTT 3.1.1 alone.

    `first`: what to do with a connection's first packet. None passes it on; else the bytes are the answer, and the
    connection is closed.
    """

    def __init__(self, port: int, first: Callable[[bytes], bytes | None] = lambda packet: None) -> None:
        self._to = port
        self._first = first
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.deaf = threading.Event()  # set: bytes from the broker are kept back
        self.passes: int | None = None  # so many bytes, and every connection is cut, in the middle of whatever it is
        self.connections = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut every connection, as a broken cable would."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def close(self) -> None:
        """Take no more connections, and cut those that are open."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            packet = client.recv(65536)
            answer = self._first(packet)
            if answer is not None:
                client.sendall(answer)
                return
            broker = socket.create_connection(("127.0.0.1", self._to), 10)
            broker.settimeout(None)
            self._open += [client, broker]
            broker.sendall(packet)
            threading.Thread(target=self._carry, args=(broker, client, True), daemon=True).start()
            self._carry(client, broker, False)

    def _carry(self, source: socket.socket, target: socket.socket, from_broker: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while from_broker and self.deaf.is_set():
                    time.sleep(0.01)
                if self.passes is not None:
                    if len(data) >= self.passes:
                        target.sendall(data[: self.passes])
                        self.passes = None
                        self.cut()
                        return
                    self.passes -= len(data)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def only_mqtt_311(packet: bytes) -> bytes | None:
    """A broker of the years before MQTT 5: CONNACK with return code 1 (MQTT 3.1.1, 3.2.2.3) for another level."""
    level = packet[packet.index(b"MQTT") + 4]
    return None if level == 4 else bytes([0x20, 2, 0, 1])


def eventually(true: Callable[[], object], what: str = "", *, patience: float = PATIENCE) -> None:
    """Wait until it is true; fail after a time that only a broken program needs."""
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"did not happen within {patience:.0f} s: {what or true}")
        time.sleep(0.01)
