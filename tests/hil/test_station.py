"""A meter where it hangs on a wire, and the head on it, without a wire."""

from __future__ import annotations

from drivers.meter_side import Wiring
from drivers.modbus_frames import Question
from drivers.profile import load
from hil.characters import Setting
from hil.head import Head
from hil.household import Household
from hil.meter import VirtualMeter
from hil.station import Station

SETTING = Setting(9600, "8N1")
REQUEST = Question(1, 3, 0x5000, 4).rtu()


def station() -> Station:
    return Station(VirtualMeter(load("abb-b23"), "1", Household(0), "12345678"), Wiring())


def test_a_request_in_pieces_is_answered_when_it_is_whole() -> None:
    meter = station()
    assert meter.hear(REQUEST[:3], SETTING, 10.0, 10.003, 0) == ()
    assert len(meter.hear(REQUEST[3:], SETTING, 10.01, 10.015, 0)) == 1


def test_a_piece_that_stays_alone_is_forgotten_after_the_protocols_gap() -> None:
    meter = station()
    assert meter.hear(REQUEST[:3], SETTING, 10.0, 10.003, 0) == ()
    assert meter.hear(REQUEST[3:], SETTING, 10.003 + meter.side.gap + 0.01, 11.0, 0) == ()
    assert len(meter.hear(REQUEST, SETTING, 12.0, 12.008, 0)) == 1


def test_of_two_requests_in_a_row_the_second_is_not_lost() -> None:
    other = Question(2, 3, 0x5000, 4).rtu()
    assert len(station().hear(other + REQUEST, SETTING, 10.0, 10.02, 0)) == 1


def test_another_framing_or_speed_is_not_heard() -> None:
    for wrong in (Setting(19200, "8N1"), Setting(9600, "8E1"), Setting(9600, "7E1")):
        assert station().hear(REQUEST, wrong, 10.0, 10.008, 0) == ()
    assert station().hear(REQUEST, Setting(9600), 10.0, 10.008, 0) != ()


def test_a_head_lets_through_until_it_is_lifted_and_again_when_it_is_back() -> None:
    head = Head()
    assert head.through(b"abc") == b"abc"
    head.lift(after=4)
    assert [head.through(b"abc"), head.through(b"abc"), head.through(b"abc")] == [b"abc", b"a", b""]
    head.put_back()
    assert head.through(b"abc") == b"abc"


def test_the_same_sun_makes_the_same_characters_and_none_in_the_dark() -> None:
    bursts = []
    for _ in range(2):
        head = Head()
        assert (head.light(), head.glare) == (b"", None)
        head.sun(seed=3)
        assert head.glare is not None
        bursts.append([head.light() for _ in range(20)])
        head.sun(seed=None)
        assert head.light() == b""
    assert bursts[0] == bursts[1]
    assert len({len(burst) for burst in bursts[0]}) > 1
