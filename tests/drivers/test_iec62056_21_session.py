"""Sessions: the modes, speeds, repetitions, and what an operator is told when one fails."""

from __future__ import annotations

import pytest

from drivers import iec62056_21
from drivers.dialogue import Ask, DamagedFrame, DriverError, NoAnswer, NotInProfile, Readout
from drivers.iec62056_21_characters import on_wire
from drivers.iec62056_21_frames import NAK
from drivers.iec62056_21_session import Babble, BrokenOff, ModeE, WrongMeter, WrongSpeed
from drivers.iec_places import IecProfile
from drivers.profile import METERS, load, parse
from tests.drivers.iec_world import Answer, World, block, meter, script

GENERIC = load("generic-iec62056-21")
E350 = load("landis-e350")
PUSHED = load("generic-iec62056-21-push")
IDENT = b"/LGZ4ZMF100AC.M23\r\n"
TEXT = "F.F(00)\r\nC.1.0(12314330)\r\n1.8.0(001234.120*kWh)\r\n1.8.1(001234.120*kWh)\r\n!\r\n"
READOUT = block(TEXT)
SIGN_ON = b"/?!\r\n"


def ask(**changed: object) -> Ask:
    return Ask(**({"address": "", "baudrate": 300, "framing": "7E1"} | changed))  # type: ignore[arg-type]


def carry(answer: Answer, profile: IecProfile = E350, world: World | None = None, **changed: object) -> Readout:
    found = (world or World(answer)).carry(iec62056_21.read(profile, ask(**changed)))
    assert isinstance(found, Readout)
    assert found.registers["1.8.0"].value == 1234120
    return found


# ----------------------------------------------------------------------------- modes and speeds


def test_mode_c_selects_the_speed_that_the_meter_offers_and_switches_after_it() -> None:
    world = World(meter((SIGN_ON, IDENT), (b"\x06040\r\n", READOUT)))
    carry(world.answer, world=world)
    assert list(zip(world.said, world.rates, strict=True)) == [(SIGN_ON, 300), (b"\x06040\r\n", 300)]
    assert world.rate == 4800
    assert world.waited >= 0.2  # the meter's reaction time before the option select


def test_a_lower_case_third_letter_needs_twenty_milliseconds() -> None:
    world = World(meter((SIGN_ON, b"/ISk5MT174-0001\r\n"), (b"\x06050\r\n", READOUT)))
    carry(world.answer, GENERIC, world)
    assert 0.02 <= world.waited < 0.2


def test_a_line_of_one_speed_is_never_switched() -> None:
    world = World(meter((b"/?00000201!\r\n", IDENT), (b"\x06040\r\n", READOUT)))
    carry(world.answer, world=world, address="00000201", baudrate=9600)
    assert set(world.rates) == {9600}
    same = World(meter((SIGN_ON, b"/LGZ5ZMF100AC.M23\r\n"), (b"\x06050\r\n", READOUT)))
    carry(same.answer, world=same, baudrate=9600)
    assert set(same.rates) == {9600}


def test_a_port_that_cannot_switch_stays_at_300_baud_by_agreement() -> None:
    world = World(meter((SIGN_ON, IDENT), (b"\x06000\r\n", READOUT)), can_switch=False)
    carry(world.answer, world=world, can_switch=False)
    assert set(world.rates) == {300}


def test_a_head_that_switches_by_itself_is_read_at_the_meters_speed_after_300_gave_nothing() -> None:
    world = World(meter((SIGN_ON, IDENT), (b"\x06040\r\n", READOUT)), can_switch=False)
    carry(world.answer, world=world, can_switch=False)
    assert world.said == [SIGN_ON, b"\x06000\r\n"] * 2 + [SIGN_ON, b"\x06040\r\n"]
    assert set(world.rates) == {300}


def test_mode_b_on_a_port_that_cannot_switch_is_refused_in_words() -> None:
    with pytest.raises(NotInProfile, match="cannot be switched"):
        carry(script(), world=World(script(b"/LGZDZMF100AC.M23\r\n"), can_switch=False), can_switch=False)


