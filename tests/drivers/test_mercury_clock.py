"""The one thing that is written into a Mercury: its limits on both sides, and that it is never sent twice."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from drivers import mercury
from drivers.dialogue import Ask, DamagedFrame, MeterRefused, NoAnswer, NotInProfile
from drivers.meter_side import Wiring
from tests.drivers.mercury_world import ADDRESS, PROFILES, QuietLine, Station, line

SHOWN = datetime.fromisoformat("2026-11-03T14:15:16")  # what the simulated meter shows


def correct(station: Station, to: datetime, shown: datetime = SHOWN, name: str = "230") -> None:
    line(station).carry(mercury.correct_clock(PROFILES[name], Ask(ADDRESS[name]), shown, to))


def clock(station: Station) -> str | None:
    found = line(station).carry(mercury.read(PROFILES["230"], Ask(ADDRESS["230"], ("1.8.0",))))
    text: str | None = found.clock
    return text


@pytest.mark.parametrize("seconds", [-240, -1, 30, 240])
def test_a_clock_is_moved_by_up_to_four_minutes(seconds: int) -> None:
    station, to = Station("230"), SHOWN + timedelta(seconds=seconds)
    correct(station, to)
    assert clock(station) == to.isoformat()
    assert station.heard[1][1:-2] == bytes.fromhex(f"03 0D {to:%S%M%H}")  # second, minute, hour (INC20 2.3.11)


def test_the_document_s_example_is_what_is_sent() -> None:
    station = Station("230", address="128")
    shown, to = (datetime.fromisoformat(f"2008-03-05T{at}") for at in ("10:57:00", "10:55:30"))
    dialogue = mercury.correct_clock(PROFILES["230"], Ask("128"), shown, to)
    with pytest.raises(MeterRefused):  # the simulated meter shows another time
        line(station).carry(dialogue)
    assert station.heard[1][:-2] == bytes.fromhex("80 03 0D 30 55 10")


@pytest.mark.parametrize(
    ("shown", "to", "text"),
    [
        ("2026-11-03T14:15:16", "2026-11-03T14:19:17", r"-241 s off; .* 240 s a day"),
        ("2026-11-03T23:59:50", "2026-11-04T00:00:10", "carries no date"),
        ("2026-11-04T14:15:16", "2026-11-03T14:15:20", "carries no date"),
    ],
)
def test_what_the_meter_would_refuse_or_misunderstand_is_not_sent(shown: str, to: str, text: str) -> None:
    station = Station("230")
    with pytest.raises(MeterRefused, match=text):
        correct(station, datetime.fromisoformat(to), datetime.fromisoformat(shown))
    assert not station.heard


def test_a_meter_moves_its_clock_once_a_day() -> None:
    station = Station("230")
    correct(station, SHOWN + timedelta(seconds=10))
    with pytest.raises(MeterRefused, match="try tomorrow") as caught:
        correct(station, SHOWN + timedelta(seconds=20), SHOWN + timedelta(seconds=10))
    assert caught.value.code == 4


def test_a_simulated_meter_refuses_what_it_cannot_do() -> None:
    station = Station("230")
    with pytest.raises(MeterRefused, match="does not take"):
        correct(station, SHOWN + timedelta(seconds=400), SHOWN + timedelta(seconds=300))  # it shows something else


@pytest.mark.parametrize(("spoil", "error"), [(0, NoAnswer), (3, DamagedFrame)])
def test_after_silence_or_damage_it_is_not_sent_again(spoil: int, error: type[Exception]) -> None:
    """So many bytes of its answer come."""
    station = Station("230")

    def answers(request: bytes, now: float) -> list[tuple[float, bytes]]:
        answer = station(request)
        return [(0.02, answer[:spoil] if request[1] == 3 else answer)]

    with pytest.raises(error):
        QuietLine(answers).carry(
            mercury.correct_clock(PROFILES["230"], Ask("190"), SHOWN, SHOWN + timedelta(seconds=9))
        )
    assert sum(request[1] == 3 for request in station.heard) == 1


def test_it_needs_the_password_and_a_meter_that_has_it() -> None:
    with pytest.raises(MeterRefused, match="password"):
        correct(Station("230", Wiring(password=b"987654")), SHOWN + timedelta(seconds=9))
    with pytest.raises(NotInProfile, match="200 family"):
        correct(Station("206"), SHOWN, name="206")


def test_no_reading_writes() -> None:
    """Whatever a profile asks, codes that write never leave (03, 07; 01 opens the channel)."""
    for name in PROFILES:
        station = Station(name)
        line(station).carry(mercury.read(PROFILES[name], Ask(ADDRESS[name], frozen=True)))
        width = 1 if name in ("230", "234") else 4
        codes = {request[width] for request in station.heard}
        assert codes <= ({1, 4, 5, 8, 0x18} if width == 1 else {0x21, 0x27, 0x29, 0x2F, 0x32, 0x63, 0x81})
