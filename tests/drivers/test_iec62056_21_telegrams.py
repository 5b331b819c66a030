"""Real readouts: the values that their side files name, and damage that is never taken for one of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from drivers import iec62056_21
from drivers.dialogue import Ask, DamagedFrame, Done, DriverError, More, Never, Readout
from drivers.iec62056_21_characters import off_wire, on_wire
from drivers.iec62056_21_datasets import parse as parse_sets
from drivers.iec62056_21_frames import Block, parse_identification, parse_readout
from drivers.profile import load
from drivers.proof import shown
from tests.drivers.iec_world import TELEGRAMS, World, framed, lines, meter, script

GENERIC = load("generic-iec62056-21")

# The side files' "expected", in the units that `read` prints; everything else that was sent too.
EXPECTED = {
    "iskra_mt174_0001": {
        "1.8.0": "112.628", "2.8.0": "74.224", "1.7.0": "420", "2.7.0": "223",
        "32.7.0": "232.3", "52.7.0": "233.7", "72.7.0": "233.8", "31.7.0": "1.09", "51.7.0": "1.38", "71.7.0": "2.42",
        "serial": "29789454", "clock": "2012-06-09T13:22:28",
    },
    "landis_e350_m23": {
        "1.8.0": "1234.120", "1.8.1": "1234.120", "2.8.0": "0.000", "15.8.0": "1234.120", "16.7.0": "0",
        "32.7.0": "229", "52.7.0": "230", "72.7.0": "230", "31.7.0": "0.03", "51.7.0": "0.04", "71.7.0": "0.09",
        "serial": "12314330",
    },
    "landis_e350_manual_example": {
        "1.8.0": "65.300", "2.8.0": "3.500", "1.8.1": "21.500", "1.8.2": "43.800", "2.8.1": "1.500", "2.8.2": "0.000",
        "serial": "0000000074892473",
    },
    "landis_zmd120_g03": {
        "1.8.0": "1846.000", "1.8.1": "1846.000", "1.8.2": "0.000", "2.8.0": "4329.600", "2.8.1": "4329.600",
        "2.8.2": "0.000", "serial": "20000",
    },
    "elster_as3000_abridged": {
        "1.8.0": "5450.425", "1.8.1": "2288.481", "1.8.2": "3161.943", "2.8.0": "0.010", "2.8.1": "0.010",
        "3.8.1": "39.807", "16.7.0": "2171", "serial": "09080744", "clock": "2016-03-22T00:01:14",
        "frozen.2016-03-01T00:00:00.1.8.1": "2229.372", "frozen.2016-03-01T00:00:00.1.8.2": "2974.957",
        "frozen.2016-02-01T00:00:00.1.8.1": "2141.229", "frozen.2016-02-01T00:00:00.1.8.2": "2659.141",
        "frozen.2016-01-01T00:00:00.1.8.2": "2342.084",
    },
    "emh_lzqj_xc_abridged": {"serial": "12345678", "clock": "2012-02-16T15:58:43"},
    "lem_em4tii": {
        "1.8.0": "0.000", "2.8.0": "0.000", "3.8.0": "0.000", "4.8.0": "0.000", "serial": "03878504",
        "clock": "2012-12-21T14:02:53",
    },
}  # fmt: skip
NAMELESS = "elster_as3000_abridged"  # no identification line on its page
REFUSED = {
    "actaris_ace3000_corrupt": "must be 4d, 46 came",
    "iskra_mt171_0033_as_posted": "follows the end of a readout that had no STX",
}
DIALOGUE = "lem_em4tii_dialog"

SIGN_ON = b"/?!\r\n"
WITH_BCC = [name for name in EXPECTED if name != NAMELESS]


def telegram(name: str) -> tuple[bytes, bytes]:
    """Identification line and block."""
    if name == "lem_em4tii":
        head, _, rest = (TELEGRAMS / f"{name}.txt").read_bytes().partition(b"\n")
        return head + b"\n", rest
    return framed(name)


def read(name: str, *, piece: int = 4096, framing: str = "7E1") -> Readout:
    """A telegram through sign-on, option select and block."""
    ident, block = telegram(name)
    code = ident[4:5]
    world = World(meter((SIGN_ON, ident), (b"\x060" + code + b"0\r\n", block), framing=framing), framing, piece)
    found = world.carry(iec62056_21.read(GENERIC, Ask("", baudrate=300, framing=framing, frozen=True)))
    assert isinstance(found, Readout)
    return found


def understood(*parts: bytes) -> Readout:
    return iec62056_21.understand(GENERIC, SimpleNamespace(request=SIGN_ON, answer=b"".join(parts)))  # type: ignore[arg-type]


def test_every_telegram_and_its_source_is_looked_at() -> None:
    known = {*EXPECTED, *REFUSED, DIALOGUE}
    assert {path.stem for path in TELEGRAMS.glob("*.txt")} == known
    assert {path.stem for path in TELEGRAMS.glob("*.source")} == known


@pytest.mark.parametrize("name", WITH_BCC)
def test_a_telegram_gives_the_values_of_its_side_file(name: str) -> None:
    found = read(name)
    assert shown(found) == EXPECTED[name]
    assert found.quality == ()


@pytest.mark.parametrize("name", WITH_BCC)
def test_a_telegram_that_comes_byte_by_byte_is_the_same(name: str) -> None:
    assert read(name, piece=1) == read(name)


def test_a_telegram_without_identification_goes_through_the_parser() -> None:
    assert shown(understood(*telegram(NAMELESS))) == EXPECTED[NAMELESS]


@pytest.mark.parametrize("name", WITH_BCC)
def test_a_telegram_whose_parity_somebody_took_off_says_so(name: str) -> None:
    found = read(name, framing="8N1")
    assert shown(found) == EXPECTED[name]
    assert found.quality == ("no-parity",)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\n", b"\r\n\r\n", b""])
def test_line_ends_of_every_kind_are_the_same(end: bytes) -> None:
    for name in EXPECTED:
        assert shown(understood(*framed(name, end) if name != "lem_em4tii" else telegram(name))) == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "lem_em4tii"])
def test_a_text_without_framing_gives_the_same_values_and_no_checksum(name: str) -> None:
    ident, block = telegram(name)
    found = understood(ident, block[1:-2])
    assert shown(found) == EXPECTED[name]
    assert found.quality == ("no-checksum",)


@pytest.mark.parametrize("name", WITH_BCC)
def test_a_part_of_a_readout_is_never_one(name: str) -> None:
    ident, block = telegram(name)
    for at in range(len(block)):
        with pytest.raises(DamagedFrame):
            understood(ident, block[:at])


@pytest.mark.parametrize("name", list(EXPECTED))
def test_no_flipped_bit_of_a_telegram_with_a_check_character_gives_a_value(name: str) -> None:
    _, block = telegram(name)
    wire = on_wire(block, "7E1")
    for at in range(8 * len(wire)):
        flipped = bytearray(wire)
        flipped[at // 8] ^= 1 << at % 8
        outcome = parse_readout(off_wire(bytes(flipped), "7E1"), "xor")
        assert isinstance(outcome, Never | More), f"bit {at % 8} of byte {at // 8}"


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_damaged_telegrams_are_refused_with_the_reason(name: str, reason: str) -> None:
    raw = (TELEGRAMS / f"{name}.txt").read_bytes()
    with pytest.raises(DamagedFrame, match=reason):
        understood(raw)


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_telegrams_are_refused_on_the_wire_too(name: str) -> None:
    raw = (TELEGRAMS / f"{name}.txt").read_bytes()
    named = parse_identification(raw)
    assert isinstance(named, Done)
    ident, rest = raw[: named.used], raw[named.used :]
    world = World(lambda heard, rate: on_wire(ident if heard == SIGN_ON else rest, "7E1"))
    with pytest.raises(DriverError) as caught:
        world.carry(iec62056_21.read(GENERIC, Ask("", baudrate=300, framing="7E1")))
    assert caught.value.kind == "damaged"
    assert len(world.said) < 12  # bounded


def test_a_tail_that_shows_a_lost_beginning_refuses_a_readout_that_would_pass_without() -> None:
    _, block = telegram("landis_e350_m23")
    world = World(script(b"/LGZ4ZMF100AC.M23\r\n", block[1:]))
    with pytest.raises(DriverError, match=r"follows the end|ETX without STX|silent|no answer|nothing came"):
        world.carry(iec62056_21.read(GENERIC, Ask("", baudrate=300, framing="7E1")))


def test_line_noise_around_a_telegram_changes_nothing() -> None:
    ident, block = telegram("landis_e350_m23")
    found = understood(b"\x7f\x7f/?!\r\n" + ident + b"\x00\x7f\r\n" + block + b"\x7f")
    assert shown(found) == EXPECTED["landis_e350_m23"]


def test_the_sets_of_the_captures_are_all_understood_by_the_grammar() -> None:
    for name in EXPECTED:
        found = telegram(name)[1]
        sets = parse_sets(found[1:-2], proven=True)
        texts = [line for line in lines(name) if b"(" in line]
        assert [str(one).encode("ascii") for one in sets] == [line.rstrip(b"!") for line in texts]
        assert Block(found[1:-2]).to_bytes("xor") == found
