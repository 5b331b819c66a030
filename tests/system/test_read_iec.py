"""`meterline read` on IEC 62056-21 meters of the bench: every kind of port, and each trouble with its own words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.clock import SystemClock
from drivers.meter_side import Wiring
from drivers.profile import Profile, load
from hil.household import Household
from hil.line import Kind, Wire
from hil.meter import VirtualMeter
from tests.system.reading import Read

METERS = Path(__file__).resolve().parents[1] / "data" / "meters"
OPTICAL, SESSION = METERS / "test-iec.yaml", METERS / "test-iec-session.yaml"


def meter(path: Path, address: str = "", **wiring: Any) -> VirtualMeter:
    """A meter of a profile, hung as the profile says unless told otherwise."""
    known: Profile = load(str(path))
    hung = {"baudrate": known.line.baudrate, "framing": known.line.framing} | wiring
    household = Household.of_seed(len(address) + 1, 2)
    return VirtualMeter(known, address, household, "12345678", zone="Europe/Moscow", wiring=Wiring(**hung))


@pytest.fixture
def optical() -> Iterator[Wire]:
    with Wire([meter(OPTICAL)], SystemClock()) as wire:
        yield wire


@pytest.fixture
def rs485() -> Iterator[Wire]:
    with Wire([meter(SESSION, "0201"), meter(SESSION, "0202")], SystemClock()) as wire:
        yield wire


# ----------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", ["pty", "rfc2217", "socket"])
def test_an_optical_meter_is_read_with_its_frozen_month_on_every_kind_of_port(kind: Kind, read: Read) -> None:
    it = meter(OPTICAL)
    with Wire([it], SystemClock(), baudrate=300, kind=kind) as wire:
        before = it.energy(SystemClock().millis())
        status, out, err = read(
            "--profile", OPTICAL, "--port", wire.path, "--frozen", "--format", "json", "--serial-number", "12345678"
        )
        after = it.energy(SystemClock().millis())
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["serial_number"], found["address"]) == ("12345678", "")
    assert set(found["registers"]) == {"1.8.0", "1.8.1", "1.8.2", "32.7.0"}
    for code in ("1.8.0", "1.8.1", "1.8.2"):
        shown = round(float(found["registers"][code]["value"]) * 1000)
        assert before[code] <= shown <= after[code]
        assert bytes.fromhex(found["registers"][code]["raw"]).decode().lstrip("0") == found["registers"][code]["value"]
    ((month, frozen),) = found["frozen"].items()
    assert month < found["meter_clock"][:7]
    assert set(frozen) == {"1.8.0", "1.8.1", "1.8.2"}


def test_meters_on_one_wire_are_read_by_their_address_through_a_session(rs485: Wire, read: Read) -> None:
    for address in ("0201", "0202"):
        status, out, _ = read("--profile", SESSION, "--port", rs485.path, "--address", address, "--format", "json")
        assert status == 0
        assert json.loads(out)["address"] == address
    status, _, err = read("--profile", SESSION, "--port", rs485.path, "--address", "0203")
    assert status == 3
    assert "check the meter's address, speed and framing" in err


def test_a_password_is_read_from_its_file_and_stands_in_no_trace(tmp_path: Path, read: Read) -> None:
    (tmp_path / "word").write_text("73195846\n")
    with Wire([meter(SESSION, password=b"73195846")], SystemClock()) as wire:
        status, _, _ = read(
            "--profile", SESSION, "--port", wire.path, "--password-file", tmp_path / "word", "--trace", tmp_path / "t"
        )
    assert status == 0
    sent = [line.partition(" >> ")[2] for line in (tmp_path / "t").read_text().splitlines() if " >> " in line]
    seven = [bytes(byte & 0x7F for byte in bytes.fromhex(line)) for line in sent]
    assert any(message.startswith(b"\x01P1\x02(********)\x03") for message in seven)
    assert not any(b"73195846" in message for message in seven)


# ----------------------------------------------------------------------------- trouble, each with its own words


def test_a_meter_that_calls_itself_otherwise_is_refused_and_the_generic_profile_named(
    optical: Wire, read: Read
) -> None:
    status, _, err = read("--profile", SESSION, "--port", optical.path, "--baudrate", "300")
    assert status == 4
    assert "/TST5TEST-IEC" in err
    assert "generic-iec62056-21" in err
    assert read("--profile", OPTICAL, "--port", optical.path)[0] == 0, "it was not left in its session"


def test_a_wrong_password_is_said_once_and_not_shown(tmp_path: Path, read: Read) -> None:
    (tmp_path / "word").write_text("73195846\n")
    with Wire([meter(SESSION)], SystemClock()) as wire:
        status, _, err = read("--profile", SESSION, "--port", wire.path, "--password-file", tmp_path / "word")
        assert status == 4
        assert "does not take the password" in err
        assert "73195846" not in err
        status, _, _ = read("--profile", SESSION, "--port", wire.path)  # it is in no session any more
        assert status == 0


def test_a_wrong_speed_is_no_answer_and_speed_is_what_to_look_at(optical: Wire, read: Read) -> None:
    status, _, err = read("--profile", OPTICAL, "--port", optical.path, "--baudrate", "9600")
    assert status == 3
    assert "at 9600" in err
    assert "speed and framing" in err


@pytest.mark.parametrize(
    ("after", "kind", "words"),
    [
        (0, 3, "nobody signs on at 300 7E1; an optical head must sit well"),
        pytest.param(12, 4, "broke off", marks=pytest.mark.long),  # in the middle of the identification
        pytest.param(26, 3, "TST5TEST-IEC called itself, and then nothing came", marks=pytest.mark.long),
        (120, 4, "broke off: was the optical head moved"),  # in the middle of the readout
    ],
)
def test_a_head_that_is_lifted_is_said_and_no_part_of_the_readout_is_shown(
    after: int, kind: int, words: str, optical: Wire, read: Read
) -> None:
    optical.head.lift(after)
    status, _, err = read("--profile", OPTICAL, "--port", optical.path)
    assert status == kind
    assert words in err


def test_sunlight_in_the_head_is_damage_and_said(read: Read) -> None:
    shining = Wire([meter(OPTICAL)], SystemClock())
    shining.head.sun(7)
    with shining as wire:
        status, _, err = read("--profile", OPTICAL, "--port", wire.path)
    assert status == 4
    assert "light" in err


def test_a_head_that_was_put_back_reads_again(optical: Wire, read: Read) -> None:
    optical.head.lift(0)
    assert read("--profile", OPTICAL, "--port", optical.path)[0] == 3
    optical.head.put_back()
    assert read("--profile", OPTICAL, "--port", optical.path)[0] == 0
    assert threading.active_count() < 50
