"""The form of an act, its hash and the chain: what is refused, and that nothing can be changed unseen."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from collector.acts.words import words
from collector.messages import decode_batch, encode
from collector.model import Batch
from collector.model_act import Act
from collector.model_act_chain import (
    ActFault,
    as_data,
    canonical,
    chain_faults,
    checked,
    hash_of,
    head,
    in_force,
    opened,
    sealed,
    written,
)
from collector.model_act_grounds import against, display_fault
from tests.acts.bench import run
from tests.acts.papers import act, device, fields, old, readings, replacement

# The object of docs/contract.md, its elided texts filled in.
CONTRACT = {
    "schema": 1, "kind": "commissioning", "number": "2026-000123", "language": "ru",
    "made": "2026-11-01T10:15:00+03:00", "point": "lenina-12-kv14", "account": "434745456346", "address": "…",
    "place": "floor panel 4", "utility": "generic",
    "meter": {
        "id": "lenina-12-014", "profile": "neva-mt324", "digest": "sha256:…", "tariffs": 2, "ratio": 1,
        "serial_number": {"wire": "00000201", "plate": "00000201", "registry": "00000201"}, "verified": "2025-03-01",
        "verify_by": "2041-03-01", "clock": "2026-11-01T10:14:57", "offset_s": -3,
    },
    "readings": [{"register": "1.8.1", "wire_wh": 15023900, "display": "15023.90", "raw": "3031353032332e3930"}],
    "old_meter": None,
    "seals": [{"number": "A123", "type": "sticker", "place": "terminal cover", "before": None, "after": "set"}],
    "persons": [{"role": "utility", "name": "…"}, {"role": "consumer", "name": None, "state": "absent"}],
    "checks": {"communication": True}, "decision": {"admitted": True, "grounds": [], "billing_from": "2026-11-01"},
    "evidence": [{"name": "plate.jpg", "sha256": "ab" * 32}], "previous": None,
}  # fmt: skip


def test_the_contracts_object_is_an_act_and_keeps_its_keys() -> None:
    made = sealed(CONTRACT)
    assert as_data(made) == {**CONTRACT, "hash": made.hash}


def test_the_hash_is_sha_256_over_the_object_without_hash_sorted_and_without_blanks() -> None:
    # No number here that JSON's writers spell differently: then RFC 8785 is Python's own sorted JSON.
    text = json.dumps(CONTRACT, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert sealed(CONTRACT).hash == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.5, b"0.5"), (40.0, b"40"), (1e-6, b"0.000001"), (1e-7, b"1e-7"), (333333.33333333329, b"333333.3333333333")],
)  # RFC 8785, 3.2.2.3 and its appendix B
def test_numbers_are_written_as_rfc_8785_says(number: float, text: bytes) -> None:
    assert canonical({"a": number}) == b'{"a":' + text + b"}"


def test_an_act_survives_the_way_by_mqtt_with_its_hash() -> None:
    made = act(meter=device(ratio=0.5))
    batch = Batch(gateway="gw-1", spool="b7e3c1d09a44", sequence=1, class_="keep", act=as_data(made))
    payload = encode(batch)
    came = decode_batch(payload).act
    assert checked(came) == made
    assert payload.startswith(b'{"act":')


INSPECTOR = {"role": "utility", "name": "I"}
REMOVED = {"number": "A", "type": "t", "place": "p", "before": "broken", "after": "removed"}
MISPLACED = {**readings("1502.39", "1")[0], "wire_wh": 15_023_900}
OTHER_NUMBER = {**readings("7000.39", "1")[0], "wire_wh": 15_023_900}
UNREAD = {**readings("1", "1")[0], "display": None}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [found for place, item in enumerate(value) for found in leaves(item, (*path, place))]
    return [path]


FULL = as_data(replacement("2026-000002", act(), note="a note"))


@settings(deadline=None)
@given(st.sampled_from([path for path in leaves(FULL) if path != ("hash",)]), st.data())
def test_no_field_can_be_changed_unseen(path: tuple[Any, ...], data: st.DataObject) -> None:
    changed = json.loads(json.dumps(FULL))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    before = inner[path[-1]]
    inner[path[-1]] = data.draw(st.none() | st.booleans() | st.integers() | st.text(max_size=20))
    # 1 and true are two things in JSON, though not in Python.
    if json.dumps(inner[path[-1]]) == json.dumps(before):
        return
    with pytest.raises(ActFault):
        checked(changed)


def test_a_key_that_is_added_or_taken_away_is_seen() -> None:
    data = as_data(act())
    for changed in ({**data, "extra": 1}, {key: value for key, value in data.items() if key != "checks"}):
        with pytest.raises(ActFault):
            checked(changed)


def test_a_key_that_stands_twice_is_refused() -> None:
    text = written(act())
    doubled = text.replace(b'"account":"10001"', b'"account":"10001","account":"10001"')
    with pytest.raises(ActFault, match="stands twice"):
        opened(doubled)


def test_an_act_opens_however_it_is_spaced() -> None:
    made = act()
    assert opened(json.dumps(as_data(made), indent=3).encode()) == made


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"null", b"\xff", b"1" * 5000, b"[" * 100_000])
def test_junk_is_no_act(junk: bytes) -> None:
    with pytest.raises(ActFault):
        opened(junk)


def test_an_act_cannot_be_changed_in_memory() -> None:
    with pytest.raises(ValidationError):
        act().account = "2"  # type: ignore[misc]


@pytest.mark.parametrize("name", ['"ООО «Ромашка» & Ко"', "🏠 дом", "x" * 300, "<b>жирный</b>", "O'Neill; DROP"])
def test_any_printable_name_and_address_goes_through(name: str) -> None:
    made = act(address=name)
    assert opened(written(made)).address == name


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"made": "2026-10-10T12:00:00Z"}, "offset"),
        ({"made": "2026-10-10T12:00:00"}, "offset"),
        ({"address": "x" * 301}, "300"),
        ({"address": "two\nlines"}, "printable"),
        ({"number": "../etc"}, "pattern"),
        ({"readings": [*readings("1", "1"), *readings("2", "2")]}, "twice"),
        ({"old_meter": old("m9", "9", t1="1", t2="1")}, "no other act has one"),
        ({"kind": "replacement", "old_meter": old(t1="1", t2="1")}, "another device is another meter"),
        ({"persons": [INSPECTOR]}, "persons"),
        ({"persons": [INSPECTOR, {"role": "consumer", "name": None, "state": "refused"}]}, "two witnesses"),
        ({"persons": [{"role": "utility", "name": None}, {"role": "consumer", "name": "C"}]}, "name of the utility"),
        ({"decision": {"admitted": True, "grounds": ["damage"], "billing_from": None}}, "admitted, and with grounds"),
        ({"decision": {"admitted": False, "grounds": [], "billing_from": None}}, "has its grounds"),
        ({"kind": "refusal"}, "a refusal admits nothing"),
        ({"meter": None}, "every other act has its meter"),
        ({"supersedes": "sha256:" + "0" * 64}, "has a previous act"),
        ({"evidence": [{"name": "../x", "sha256": "ab" * 32}]}, "pattern"),
        ({"account": 434745456346}, "string"),
    ],
)  # fmt: skip
def test_what_makes_no_act_is_named(changed: dict[str, Any], word: str) -> None:
    with pytest.raises(ActFault, match=word):
        act(**changed)


# ----------------------------------------------------------------------------- grounds


@pytest.mark.parametrize(
    ("changed", "ground"),
    [
        ({"meter": device() | {"serial_number": {"wire": "1", "plate": "2", "registry": None}}}, "serial-mismatch"),
        ({"meter": device() | {"serial_number": {"wire": "1", "plate": "1", "registry": "9"}}}, "serial-mismatch"),
        ({"meter": device() | {"serial_number": {"wire": "1", "plate": None, "registry": None}}}, "serial-mismatch"),
        ({"meter": device(verify_by="2026-10-10")}, "verification-overdue"),
        ({"meter": device(verify_by=None)}, "verification-missing"),
        ({"meter": device(verified="2026-12-01")}, "verification-missing"),
        ({"seals": []}, "seal-missing"),
        ({"seals": [REMOVED]}, "seal-missing"),
        ({"readings": readings("1", "1")[:1]}, "register-count"),
        ({"meter": device(tariffs=4)}, "register-count"),
        ({"readings": [MISPLACED, readings("1", "1")[1]]}, "display-mismatch"),
        ({"readings": [OTHER_NUMBER, readings("1", "1")[1]]}, "display-mismatch"),
        ({"readings": [UNREAD, readings("1", "1")[1]]}, "display-mismatch"),
        ({"checks": {"wiring": False}}, "wiring"),
        ({"checks": {"communication": False}}, "no-communication"),
        ({"meter": device(clock="2026-10-10T13:00:00", offset_s=3600)}, "clock"),
    ],
)  # fmt: skip
def test_a_ground_against_the_meter_is_found_and_coded(changed: dict[str, Any], ground: str) -> None:
    found = against(act(**changed))
    assert [item.ground for item in found] == [ground]
    assert found[0].text
    # Who signs a Russian page finds no English on it: Latin letters are those of names and numbers alone.
    russian = words("ru").against_in_words(found[0])
    assert re.findall(r"[A-Za-z]{3,}", russian.replace("abb-b23", "")) == []
    assert "{" not in russian


def test_a_sound_meter_has_nothing_against_it() -> None:
    assert against(act()) == []
    assert against(replacement("2026-000002", act())) == []


def test_leading_zeros_blanks_and_case_make_no_other_serial_number() -> None:
    numbers = {"wire": "0000 0201", "plate": "201", "registry": "00201"}
    assert against(act(meter=device() | {"serial_number": numbers})) == []


def test_a_misplaced_decimal_point_is_said_in_words() -> None:
    meter = act().meter
    assert meter is not None
    assert display_fault(15_023_900, "1502.390", meter) == "point"
    assert display_fault(15_023_900, "1502390", meter) == "point"
    assert display_fault(15_023_900, "15023.90", meter) is None
    assert display_fault(15_023_900, "15023", meter) is None
    assert display_fault(15_023_900, "15033", meter) == "display"


# ----------------------------------------------------------------------------- chains


def test_a_sound_chain_has_no_faults_and_a_head() -> None:
    first = act()
    second = replacement("2026-000002", first)
    assert chain_faults([second, first]) == []
    assert head([second, first]) == second


def faults_of(*acts: Act) -> str:
    return "\n".join(fault.text for fault in chain_faults(acts))


def test_a_fork_a_gap_and_a_turned_clock_are_found() -> None:
    first = act()
    second = replacement("2026-000002", first)
    rival = replacement("2026-000003", first, note="another one")
    assert "two acts cannot both come next" in faults_of(first, second, rival)
    assert "which is not here" in faults_of(second)
    assert "two acts cannot both come next" in faults_of(first, act("2026-000009"))
    early = replacement("2026-000002", first, made="2026-10-01T12:00:00+03:00")
    assert "before the act that it follows" in faults_of(first, early)


def test_a_corrected_act_is_in_force_no_more() -> None:
    first = act()
    right = act("2026-000002", first, made="2026-10-12T09:00:00+03:00", supersedes=first.hash)
    assert in_force([first, right]) == [right]
    assert chain_faults([first, right]) == []


def test_the_hash_of_an_act_does_not_depend_on_the_order_of_its_keys() -> None:
    turned = dict(reversed(fields().items()))
    assert hash_of(turned) == hash_of(fields())


def test_the_published_schema_is_that_of_the_program() -> None:
    status, result = run("act", "schema")
    assert (status, result.stdout) == (0, Path("docs/act.schema.json").read_text())
