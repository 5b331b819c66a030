"""A recording of a meter becomes its profile's proof with one command, and `profile check` accepts it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from collector.clock import SystemClock
from collector.edge import wire as edge
from collector.edge.transport import open_port
from collector.recording import Spoken, written
from drivers import profile as profiles
from drivers.captured import captured
from drivers.dialogue import Ask
from drivers.meter_side import Wiring
from drivers.proof import failures
from drivers.table import driver
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter

ROOT = Path(__file__).resolve().parents[1]
CLOCK = SystemClock()
# A meter of each form of proof: requests and answers, a readout after a sign-on, programming mode behind a password.
METERS = {
    "eastron-sdm120": ("7", Wiring(9600, "8N1")),
    "mercury-230": ("31", Wiring(9600, "8N1")),
    "iskra-mt174": ("", Wiring(9600, "7E1")),
    "neva-mt324": ("201", Wiring(9600, "7E1")),
}


def recording(name: str, path: Path) -> None:
    """What is said when such a meter is read, as `read --trace` writes it."""
    address, wiring = METERS[name]
    of = profiles.load(name)
    meter = VirtualMeter(of, address, Household.of_seed(3, 4), "12345678", wiring=wiring)
    rate, framing = wiring.baudrate, wiring.framing
    lines: list[str] = []

    def traced(direction: str, data: bytes, at: float) -> None:
        lines.append(written(Spoken(int(at * 1000) + 1_793_480_462_000, direction, data)))

    by = driver(of.protocol)
    with (
        Wire([meter], CLOCK, turnaround=0.001) as wire,
        closing(open_port(wire.path, rate, by.port_framing(framing))) as port,
    ):
        ask = Ask(address, codes=("1.8.0",), baudrate=rate, framing=framing)
        edge.Wire(port, CLOCK, traced).carry(by.read(of, ask))
    path.write_text("\n".join(lines) + "\n")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=os.environ)


@pytest.mark.parametrize("name", METERS)
def test_a_recording_becomes_a_proof_with_one_command_and_is_accepted(name: str, tmp_path: Path) -> None:
    capture, mine = tmp_path / "capture.txt", tmp_path / f"{name}.yaml"
    recording(name, capture)
    mine.write_bytes((profiles.METERS / f"{name}.yaml").read_bytes())
    told = run("profile", "proof", str(capture), "--profile", str(mine), "--source", "our own bench")
    assert told.returncode == 0, told.stderr
    entries = yaml.safe_load(told.stdout)
    given = {value: text for entry in entries for value, text in entry["gives"].items()}
    assert {"1.8.0", "serial"} <= given.keys()
    assert "12345678" in given["serial"]
    assert {(entry["kind"], entry["source"]) for entry in entries} == {("captured", "our own bench")}
    with mine.open("a") as stream:
        stream.write(told.stdout)
    checked = run("profile", "check", str(mine))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(profiles.load(name).proof) + len(entries)} proofs hold" in checked.stdout
    if "clock" in given:
        assert given["clock"].startswith("20")


def test_a_wrong_number_in_such_a_proof_is_found(tmp_path: Path) -> None:
    capture = tmp_path / "capture.txt"
    recording("eastron-sdm120", capture)
    told = run("profile", "proof", str(capture), "--profile", "eastron-sdm120").stdout
    energy = next(entry for entry in yaml.safe_load(told) if "1.8.0" in entry["gives"])
    mine = tmp_path / "eastron-sdm120.yaml"
    mine.write_text((profiles.METERS / mine.name).read_text() + told.replace(energy["gives"]["1.8.0"], "1.000"))
    checked = run("profile", "check", str(mine))
    assert checked.returncode == 5
    assert "1.8.0 must be 1.000" in checked.stderr


def test_another_meters_recording_proves_nothing(tmp_path: Path) -> None:
    capture = tmp_path / "capture.txt"
    recording("eastron-sdm120", capture)
    refused = run("profile", "proof", str(capture), "--profile", "mercury-230")
    assert refused.returncode == 5
    assert "gives a value of mercury-230" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize("name", sorted(profiles.load_all()))
def test_the_bytes_of_every_shipped_proof_are_found_again_in_a_noisy_conversation(name: str) -> None:
    """Echoed, with noise around the answer, among questions that nobody answered."""
    item = profiles.load(name)
    for proof in item.proof:
        first = getattr(proof, "exchanges", (proof,))
        told = [(one.request, b"") for one in first]
        told += [(one.request, one.request + b"\x00" + one.answer) for one in first]
        found = captured(item, told, source="x")
        if name.endswith("push"):
            continue  # nobody asks it
        assert any(it.gives == proof.gives for it in found), proof.source
        assert not list(failures(item.model_copy(update={"proof": tuple(found)})))
