"""A real InfluxDB 2 for tests: its own process on a free port of the loopback, or the one that a variable names.

METERLINE_TEST_INFLUX_URL names a running server: a fresh one, or one whose operator token is in
METERLINE_TEST_INFLUX_TOKEN. Else `influxd` on PATH is started with a folder of its own. Spoken to by its HTTP API,
without the client that the tested code uses.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from collector.central.store.influx import InfluxStore
from collector.config_central import Influx
from tests.broker import free_port

INFLUXD = shutil.which("influxd")
PATIENCE = 120.0  # seconds that a start may take on a busy computer
ORG = "meterline-test"
DAY = 86_400_000  # ms


class Token(NamedTuple):
    """A token, and the number by which it is revoked."""

    id: str
    text: str


class Bucket(NamedTuple):
    """A bucket of the test's own."""

    id: str
    name: str


class Influxd:
    """A server with an organisation. As a context it starts and stops.

    `operator`: a token for all buckets of the organisation, which outlives each of them.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._token = os.environ.get("METERLINE_TEST_INFLUX_TOKEN") or secrets.token_urlsafe(24)
        self._folder: Path | None = None
        self.url = os.environ.get("METERLINE_TEST_INFLUX_URL", "").rstrip("/")
        if not self.url:
            if INFLUXD is None:
                pytest.skip("no InfluxDB: neither influxd on PATH nor METERLINE_TEST_INFLUX_URL is there")
            self._folder = Path(tempfile.mkdtemp(prefix="meterline-influx-"))
            self.url = f"http://127.0.0.1:{free_port()}"
            self.start()
        self.org = self._organisation()
        resource = {"type": "buckets", "orgID": self.org}
        self.operator = self._authorize([{"action": action, "resource": resource} for action in ("read", "write")])

    def __enter__(self) -> Influxd:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self.stop()
            shutil.rmtree(self._folder, ignore_errors=True)

    # --------------------------------------------------------------------------------------------------- the process

    def start(self, **limits: int) -> None:
        """Start, and wait until it answers; nothing when it runs already."""
        assert INFLUXD is not None
        if self._process is None:
            folder = self.own()
            command = [
                INFLUXD, "--reporting-disabled", "--ui-disabled", "--no-tasks",
                "--http-bind-address", self.url.removeprefix("http://"), "--bolt-path", str(folder / "influxd.bolt"),
                "--sqlite-path", str(folder / "influxd.sqlite"), "--engine-path", str(folder / "engine"),
                *(text for name, value in limits.items() for text in (f"--{name.replace('_', '-')}", str(value))),
            ]  # fmt: skip
            with (folder / "log").open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        end = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"influxd does not answer: {(self.own() / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, as a power cut would."""
        self.own()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It takes connections and answers nothing."""
        self.own()
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process is not None
        return self._process.pid

    def own(self) -> Path:
        """The folder of a server that is ours to stop. Skips a test that needs one where it is not."""
        if self._folder is None:
            pytest.skip("this test stops the server: it needs influxd on PATH")
        return self._folder

    # --------------------------------------------------------------------------------------------- what a person does

    def bucket(self, *, keeps_s: int = 0, name: str = "") -> Bucket:
        """A new bucket. `keeps_s`: its retention in seconds, 0 for none."""
        name = name or f"bucket-{secrets.token_hex(6)}"
        rules = [{"type": "expire", "everySeconds": keeps_s}] if keeps_s else []
        made = self.call("POST", "/api/v2/buckets", {"orgID": self.org, "name": name, "retentionRules": rules})
        return Bucket(made["id"], name)

    def known(self, name: str) -> Bucket:
        """The bucket that has this name now."""
        (found,) = self.call("GET", f"/api/v2/buckets?name={name}")["buckets"]
        return Bucket(found["id"], name)

    def drop(self, bucket: Bucket) -> None:
        self.call("DELETE", f"/api/v2/buckets/{bucket.id}")

    def retain(self, bucket: Bucket, seconds: int) -> None:
        """Another retention."""
        rules = [{"type": "expire", "everySeconds": seconds}]
        self.call("PATCH", f"/api/v2/buckets/{bucket.id}", {"retentionRules": rules})

    def token(self, bucket: Bucket, *actions: str) -> Token:
        """A token that may do this (all: read, write) with the bucket and nothing else."""
        resource = {"type": "buckets", "id": bucket.id, "orgID": self.org}
        may = [{"action": action, "resource": resource} for action in actions or ("read", "write")]
        return self._authorize(may)

    def revoke(self, token: Token) -> None:
        self.call("DELETE", f"/api/v2/authorizations/{token.id}")

    def write(self, bucket: Bucket, *lines: str) -> None:
        """Write beside our store, as somebody else would."""
        where = urllib.parse.urlencode({"org": ORG, "bucket": bucket.name, "precision": "ms"})
        self.call("POST", f"/api/v2/write?{where}", "\n".join(lines).encode())

    def lines(self, bucket: Bucket) -> list[str]:
        """All that the bucket holds, as the server itself tells it, without our queries."""
        flux = f'from(bucket: "{bucket.name}") |> range(start: 1990-01-01T00:00:00Z, stop: 2200-01-01T00:00:00Z)'
        flux += '|> drop(columns: ["_start", "_stop", "table", "result"])'
        text: bytes = self.call("POST", f"/api/v2/query?org={ORG}", {"query": flux, "dialect": {"annotations": []}})
        return [row for row in text.decode().splitlines() if row and not row.startswith(",result")]

    def settings(self, folder: Path, bucket: Bucket, token: Token | None = None, **changed: Any) -> Influx:
        """The section of central.yaml for a bucket, with the token in a file."""
        file = folder / f"token-{bucket.name}"
        file.write_text((token or self.token(bucket)).text + "\n")
        given = {"url": self.url, "org": ORG, "bucket": bucket.name, "token_file": file, **changed}
        return Influx.model_validate(given)

    def store(self, folder: Path, bucket: Bucket, *, keep_ms: int = 60 * DAY, **changed: Any) -> InfluxStore:
        """Our store on a bucket."""
        return InfluxStore(self.settings(folder, bucket, **changed), keep_ms)

    def call(self, method: str, path: str, body: bytes | Mapping[str, Any] | None = None) -> Any:
        """One request of the operator; its JSON, or the bytes of anything else."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Token {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                text: bytes = answer.read()
        except urllib.error.HTTPError as error:
            pytest.fail(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}")
        return json.loads(text) if text[:1] == b"{" else text

    def _authorize(self, permissions: list[dict[str, Any]]) -> Token:
        made = self.call("POST", "/api/v2/authorizations", {"orgID": self.org, "permissions": permissions})
        return Token(made["id"], made["token"])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _organisation(self) -> str:
        """The number of an organisation of the tests' own; sets up a fresh server."""
        if self.call("GET", "/api/v2/setup")["allowed"]:
            person = {"username": "operator", "password": secrets.token_urlsafe(24), "token": self._token}
            return str(self.call("POST", "/api/v2/setup", {**person, "org": ORG, "bucket": "first"})["org"]["id"])
        known = self.call("GET", "/api/v2/orgs?limit=100")["orgs"]
        found = next((org for org in known if org["name"] == ORG), None)
        return str((found or self.call("POST", "/api/v2/orgs", {"name": ORG}))["id"])
