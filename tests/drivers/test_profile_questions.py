"""What callers ask of a profile: can it give a code, what does its last digit stand for, which tariffs can there be."""

from __future__ import annotations

import pytest

from drivers import obis, profile
from drivers.profile import Profile
from drivers.strict_yaml import ConfigError
from drivers.table import driver

ALL = profile.load_all()
GENERIC = [item for item in ALL.values() if item.takes_every]
LISTED = [item for item in ALL.values() if not item.takes_every]


@pytest.mark.parametrize("item", LISTED, ids=lambda item: item.id)
def test_a_profile_gives_what_it_lists_and_the_sum_of_its_tariffs_and_nothing_else(item: Profile) -> None:
    codes = {f"{c}.{d}.{e}" for c in range(100) for d in (6, 7, 8) for e in range(6)}
    given = {code for code in codes if item.can_give(code)}
    summed = {"1.8.0"} if item.total == "sum" else set()
    assert given == (codes & set(item.registers)) | summed
    assert item.unlisted is None


@pytest.mark.parametrize("item", GENERIC, ids=lambda item: item.id)
def test_a_generic_profile_gives_every_code_that_is_known_and_no_other(item: Profile) -> None:
    assert all(map(item.can_give, ("1.8.0", "1.8.4", "2.8.1", "32.7.0", "14.7.0")))
    assert not any(map(item.can_give, ("1.6.0", "0.9.1", "96.1.0", "1.8", "", "F.F")))
    assert item.tariff_codes == ("1.8.1", "1.8.2", "1.8.3", "1.8.4")
    assert item.step_of("1.8.0") == item.step_of("3.8.2") == 1000  # a readout may send whole kWh
    with pytest.raises(KeyError):
        item.step_of("1.6.0")


def test_generic_profiles_are_the_two_of_iec_62056_21() -> None:
    assert [item.id for item in GENERIC] == ["generic-iec62056-21-push", "generic-iec62056-21"]


@pytest.mark.parametrize(
    ("name", "code", "step"),
    [
        ("abb-b23", "1.8.0", 10),  # integers: 0.01 kWh
        ("gavazzi-em340", "1.8.0", 100),
        ("schneider-iem3155", "1.8.0", 1),
        ("mercury-230", "1.8.0", 1),
        ("mercury-206", "1.8.1", 10),
        ("mercury-206", "1.8.0", 40),  # four tariffs of 10 Wh, added up
        ("neva-mt324", "1.8.0", 10),  # texts: by what is known of them
        ("landis-e350", "1.8.0", 100),
        ("eastron-sdm120", "1.8.0", 1),
    ],
)
def test_the_last_digit_of_an_energy_is_what_its_form_or_its_profile_says(name: str, code: str, step: int) -> None:
    assert ALL[name].step_of(code) == step


@pytest.mark.parametrize("item", ALL.values(), ids=lambda item: item.id)
def test_no_energy_of_a_proof_is_coarser_than_the_last_digit_that_its_profile_says(item: Profile) -> None:
    seen = 0
    for one in item.proof:
        for code, measured in driver(item.protocol).understand(item, one).registers.items():
            if not obis.parse(code).is_energy or item.is_summed:
                continue
            seen += 1
            if item.protocol == "iec62056-21":  # as the meter wrote it, in kWh; some leave zeros at its end out
                decimals = len(measured.raw.partition(b".")[2])
                assert not measured.value or item.step_of(code) * 10**decimals >= 1000, (code, measured.raw)
            elif not item.registers[code].how.startswith("f"):  # a float names what is nearest to what was counted
                assert measured.value % item.step_of(code) == 0, (code, measured.value)
    assert seen or item.is_summed


@pytest.mark.parametrize("item", ALL.values(), ids=lambda item: item.id)
def test_the_tariffs_that_can_be_there_are_those_it_can_give_and_the_number_of_tariffs_is_of_those_it_lists(
    item: Profile,
) -> None:
    assert item.tariff_codes == tuple(code for code in obis.TARIFFS if item.can_give(code))
    assert item.tariffs == sum(code in item.registers for code in item.tariff_codes)


def test_a_last_digit_is_said_of_floats_and_texts_and_of_nothing_else() -> None:
    told = profile.METERS / "abb-b23.yaml"
    text = told.read_text("utf-8").replace('1.8.0: {address: "5000",', '1.8.0: {last_digit: 0.1, address: "5000",')
    with pytest.raises(ConfigError, match="only for floats"):
        profile.parse(text.encode(), "abb-b23.yaml")
    told = profile.METERS / "mercury-230.yaml"
    text = told.read_text("utf-8").replace("1.8.0: {ask:", "1.8.0: {last_digit: 0.1, ask:")
    with pytest.raises(ConfigError, match=r"1\.8\.0\.last_digit: unknown key"):
        profile.parse(text.encode(), "mercury-230.yaml")
    assert ALL["orno-we-517"].step_of("1.8.0") == 10
