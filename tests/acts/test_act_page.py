"""The printed page: one A4 page in each language with every field that an act has, whatever stands in them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from collector.acts.page import page, shown
from collector.acts.words import LANGUAGES, words
from collector.model_act import Act, Language
from tests.acts.bench import ANSWERS, Stairwell, meter, run
from tests.acts.papers import act, device, old, replacement

ALL_CHECKS = dict.fromkeys(
    ("serial", "verifier_mark", "no_damage", "wiring", "current_direction", "phase_order", "voltage", "communication",
     "clock", "tariff_calendar"), True,
)  # fmt: skip
REST: dict[str, Any] = {
    "year": 2024, "accuracy_class": "0.5S", "digits": 6, "interval_years": 16, "certificate": "C-AB/2025",
    "transformers": {"current": "150/5", "voltage": "10000/100", "serial_numbers": ["77001", "77002"]}, "ratio": 40,
    "clock": "2026-10-10T11:59:57", "offset_s": -3,
}  # fmt: skip


def full(**changed: Any) -> Act:
    """An act with every field."""
    block = device("m2", "00002", **REST) | {"serial_number": {"wire": "00002", "plate": "0002", "registry": "2"}}
    return replacement(
        "2026-000002", act(),
        **{
            "contract": "D-17", "flat": "14b", "meter": block, "checks": ALL_CHECKS, "note": "the door does not close",
            "evidence": [{"name": "plate.jpg", "sha256": "ab" * 32}],
            "persons": [
                {"role": "utility", "name": "Ivanov"}, {"role": "consumer", "name": "Petrov", "state": "refused"},
                {"role": "witness", "name": "Sidorova"}, {"role": "witness", "name": "Kuznetsova"},
            ],
            **changed,
        },
    )  # fmt: skip


def text_of(data: bytes, folder: Path) -> str:
    """What stands on the page, by poppler, which is not ours."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    (folder / "page.pdf").write_bytes(data)
    done = subprocess.run(["pdftotext", "-layout", "page.pdf", "-"], cwd=folder, check=True, capture_output=True)
    return re.sub(r"\s+", " ", done.stdout.decode())


def pages_of(data: bytes, folder: Path) -> tuple[int, str]:
    if shutil.which("pdfinfo") is None:
        pytest.skip("pdfinfo (poppler-utils) is not installed")
    (folder / "page.pdf").write_bytes(data)
    done = subprocess.run(["pdfinfo", "page.pdf"], cwd=folder, check=True, capture_output=True, text=True).stdout
    found = dict(line.split(":", 1) for line in done.splitlines() if ":" in line)
    return int(found["Pages"]), found["Page size"]


