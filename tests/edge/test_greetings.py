"""Which profile an identification speaks for."""

from __future__ import annotations

import pytest

from collector.edge.greetings import identified
from drivers.dialogue import Done
from drivers.iec62056_21_frames import parse_identification
from drivers.iec_places import IecProfile
from drivers.profile import load_all

NAMED = [it for it in load_all().values() if isinstance(it, IecProfile) and it.iec.identification]


@pytest.mark.parametrize("known", NAMED, ids=lambda known: known.id)
def test_the_identification_in_a_profile_s_proof_speaks_for_that_profile(known: IecProfile) -> None:
    said = [found.frame for proof in known.proof if isinstance(found := parse_identification(proof.answer), Done)]
    for identification in said:
        assert identified(str(identification)) is known


@pytest.mark.parametrize(
    ("identification", "profile"),
    [
        ("TPC5NEVAMT324.2307", "neva-mt324"),
        ("ISk5MT174-0001", "iskra-mt174"),
        ("EKT5CE102Mv01", "energomera-ce102m"),
        ("LGZ4ZMF100AC.M27", "landis-e350"),
        ("XYZ5UNHEARD-OF", "generic-iec62056-21"),
        ("", "generic-iec62056-21"),
    ],
)
def test_identifications_seen_in_the_field_lead_to_their_profiles_and_others_to_the_generic_one(
    identification: str, profile: str
) -> None:
    found = identified(identification)
    assert found is not None
    assert found.id == profile
