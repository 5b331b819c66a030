"""Every Modbus profile file: its proofs to the bit, the contract's codes, and back through the meter's side."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import combinations

import pytest

from drivers import modbus, obis
from drivers.dialogue import Ask, Dialogue, Done, DriverError, More, Readout, Receive, Send
from drivers.meter_side import Held, HeldFrozen, Wiring
from drivers.modbus_frames import Question
from drivers.modbus_places import ClockRegister, ModbusProfile, Register, SerialRegister
from drivers.profile import METERS, HexProof, load_file
from tests.drivers.test_profile_files import PROFILES as ALL
from tests.drivers.test_profile_files import ROOT

PROFILES = [item for item in ALL if isinstance(item, ModbusProfile)]
SHIPPED = [item for item in PROFILES if (METERS / f"{item.id}.yaml").is_file()]
PROOFS = [pytest.param(item, one, id=f"{item.id}-{n}") for item in PROFILES for n, one in enumerate(item.proof, 1)]

# Quantities that the contract names below its table, beside energy; without the phase 2 and 3 for one-phase meters.
ONE_PHASE = {"13.7.0", "14.7.0", "31.7.0", "32.7.0", "36.7.0"}
THREE_PHASES = ONE_PHASE | {"16.7.0", "51.7.0", "52.7.0", "56.7.0", "71.7.0", "72.7.0", "76.7.0"}

every_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
every_proof = pytest.mark.parametrize(("profile", "one"), PROOFS)


# ----------------------------------------------------------------------------- proofs


@every_proof
def test_an_answer_that_comes_byte_by_byte_is_not_done_before_its_last_byte(
    profile: ModbusProfile, one: HexProof
) -> None:
    parse = _question(one).rtu_parser()
    for end in range(len(one.answer)):
        assert isinstance(parse(one.answer[:end]), More), one.answer[:end].hex(" ")
    assert parse(one.answer) == Done(one.answer[3:-2], len(one.answer))
    assert parse(one.answer + b"\x01\x03") == Done(one.answer[3:-2], len(one.answer))


@every_proof
def test_no_flipped_bit_of_an_answer_gives_a_value(profile: ModbusProfile, one: HexProof) -> None:
    for bit in range(8 * len(one.answer)):
        damaged = bytearray(one.answer)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DriverError):
            modbus.understand(profile, one.model_copy(update={"answer": bytes(damaged)}))


def _question(one: HexProof) -> Question:
    """The request as numbers (Modbus application protocol V1.1b3, 6.3): not by our decoder."""
    return Question(*struct.unpack(">BBHH", one.request[:-2]))


# ----------------------------------------------------------------------------- what they read


def _contract() -> Iterator[tuple[str, dict[str, int], bool, str]]:
    """(profile, wire address by code, serial none, the row) of each row in the contract's table of codes."""
    text = (ROOT / "docs" / "contract.md").read_text("utf-8").partition("## OBIS codes of the first profiles")[2]
    before: dict[str, int] = {}
    for names, cell in re.findall(r"^\| ([a-z]+-[a-z0-9-]+(?:, -[a-z0-9]+)*) \| (.*) \|$", text, re.MULTILINE):
        codes = dict(before) if cell.startswith("the same") else {}
        for code, last, places in re.findall(r"(\d+\.\d\.\d)(?:-(\d))? ((?:[0-9A-F]{4}(?:\.\.| )?)+)", cell):
            addresses = [int(place, 16) for place in re.findall("[0-9A-F]{4}", places)]
            c, d, first = map(int, code.split("."))
            rates = range(first, int(last or first) + 1)
            if ".." in places:  # the first and the last of evenly spaced ones
                step = (addresses[1] - addresses[0]) // (len(rates) - 1)
                addresses = list(range(addresses[0], addresses[1] + 1, step))
            assert len(addresses) == len(rates), cell
            codes |= {f"{c}.{d}.{rate}": address for rate, address in zip(rates, addresses, strict=True)}
        first_name, *others = names.split(", ")
        for name in (first_name, *(first_name.rpartition("-")[0] + other for other in others)):
            yield name, codes, "serial none" in cell, cell
        before = codes


CONTRACT = {name: (codes, serial_none, row) for name, codes, serial_none, row in _contract()}


def test_the_contract_names_the_nine_first_profiles_and_all_are_shipped() -> None:
    assert len(CONTRACT) == 9
    assert set(CONTRACT) <= {profile.id for profile in SHIPPED}


@pytest.mark.parametrize("name", CONTRACT)
def test_energy_codes_lie_where_the_contract_says(name: str) -> None:
    codes, serial_none, _ = CONTRACT[name]
    profile = load_file(METERS / f"{name}.yaml")
    assert {code: profile.registers[code].address for code in profile.energy_codes} == codes
    if serial_none:
        assert profile.serial == "none"


@pytest.mark.parametrize("profile", SHIPPED, ids=lambda profile: profile.id)
def test_other_codes_are_those_of_the_contract_and_a_one_phase_meter_uses_phase_1(profile: ModbusProfile) -> None:
    others = set(profile.registers) - set(profile.energy_codes)
    assert others <= (ONE_PHASE if profile.phases == 1 else THREE_PHASES)
    voltages, currents = {"32.7.0", "52.7.0", "72.7.0"}, {"31.7.0", "51.7.0", "71.7.0"}
    assert len(others & voltages) == len(others & currents) == profile.phases


