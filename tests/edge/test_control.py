"""What can be asked of a running gateway, by its real socket: a pause, another configuration, its status."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import serial

from collector import control
from collector.clock import SystemClock
from collector.config import GatewayConfig, load_gateway
from collector.control import NotRunning, Refused
from collector.edge import gateway as daemon
from collector.edge.control import Holds
from collector.exits import UsageFault
from hil.tcp import TcpMeters
from tests.broker import eventually, free_port
from tests.edge.hurry import each_second
from tests.opponents.wires import Pty
from tests.system.daemons import PROFILE, CountingMeter, Register, rows


def described(meter: CountingMeter) -> dict[str, Any]:
    return {"id": meter.id, "profile": PROFILE, "address": meter.address, "serial_number": meter.serial_number}


class Box:
    """A folder with a gateway.yaml, and the gateway that runs by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool.db"
        self.broker = f"mqtt://127.0.0.1:{free_port()}"  # nobody is there: batches stay

    @property
    def file(self) -> Path:
        return self.folder / "gateway.yaml"

    def write(self, *lines: dict[str, Any], **more: Any) -> None:
        self.file.write_text(json.dumps({
            "schema": "1", "gateway": "gw-1", "time_zone": "Europe/Moscow", "interval": "5s",
            "mqtt": {"url": self.broker}, "spool": {"path": "spool.db"}, "lines": lines, **more,
        }))  # fmt: skip

    def add(self, name: str, **part: Any) -> None:
        (self.folder / "gateway.d").mkdir(exist_ok=True)
        (self.folder / "gateway.d" / f"{name}.yaml").write_text(json.dumps(part))

    def batches(self) -> int:
        return len(rows(self.spool, "SELECT 1 FROM outbox"))

    def answers(self) -> bool:
        try:
            return bool(control.status(self.spool))
        except NotRunning:
            return False

    @contextmanager
    def running(self) -> Iterator[GatewayConfig]:
        def reread() -> GatewayConfig:
            return each_second(load_gateway(self.file))

        config, stop = reread(), threading.Event()

        def work() -> None:
            daemon.run(config, SystemClock(), stop, synced=lambda: True, reread=reread)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            eventually(self.answers)
            yield config
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def register() -> Register:
    return Register()


@contextmanager
def riser(*meters: CountingMeter, held: int | None = None) -> Iterator[dict[str, Any]]:
    """A line `riser-1` of these meters, of which the gateway knows the first `held`."""
    with TcpMeters(list(meters), SystemClock()) as line:
        known = [described(meter) for meter in meters[:held]]
        yield {"name": "riser-1", "port": f"tcp://127.0.0.1:{line.port}", "meters": known}


def asked(register: Register, meter: CountingMeter) -> int:
    return sum(len(values) for (name, _), values in list(register.said.items()) if name == meter.id)


# ----------------------------------------------------------------------------- pause


def test_while_a_line_is_paused_its_port_can_be_had_and_afterwards_it_cannot(box: Box, register: Register) -> None:
    with Pty() as port:
        box.write({"name": "riser-1", "port": port.path, "meters": [described(CountingMeter.make(1, register))]})
        with box.running():
            eventually(lambda: _locked(port.path))
            with control.paused(box.spool, "riser-1", 600):
                # At once, were it not for others on this computer who look for a terminal that once had this number.
                eventually(lambda: not _locked(port.path), "the port is free")
                assert list(control.status(box.spool)["paused"]) == ["riser-1"]
            eventually(lambda: _locked(port.path), "the line takes its port again")
            assert control.status(box.spool)["paused"] == {}


def _locked(path: str) -> bool:
    try:
        serial.Serial(path, exclusive=True).close()
    except serial.SerialException:
        return True
    return False


def test_a_paused_line_says_what_it_did_not_ask_and_its_neighbours_go_on(box: Box, register: Register) -> None:
    one, other = CountingMeter.make(1, register), CountingMeter.make(2, register)
    with riser(one) as first, riser(other) as second:
        box.write(first, {**second, "name": "riser-2"})
        with box.running():
            eventually(lambda: asked(register, one) and asked(register, other))
            with control.paused(box.spool, "riser-1", 600):
                before, there = asked(register, one), asked(register, other)
                eventually(lambda: asked(register, other) > there)
                warnings = control.status(box.spool)["status"]["warnings"]
                assert "line riser-1: the line is paused (gateway pause)" in warnings
                assert asked(register, one) == before
            eventually(lambda: asked(register, one) > before)


def test_a_pause_ends_by_itself_when_nobody_comes_back(box: Box, register: Register) -> None:
    meter = CountingMeter.make(1, register)
    with riser(meter) as line:
        box.write(line)
        with box.running():
            hold = control.pause(box.spool, "riser-1", 1.0)
            before = asked(register, meter)
            eventually(lambda: asked(register, meter) > before)
            assert not control.resume(box.spool, "riser-1", hold)


def test_a_second_pause_is_refused_and_only_who_holds_a_line_or_asks_for_all_ends_it(
    box: Box, register: Register
) -> None:
    with riser(CountingMeter.make(1, register)) as line:
        box.write(line)
        with box.running():
            hold = control.pause(box.spool, "riser-1", 600)
            with pytest.raises(Refused, match="paused already, until"):
                control.pause(box.spool, "riser-1", 600)
            assert not control.resume(box.spool, "riser-1", "another")
            assert control.resume(box.spool, "riser-1")
            assert not control.resume(box.spool, "riser-1", hold)
            control.resume(box.spool, "riser-1", control.pause(box.spool, "riser-1", 600))


