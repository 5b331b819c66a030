"""Characters and frames: parity, check characters, identification, blocks, however the bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iec62056_21 import messages, utils

from drivers.dialogue import Done, More, Never
from drivers.iec62056_21_characters import off_wire, on_wire, port_framing
from drivers.iec62056_21_frames import (
    ACK,
    BREAK,
    CHECKS,
    NAK,
    Acknowledged,
    Block,
    Check,
    Command,
    Identification,
    option_select,
    parse_block,
    parse_command,
    parse_end,
    parse_identification,
    parse_readout,
    parse_reply,
    sign_on,
)
from tests.drivers.iec_world import every_split, lines, xor

framings = st.sampled_from(["7E1", "7O1", "8N1"])
checks: st.SearchStrategy[Check] = st.sampled_from(["xor", "sum"])
bodies = st.binary(max_size=80).map(lambda raw: bytes(byte & 0x7F for byte in raw if byte & 0x7F not in (2, 3, 4)))

# ----------------------------------------------------------------------------- characters


@given(st.binary(max_size=64).map(lambda raw: bytes(byte & 0x7F for byte in raw)), framings)
def test_characters_come_back_from_the_wire_as_they_were(characters: bytes, framing: str) -> None:
    assert off_wire(on_wire(characters, framing), framing) == characters


@given(st.integers(0, 0x7F), st.integers(0, 7), st.sampled_from(["7E1", "7O1"]))
def test_a_flipped_bit_of_a_character_is_always_seen(character: int, bit: int, framing: str) -> None:
    sent = on_wire(bytes((character,)), framing)
    assert not off_wire(bytes((sent[0] ^ 1 << bit,)), framing).isascii()


def test_even_parity_puts_bit_7_where_the_ones_are_odd() -> None:
    assert on_wire(b"/?!\r\n", "7E1") == bytes.fromhex("af 3f 21 8d 0a")  # sinyawskiy.ru, powermeter-3-se102m


def test_the_port_is_opened_for_eight_bits_and_other_framings_are_refused_in_words() -> None:
    assert {port_framing(framing) for framing in ("7E1", "7O1", "8N1")} == {"8N1"}
    with pytest.raises(ValueError, match="7E1"):
        port_framing("8E1")


# ----------------------------------------------------------------------------- check characters


@pytest.mark.parametrize(
    ("frame", "check"),
    [
        (b"\x01B0\x03\x71", "xor"),  # LEM EM4TII manual, p. 27: q
        (b"\x01B0\x03\x75", "sum"),  # wb-mqtt-serial, energomera_iec_mode_c_device.cpp
        (b"\x01P0\x02(00000000)\x03\x60", "xor"),  # wb-mqtt-serial, neva_test.cpp
        (b"\x01R1\x02ET0PE()\x03\x37", "sum"),  # wb-mqtt-serial, energomera_ce102m_test.cpp
    ],
)
def test_printed_check_characters_are_the_ones_that_are_made(frame: bytes, check: Check) -> None:
    match parse_command(frame, check):
        case Done(frame=command, used=used):
            assert used == len(frame)
            assert command.to_bytes(check) == frame
        case other:
            pytest.fail(f"{other}")


def test_a_check_character_that_is_itself_an_etx_ends_the_block() -> None:
    frame = b"\x02(01)\x03\x03"  # wb-mqtt-serial, neva_test.cpp
    assert parse_block(frame[:-1], "xor") == More()
    assert parse_block(frame + b"\x03", "xor") == Done(Block(b"(01)"), len(frame))


def test_a_block_that_fits_the_other_check_is_damage_that_says_so() -> None:
    frame = b"\x02VOLTA(237.58)\r\n\x03\x28"  # sum: wb-mqtt-serial, energomera_ce102m_test.cpp
    match parse_block(frame, "xor"):
        case Never(error=error):
            assert "by sum it would fit" in str(error)
        case other:
            pytest.fail(f"{other}")


@given(bodies, checks, st.binary(max_size=3))
def test_blocks_come_back_whole_however_they_arrive(body: bytes, check: Check, behind: bytes) -> None:
    frame = Block(body).to_bytes(check)
    for at in range(len(frame)):
        assert isinstance(parse_block(frame[:at], check), More)
    assert parse_block(frame + behind, check) == Done(Block(body), len(frame))


@given(st.from_regex(r"[PRWB][0-9]", fullmatch=True), st.none() | bodies, checks)
def test_commands_come_back_whole_however_they_arrive(name: str, data: bytes | None, check: Check) -> None:
    if data is not None and b"\x01" in data:
        return
    command = Command(name, None if data is None else data.decode("ascii"))
    frame = command.to_bytes(check)
    for at in range(len(frame)):
        assert isinstance(parse_command(frame[:at], check), More)
    assert parse_reply(b"\x7f\r\n" + frame, check) == Done(command, len(frame) + 3)


@given(bodies, checks, st.booleans())
def test_no_parser_waits_for_more_bytes_than_its_frame_has(body: bytes, check: Check, more: bool) -> None:
    """Whoever owns the wire waits for what is wanted: one byte too many is a sound frame that "broke off"."""
    block = Block(body, more=more).to_bytes(check)
    command = Command("R1", "1.8.0()").to_bytes(check)
    for whole, parse in (
        (block, parse_block),
        (block, parse_readout),
        (block, parse_reply),
        (command, parse_command),
        (BREAK.to_bytes(check), parse_command),
    ):
        for length in range(len(whole)):
            outcome = parse(whole[:length], check)
            assert isinstance(outcome, More)
            assert length + outcome.wanted <= len(whole)


def test_an_stx_in_the_noise_before_a_block_is_passed_over_and_one_in_its_middle_is_damage() -> None:
    frame = Block(b"1.8.0(1*kWh)\r\n!\r\n").to_bytes("xor")
    assert parse_readout(b"\x02\x7f\xff" + frame, "xor") == Done(Block(frame[1:-2]), len(frame) + 3)
    late = Block(b"2.8.0(1*kWh)\r\n!\r\n").to_bytes("xor")
    assert isinstance(parse_readout(b"\x021.8.0(1*kWh)\r\n" + late, "xor"), Never)
    assert isinstance(parse_block(b"1.8.0(1*kWh)\r\n" + late, "xor"), Never)


@given(bodies)
def test_a_flipped_bit_of_a_block_is_never_a_block(body: bytes) -> None:
    wire = on_wire(Block(body).to_bytes("xor"), "7E1")
    for at in range(8 * len(wire)):
        flipped = bytearray(wire)
        flipped[at // 8] ^= 1 << at % 8
        assert not isinstance(parse_block(off_wire(bytes(flipped), "7E1"), "xor"), Done)


# ----------------------------------------------------------------------------- identification


@pytest.mark.parametrize(
    ("line", "mode", "rate", "reaction"),
    [
        ("LGZ4ZMF100AC.M23", "C", 4800, 0.2),
        ("EMH5\\@D4EM4TIIW001--", "C", 9600, 0.2),
        ("ISk5MT174-0001", "C", 9600, 0.02),
        ("LGZ5\\2ZMD4054459.B40", "C", 9600, 0.2),
        ("CPz3NEVAMT123.2302", "C", 2400, 0.02),
        ("ABCFmode-B", "B", 19200, 0.2),
        ("ABCKmode-A", "A", None, 0.2),
        ("EMH5\\@\\201LZQJL001VE", "C", 9600, 0.2),
        ("XYZ7reserved", "C", None, 0.2),
    ],
)
def test_identifications_say_mode_speed_and_reaction(line: str, mode: str, rate: int | None, reaction: float) -> None:
    match parse_identification(f"/{line}\r\n".encode("ascii")):
        case Done(frame=meter):
            assert (str(meter), meter.mode, meter.baudrate, meter.reaction) == (line, mode, rate, reaction)
            assert meter.to_bytes() == f"/{line}\r\n".encode("ascii")
        case other:
            pytest.fail(f"{other}")


@pytest.mark.parametrize("before", [b"", b"\x7f\x7f\x00", b"/?!\r\n", b"\x7f/?12345678!\r\n", b"\xff\x80", b"\r\n"])
def test_noise_and_our_own_echo_before_an_identification_are_passed_over(before: bytes) -> None:
    whole = before + b"/LGZ4ZMF100AC.M23\r\n"
    for head, _ in every_split(whole[:-1]):
        assert parse_identification(head) == More()
    assert parse_identification(whole) == Done(Identification("LGZ", "4", "ZMF100AC.M23"), len(whole))


def test_a_slash_in_a_data_set_is_no_identification() -> None:
    middle = b"0*kWh)\r\n1-0:0.3.0*255(6.00*Imp/kWh)\r\n1-0:0.2.1*1(121120??)\r\n!\r\n"
    assert parse_identification(middle) == More()
    whole = middle + b"/LGZ4ZMF100AC.M23\r\n"
    assert parse_identification(whole) == Done(Identification("LGZ", "4", "ZMF100AC.M23"), len(whole))


def test_an_identification_may_end_with_lf_alone() -> None:
    assert isinstance(parse_identification(b"/PAF5EC3gr00006\n"), Done)


@pytest.mark.parametrize("broken", [b"/LG\r\n", b"/LGZ4ZM\xc6100\r\n", b"/123\x80\r\n", b"/L Z5x\r\n"])
def test_a_broken_identification_is_damage(broken: bytes) -> None:
    assert isinstance(parse_identification(broken), Never)


# ----------------------------------------------------------------------------- readouts without a check character

TEXT = b"1.8.0(000123.4*kWh)\r\n2.8.0(000000.0*kWh)\r\n!\r\n"


def test_a_readout_without_stx_ends_by_its_exclamation_mark_and_is_unproven() -> None:
    for head, _ in every_split(TEXT[:-1]):
        assert isinstance(parse_readout(head, "xor"), More)
    assert parse_readout(b"\r\n" + TEXT, "xor") == Done(Block(TEXT[:-3], proven=False), len(TEXT) + 2)


def test_an_exclamation_mark_in_brackets_is_no_end() -> None:
    assert isinstance(parse_readout(b"0.2.2(:!:)\r\n", "xor"), More)


def test_what_follows_a_readout_without_stx_shows_that_it_lost_its_beginning() -> None:
    assert isinstance(parse_end(b"\r\n\x03\x10"), Never)
    assert isinstance(parse_end(b"\r\n\x00\x7f"), More)
    assert parse_end(b"\r\n/HAG5eHZ") == Done(None, 2)


def test_a_crc_behind_the_end_is_checked_over_identification_and_readout() -> None:
    meter = Identification("KFM", "5", "KAIFA")
    body = b"\r\n1-0:1.8.1(000123.456*kWh)\r\n!"
    crc = 0
    for byte in meter.to_bytes() + body:  # CRC-16/ARC, bit by bit
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    good = body + f"{crc:04X}\r\n".encode("ascii")
    match parse_readout(good, "xor", meter):
        case Done(frame=found):
            assert found.proven
        case other:
            pytest.fail(f"{other}")
    assert isinstance(parse_readout(good.replace(b"123.456", b"123.457"), "xor", meter), Never)


# ----------------------------------------------------------------------------- an opponent: the iec62056-21 package


def test_the_package_makes_the_same_requests() -> None:
    assert messages.RequestMessage("12345678").to_bytes() == sign_on("12345678")
    assert messages.RequestMessage().to_bytes() == sign_on()
    assert messages.AckOptionSelectMessage("5", "1").to_bytes() == option_select("5", "1")
    read = messages.CommandMessage.for_single_read("0.9.2").to_bytes()
    assert read == Command("R1", "0.9.2()").to_bytes("xor")
    assert utils.add_bcc(b"\x01B0\x03") == BREAK.to_bytes("xor")


def test_the_package_reads_what_we_frame_and_we_read_what_it_frames() -> None:
    theirs = messages.ReadoutDataMessage(
        messages.DataBlock([messages.DataLine([messages.DataSet("1.8.0", "000123.4", "kWh")])])
    ).to_bytes()
    match parse_readout(theirs, "xor"):
        case Done(frame=found, used=used):
            assert (found, used) == (Block(b"1.8.0(000123.4*kWh)\r\n!\r\n"), len(theirs))
        case other:
            pytest.fail(f"{other}")
    back = messages.ReadoutDataMessage.from_bytes(found.to_bytes("xor"))
    assert back.data_block.data_lines[0].data_sets[0].value == "000123.4"


@given(bodies)
def test_the_package_makes_the_same_check_character(body: bytes) -> None:
    if b"\x01" not in body:
        assert utils.add_bcc(b"\x02" + body + b"\x03") == Block(body).to_bytes("xor")
    assert CHECKS["xor"](body + b"\x03") == xor(body + b"\x03")


# ----------------------------------------------------------------------------- the LEM manual's dialogue


def test_every_message_of_the_lem_dialogue_is_parsed_and_made_again() -> None:
    from tests.drivers.test_iec62056_21_programming import dialogue

    for direction, message in dialogue():
        if message[:1] in (b"\x01", b"\x02"):
            match parse_reply(message, "xor"):
                case Done(frame=frame, used=used):
                    assert used == len(message)
                    assert frame.to_bytes("xor") == message
                case other:
                    pytest.fail(f"{direction} {message!r}: {other}")
    assert parse_reply(ACK, "xor") == Done(Acknowledged(), 1)
    assert parse_reply(NAK, "xor") == Done(Acknowledged(repeat=True), 1)
    assert lines("lem_em4tii_dialog")
