"""Which snapshots are believed; each doubt by its name."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from collector.central import validate
from collector.central.registry import Binding, Meter
from collector.central.validate import CHECKS, DAY, EARLIEST, HOUR, MOST, Around, doubts
from collector.messages import BadSnapshot, SentSnapshot, open_envelope
from tests.central.building import ASKED, GATEWAY, PROFILE, ZONE, as_bytes, batch, snapshot

METER = Meter("m1", "00001", (Binding(0, PROFILE, GATEWAY),))
OCTOBER_ENDS = 1_793_480_400_000


class Case(NamedTuple):
    """The arguments of `doubts`."""

    snapshot: SentSnapshot
    meter: Meter | None
    around: Around


def subject(meter: Meter | None = METER, received: int = ASKED + 5000, **changed: Any) -> Case:
    """Through the envelope, as it would come."""
    envelope = {key: changed.pop(key) for key in ("zone", "synced", "profiles") if key in changed}
    opened = open_envelope(as_bytes(batch(snapshot(**changed), **envelope)))
    assert opened.snapshots is not None
    (item,) = opened.snapshots
    assert not isinstance(item, BadSnapshot), item
    return Case(item, meter, Around(GATEWAY, opened.zone, opened.synced, opened.profiles, received))


def test_a_sound_snapshot_has_no_doubts() -> None:
    whole = subject(frozen={"2026-10": {"1.8.0": 1}}, quantities={"32.7.0": 230.1, "13.7.0": 0.99, "16.7.0": -5.5})
    assert doubts(*whole) == []


DOUBTS: list[tuple[str, dict[str, Any]]] = [
    ("unknown meter", {"meter": None}),
    ("foreign gateway", {"meter": Meter("m1", "00001", (Binding(0, PROFILE, "gw-mira-1"),))}),
    ("unsynced clock", {"synced": False}),
    ("unsynced clock", {"synced": None}),  # who does not say so does not know it
    ("impossible time: asked", {"asked": EARLIEST - 1}),
    ("impossible time: asked", {"received": ASKED - DAY - 1, "answered": None}),
    ("impossible time: answered", {"received": ASKED - DAY}),
    ("impossible time: answered", {"answered": -1}),
    ("impossible time: asked", {"asked": 1 << 70}),
    ("other serial number: '00002' answered, m1 is '00001'", {"serial_number": "00002"}),
    ("other serial number: ''", {"serial_number": ""}),
    ("stranger: 00007 answered", {"failure": {"kind": "stranger", "text": "00007 answered"}}),
    ("other profile: read by gavazzi-em340", {"profile": "gavazzi-em340", "profiles": {"gavazzi-em340": "sha256:0"}}),
    ("unnamed profile", {"profiles": {}}),
    ("impossible value: 1.8.0 is -1", {"registers": {"1.8.0": -1}}),
    ("impossible value: 1.8.1 is", {"registers": {"1.8.0": 0, "1.8.1": MOST + 1}}),
    ("impossible value: 1.8.0 is -1", {"frozen": {"2026-10": {"1.8.0": -1}}}),
    ("impossible register: 32.7.0", {"registers": {"32.7.0": 230}}),
    ("impossible register: 999.8.0", {"registers": {"999.8.0": 230}}),
    ("impossible quantity: 1.8.0", {"quantities": {"1.8.0": 5.0}}),
    ("impossible quantity: 99.99.99", {"quantities": {"99.99.99": 5.0}}),
    ("impossible month: 2026-11", {"frozen": {"2026-11": {"1.8.0": 1}}}),
    ("impossible month: 1999-11", {"frozen": {"1999-11": {"1.8.0": 1}}}),
    ("impossible month: where 2026-10 ends cannot be told", {"frozen": {"2026-10": {}}, "zone": "Mars/Olympus"}),
    ("impossible month: where 2026-10 ends cannot be told", {"frozen": {"2026-10": {}}, "zone": None}),
    ("impossible month: where 9999-12 ends cannot be told", {"frozen": {"9999-12": {}}}),
]


@pytest.mark.parametrize(("reason", "changed"), DOUBTS, ids=[f"{n}-{reason}" for n, (reason, _) in enumerate(DOUBTS)])
def test_each_doubt_is_told_by_its_name(reason: str, changed: dict[str, Any]) -> None:
    (found,) = doubts(*subject(**changed))
    assert found.startswith(reason)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_has_said_something_here(monkeypatch: pytest.MonkeyPatch, check: Any) -> None:
    monkeypatch.setattr(validate, "CHECKS", (check,))
    assert any(doubts(*subject(**changed)) for _, changed in DOUBTS)


@pytest.mark.parametrize(
    "changed",
    [
        {"asked": EARLIEST, "answered": EARLIEST, "serial_number": None},
        {"received": ASKED - DAY + 90},
        {"registers": {"1.8.0": 0, "15.8.0": MOST, "3.8.1": 5}},
        {"serial_number": " 1"},
        {"serial_number": None},
        {"registers": {}, "failure": {"kind": "stranger", "text": "00007 answered"}},  # it holds nothing to doubt
        {"failure": {"kind": "profile", "text": "1.8.4 is not there"}},
        {"asked": OCTOBER_ENDS - HOUR, "frozen": {"2026-10": {"1.8.0": 1}}},  # the meter's clock may be an hour ahead
    ],
)
def test_what_is_just_possible_is_believed(changed: dict[str, Any]) -> None:
    assert doubts(*subject(**changed)) == []


def test_all_doubts_are_told_together() -> None:
    assert len(doubts(*subject(meter=None, synced=False, registers={"1.8.0": -1}))) == 3


def test_a_late_batch_of_the_gateway_before_is_judged_by_what_counted_when_it_was_asked() -> None:
    moved = Meter("m1", "00001", (Binding(0, PROFILE, "gw-old"), Binding(ASKED + 1, PROFILE, GATEWAY)))
    assert [reason.split(":")[0] for reason in doubts(*subject(meter=moved))] == ["foreign gateway"]
    assert doubts(*subject(meter=moved, asked=ASKED + 1)) == []
    corrected = Meter("m1", "00001", (Binding(0, PROFILE, GATEWAY), Binding(ASKED + 1, "abb-b23-2", GATEWAY)))
    assert doubts(*subject(meter=corrected)) == []
    assert [reason.split(":")[0] for reason in doubts(*subject(meter=corrected, asked=ASKED + 1))] == ["other profile"]


def test_a_month_ends_in_the_gateways_zone() -> None:
    early = OCTOBER_ENDS - 4 * HOUR  # 01:00 in Kamchatka, 20:00 in Moscow
    assert doubts(*subject(asked=early, frozen={"2026-10": {"1.8.0": 1}}, zone="Asia/Kamchatka")) == []
    assert doubts(*subject(asked=early, frozen={"2026-10": {"1.8.0": 1}}, zone=ZONE)) != []