def test_what_the_contract_marks_as_doubtful_has_a_caveat() -> None:
    marked = {name for name, (_, _, row) in CONTRACT.items() if "caveat" in row}
    assert marked == {"orno-we-515", "schneider-iem3155"}
    assert "import" in load_file(METERS / "orno-we-515.yaml").caveats[0]
    registers = load_file(METERS / "schneider-iem3155.yaml").registers
    assert registers["1.8.3"].caveat
    assert registers["1.8.4"].caveat


@every_profile
def test_no_two_values_share_a_register(profile: ModbusProfile) -> None:
    usual = profile.modbus.function
    taken = [
        (name, place.function or usual, set(range(place.address, place.address + place.words)))
        for name, place in _places(profile)
    ]
    for (name, function, one), (other_name, other_function, other) in combinations(taken, 2):
        assert function != other_function or not one & other, (name, other_name)


def _places(profile: ModbusProfile) -> Iterator[tuple[str, Register | SerialRegister | ClockRegister]]:
    yield from profile.registers.items()
    for name, place in (("serial", profile.serial), ("clock", profile.clock)):
        if not isinstance(place, str):
            yield name, place
    for number, block in enumerate(profile.frozen):
        yield from ((f"{number} {code}", register) for code, register in block.registers.items())
        if block.stamp is not None:
            yield f"{number} stamp", block.stamp


# ----------------------------------------------------------------------------- back through the meter's side

SERIALS = {"u32": "4294967294", "u64": "98765432109876", "hex": "15060001", "bcd32": "15060001"}
MOMENT = datetime.fromisoformat("2026-10-31T23:59:58")
CLOSED = datetime.fromisoformat("2026-10-01T00:00:00")


@every_profile
@pytest.mark.parametrize("share", ["0", "0.0000001", "0.0001", "0.0123456789", "0.4", "0.97"])
def test_what_a_simulated_meter_holds_is_what_is_read(profile: ModbusProfile, share: str) -> None:
    held, wanted = {}, {}
    for number, (code, register) in enumerate(profile.registers.items()):
        held[code], wanted[code] = _value(code, register, Decimal(share), number)
    serial = None if isinstance(profile.serial, str) else SERIALS.get(profile.serial.type, "235411W")
    clock = None if isinstance(profile.clock, str) else MOMENT
    frozen = [HeldFrozen(CLOSED, back, {c: held[c] for c in profile.energy_codes}) for back in (1, 2)]
    meter = Held(held, serial_number=serial, clock=clock, frozen=tuple(frozen))

    readout = _carried(profile, Ask("7", frozen=bool(profile.frozen)), meter)

    assert {code: measured.value for code, measured in readout.registers.items()} == wanted
    assert readout.serial_number == serial
    assert readout.clock == (None if clock is None else "2026-10-31T23:59:58")
    assert not readout.refused
    assert [(block.stamp is None) == (block.back is not None) for block in readout.frozen] == [True] * len(
        profile.frozen
    )
    for block in readout.frozen:
        assert block.stamp in (None, "2026-10-01T00:00:00")
        assert {code: measured.value for code, measured in block.registers.items()} == {
            code: wanted[code] for code in profile.energy_codes
        }


def _value(code: str, register: Register, share: Decimal, number: int) -> tuple[int | Decimal, int | Decimal]:
    """What the meter holds and what must be read: a share of what the register holds at most, another for each code.

    A float32 comes back as the float32 next to it, by Python's struct.
    """
    top = {"u16": 2**16, "s16": 2**15, "u32": 2**32, "s32": 2**31, "u64": 10**11, "s64": 10**14, "f32": 10**6, "f64": 1}
    raw = int((top[register.type] - 200) * share) + number
    energy = obis.parse(code).is_energy
    value = Decimal(raw) / 1000 if register.type == "f32" else Decimal(raw)  # floats with three decimals
    given = value * register.factor
    read = given
    if register.type == "f32":
        single = Decimal(struct.unpack(">f", struct.pack(">f", value))[0])
        read = (
            (single * register.factor).to_integral_value(ROUND_HALF_EVEN)
            if energy
            else _short(single) * register.factor
        )
    return (int(given), int(read)) if energy else (given, read)


def _short(single: Decimal) -> Decimal:
    """The shortest decimal that names the same float32."""
    for digits in range(1, 10):
        text = f"{single:.{digits}g}"
        if Decimal(struct.unpack(">f", struct.pack(">f", float(text)))[0]) == single:
            return Decimal(text)
    raise AssertionError(single)


def _carried(profile: ModbusProfile, ask: Ask, held: Held) -> Readout:
    """The dialogue on a line that loses nothing: what is sent is answered by the simulated meter."""
    dialogue: Dialogue[Readout] = modbus.read(profile, ask)
    given, answer = None, b""
    while True:
        try:
            step = dialogue.send(given)
        except StopIteration as stop:
            return stop.value
        given = None
        if isinstance(step, Send):
            outcome = modbus.meter(profile, ask.address, Wiring()).hear(held, step.data, 0.0)
            assert isinstance(outcome, Done)
            answer = b"".join(say.data for say in outcome.frame)
        elif isinstance(step, Receive):
            heard = step.parse(answer)
            assert isinstance(heard, Done), heard
            given = heard.frame