@pytest.mark.parametrize(
    ("line", "seconds", "why"),
    [
        ("riser-9", 60, "known are riser-1"),
        ("riser-1", 0, "a number of seconds up to 86400"),
        ("riser-1", 86_401, "a number of seconds up to 86400"),
        ("riser-1", "an hour", "a number of seconds"),
    ],
)
def test_a_pause_of_no_line_or_no_time_is_refused(
    box: Box, register: Register, line: str, seconds: float, why: str
) -> None:
    with riser(CountingMeter.make(1, register)) as known:
        box.write(known)
        with box.running(), pytest.raises(Refused, match=why):
            control.pause(box.spool, line, seconds)


def test_a_line_that_does_not_let_go_is_not_left_paused() -> None:
    given: list[str] = []
    holds = Holds(lambda line, timeout: False, given.append, SystemClock())
    with pytest.raises(UsageFault, match="did not let go"):
        holds.pause("riser-1", 60)
    assert (given, holds.all()) == (["riser-1"], {})


def test_without_a_gateway_there_is_nothing_to_pause_and_the_work_is_done_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        control.pause(tmp_path / "spool.db", "riser-1", 60)
    done = []
    with control.paused(tmp_path / "spool.db", "riser-1", 60):
        done.append(True)
    assert done


# ----------------------------------------------------------------------------- reload


def test_a_meter_of_gateway_d_is_asked_after_a_reload_and_an_ended_one_no_more(box: Box, register: Register) -> None:
    old, new = CountingMeter.make(1, register), CountingMeter.make(2, register)
    with riser(old, new, held=1) as line:
        box.write(line)
        with box.running():
            eventually(lambda: asked(register, old))
            box.add(
                "swap",
                meters=[{"line": "riser-1", **described(new)}],
                ended=[{"id": "m-1", "at": "2026-11-01T00:00:00Z"}],
            )
            assert control.reload(box.spool) == ((new.id,), (), (old.id,), ())
            eventually(lambda: asked(register, new))
            assert list(control.status(box.spool)["status"]["meters"]) == [new.id]
            before, there = asked(register, old), asked(register, new)
            eventually(lambda: asked(register, new) > there)
            assert asked(register, old) == before
            assert control.reload(box.spool) == ((), (), (), ())


def test_the_first_meter_of_a_line_without_any_is_asked_but_not_while_it_is_paused(
    box: Box, register: Register
) -> None:
    new = CountingMeter.make(1, register)
    with riser(new, held=0) as line:
        box.write(line)
        with box.running():
            hold = control.pause(box.spool, "riser-1", 600)
            box.add("first", meters=[{"line": "riser-1", **described(new)}])
            assert control.reload(box.spool).added == (new.id,)
            paused = "line riser-1: the line is paused (gateway pause)"
            eventually(lambda: paused in control.status(box.spool)["status"].get("warnings", ()))
            assert not asked(register, new)
            control.resume(box.spool, "riser-1", hold)
            eventually(lambda: asked(register, new))


def test_a_reload_with_faults_names_them_all_and_changes_nothing(box: Box, register: Register) -> None:
    meter = CountingMeter.make(1, register)
    with riser(meter) as line:
        box.write(line)
        with box.running():
            box.add("wrong", meters=[{"line": "riser-9", "id": "m 2", "profile": "none", "address": "x"}])
            with pytest.raises(Refused, match="riser-9") as error:
                control.reload(box.spool)
            assert str(error.value).count("wrong.yaml") >= 3
            before = asked(register, meter)
            eventually(lambda: asked(register, meter) > before)


def test_what_needs_a_new_start_is_said_and_does_not_count_yet(box: Box, register: Register) -> None:
    meter = CountingMeter.make(1, register)
    with riser(meter) as line:
        box.write(line)
        with box.running():
            eventually(lambda: asked(register, meter))
            box.write({**line, "port": "/dev/ttyUSB9"}, time_zone="Asia/Omsk", log="json")
            assert control.reload(box.spool).restart == ("line riser-1: port", "log", "time_zone")
            before = asked(register, meter)
            eventually(lambda: asked(register, meter) > before)
            assert control.status(box.spool)["status"]["time_zone"] == "Europe/Moscow"


# ----------------------------------------------------------------------------- the socket


def test_the_socket_is_for_owner_and_group_and_goes_with_the_gateway(box: Box) -> None:
    box.write()
    path = control.socket_path(box.spool)
    with closing(socket.socket(socket.AF_UNIX)) as left:
        with control.reachable(path) as name:
            left.bind(name)  # what a killed gateway leaves behind
        left.listen()
    with box.running():
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert control.status(box.spool)["status"]["online"]
    assert not path.exists()


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"[1]\n", b'{"do": 1}\n', b'{"do": "fly"}\n', b"\xff\xfe\n", b'{"do": []}\n']
)
def test_what_is_not_understood_is_answered_and_the_next_request_too(box: Box, line: bytes) -> None:
    box.write()
    with box.running(), closing(socket.socket(socket.AF_UNIX)) as end:
        with control.reachable(control.socket_path(box.spool)) as name:
            end.connect(name)
        end.settimeout(60)
        lines = end.makefile("rb")
        end.sendall(line)
        answer = json.loads(lines.readline())
        assert not answer["ok"]
        assert answer["error"]
        end.sendall(b'{"do": "status"}\n')
        assert json.loads(lines.readline())["ok"]


def test_receipted_batches_are_sent_again_by_the_running_gateway(box: Box, register: Register) -> None:
    with riser(CountingMeter.make(1, register)) as line:
        box.write(line)
        with box.running():
            eventually(lambda: box.batches() >= 2)
            assert control.resend(box.spool, None) == 0
            assert control.resend(box.spool, 0) == 0  # none is receipted, so that none is sent again


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 10)
    folder.mkdir(parents=True)
    box = Box(folder)
    box.write()
    with box.running():
        assert control.status(box.spool)["status"]["gateway"] == "gw-1"
