"""Programming mode: the dialogues that meters were seen in, and everything that can be refused in one."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal

import pytest

from drivers import iec62056_21
from drivers.dialogue import Ask, DamagedFrame, MeterRefused, NoAnswer, NotInProfile
from drivers.iec62056_21_characters import on_wire
from drivers.iec62056_21_frames import BREAK, NAK, Command
from drivers.iec62056_21_programming import PasswordRefused
from drivers.iec_places import CONTROL, IecProfile
from drivers.profile import load, parse
from tests.drivers.iec_world import TELEGRAMS, Answer, World, block, script

NEVA = load("neva-mt324")
CE301 = load("energomera-ce301")


def dialogue() -> list[tuple[str, bytes]]:
    """The LEM manual's dialogue: (">" or "<", message)."""
    found = []
    for line in (TELEGRAMS / "lem_em4tii_dialog.txt").read_text("ascii").splitlines():
        text = re.sub(r"<([A-Z]{2,3})>", lambda it: chr(CONTROL[it[1]]), line[2:])
        found.append((line[0], text.encode("ascii")))
    return found


LEM = """
schema: 1
id: lem-em4tii
title: LEM EM4TII
protocol: iec62056-21
source: its manual
phases: 3
max_current: 100
line: {baudrate: 300, framing: 7E1, source: its manual}
iec62056-21: {session: programming, command: R5, password: "00000000"}
serial: none
clock: {date: 0.9.2, time: 0.9.1}
registers: {1.8.0: {name: 1.8.0}}
proof: [{kind: document, source: none, request: "/?!", answer: "x", gives: {1.8.0: "1.000"}}]
"""


def answers(pairs: dict[bytes, list[bytes]]) -> Answer:
    """Each message has its own answers, given one after the other; the last one for ever."""
    given: dict[bytes, int] = {}

    def answer(heard: bytes, rate: int) -> bytes:
        known = pairs.get(heard, [b""])
        at = min(given.get(heard, 0), len(known) - 1)
        given[heard] = at + 1
        return on_wire(known[at], "7E1")

    return answer


def question(text: str, profile: IecProfile = NEVA) -> bytes:
    return Command("R1", text).to_bytes(profile.iec.check)


def neva(**changed: list[bytes]) -> dict[bytes, list[bytes]]:
    """A Neva's messages, as in wb-mqtt-serial's and pyneva's tests; `changed` by the name of the message."""
    known = {
        "sign_on": (b"/?00000201!\r\n", [b"/TPC5NEVAMT324.2307\r\n"]),
        "select": (b"\x06051\r\n", [b"\x01P0\x02(00000000)\x03\x60"]),
        "password": (b"\x01P1\x02(00000000)\x03\x61", [b"\x06"]),
        "energy": (
            question("0F0880FF()"),
            [b"\x020F0880FF(000046.24,000031.14,000015.10,000000.00,000000.00)\x03\x5c"],
        ),
        "serial": (question("600100FF()"), [b"\x02600100FF(60089784)\x03\x09"]),
        "date": (question("000902FF()"), [block("000902FF(261101)")]),
        "time": (question("000901FF()"), [block("000901FF(000059)")]),
        "power": (question("100700FF()"), [b"\x02100700FF(00005.3)\x03\x2c"]),
    }
    return {message: changed.get(name, given) for name, (message, given) in known.items()}


def ask(**changed: object) -> Ask:
    settings = {"address": "00000201", "baudrate": 9600, "framing": "7E1"} | changed
    return Ask(**settings)  # type: ignore[arg-type]


def test_the_lem_dialogue_is_said_and_heard_byte_for_byte() -> None:
    told = dialogue()
    pairs: dict[bytes, list[bytes]] = {}
    for (direction, message), (_, reply) in zip(told, [*told[1:], ("<", b"")], strict=True):
        if direction == ">":
            pairs[message] = [reply]
    pairs[Command("R5", "1.8.0()").to_bytes("xor")] = [block("1.8.0(000000000.0*kWh)")]
    world = World(answers(pairs))
    found = world.carry(iec62056_21.read(parse(LEM.encode(), "lem"), Ask("", baudrate=300, framing="7E1")))
    assert found.clock == "2013-01-03T10:14:15"
    ours = [message for direction, message in told if direction == ">"]
    assert [message for message in world.said if b"1.8.0" not in message] == ours
    assert list(dict.fromkeys(world.rates)) == [300, 9600]


