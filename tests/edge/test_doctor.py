"""The line doctor: each fault of a simulated line is told in words, a healthy line is said to be healthy."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from collector.clock import SystemClock
from collector.edge.doctor import CHECKS, Evidence, Finding, Way, findings, healthy, is_nobody
from collector.edge.doctor_examination import Examination, patients
from collector.edge.doctor_watch import Exchange
from collector.edge.transport import open_port
from drivers.dialogue import DamagedFrame, NoAnswer
from drivers.meter_side import Wiring
from drivers.profile import load
from hil.faults import Fault, on_one_wire
from hil.household import Household
from hil.line import Kind, Wire
from hil.meter import VirtualMeter
from tests.opponents.wires import NullModem

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()
SESSION = str(ROOT / "tests" / "data" / "meters" / "test-iec-session.yaml")
METERS = {
    "modbus": VirtualMeter(load("abb-b23"), "5", Household(day_wh=8000), "12345678", wiring=Wiring(9600, "8N1")),
    "iec": VirtualMeter(load(SESSION), "201", Household(day_wh=8000), "00000201", wiring=Wiring(9600, "7E1")),
}


def faulty(name: str, *faults: str, kind: Kind = "pty") -> Wire:
    return Wire(on_one_wire([(METERS[name], [Fault(fault) for fault in faults])], CLOCK, 7), CLOCK, kind=kind)


def examined(path: str, name: str, **given: Any) -> Evidence:
    of = METERS[name]
    asked = {"profile": of.profile, "address": of.address, "baudrate": None, "framing": None} | given
    found = patients(port=path, **asked)
    with closing(open_port(path, *found[0].line_settings)) as transport:
        return Examination(transport, CLOCK, lambda _: None).examine(found)


def faults(seen: Evidence) -> dict[str, str]:
    return {finding.name: finding.text for finding in findings(seen) if finding.level == "fault"}


def notes(seen: Evidence) -> set[str]:
    return {finding.name for finding in findings(seen) if finding.level == "note"}


SLOW = pytest.mark.long  # an examination of a line that is silent or talks in another way asks at every usual setting


@pytest.mark.parametrize("name", METERS)
@pytest.mark.parametrize("kind", ["pty", pytest.param("socket", marks=SLOW), pytest.param("rfc2217", marks=SLOW)])
def test_a_healthy_line_is_said_to_be_healthy(kind: Kind, name: str) -> None:
    with faulty(name, kind=kind) as wire:
        seen = examined(wire.path, name)
    assert findings(seen) == []
    assert healthy(seen).startswith(f"healthy: {len(seen.exchanges)} of {len(seen.exchanges)} answers sound at 9600")
    assert METERS[name].serial_number in healthy(seen)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("fault", "finding", "words"),
    [
        ("noise", "noise-behind", "noise after 8 of 8 sound frames"),
        pytest.param("two-at-one-address", "two-meters", "two meters answer at address 5", marks=SLOW),
        pytest.param("doubled", "doubled", "8 of 8 answers came twice", marks=SLOW),
        pytest.param("truncated", "breaking-off", "broke off", marks=SLOW),
        pytest.param("bit-flips", "damaged", "answers are damaged", marks=SLOW),
        pytest.param("parity-stripped", "parity-taken-off", "a converter on the way is set to seven bits", marks=SLOW),
        pytest.param("late", "late", "came after they had been given up (0.5 s are allowed)", marks=SLOW),
        pytest.param("silence", "nobody", "Are the two wires swapped", marks=SLOW),
        pytest.param(
            "wrong-baud",
            "other-settings",
            "wrong baud: nobody is understood at 9600 8N1, the meter answers at 4800 8N1",
            marks=SLOW,
        ),
        pytest.param("wrong-check", "two-meters", "that is no noise", marks=SLOW),
    ],
)
def test_each_fault_of_a_line_has_its_own_words_and_no_other(fault: str, finding: str, words: str) -> None:
    with faulty("modbus", fault) as wire:
        seen = examined(wire.path, "modbus")
    found = faults(seen)
    assert list(found) == [finding], found
    assert words in found[finding]


@SLOW
@pytest.mark.parametrize("kind", ["pty", "socket"])
def test_a_converter_at_8n1_before_a_meter_of_7e1_is_told(kind: Kind) -> None:
    with faulty("iec", kind=kind) as wire:
        found = faults(examined(wire.path, "iec", framing="8N1"))
    assert list(found) == ["other-settings"]
    assert found["other-settings"].startswith("the converter is 8N1 and the meter 7E1")
    assert "Set framing: 7E1" in found["other-settings"]


@SLOW
def test_a_converter_that_takes_the_parity_off_is_told() -> None:
    with faulty("iec", "parity-stripped") as wire:
        found = faults(examined(wire.path, "iec"))
    assert set(found) <= {"parity-taken-off", "other-settings"} and len(found) == 1
    assert "the converter makes and takes off the parity itself" in found.popitem()[1]


def test_an_echo_is_told_and_the_line_is_healthy() -> None:
    def echoing(modem: NullModem, direction: str, data: bytes) -> bytes:
        if direction == "to far":
            modem.give_to_near(data)
        return data

    with faulty("modbus") as wire, NullModem(echoing) as modem, bridged(modem.far, wire.path):
        seen = examined(modem.near, "modbus")
    assert faults(seen) == {}
    assert notes(seen) == {"echo"}


@SLOW
def test_an_echo_and_nobody_behind_it_clears_the_adapter() -> None:
    def echoing(modem: NullModem, direction: str, data: bytes) -> bytes:
        modem.give_to_near(data)
        return b""

    with NullModem(echoing) as modem:
        found = faults(examined(modem.near, "modbus"))
    assert list(found) == ["nobody"]
    assert "the adapter hears its own words: port and adapter work" in found["nobody"]


@SLOW
def test_light_and_another_master_are_heard_before_anything_is_asked() -> None:
    with faulty("iec") as wire:
        wire.head.sun(7)
        with closing(open_port(wire.path, 9600, "8N1")) as port:
            port.write(b"\x00")  # the wire looks up, and from then on by itself
        found = faults(examined(wire.path, "iec"))
    assert "light falls into the optical head" in found["noise-when-idle"]


@SLOW
def test_another_address_is_found_where_the_protocol_can_ask_anybody() -> None:
    with faulty("iec") as wire:
        found = faults(examined(wire.path, "iec", address="999"))
    assert "nobody has the address 999" in found["other-settings"]


@SLOW
def test_without_a_profile_the_usual_questions_find_the_meter() -> None:
    with faulty("iec") as wire:
        seen = examined(wire.path, "iec", profile=None, address="201")
    assert faults(seen) == {}
    assert seen.asked == Way("iec62056-21", "201", 9600, "7E1")


def bridged(one: str, other: str) -> Any:
    """Two pseudo terminals, joined by a tap that writes nothing down."""
    from hil.characters import Setting
    from hil.tap import Recorder, Tap

    class Held:
        """The far end of a null modem as a client."""

        name = one
        taken = True

        def __init__(self) -> None:
            self._port = open_port(one, 9600, "8N1")

        def setting(self) -> Setting:
            return Setting(9600)

        def wait(self, seconds: float | None, stop: int) -> tuple[bytes, Setting]:
            return self._port.read(seconds or 0.0, 4096), self.setting()

        def give(self, data: bytes) -> None:
            self._port.write(data)

        def close(self) -> None:
            self._port.close()

    return Tap(Held(), open_port(other, 9600, "8N1"), Recorder(lambda _: None, CLOCK))


# ----------------------------------------------------------------------------- judgement alone

WAY = Way("modbus", "5", 9600, "8N1")
GOOD = Exchange(b"ask", answer=b"told", seconds=0.02)
ECHOED = Exchange(b"ask", answer=b"told", echo=True, seconds=0.02)
SILENT = Exchange(b"ask", error=NoAnswer("no answer"))


def names(*exchanges: Exchange, **more: Any) -> list[str]:
    return [finding.name for finding in findings(Evidence(WAY, exchanges, **more))]


def test_what_is_seen_is_judged_by_bytes_and_times_alone() -> None:
    assert names(GOOD) == []
    assert names(ECHOED) == ["echo"]
    assert names(SILENT) == ["nobody"]
    assert names(GOOD, SILENT) == ["some-silent"]
    assert names(GOOD, serials=["12", "0012", "12"]) == []
    assert names(GOOD, serials=["12", "13", "12"]) == ["two-meters"]
    assert names(GOOD, idle=b"\x00\x00") == ["noise-when-idle"]
    assert names(Exchange(b"ask", answer=b"told", before=b"\xff", seconds=0.45)) == ["noise-before", "slow"]


def test_swapped_wires_are_named_where_the_line_rests_at_the_wrong_level() -> None:
    (finding,) = findings(Evidence(WAY, [GOOD], idle=bytes(9)))
    assert "The two wires are swapped" in finding.text


def test_nobody_behind_a_converter_that_cannot_be_switched_points_to_its_settings() -> None:
    first, second = findings(Evidence(WAY, [SILENT], can_switch=False))
    assert is_nobody([first])
    assert "compare speed and framing in its own settings" in second.text


def test_damage_that_is_another_each_time_is_no_second_meter() -> None:
    broken = [Exchange(b"ask", answer=bytes((5, 3, at)), error=DamagedFrame("wrong check")) for at in range(4)]
    assert names(*broken) == ["damaged"]
    assert names(*(broken[:1] * 4)) == ["two-meters"]


def test_every_check_has_a_sentence_and_faults_come_first() -> None:
    assert all((check.__doc__ or "").endswith(".") for _, check in CHECKS)
    found = findings(Evidence(WAY, [ECHOED, SILENT]))
    assert [finding.level for finding in found] == ["fault", "note"]
    assert isinstance(found[0], Finding)


# ----------------------------------------------------------------------------- the command


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector", "line", "doctor", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@SLOW
def test_the_command_says_it_on_stdout_and_ends_with_the_contracts_status() -> None:
    line = ("--profile", "abb-b23", "--address", "5", "--port")
    with faulty("modbus") as wire:
        well = doctor(*line, wire.path)
    assert (well.returncode, well.stdout[:8]) == (0, "healthy:"), well.stderr
    with faulty("modbus", "noise") as wire:
        ill = doctor(*line, wire.path, "--format", "json")
    assert ill.returncode == 4, ill.stderr
    assert [it["name"] for it in json.loads(ill.stdout)["findings"]] == ["noise-behind"]
    with Wire([], CLOCK) as wire:
        alone = doctor(*line, wire.path)
    assert alone.returncode == 3, alone.stderr
    assert alone.stdout.startswith("nobody answers")
    assert doctor(*line, "/dev/no-such-port").returncode == 6
    assert doctor("--port", "/dev/x", "--profile", "abb-b23", "--address", "900").returncode == 2
