"""InfluxDB does everything that goes wrong with it, one after the other, under the real daemon and with a real server.

Each time: gateways get their receipts all the same, the log says in words what is wrong, and when it is mended all
values are there, none twice.
"""

from __future__ import annotations

import resource
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.broker import Mosquitto, eventually
from tests.central.building import Meterline, bring, central_yaml, point
from tests.central.databases import open_database
from tests.central.test_service import Gateway, connected, sound
from tests.influxdb import ORG, PATIENCE, Influxd, Token
from tests.scripted_http import Answer, Asked, ScriptedHttp
from tests.system.daemons import Daemon, run

AT_ONCE = 10  # batches sent in each trouble
TIMEOUT = 1  # seconds of `store.influxdb.timeout`: what is slower is away


class Site:
    """A broker, a server behind a proxy that may be told to misbehave, and the centre's daemon on both."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.influxd = stack.enter_context(Influxd())
        self.influxd.own()
        self.bucket = self.influxd.bucket(name="readings")
        self.token = folder / "token"
        self.told: Callable[[Asked], Answer] | None = None
        self.proxy = stack.enter_context(ScriptedHttp(self._pass_on))
        broker = stack.enter_context(Mosquitto(folder))
        self.config = central_yaml(folder, broker.url)
        with self.config.open("a") as file:
            file.write(
                f"store: {{influxdb: {{url: '{self.proxy.url}', org: {ORG}, bucket: readings, token_file: token, "
                f"timeout: {TIMEOUT}s}}}}\n"
            )
        engine = open_database(folder / "data" / "central.db")
        bring(engine, *(point(number) for number in range(1, 6)))
        engine.dispose()
        self.gateway: Gateway = stack.enter_context(connected(broker))
        self.sent = 0
        self.daemon = Daemon(folder, "central", "run", "--config", self.config)
        stack.callback(self.daemon.kill)

    def use(self, token: Token) -> None:
        """Put this token into the file that central.yaml names."""
        self.token.touch(mode=0o600)
        self.token.write_text(token.text)

    def send(self) -> None:
        """Some batches, which are receipted whatever InfluxDB does."""
        first, self.sent = self.sent + 1, self.sent + AT_ONCE
        for sequence in range(first, self.sent + 1):
            self.gateway.send(sound(sequence))
        eventually(lambda: len(self.gateway.stored()) == self.sent, "the centre has receipted them")

    def trouble(self, *words: str) -> None:
        """The batches wait, and the log says why."""
        before = len(self.daemon.log)
        self.send()
        eventually(lambda: all(word in self.daemon.log[before:] for word in words), " ".join(words))

    def mended(self) -> None:
        eventually(lambda: self.values() == list(range(1, self.sent + 1)), "every value is there, once")

    def values(self) -> list[int]:
        """What the server itself says it holds."""
        rows = [row.split(",") for row in self.influxd.lines(self.influxd.known("readings"))]
        return sorted(int(row[4]) for row in rows)

    def _pass_on(self, asked: Asked) -> Answer:
        if self.told is not None:
            return self.told(asked)
        query = urllib.parse.urlencode(asked.parameters)
        headers = {name: asked.headers[name] for name in ("Authorization", "Content-Type") if name in asked.headers}
        address = f"{self.influxd.url}{asked.path}?{query}"
        request = urllib.request.Request(address, asked.body or None, headers, method=asked.method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return Answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())
        except OSError:
            return Answer(502, b"Bad Gateway")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def slow(_: Asked) -> Answer:
    time.sleep(2 * TIMEOUT)
    return Answer(204)


@pytest.mark.long
def test_whatever_influxdb_does_costs_time_and_is_said_in_words(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    meterline = Meterline(capsys)
    first = site.influxd.token(site.bucket)
    site.use(first)
    site.daemon.start()
    eventually(lambda: site.daemon.said("connected to"))
    site.send()
    site.mended()

    for told, words in (
        (lambda _: Answer(500, b'{"code":"internal error","message":"engine: error writing WAL entry"}'),
         "500 engine: error writing WAL entry"),
        (lambda _: Answer(503, b"Service Unavailable", {"Retry-After": "1"}), "it asks for a pause (503"),
        (lambda _: Answer(200, b"<html>Welcome</html>"), "200 for what we wrote instead of 204; is it InfluxDB 2"),
        (lambda _: Answer(200, b"{", cut=True), "InfluxDB at"),
        (slow, f"no answer within {TIMEOUT} s"),
    ):  # fmt: skip
        site.told = told
        site.trouble("batches wait in the spool", words)
        site.told = None
        site.mended()

    site.influxd.stop()
    site.trouble("batches wait in the spool", "502 Bad Gateway")
    site.influxd.start()
    site.mended()

    resource.prlimit(site.influxd.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))  # a disk that is full
    while "file too large" not in site.daemon.log:
        site.send()
    site.influxd.stop()  # InfluxDB 2.7 goes on refusing when there is room again, until it is started anew
    site.influxd.start()
    site.mended()

    site.influxd.revoke(first)
    site.trouble("it does not know the token in", "put a valid one there")
    site.use(site.influxd.operator)
    site.mended()

    site.influxd.drop(site.bucket)
    site.trouble("it has no bucket 'readings'", "create it")
    site.bucket = site.influxd.bucket(name="readings")
    eventually(lambda: "is another one than before" in site.daemon.log, "the emptied bucket is noticed")
    eventually(lambda: len(site.values()) == AT_ONCE, "what came meanwhile is in it")
    assert meterline("store", "check", "--config", site.config).status == 5
    run("store", "rebuild", "--config", site.config)  # beside the daemon
    site.mended()
    assert meterline("store", "check", "--config", site.config).status == 0

    assert site.daemon.end() == 0
    assert "Traceback" not in site.daemon.log
    assert first.text not in site.daemon.log
    assert site.influxd.operator.text not in site.daemon.log


def test_a_start_without_influxdb_takes_everything_in_and_writes_it_when_it_comes(site: Site) -> None:
    """And a kill in between costs nothing: what waits is on the disk."""
    site.use(site.influxd.operator)
    site.influxd.stop()
    site.daemon.start()
    eventually(lambda: site.daemon.said("connected to"))
    eventually(lambda: "batches wait in the spool" in site.daemon.log and "502 Bad Gateway" in site.daemon.log)
    site.send()
    site.daemon.kill()
    site.daemon.start()
    eventually(lambda: site.daemon.said("connected to"))
    site.send()
    site.influxd.start()
    site.mended()
    assert site.daemon.end() == 0