def test_a_neva_gives_five_energies_in_one_answer() -> None:
    world = World(answers(neva()))
    codes = ("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4", "16.7.0")
    found = world.carry(iec62056_21.read(NEVA, ask(codes=codes)))
    assert {code: it.value for code, it in found.registers.items()} == {
        "1.8.0": 46240, "1.8.1": 31140, "1.8.2": 15100, "1.8.3": 0, "1.8.4": 0, "16.7.0": Decimal("5.3"),
    }  # fmt: skip
    assert found.registers["1.8.0"].raw == b"000046.24"
    assert (found.serial_number, found.clock, found.quality) == ("60089784", "2026-11-01T00:00:59", ())
    assert world.said.count(question("0F0880FF()")) == 1
    assert world.said[-1] == BREAK.to_bytes("xor")
    assert set(world.rates) == {9600}


def test_what_a_neva_refuses_without_a_name_is_remembered_and_not_asked_again() -> None:
    world = World(answers(neva(power=[b"\x02(01)\x03\x03"])))
    found = world.carry(iec62056_21.read(NEVA, ask(codes=("1.8.0", "16.7.0"))))
    assert "16.7.0" not in found.registers
    assert {"16.7.0", "100700FF()"} <= found.refused
    again = World(answers(neva()))
    again.carry(iec62056_21.read(NEVA, ask(codes=("1.8.0", "16.7.0"), refused=found.refused)))
    assert question("100700FF()") not in again.said


def test_a_meter_that_gives_a_serial_number_and_no_energy_is_not_the_profiles() -> None:
    world = World(answers(neva(energy=[b"\x02(01)\x03\x03"])))
    with pytest.raises(NotInProfile, match="none of the registers"):
        world.carry(iec62056_21.read(NEVA, ask(codes=("1.8.0",))))
    assert world.said[-1] == BREAK.to_bytes("xor")


@pytest.mark.parametrize("no", [NAK, BREAK.to_bytes("xor"), block("(ER05)"), b"\x01P0\x02(00000000)\x03\x60"])
def test_a_wrong_password_is_said_once_and_named(no: bytes) -> None:
    world = World(answers(neva(password=[no])))
    with pytest.raises(PasswordRefused, match="password_file") as caught:
        world.carry(iec62056_21.read(NEVA, ask()))
    assert caught.value.kind == "refused"
    assert sum(message.startswith(b"\x01P1") for message in world.said) == 1


def test_the_password_is_the_operators_over_the_factorys_and_marked_as_secret() -> None:
    world = World(answers(neva()))
    with pytest.raises(NoAnswer):
        world.carry(iec62056_21.read(NEVA, ask(password=b"1234")))
    assert world.secrets == [on_wire(b"1234", "7E1")]
    assert world.said[-1] == Command("P1", "(1234)").to_bytes("xor")


def test_damage_silence_and_nak_are_asked_again_and_bounded() -> None:
    good = neva()[question("0F0880FF()")][0]
    broken = good[:-1] + b"\x00"
    for trouble in ([broken, good], [b"", good], [NAK, good], [broken, broken, good], [good[:20], good]):
        found = World(answers(neva(energy=trouble))).carry(iec62056_21.read(NEVA, ask(codes=("1.8.0",))))
        assert found.registers["1.8.0"].value == 46240
    for trouble, error in (([broken], DamagedFrame), ([b""], NoAnswer), ([NAK], DamagedFrame)):
        world = World(answers(neva(energy=trouble)))
        with pytest.raises(error):
            world.carry(iec62056_21.read(NEVA, ask(codes=("1.8.0",))))
        assert world.said.count(question("0F0880FF()")) <= 6  # three in a session, in two sessions


def test_an_answer_to_another_question_is_no_answer() -> None:
    late = neva()[question("600100FF()")][0]
    good = neva()[question("0F0880FF()")][0]
    found = World(answers(neva(energy=[late, good]))).carry(iec62056_21.read(NEVA, ask(codes=("1.8.0",))))
    assert found.registers["1.8.0"].value == 46240
    assert found.serial_number == "60089784"