# The fields of an act (docs/acts.md), group by group; each with what must stand on the page of `full()`.
FIELDS = {
    "number": "2026-000002", "kind": None, "date and time with offset": "12:00:00 (UTC+03:00)", "place": "Ленина, 12",
    "utility": "generic", "contract": "D-17", "account": "10001", "address": "ул. Ленина, 12", "flat": "14b",
    "point": "kv1", "place of installation": "щит на этаже 4", "serial, wire": "00002", "serial, plate": "0002",
    "model": "ABB B23", "year": "2024", "accuracy class": {"ru": "2024, 0,5S", "en": "2024, 0.5S"},
    "phases": "3, 65 A, 6", "profile": "abb-b23",
    "digest": str(device()["digest"]), "line and address": "gw-lenina-12, riser-1, 1",
    "verified": {"ru": "01.03.2025", "en": "2025-03-01"}, "interval": {"ru": "16 лет", "en": "16 years"},
    "verify by": {"ru": "01.03.2041", "en": "2041-03-01"}, "certificate": "C-AB/2025", "current transformer": "150/5",
    "voltage transformer": "10000/100", "their serials": "77001, 77002", "multiplier": "40",
    "register": "1.8.1 (T1)", "value over the wire": {"ru": "5,000", "en": "5.000"},
    "value on the display": {"ru": "5,00", "en": "5.00"}, "difference": {"ru": "+0,000", "en": "+0.000"},
    "raw bytes": "00", "meter clock": "2026-10-10 11:59:57", "its offset": "-3",
    "final readings": {"ru": "120,000", "en": "120.000"},
    "unit": {"ru": "Конечные показания, кВт·ч", "en": "Final readings, kWh"},
    "old meter": "m1", "old serial": "00001", "reason": "плановая замена", "seal number": "A123",
    "seal type": "пломба", "seal place": "крышка зажимов", "seal after": {"ru": "установлена", "en": "set"},
    "representative": "Ivanov", "consumer": "Petrov", "refused to sign": {"ru": "отказался", "en": "refused to sign"},
    "witness": "Sidorova", "second witness": "Kuznetsova", "billing from": {"ru": "20.10.2026", "en": "2026-10-20"},
    "photo": "plate.jpg " + "ab" * 32, "previous": "sha256:", "note": "the door does not close",
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_field_of_an_act_stands_on_its_page(language: Language, tmp_path: Path) -> None:
    made = full()
    text = text_of(page(made, language), tmp_path)
    texts = words(language)
    wanted = {name: value[language] if isinstance(value, dict) else value for name, value in FIELDS.items()}
    wanted |= {"kind": texts.kinds[made.kind], "hash": made.hash, "previous hash": made.previous}
    wanted |= {check: texts.checks[check] for check in made.checks}
    missing = [name for name, value in wanted.items() if value is None or value not in text]
    assert missing == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refused_meters_page_says_so_with_coded_grounds(language: Language, tmp_path: Path) -> None:
    made = act(
        kind="refusal", decision={"admitted": False, "grounds": ["damage", "seal-missing"], "billing_from": None}
    )
    text = text_of(page(made, language), tmp_path)
    texts = words(language)
    for wanted in (texts.page["refused"], "[damage]", "[seal-missing]", texts.grounds["damage"]):
        assert wanted in text


def test_a_stored_reading_is_marked_with_its_age(tmp_path: Path) -> None:
    made = full(old_meter=old(t1="120.0", t2="15.0", source="stored", read_at="2026-10-18T11:48:00+03:00"))
    text = text_of(page(made, "en"), tmp_path)
    assert "LAST STORED READING" in text
    assert "48.2 h before the act" in text
    assert "48,2 ч до акта" in text_of(page(made, "ru"), tmp_path)


@pytest.mark.parametrize(
    ("years", "ru", "en"),
    [(1, "1 год", "1 year"), (4, "4 года", "4 years"), (12, "12 лет", "12 years"), (21, "21 год", "21 years"),
     (24, "24 года", "24 years"), (40, "40 лет", "40 years")],
)  # fmt: skip
def test_years_are_counted_as_each_language_counts(years: int, ru: str, en: str, tmp_path: Path) -> None:
    block = full().subject.model_dump(by_alias=True) | {"interval_years": years}
    for language, wanted in (("ru", ru), ("en", en)):
        assert f"{wanted} " in text_of(page(full(meter=block), language), tmp_path)


HUGE = ('«ЖК "Северный" & <Ко>», ул. 40-летия Победы, корп. 7/2, подъезд 12 🏠 ' * 6)[:300].strip()
NAME = HUGE[:200].strip()
TEN = [
    {"register": f"{c}.8.{t}", "wire_wh": 123_456_789, "display": "123456.79", "raw": "00" * 200}
    for c in (1, 2)
    for t in range(5)
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_act_that_is_full_in_every_field_still_goes_onto_one_a4_page(language: Language, tmp_path: Path) -> None:
    made = full(
        address=HUGE, place=HUGE, note=HUGE, readings=TEN,
        old_meter=old(t1="1", t2="1", reason=HUGE) | {"readings": TEN},
        seals=[
            {"number": f"A{n:06d}", "type": "роторная пломба", "place": "крышка зажимов и испытательная колодка",
             "before": None, "after": "set"} for n in range(8)
        ],
        evidence=[{"name": f"photo-{n:02d}.jpg", "sha256": "ab" * 32} for n in range(20)],
        persons=[{"role": "utility", "name": NAME}, {"role": "consumer", "name": NAME, "state": "refused"},
                 *({"role": "witness", "name": f"Свидетель {n}"} for n in range(3))],
    )  # fmt: skip
    data = page(made, language)
    count, size = pages_of(data, tmp_path)
    assert (count, "A4" in size) == (1, True)
    text = text_of(data, tmp_path)
    assert all(f"A{n:06d}" in text and f"photo-{n:02d}.jpg" in text for n in range(8))


@pytest.mark.parametrize("name", ['O\'Neill & "Sons" <b>', "Łódź – Żółć", "Ґанок № 5", "№ 7 «б»"])
def test_names_are_shown_as_they_are(name: str, tmp_path: Path) -> None:
    assert name in text_of(page(full(place=name), "ru"), tmp_path)


def test_a_character_that_the_font_lacks_is_an_empty_box() -> None:
    assert shown("дом 🏠") == "дом □"


def test_the_same_act_gives_the_same_bytes() -> None:
    assert page(full(), "ru") == page(full(), "ru")
    assert page(full(), "ru") != page(full(), "en")


def test_the_code_holds_number_and_hash(tmp_path: Path) -> None:
    """Read back from the rendered page by zxing, as a telephone would."""
    zxingcpp = pytest.importorskip("zxingcpp", reason="zxing-cpp is not installed")
    if shutil.which("pdftoppm") is None:
        pytest.skip("pdftoppm (poppler-utils) is not installed")
    made = full()
    (tmp_path / "page.pdf").write_bytes(page(made, "ru"))
    subprocess.run(["pdftoppm", "-r", "150", "-png", "page.pdf", "page"], cwd=tmp_path, check=True)
    (image,) = tmp_path.glob("page*.png")
    codes = zxingcpp.read_barcodes(Image.open(image))
    assert [code.text for code in codes] == [f"{made.number} {made.hash}"]


def test_the_command_prints_in_the_acts_own_language_or_another(tmp_path: Path) -> None:
    with Stairwell(tmp_path, meter("4140001", 1_234_567)).open() as stairwell:
        stairwell.act("new", **ANSWERS)
        number = stairwell.the_act().number
        for more, word in (((), "Акт ввода"), (("--language", "en"), "Act of commissioning")):
            out = tmp_path / "out.pdf"
            status, result = run("act", "print", number, "--config", str(stairwell.config), "--out", str(out), *more)
            assert status == 0, result.output
            assert word in text_of(out.read_bytes(), tmp_path)


def test_words_stand_in_every_language_and_are_all_used() -> None:
    places = [*Path("collector/acts").glob("*.py"), *Path("collector/commands").glob("act_*.py")]
    used = "".join(path.read_text() for path in places)
    texts = words("ru")
    for name in texts.page:
        stem = name.rpartition("_")[0] or name
        assert f'"{name}"' in used or f"'{name}'" in used or f"{stem}_" in used or f'"{stem}"' in used, name
    for name in (*texts.questions, *texts.said):
        assert f'"{name}"' in used or f"'{name}'" in used, name
