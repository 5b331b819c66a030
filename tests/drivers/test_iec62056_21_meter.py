"""The side of an IEC 62056-21 meter, character by character, in simulated time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from drivers.dialogue import Done, More
from drivers.iec62056_21_characters import off_wire, on_wire
from drivers.iec62056_21_datasets import parse
from drivers.iec62056_21_frames import BREAK, Command, parse_readout
from drivers.iec62056_21_meter import Habits, IecMeter, State
from drivers.iec_places import CONTROL, IecProfile
from drivers.meter_side import Held, HeldFrozen, Wiring

TELEGRAMS = Path(__file__).resolve().parent.parent / "data" / "telegrams"
LEM = (TELEGRAMS / "lem_em4tii.txt").read_bytes()

HEAD = """
schema: '1'
id: meter
title: a meter for tests
protocol: iec62056-21
source: invented
phases: '3'
max_current: '60'
line: {baudrate: '300', framing: 7E1, timeout: 1700ms, source: invented}
"""
PROOF = """
proof:
  - {kind: computed, source: invented, request: x, answer: x, gives: {1.8.0: '0'}}
"""


def profile(text: str) -> IecProfile:
    return IecProfile.model_validate(yaml.load(HEAD + text + PROOF, yaml.BaseLoader))


READOUT = profile("""
iec62056-21: {session: readout, identification: ISk5MT174.*, every: 'true'}
serial: {names: [C.1.0]}
clock: {date: 0.9.2, time: 0.9.1}
frozen:
  - stamp: {name: 0.1.2}
    registers: {1.8.0: {}}
""")
WORDS = profile("""
iec62056-21: {session: programming, identification: EKT5CE102M.*, check: sum, password: '777777'}
serial: {names: [SNUMB]}
clock: {date: DATE_, time: TIME_, order: dmy}
registers:
  1.8.0: {name: ET0PE, group: '1', unit: kWh}
  1.8.1: {name: ET0PE, group: '2', unit: kWh}
frozen:
  - {back: '1', registers: {1.8.0: {name: ENM01, operand: '1', unit: kWh}}}
""")
LISTS = profile("""
iec62056-21: {session: programming, identification: 'TPC5NEVAMT324\\.2307', password: '00000000'}
serial: {names: [600100FF]}
registers:
  1.8.0: {name: 0F0880FF, part: '1', unit: kWh}
  1.8.1: {name: 0F0880FF, part: '2', unit: kWh}
