"""The shipped deployment, started without a container engine: the same files, with only their places rewritten.

What a container mounts under /meterline and its volumes are folders of the test; ports are free ones of the loopback.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.broker import MOSQUITTO, PATIENCE, free_port
from tests.postgres import Cluster

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SETUP = DEPLOY / "setup.py"
INFLUXD = shutil.which("influxd")
DAEMON_USER = ["user root"] if os.geteuid() == 0 else []  # else mosquitto gives up its rights to the test's files


def compose() -> dict[str, Any]:
    """docker-compose.yml, its anchors and merges worked out."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def run_setup(variable: Path, *arguments: str, good: bool = True) -> str:
    """Run deploy/setup.py as the container does; what it says."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt install openssl")
    command = [sys.executable, "-I", str(SETUP), "--variable", str(variable), *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("METERLINE_")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (done.returncode == 0) == good, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def secret(variable: Path, name: str) -> str:
    """The secret in a file of deploy/variable."""
    return (variable / name).read_text().split("\n", 1)[0]


class Process:
    """A server's process and its log. As a context it is ended."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=log.parent, env={**os.environ, **(environment or {})}
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def await_port(self, port: int) -> None:
        """Wait until it takes connections."""
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{self.process.args!r} does not answer: {self.log[-2000:]}")
            time.sleep(0.02)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Broker(Process):
    """mosquitto with the shipped configuration, rules and the setup's files. `port`: 8883, `certificates`: 8884."""

    def __init__(self, variable: Path, folder: Path) -> None:
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed: apt install mosquitto")
        folder.mkdir()
        (folder / "data").mkdir()
        self.port, self.certificates = free_port(), free_port()
        places = {
            "/meterline/broker/": f"{DEPLOY / 'mosquitto'}/",
            "/meterline/variable/": f"{variable / 'mosquitto'}/",
            "/mosquitto/data/": f"{folder / 'data'}/",
            "listener 8883": f"listener {self.port} 127.0.0.1",
            "listener 8884": f"listener {self.certificates} 127.0.0.1",
        }
        text = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()
        for shipped, here in places.items():
            assert shipped in text, f"mosquitto.conf does not speak of {shipped}"
            text = text.replace(shipped, here)
        config = folder / "mosquitto.conf"
        config.write_text("\n".join([text, *DAEMON_USER, ""]))
        super().__init__([MOSQUITTO, "-c", str(config)], folder / "log")
        self.await_port(self.port)
        self.await_port(self.certificates)


class Influxd(Process):
    """InfluxDB with the environment that its container has."""

    def __init__(self, folder: Path) -> None:
        if INFLUXD is None:
            pytest.skip("influxd is not on PATH")
        folder.mkdir()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        shipped = compose()["services"]["influxdb"]["environment"]
        here = {key: value.replace("/var/lib/influxdb2", str(folder)) for key, value in shipped.items()}
        super().__init__([INFLUXD], folder / "log", {**here, "INFLUXD_HTTP_BIND_ADDRESS": f"127.0.0.1:{port}"})
        self.await_port(port)


class Database:
    """A PostgreSQL cluster after the shipped script of roles, as the image's entry point runs it."""

    def __init__(self, cluster: Cluster, variable: Path) -> None:
        if shutil.which("psql") is None:
            pytest.skip("psql is not installed: apt install postgresql-client")
        self.folder, self.port, self.variable = cluster.folder, cluster.port, variable
        place = {"host": str(cluster.folder), "port": cluster.port, "dbname": "postgres", "autocommit": True}
        # The image's superuser is `postgres`; the test's cluster has another, in whose place it is put.
        with psycopg.connect(user="meterline", **place) as first:
            first.execute("CREATE ROLE keeper LOGIN SUPERUSER")
        with psycopg.connect(user="keeper", **place) as keeper:
            keeper.execute("ALTER ROLE meterline RENAME TO postgres")
        self.psql("roles.sql")

    def psql(self, script: str) -> None:
        """Run a script of deploy/postgres as the superuser, by the server's socket."""
        text = (DEPLOY / "postgres" / script).read_text()
        text = rewritten(text, {"/meterline/variable": str(self.variable / "postgres")})
        command = ["psql", "-X", "-q", "-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-f", "-"]
        done = subprocess.run([*command, "postgres"], input=text, check=False, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr

    def connect(self, user: str, password: str) -> psycopg.Connection[Any]:
        """By the network, where passwords are asked for."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname="meterline", autocommit=True
        )


def files(folder: Path) -> Iterator[Path]:
    """Every file below a folder."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def rewritten(text: str, places: dict[str, str]) -> str:
    """A shipped file's text for places of the test. Every place must occur."""
    for shipped, here in places.items():
        assert re.search(re.escape(shipped), text), f"{shipped} does not occur"
        text = text.replace(shipped, here)
    return text