def test_mode_b_switches_without_a_word_and_mode_a_stays() -> None:
    fast = World(script(b"/LGZDZMF100AC.M23\r\n" + READOUT))
    carry(fast.answer, world=fast)
    assert (fast.said, fast.rate) == ([SIGN_ON], 4800)
    slow = World(script(b"/LGZKZMF100AC.M23\r\n" + READOUT))
    carry(slow.answer, world=slow)
    assert (slow.said, slow.rate) == ([SIGN_ON], 300)


def test_mode_d_is_listened_to_from_the_middle_of_a_telegram() -> None:
    pushed = b"00*kWh)\r\n1.8.0(000777.000*kWh)\r\n!\r\n" + IDENT + b"\r\n" + TEXT.encode("ascii")

    def answer(heard: bytes, rate: int) -> bytes:
        raise AssertionError("a pushing meter is not asked")

    found = _listen(World(answer), iec62056_21.read(PUSHED, ask(baudrate=2400)), on_wire(pushed, "7E1"))
    assert found.registers["1.8.0"].value == 1234120
    assert found.quality == ("no-checksum",)


def _listen(world: World, dialogue: object, came: bytes) -> Readout:
    """Carries a dialogue that only listens: what comes is there before the first step."""
    from drivers.dialogue import Receive

    step = next(dialogue)  # type: ignore[call-overload]
    queue = came
    try:
        while True:
            if isinstance(step, Receive):
                try:
                    found, queue = world._receive(step, queue)
                except DriverError as error:
                    step = dialogue.throw(error)  # type: ignore[attr-defined]
                    continue
                step = dialogue.send(found)  # type: ignore[attr-defined]
            else:
                step = next(dialogue)  # type: ignore[call-overload]
    except StopIteration as end:
        assert isinstance(end.value, Readout)
        return end.value


def test_a_meter_that_offers_mode_e_is_read_in_mode_c() -> None:
    world = World(meter((SIGN_ON, b"/LGZ5\\2ZMD4054459.B40\r\n"), (b"\x06050\r\n", READOUT)))
    carry(world.answer, GENERIC, world)


@pytest.mark.parametrize("answer", [b"", b"\x7e\xa0\x0a\x03\x21\x93\x12\x34\x7e", b"\x062" + b"52\r\n"])
def test_a_meter_that_speaks_mode_e_only_is_refused_with_what_to_do(answer: bytes) -> None:
    world = World(
        lambda heard, rate: on_wire(b"/LGZ5\\2ZMD4054459.B40\r\n", "7E1") if heard == SIGN_ON else answer,
    )
    with pytest.raises(ModeE, match=r"HDLC.*mode C"):
        carry(world.answer, GENERIC, world)


def test_pafal_meters_stay_at_300_and_give_the_values_of_now_under_00() -> None:
    sets = "0.0.0(71579625)\r\n1.8.1*00(071354.27)\r\n1.8.2*00(070726.91)\r\n0.2.2(:::::G11)!\r\n"
    world = World(meter((SIGN_ON, b"/PAF5EC3gr00006\r\n"), (b"\x06000\r\n", block(sets))))
    found = world.carry(iec62056_21.read(GENERIC, ask()))
    assert {code: it.value for code, it in found.registers.items()} == {"1.8.1": 71354270, "1.8.2": 70726910}


def test_a_battery_meter_is_woken_before_it_is_asked() -> None:
    text = (
        (METERS / "landis-e350.yaml").read_text("utf-8").replace("session: readout", "session: readout\n  wake: true")
    )
    profile = parse(text.encode("utf-8"), "woken")
    assert isinstance(profile, IecProfile)
    world = World(meter((SIGN_ON, IDENT), (b"\x06040\r\n", READOUT)))
    carry(world.answer, profile, world)
    assert world.said[0] == bytes(66)
    assert world.waited > 1.5


# ----------------------------------------------------------------------------- repetition


def test_a_damaged_readout_is_asked_for_by_nak_and_then_in_new_sessions_a_bounded_number_of_times() -> None:
    broken = READOUT.replace(b"1234.120", b"1235.120", 1)
    world = World(script(IDENT, broken, READOUT))
    carry(world.answer, world=world)
    assert world.said == [SIGN_ON, b"\x06040\r\n", NAK]
    hopeless = World(lambda heard, rate: on_wire(IDENT if heard == SIGN_ON else broken, "7E1"))
    with pytest.raises(DamagedFrame, match="check character"):
        carry(hopeless.answer, world=hopeless)
    assert hopeless.said == [SIGN_ON, b"\x06040\r\n", NAK, NAK]