def test_a_meter_that_calls_itself_otherwise_is_refused_by_name() -> None:
    world = World(answers(neva(sign_on=[b"/ISk5MT174-0001\r\n"])))
    with pytest.raises(NotInProfile, match=r"calls itself /ISk5MT174-0001.*generic-iec62056-21"):
        world.carry(iec62056_21.read(NEVA, ask()))
    assert not any(message.startswith(b"\x01P1") for message in world.said)


def test_a_meter_that_ends_the_session_is_not_asked_on() -> None:
    world = World(answers(neva(energy=[BREAK.to_bytes("xor")])))
    with pytest.raises(MeterRefused, match="B0"):
        world.carry(iec62056_21.read(NEVA, ask()))


def test_frozen_registers_of_a_neva_carry_their_counter() -> None:
    pairs = neva()
    for back in range(12):
        given = block(f"0F0880{back:02X}({40 - back}.11,1,2,3,4)") if back < 2 else block("(01)")
        pairs[question(f"0F0880{back:02X}()")] = [given]
    found = World(answers(pairs)).carry(iec62056_21.read(NEVA, ask(codes=("1.8.0",), frozen=True)))
    assert [(one.back, one.stamp, one.registers["1.8.0"].value) for one in found.frozen] == [
        (1, None, 40110),
        (2, None, 39110),
    ]


def test_a_neva_is_asked_for_no_closing_further_back_than_is_wanted() -> None:
    pairs = neva()
    pairs[question("0F088000()")] = [block("0F088000(40.11,1,2,3,4)")]  # to any further question this meter is silent
    found = World(answers(pairs)).carry(iec62056_21.read(NEVA, ask(codes=("1.8.0",), frozen=True, back=1)))
    assert [one.back for one in found.frozen] == [1]


def test_a_ce301_is_asked_for_its_closings_by_their_months() -> None:
    from drivers.iec62056_21_frames import Block

    def answer_of(text: str) -> bytes:
        return Block(text.encode("ascii")).to_bytes("sum")

    asked = ask(address="135064195", codes=("1.8.0",), frozen=True)
    pairs = {
        b"/?135064195!\r\n": [b"/EKT5CE301v12\r\n"],
        b"\x06051\r\n": [b"\x01P0\x02(777777)\x03\x20"],
        Command("P1", "(777777)").to_bytes("sum"): [b"\x06"],
        question("ET0PE()", CE301): [answer_of("ET0PE(16907.9477764)\r\nET0PE(11504.3875082)\r\n")],
        question("SNUMB()", CE301): [answer_of("SNUMB(009114135064195)\r\n")],
        question("DATE_()", CE301): [answer_of("DATE_(02.03.01.23)\r\n")],
        question("TIME_()", CE301): [answer_of("TIME_(16:07:45)\r\n")],
        question("ENMPE(12.22)", CE301): [answer_of("ENMPE(16550.0972645)\r\nENMPE(11295.733509)\r\n")],
        question("ENMPE(11.22)", CE301): [answer_of("ENMPE(16000.5)\r\nENMPE(11000.25)\r\n")],
    }
    months = [f"ENMPE({(month - 1) % 12 + 1:02d}.22)" for month in range(10, 0, -1)] + ["ENMPE(01.22)"]
    pairs |= {question(month, CE301): [answer_of("ENMPE(ERR18)\r\n")] for month in months}
    found = World(answers(pairs)).carry(iec62056_21.read(CE301, asked))
    assert found.clock == datetime(2023, 1, 3, 16, 7, 45).isoformat()  # noqa: DTZ001 - the meter's own
    assert {one.stamp: one.registers["1.8.0"].value for one in found.frozen} == {
        "2023-01-01T00:00:00": 16550097,
        "2022-12-01T00:00:00": 16000500,
    }


def test_silence_of_the_first_sign_on_is_asked_once_more_after_a_break() -> None:
    world = World(script(b""))
    with pytest.raises(NoAnswer):
        world.carry(iec62056_21.read(NEVA, ask()))
    assert world.said == [b"/?00000201!\r\n", BREAK.to_bytes("xor"), b"/?00000201!\r\n"]