""")
PUSH = profile("""
iec62056-21: {session: push, identification: XYZ3P.*, every: 'true'}
serial: none
""")
HELD = Held(
    {"1.8.0": 20_044_630, "1.8.1": 15_023_999, "32.7.0": Decimal("230.1")},
    serial_number="00000201",
    clock=datetime.fromisoformat("2026-11-01T00:00:59"),
    frozen=(HeldFrozen(datetime.fromisoformat("2026-11-01T00:00:00"), 1, {"1.8.0": 20_044_610}),),
)


class Bench:
    """One meter, asked in simulated time; `said` is what it last said, without parity, and at which speed."""

    def __init__(self, of: IecProfile, address: str = "", habits: Habits | None = None, **wiring: object) -> None:
        self.framing = str(wiring.get("framing", "7E1"))
        self.meter = IecMeter(of, address, Wiring(**{"baudrate": 300, "framing": "7E1"} | wiring), habits)  # type: ignore[arg-type]
        self.now = 100.0

    def ask(self, text: str | bytes, after: float = 0.3) -> tuple[bytes, int] | None:
        """What it says to a message that ends `after` seconds later; None for silence."""
        data = text if isinstance(text, bytes) else text.encode("ascii")
        self.now += after
        return self._done(self.meter.hear(HELD, on_wire(data, self.framing), self.now), len(data))

    def wake(self) -> tuple[bytes, int] | None:
        assert self.meter.wakes is not None
        self.now = self.meter.wakes
        return self._done(self.meter.hear(HELD, b"", self.now), 0)

    def _done(self, outcome: object, size: int) -> tuple[bytes, int] | None:
        if isinstance(outcome, More):
            return None
        assert isinstance(outcome, Done)
        assert outcome.used == size
        if not outcome.frame:
            return None
        (say,) = outcome.frame
        assert say.baudrate
        return off_wire(say.data, self.framing), say.baudrate


def message(text: str) -> bytes:
    """Bytes of a printed message, control characters by name."""
    return re.sub(r"<([A-Z]+)>", lambda found: chr(CONTROL[found[1]]), text).encode("ascii")


def test_a_readout_is_played_byte_for_byte_after_a_change_of_speed() -> None:
    bench = Bench(READOUT, habits=Habits("EMH5\\@D4EM4TIIW001--", telegram=LEM))
    identification, block = LEM.split(b"\n", 1)
    assert bench.ask("/?!\r\n") == (identification + b"\n", 300)
    assert bench.ask(b"\x06050\r\n") == (block, 9600)
    assert bench.meter.baudrate(bench.now) == 9600


def test_the_dialog_of_the_lem_manual_is_played_message_by_message() -> None:
    lines = (TELEGRAMS / "lem_em4tii_dialog.txt").read_text().splitlines()
    pairs = [(message(ask[2:]), message(answer[2:])) for ask, answer in zip(lines[::2], lines[1::2], strict=False)]
    answers = {found[1].decode(): answer for ask, answer in pairs if (found := re.search(rb"R5\x02(.*)\x03", ask))}
    of = profile("iec62056-21: {session: programming, command: R5, password: '00000000'}\nserial: none\n"
                 "registers: {1.8.0: {name: 1.8.0}}")  # fmt: skip
    bench = Bench(of, habits=Habits("EMH5\\@D4EM4TIIW001--", seed="", answers=answers))
    for ask, answer in pairs:
        found = bench.ask(ask)
        assert found is not None
        assert found[0] == answer
    assert bench.ask(message(lines[-1][2:])) is None
    assert bench.meter.baudrate(bench.now) == 300


def test_what_it_holds_stands_in_its_readout_with_a_sound_check_character() -> None:
    bench = Bench(READOUT)
    assert bench.ask("/?!\r\n") == (b"/ISk5MT174-0001\r\n", 300)
    said = bench.ask(b"\x06050\r\n")
    assert said is not None
    found = parse_readout(said[0], "xor")
    assert isinstance(found, Done)
    assert found.used == len(said[0])
    assert {str(one) for one in parse(found.frame.body, proven=True)} == {
        "1.8.0(020044.630*kWh)", "1.8.1(015023.999*kWh)", "32.7.0(230.1*V)", "C.1.0(00000201)", "0.9.2(261101)",
        "0.9.1(000059)", "0.1.2*01(261101000000)", "1.8.0*01(020044.610*kWh)",
    }  # fmt: skip


def opened(bench: Bench, check: str, password: str) -> None:
    assert bench.ask("/?!\r\n") is not None
    seed = bench.ask(b"\x06051\r\n")
    assert seed is not None
    assert seed[0].startswith(b"\x01P0\x02()\x03")
    said = bench.ask(Command("P1", f"({password})").to_bytes(check))  # type: ignore[arg-type]
    assert said == (b"\x06", 9600)


@pytest.mark.parametrize(
    ("of", "password", "asked", "answer"),
    [
        (WORDS, "777777", "ET0PE()", b"\x02ET0PE(020044.630)\r\n(015023.999)\r\n\x03"),
        (WORDS, "777777", "ENM01(1)", b"\x02ENM01(020044.610)\r\n\x03"),
        (WORDS, "777777", "DATE_()", b"\x02DATE_(00.01.11.26)\r\n\x03"),
        (WORDS, "777777", "ENM05(1)", b"\x02(ERR12)\x03"),
        (LISTS, "00000000", "0F0880FF()", b"\x020F0880FF(020044.630,015023.999)\x03"),
        (LISTS, "00000000", "600100FF()", b"\x02600100FF(00000201)\x03"),
        (LISTS, "00000000", "FFFFFFFF()", b"\x02(01)\x03"),
    ],
)
def test_in_programming_mode_it_answers_value_by_value(
    of: IecProfile, password: str, asked: str, answer: bytes
) -> None:
    bench = Bench(of)
    opened(bench, of.iec.check, password)
    said = bench.ask(Command("R1", asked).to_bytes(of.iec.check))
    assert said is not None
    assert (said[0][:-1], said[1]) == (answer, 9600)
    assert bench.ask(BREAK.to_bytes(of.iec.check)) is None
    assert bench.meter.baudrate(bench.now) == 300


def test_energomeras_check_character_is_a_sum_and_the_other_ones_is_not() -> None:
    for of, last in ((WORDS, 0x75), (LISTS, 0x71)):
        assert BREAK.to_bytes(of.iec.check)[-1] == last
        bench = Bench(of)
        opened(bench, of.iec.check, of.iec.password or "")
        wrong = Command("R1", "600100FF()").to_bytes("sum" if of.iec.check == "xor" else "xor")
        assert bench.ask(wrong) == (b"\x15", 9600)


WRONG: Mapping[str, bytes | None] = {"break": BREAK.to_bytes("xor"), "nak": b"\x15", "error": b"\x02(01)\x03\x03"}


@pytest.mark.parametrize("habit", WRONG)
def test_a_wrong_password_opens_nothing(habit: str) -> None:
    bench = Bench(LISTS, habits=Habits("TPC5NEVAMT324.2307", wrong_password=habit, error="01"))  # type: ignore[arg-type]
    bench.ask("/?!\r\n")
    bench.ask(b"\x06051\r\n")
    said = bench.ask(Command("P1", "(12345678)").to_bytes("xor"))
    assert said is not None
    assert said[0] == WRONG[habit]
    assert bench.ask(Command("R1", "0F0880FF()").to_bytes("xor")) in (None, (b"\x02(01)\x03\x03", 9600))


def test_another_password_than_the_factorys_is_the_one_that_counts() -> None:
    bench = Bench(LISTS, password=b"4711")
    opened(bench, "xor", "4711")


@pytest.mark.parametrize(
    ("own", "asked", "heard"),
    [("", "", True), ("201", "", True), ("201", "00000201", True), ("201", "202", False), ("", "201", False)],
)
def test_it_answers_to_its_own_address_and_to_a_sign_on_for_everybody(own: str, asked: str, heard: bool) -> None:
    bench = Bench(READOUT, own)
    assert (bench.ask(f"/?{asked}!\r\n") is not None) == heard


def test_a_sign_on_for_another_ends_its_session_and_it_stays_silent() -> None:
    bench = Bench(LISTS, "201")
    bench.ask("/?201!\r\n")
    assert bench.ask("/?202!\r\n") is None
    assert bench.ask(b"\x06051\r\n") is None
    assert bench.meter.baudrate(bench.now) == 300


def test_without_an_option_select_it_reads_out_at_the_first_speed() -> None:
    bench = Bench(READOUT)
    bench.ask("/?!\r\n")
    said = bench.wake()
    assert said is not None
    assert said[1] == 300
    assert isinstance(parse_readout(said[0], "xor"), Done)
    silent = Bench(READOUT, habits=Habits("ISk5MT174", fallback=None))
    silent.ask("/?!\r\n")
    assert silent.meter.wakes is None


@pytest.mark.parametrize(("letter", "speed"), [("E", 9600), ("X", 300), (" ", 300)])
def test_modes_a_and_b_go_on_by_themselves(letter: str, speed: int) -> None:
    letter = letter.strip() or "*"
    bench = Bench(READOUT, habits=Habits(f"ISK{letter}MT174"))
    assert bench.ask("/?!\r\n") == (f"/ISK{letter}MT174\r\n".encode(), 300)
    said = bench.wake()
    assert said is not None
    assert said[1] == speed
    assert isinstance(parse_readout(said[0], "xor"), Done)


def test_mode_d_pushes_again_and_again_and_hears_nothing() -> None:
    bench = Bench(PUSH, habits=Habits("XYZ3P"), baudrate=2400)
    for _ in range(2):
        said = bench.wake()
        assert said is not None
        assert said[1] == 2400
        assert said[0].startswith(b"/XYZ3P\r\n\r\n1.8.0(020044.630*kWh)\r\n")
        assert said[0].endswith(b"!\r\n")
        assert bench.ask("/?!\r\n", after=0.0) is None


def test_hdlc_and_speeds_that_it_did_not_offer_end_the_session() -> None:
    for select in (b"\x06252\r\n", b"\x06062\r\n", b"\x06060\r\n", b"\x06056\r\n"):
        bench = Bench(READOUT)
        bench.ask("/?!\r\n")
        assert bench.ask(select) is None
        assert bench.meter.wakes is None


def test_a_lower_speed_than_it_offers_is_kept_to() -> None:
    bench = Bench(READOUT)
    bench.ask("/?!\r\n")
    said = bench.ask(b"\x06000\r\n")
    assert said is not None
    assert said[1] == 300


def test_a_nak_brings_the_last_message_again_for_a_while() -> None:
    bench = Bench(READOUT)
    bench.ask("/?!\r\n")
    said = bench.ask(b"\x06050\r\n")
    assert bench.ask(b"\x15") == said
    bench.now += 60.0
    assert bench.ask(b"\x15", after=60.0) is None


def test_a_session_that_nobody_uses_ends_and_the_first_speed_is_back() -> None:
    bench = Bench(LISTS)
    opened(bench, "xor", "00000000")
    assert bench.meter.baudrate(bench.now + 59.0) == 9600
    assert bench.meter.baudrate(bench.now + 61.0) == 300
    assert bench.ask(Command("R1", "0F0880FF()").to_bytes("xor")) is None


def test_a_message_with_a_wrong_parity_bit_is_not_obeyed() -> None:
    bench = Bench(LISTS)
    opened(bench, "xor", "00000000")
    data = on_wire(Command("R1", "0F0880FF()").to_bytes("xor"), "7E1")
    for at in range(len(data)):
        damaged = data[:at] + bytes((data[at] ^ 0x80,)) + data[at + 1 :]
        outcome = bench.meter.hear(HELD, damaged, bench.now)
        said = b"" if isinstance(outcome, More) else b"".join(say.data for say in outcome.frame)  # type: ignore[union-attr]
        assert said in (b"", on_wire(b"\x15", "7E1"))


def test_rubbish_does_not_pile_up() -> None:
    bench = Bench(READOUT)
    outcome = bench.meter.hear(HELD, b"\xff" * 1000, bench.now)
    assert isinstance(outcome, Done)
    assert outcome.used > 800
    assert bench.meter._state is State.WAITING