def test_a_meter_that_knows_no_nak_is_asked_anew_and_at_last_at_the_first_speed() -> None:
    broken = READOUT.replace(b"1234.120", b"1235.120", 1)
    given = {b"\x06040\r\n": broken, b"\x06000\r\n": READOUT, SIGN_ON: IDENT}
    world = World(meter(*given.items()))
    carry(world.answer, world=world)
    assert world.said == [SIGN_ON, b"\x06040\r\n", NAK, SIGN_ON, b"\x06000\r\n"]
    assert world.rates == [300, 300, 4800, 300, 300]


def test_limits_are_to_the_first_and_between_characters_and_never_around_the_whole() -> None:
    world = World(meter((SIGN_ON, IDENT), (b"\x06040\r\n", READOUT)))
    carry(world.answer, world=world)
    assert all(1.5 <= step.first <= 2 and 1.5 <= step.between <= 2 for step in world.receives)
    assert world.receives[-1].most == 65536


# ----------------------------------------------------------------------------- what an operator is told


def failing(answer: Answer, profile: IecProfile = E350, **changed: object) -> DriverError:
    with pytest.raises(DriverError) as caught:
        carry(answer, profile, **changed)
    return caught.value


def test_each_trouble_has_a_class_and_a_text_of_its_own() -> None:
    noise = bytes(range(0x80, 0x100)) * 4
    found = {
        "unknown identification": failing(script(b"/ISk5MT174-0001\r\n")),
        "silence": failing(script()),
        "wrong speed": failing(lambda heard, rate: b"\xfe\x00\x80\xf8\x00"),
        "lifted head": failing(lambda heard, rate: on_wire(IDENT if heard == SIGN_ON else READOUT[:40], "7E1")),
        "sunlight": failing(lambda heard, rate: noise),
    }
    kinds = {
        "unknown identification": WrongMeter, "silence": NoAnswer, "wrong speed": WrongSpeed,
        "lifted head": BrokenOff, "sunlight": Babble,
    }  # fmt: skip
    assert {name: type(error) for name, error in found.items()} == kinds
    assert {name: error.kind for name, error in found.items()} == {
        "unknown identification": "profile", "silence": "no-answer", "wrong speed": "damaged",
        "lifted head": "damaged", "sunlight": "damaged",
    }  # fmt: skip
    words = {
        "unknown identification": "/ISk5MT174-0001", "wrong speed": "parity", "lifted head": "optical head moved",
        "sunlight": "shade the optical head",
    }  # fmt: skip
    for name, text in words.items():
        assert text in str(found[name])
    assert len({str(error) for error in found.values()}) == len(found)


def test_a_framing_that_would_fit_is_named() -> None:
    stripped = failing(lambda heard, rate: IDENT)
    assert isinstance(stripped, WrongSpeed)
    assert "set framing: 8N1" in str(stripped)
    kept = World(lambda heard, rate: on_wire(IDENT, "7E1"), framing="8N1")
    with pytest.raises(WrongSpeed, match="set framing: 7E1"):
        kept.carry(iec62056_21.read(E350, ask(framing="8N1")))


def test_the_other_check_character_is_named_and_not_believed() -> None:
    body = TEXT.encode("ascii") + b"\x03"
    wrong = b"\x02" + body + bytes((sum(body) & 0x7F,))
    error = failing(lambda heard, rate: on_wire(IDENT if heard == SIGN_ON else wrong, "7E1"))
    assert "by sum it would fit" in str(error)


def test_a_meter_that_calls_itself_and_falls_silent_is_no_silent_meter() -> None:
    error = failing(meter((SIGN_ON, IDENT)))
    assert isinstance(error, NoAnswer)
    assert "LGZ4ZMF100AC.M23 called itself" in str(error)


def test_a_readout_without_energy_names_what_it_has() -> None:
    other = block("F.F(00)\r\nC.1.0(12314330)\r\n!\r\n")
    error = failing(meter((SIGN_ON, IDENT), (b"\x06040\r\n", other)))
    assert isinstance(error, NotInProfile)
    assert "F.F, C.1.0" in str(error)
