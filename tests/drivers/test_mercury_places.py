"""Faults of Mercury profiles: each names its key and says what would be right."""

from __future__ import annotations

import pytest

from drivers import profile
from drivers.profile import METERS
from drivers.strict_yaml import ConfigError

THREE = (METERS / "mercury-230.yaml").read_text("utf-8")
SINGLE = (METERS / "mercury-206.yaml").read_text("utf-8")


def faults(text: str, old: str, new: str) -> str:
    assert text.count(old) >= 1, old
    with pytest.raises(ConfigError) as caught:
        profile.parse(text.replace(old, new, 1).encode(), "x.yaml")
    return "\n".join(caught.value.faults)


@pytest.mark.parametrize(
    ("text", "old", "new", "key", "words"),
    [
        (THREE, '2.8.0: {ask: "05 00 00", at: 4', '2.8.0: {ask: "05 00 00", at: 2', "registers.2.8.0.at", "overlaps"),
        (THREE, '76.7.0: {ask: "08 16 00", at: 9', '76.7.0: {ask: "08 16 00", at: 10', "76.7.0.at", "3 bytes from 10"),
        (THREE, 'serial: {ask: "08 00"', 'serial: {ask: "03 0D"', "serial.ask", "nothing that reads a Mercury 230"),
        (THREE, '1.8.3: {ask: "05 00 03"', '1.8.3: {ask: "05 Bm 03"', "registers.1.8.3.ask", "in frozen registers"),
        (THREE, '1.8.2: {ask: "05 Bm 02"', '1.8.2: {ask: "05 00 02"', "frozen.0.registers.1.8.2.ask", "frozen"),
        (THREE, '1.8.2: {ask: "05 00 02"', '1.8.2: {ask: "05 00 2"', "registers.1.8.2.ask", "upper-case hex"),
        (THREE, 'clock: {ask: "04 00", type: seconds-first}', "clock: none", "frozen", "this profile has none"),
        (THREE, "family: 230", "family: 231", "mercury.family", "one of 230, 200"),
        (THREE, "password: digits", "password: hex", "mercury.password", "digits"),
        (THREE, "type: dword, unit: Wh", "type: dword, unit: varh", "registers.1.8.0.unit", "the unit of 1.8.0"),
        (SINGLE, "family: 200", "family: 200\n  password: ascii", "mercury.password", "have no password"),
        (SINGLE, 'ask: "81"', 'ask: "70"', "registers.14.7.0.ask", "nothing that reads a Mercury 200"),
        (SINGLE, "total: sum", "total: register", "proof", "1.8.0"),
    ],
)  # fmt: skip
def test_a_fault_names_its_key_and_what_would_be_right(text: str, old: str, new: str, key: str, words: str) -> None:
    found = faults(text, old, new)
    assert f"{key}" in found
    assert words in found, found


def test_the_shipped_files_have_none_and_come_back_as_they_were() -> None:
    for path in sorted(METERS.glob("mercury-*.yaml")):
        item = profile.load_file(path)
        assert item.protocol == "mercury"
        assert item.settings.in_words[0] in ("family 230", "family 200")
        assert item.all_caveats
