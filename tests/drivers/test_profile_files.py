"""Every profile file of every protocol: strict load, its proofs, units, texts, and the tables drawn from them.

A file that is added to `profiles/meters` (or to `tests/data/meters`) is walked without a word here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from drivers import obis, proof
from drivers.profile import METERS, Profile, load_file
from drivers.profile_table import SECTIONS, renewed

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = sorted(METERS.glob("*.yaml"))
INVENTED = sorted((ROOT / "tests" / "data" / "meters").glob("*.yaml"))
PROFILES = [load_file(path) for path in (*SHIPPED, *INVENTED)]

every_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)


@pytest.mark.parametrize("path", (*SHIPPED, *INVENTED), ids=lambda path: path.stem)
def test_a_profile_file_loads_strictly_under_its_own_name(path: Path) -> None:
    profile = load_file(path)
    assert profile.id == path.stem
    assert profile.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


# ----------------------------------------------------------------------------- proofs


@every_profile
def test_every_proof_gives_exactly_its_values(profile: Profile) -> None:
    assert list(proof.failures(profile)) == []


@every_profile
def test_every_energy_register_and_serial_and_clock_is_in_some_proof(profile: Profile) -> None:
    given = {name for one in profile.proof for name in one.gives}
    texts = {name for name in ("serial", "clock") if getattr(profile, name) != "none"}
    assert given >= {*profile.energy_codes, *texts}


# ----------------------------------------------------------------------------- what they read


@every_profile
def test_every_register_has_a_unit_of_its_code(profile: Profile) -> None:
    for code, register in profile.registers.items():
        if register.unit or profile.protocol != "iec62056-21":  # there the meter sends it
            assert register.unit.lstrip("kMm") == obis.parse(code).unit.lstrip("k"), code


# ----------------------------------------------------------------------------- the tables of the documentation


@pytest.mark.parametrize("page", [page for page in ("README.md", "profiles/README.md") if (ROOT / page).is_file()])
def test_the_tables_of_the_documentation_are_drawn_from_the_files(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    marked = [name for name in SECTIONS if f"<!-- {name}:begin -->" in text]
    if page == "profiles/README.md":
        assert marked == list(SECTIONS)
    if marked:
        shipped = [load_file(path) for path in SHIPPED]
        assert renewed(text, shipped) == text, f"draw them anew: python -m drivers.profile_table {page}"


def test_a_page_without_markers_is_not_taken_for_drawn() -> None:
    with pytest.raises(ValueError, match="no section is marked"):
        renewed("# Nothing here\n", [])


def _texts(profile: Profile) -> Mapping[str, str]:
    return {"title": profile.title, "source": profile.source, "line": profile.line.source}


@every_profile
def test_no_text_of_a_profile_breaks_a_table(profile: Profile) -> None:
    for text in (*_texts(profile).values(), *profile.all_caveats, *(one.source for one in profile.proof)):
        assert "|" not in text
        assert "\n" not in text
        assert not text.endswith(".")
