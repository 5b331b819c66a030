"""The side of a simulated Mercury meter: what it hears, what it passes over, and when its channel is open."""

from __future__ import annotations

import pytest

from drivers import mercury
from drivers.dialogue import Done, More
from drivers.meter_side import Wiring
from drivers.modbus_frames import sealed
from tests.drivers.mercury_world import PROFILES, Station

OPENING = sealed(bytes.fromhex("BE 01 01 01 01 01 01 01 01"))
SUM = sealed(bytes.fromhex("BE 05 00 00"))


def status(answer: bytes) -> int:
    assert len(answer) == 4
    assert answer == sealed(answer[:2])
    return answer[1]


def test_a_request_that_comes_byte_by_byte_is_heard_with_its_last_one() -> None:
    side = Station("230").side
    held = Station("230").held
    assert held is not None
    for end in range(len(OPENING)):
        assert side.hear(held, OPENING[:end], 0.0) == More()
    outcome = side.hear(held, OPENING + b"\x00", 0.0)
    assert isinstance(outcome, Done)
    assert outcome.used == len(OPENING)
    assert status(outcome.frame[0].data) == 0


def test_requests_to_others_and_rubbish_are_used_up_in_silence() -> None:
    station = Station("230")
    assert station.held is not None
    other = sealed(bytes.fromhex("11 05 00 00"))
    assert station.side.hear(station.held, other, 0.0) == Done((), len(other))
    rubbish = station.side.hear(station.held, b"\x05" * 200, 0.0)
    assert isinstance(rubbish, Done)
    assert not rubbish.frame
    assert 0 < rubbish.used < 200
    assert station(sealed(b"\xbe\x00")[:-1] + b"\x00") == b"", "a request with a wrong check is passed over"


@pytest.mark.parametrize("bit", range(8 * len(SUM)))
def test_no_request_with_a_flipped_bit_is_answered(bit: int) -> None:
    station = Station("230")
    assert status(station(OPENING)) == 0
    flipped = bytearray(SUM)
    flipped[bit // 8] ^= 1 << bit % 8
    assert station(bytes(flipped)) == b""


def test_everybody_is_a_meter_that_is_alone_and_all_carry_out_what_none_answers() -> None:
    station = Station("230")
    assert station(sealed(b"\x00\x00")) == sealed(b"\x00\x00")
    assert station(sealed(b"\xfe\x00")) == b""
    assert station(sealed(b"\xbe\x00")) == sealed(b"\xbe\x00")


def test_the_channel_closes_240_s_after_the_last_sound_request() -> None:
    """Incotex, "System of commands" 12.2020, 2.2.2."""
    time = [0.0]
    station = Station("230", now=lambda: time[0])
    assert status(station(SUM)) == 5
    assert status(station(OPENING)) == 0
    for _ in range(3):
        time[0] += 239.0
        assert len(station(SUM)) == 19
    time[0] += 241.0
    assert status(station(SUM)) == 5
    assert status(station(OPENING)) == 0
    assert status(station(sealed(b"\xbe\x02"))) == 0
    assert status(station(SUM)) == 5


def test_a_wrong_password_closes_and_the_serial_number_needs_none() -> None:
    station = Station("230")
    assert status(station(OPENING)) == 0
    assert status(station(sealed(bytes.fromhex("BE 01 01 31 31 31 31 31 31")))) != 0
    assert status(station(SUM)) == 5
    assert station(sealed(bytes.fromhex("BE 08 00")))[1:5] == bytes((38, 39, 51, 90))


def test_what_nobody_may_ask_is_refused_by_one_family_and_passed_over_by_the_other() -> None:
    station = Station("230")
    station(OPENING)
    assert status(station(sealed(bytes.fromhex("BE 05 E0 00")))) == 1
    single = Station("206")
    assert single(sealed(bytes.fromhex("00 A6 B7 20 02 01 10 00 00 01 11 26"))) == b""
    assert single(sealed(bytes.fromhex("00 A6 B7 20 32 05"))) == sealed(
        bytes.fromhex("00 A6 B7 20 32") + b"\xff" * 16
    ), "a month that it does not hold"


def test_an_address_that_it_cannot_have_is_refused() -> None:
    for name, address in (("230", "241"), ("206", "x")):
        with pytest.raises(ValueError, match="family has"):
            mercury.meter(PROFILES[name], address, Wiring())
