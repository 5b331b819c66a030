"""Reading Mercury meters: what comes back, the channel, refusals, archives, silence; both ends joined."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from drivers import mercury
from drivers.dialogue import Ask, MeterRefused, NoAnswer, NotInProfile, Send
from drivers.mercury_session import password_bytes
from drivers.meter_side import Wiring
from drivers.modbus_frames import sealed
from tests.drivers.mercury_world import ADDRESS, PROFILES, TARIFFS, Station, ask, held, line, read

every_meter = pytest.mark.parametrize("name", PROFILES)


def requests(station: Station) -> list[str]:
    """What was asked, without addresses and checks."""
    width = 1 if station.name in ("230", "234") else 4
    return [request[width:-2].hex(" ").upper() for request in station.heard]


@every_meter
def test_what_a_meter_holds_is_what_is_read(name: str) -> None:
    found, own = read(name), held(name)
    for code in PROFILES[name].registers:
        if code in own.registers:
            assert found.registers[code].value == own.registers[code], code
        else:
            assert code in found.absent
    assert found.registers["1.8.0"].value == sum(TARIFFS.values())
    assert found.serial_number == own.serial_number
    assert found.clock == "2026-11-03T14:15:16"
    assert not found.refused
    (closing,) = found.frozen
    assert (closing.back, closing.stamp) == (1, None)
    assert {code: it.value for code, it in closing.registers.items()} == own.frozen[0].registers


@every_meter
def test_an_interval_reading_asks_nothing_else(name: str) -> None:
    station = Station(name)
    found = read(name, station, codes=("1.8.0", "1.8.1"), serial=False, clock=False, frozen=False)
    assert sorted(found.registers) == ["1.8.0", "1.8.1"]
    three = ["01 01 01 01 01 01 01 01", "05 00 00", "05 00 01"]
    assert requests(station) == (three if name in ("230", "234") else ["27"])


def test_a_total_that_is_added_up_is_missing_where_a_tariff_is() -> None:
    own = held("200")
    less = {code: value for code, value in own.registers.items() if code != "1.8.3"}
    found = read("200", Masking(Station("200", held=replace(own, registers=less)), b"\x27", 8))
    assert "1.8.3" in found.absent
    assert "1.8.0" in found.absent
    assert found.registers["1.8.1"].value == TARIFFS["1.8.1"]


class Masking:
    """A meter of the 200 family that masks four bytes of its answer to one command."""

    def __init__(self, station: Station, command: bytes, at: int) -> None:
        self.station, self.command, self.at = station, command, 5 + at

    def __call__(self, request: bytes) -> bytes:
        answer = self.station(request)
        if request[4:5] != self.command:
            return answer
        return sealed(answer[: self.at] + b"\xff" * 4 + answer[self.at + 4 : -2])


def test_the_address_that_everybody_answers_reads_a_meter_that_is_alone() -> None:
    found = line(Station("230")).carry(mercury.read(PROFILES["230"], Ask("0")))
    assert found.serial_number == "38395190"


# ----------------------------------------------------------------------------- the channel


def test_a_channel_that_may_still_be_open_is_not_opened_again() -> None:
    station = Station("230")
    wanted: dict[str, Any] = {"codes": ("1.8.0",), "serial": False, "clock": False, "frozen": False}
    read("230", station, **wanted)
    assert requests(station) == ["01 01 01 01 01 01 01 01", "05 00 00"]
    read("230", station, **wanted, since=100.0)
    assert requests(station)[2:] == ["05 00 00"]
    read("230", station, **wanted, since=230.0)
    assert requests(station)[3:] == ["01 01 01 01 01 01 01 01", "05 00 00"]


def test_a_channel_that_closed_in_the_middle_is_opened_once_and_the_question_put_again() -> None:
    times = iter([0.0, 1.0, 2.0, 500.0, 500.1, 500.2, *(501.0 + n for n in range(50))])
    station = Station("230", now=lambda: next(times))
    found = read("230", station, codes=("1.8.0", "1.8.1", "1.8.2"), serial=False, clock=False, frozen=False)
    assert len(found.registers) == 3
    opening = "01 01 01 01 01 01 01 01"
    assert requests(station) == [opening, "05 00 00", "05 00 01", "05 00 02", opening, "05 00 02"]


def test_a_channel_that_never_stays_open_is_a_refusal_not_a_storm() -> None:
    station = Station("230")

    def forgetful(request: bytes) -> bytes:
        answer = station(request)
        return sealed(bytes((request[0], 5))) if request[1] in (4, 5) else answer

    with pytest.raises(MeterRefused, match="channel is not open") as caught:
        read("230", forgetful)
    assert caught.value.code == 5
    assert len(station.heard) < 8


@pytest.mark.parametrize(
    ("given", "theirs", "opens"),
    [
        (None, None, True), (b"111111", None, True), (b"010101010101", None, True), (b"313131313131", None, False),
        (b"313131313131", b"313131313131", True), (None, b"313131313131", False), (b"123456", b"123456", True),
        (b"123456", None, False),
    ],
)  # fmt: skip
def test_a_password_opens_in_its_own_form_only(given: bytes | None, theirs: bytes | None, opens: bool) -> None:
    station = Station("230", Wiring(password=theirs))
    if opens:
        assert read("230", station, password=given).registers
        return
    with pytest.raises(MeterRefused, match="313131313131 for 111111"):
        read("230", station, password=given)
    assert sum(request.startswith("01") for request in requests(station)) == 1, "a wrong password is tried once"


def test_passwords_are_six_digits_in_the_profiles_form_or_six_bytes_in_hex() -> None:
    assert password_bytes(b"123456", "digits") == bytes.fromhex("010203040506")
    assert password_bytes(b"123456", "ascii") == b"123456"
    assert password_bytes(b"0a0b0c0d0e0f", "ascii") == bytes.fromhex("0a0b0c0d0e0f")
    for wrong in (b"12345", b"1234567", b"abcdef", b"01 02 03 04 ", b"\xff" * 6):
        with pytest.raises(NotInProfile, match="six digits"):
            password_bytes(wrong, "digits")


def test_what_is_sent_names_its_password_so_that_no_trace_shows_it() -> None:
    steps = []
    dialogue = mercury.read(PROFILES["230"], Ask("190", ("1.8.0",), serial=False, clock=False))
    steps.append(next(dialogue))
    dialogue.close()
    (opening,) = steps
    assert isinstance(opening, Send)
    assert opening.secret == b"\x01" * 6
    assert opening.silence > 0.005


# ----------------------------------------------------------------------------- refusals and silence


def saying(station: Station, statuses: dict[str, list[int]]) -> Any:
    """The meter, which answers some requests with statuses instead, one after the other until they are used up."""

    def answer(request: bytes) -> bytes:
        left = statuses.get(request[1:-2].hex(" ").upper(), [])
        if not left:
            return station(request)
        station.heard.append(request)
        return sealed(bytes((request[0], left.pop(0))))

    return answer


def test_a_request_that_the_meter_does_not_know_is_left_out_and_not_asked_again() -> None:
    station = Station("230")
    found = read("230", saying(station, {"08 16 31": [1], "05 BB 03": [1]}))
    assert found.refused == {"13.7.0", "frozen.1.1.8.3"}
    assert "13.7.0" not in found.registers
    assert found.registers["1.8.0"].value == held("230").registers["1.8.0"]
    assert "1.8.3" not in found.frozen[0].registers
    again = Station("230")
    read("230", again, refused=found.refused)
    assert "08 16 31" not in requests(again)
    assert "05 BB 03" not in requests(again)


def test_a_busy_meter_is_asked_again_after_a_rest_and_then_left_alone() -> None:
    station = Station("230")
    assert read("230", saying(station, {"05 00 00": [2, 0x32]})).registers["1.8.0"]
    with pytest.raises(MeterRefused, match=r"asked 3 times for 05 00 00 .* busy or broken"):
        read("230", saying(Station("230"), {"05 00 00": [2] * 9}))


def test_a_level_that_is_too_low_says_what_to_do() -> None:
    with pytest.raises(NotInProfile, match="give the password of level 2"):
        read("230", saying(Station("230"), {"05 00 00": [3]}), codes=("1.8.0",), serial=False)


def test_a_meter_that_refuses_everything_is_not_of_this_profile() -> None:
    with pytest.raises(NotInProfile, match="refuses all"):
        read("230", saying(Station("230"), {"05 00 00": [1]}), codes=("1.8.0",), serial=False)
    with pytest.raises(NotInProfile, match=r"refused all of 1\.8\.0 before"):
        read("230", codes=("1.8.0",), refused=frozenset({"1.8.0", "2.8.0", "3.8.0", "4.8.0"}), frozen=False)
    with pytest.raises(NotInProfile, match=r"no 9\.9\.9"):
        read("230", codes=("9.9.9",))


@pytest.mark.parametrize(("name", "code", "lacks"), [("206", "81", {"14.7.0"}), ("234", "18", None)])
def test_what_an_old_variant_is_silent_to_is_left_out_where_all_else_is_answered(
    name: str, code: str, lacks: set[str] | None
) -> None:
    station = Station(name)
    width = 1 if name == "234" else 4
    found = read(name, lambda request: b"" if request[width : width + 1].hex() == code else station(request))
    assert found.refused == (lacks or {f"frozen.1.1.8.{tariff}" for tariff in range(5)})
    assert found.registers["1.8.0"].value == sum(TARIFFS.values())
    assert not (lacks is None and found.frozen)


def test_silence_to_a_live_energy_register_is_no_answer() -> None:
    station = Station("230")
    with pytest.raises(NoAnswer):
        read("230", lambda request: b"" if request[1:4] == b"\x05\x00\x02" else station(request))


@every_meter
def test_a_silent_meter_is_no_answer_whatever_it_is_asked_first(name: str) -> None:
    for code in ("14.7.0" if name != "200" else "32.7.0", "1.8.1"):
        with pytest.raises(NoAnswer):
            read(name, lambda request: b"", codes=(code,), serial=False, clock=False, frozen=False)


# ----------------------------------------------------------------------------- archives


@pytest.mark.parametrize(
    ("clock", "sent"),
    [("2026-11-03T14:15:16", "05 BB 00"), ("2026-01-01T00:00:00", "05 B1 00"), ("2026-12-31T23:59:59", "05 BC 00")],
)
def test_the_closing_asked_for_is_that_of_the_meters_own_month(clock: str, sent: str) -> None:
    station = Station("230", held=replace(held("230"), clock=datetime.fromisoformat(clock)))
    read("230", station, codes=("1.8.0",), clock=False)
    assert sent in requests(station)


def test_an_archive_without_a_record_is_absent_by_name_and_gives_no_closing() -> None:
    found = read("230", Station("230", held=replace(held("230"), frozen=())))
    assert not found.frozen
    assert "frozen.1.1.8.0" in found.absent
    assert not any(name.startswith("frozen") for name in found.refused)


def test_without_a_clock_no_closing_is_asked_for() -> None:
    station = Station("230", held=replace(held("230"), clock=None))
    found = read("230", station)
    assert found.clock is None
    assert not found.frozen
    assert not any(request.startswith("05 B") for request in requests(station))


# ----------------------------------------------------------------------------- who is there


@every_meter
def test_who_is_there_is_told_by_serial_number_without_channel_or_password(name: str) -> None:
    station = Station(name, Wiring(password=b"987654"))
    found = line(station).carry(mercury.identify(ADDRESS[name]))
    assert found.serial_number == held(name).serial_number
    assert found.family == PROFILES[name].mercury.family
    assert PROFILES[name].id in found.profiles[: 1 if name != "234" else 2]
    assert found.made == ("2020-06-01" if found.family == "230" else None)


def test_a_meter_that_is_alone_is_found_without_its_address() -> None:
    assert line(Station("234")).carry(mercury.identify("0")).serial_number == "32874766"
    with pytest.raises(NoAnswer):
        line(lambda request: b"").carry(mercury.identify("0"))


def test_a_low_address_is_asked_as_either_family() -> None:
    station = Station("200", address="190", held=held("200"))
    assert line(station).carry(mercury.identify("190")).family == "200"


# ----------------------------------------------------------------------------- plans


@every_meter
def test_a_plan_names_what_is_asked_and_takes_the_time_of_its_characters(name: str) -> None:
    profile = PROFILES[name]
    steps = mercury.plan(profile, Ask("1", ("1.8.0",), serial=False, clock=False, turnaround=0.005))
    if profile.mercury.family == "230":
        assert [step.text for step in steps] == ["open", "05 00 00"]
        assert steps[0].milliseconds == pytest.approx((11 + 4) / 0.96 + 5 + 5.5)
        assert steps[1].milliseconds == pytest.approx((6 + 19) / 0.96 + 5 + 5.5)
        assert "1.8.0" in steps[1].names
    else:
        assert [step.text for step in steps] == ["27"]
        assert steps[0].milliseconds == pytest.approx((7 + 23) / 0.96 + 5 + 1.1 * 6 / 0.96)


@every_meter
def test_a_plan_of_everything_is_what_is_asked(name: str) -> None:
    station = Station(name)
    read(name, station)
    assert ask(name).frozen
    assert len(mercury.plan(PROFILES[name], ask(name))) == len(station.heard)


def test_mercury_has_eight_bits() -> None:
    assert mercury.port_framing("8E1") == "8E1"
    with pytest.raises(ValueError, match="eight data bits"):
        mercury.port_framing("7E1")
