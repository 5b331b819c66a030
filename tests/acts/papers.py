"""Acts as a technician with a fast pen would write them: sound ones, to be changed field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.model_act import Act
from collector.model_act_chain import sealed
from drivers import profile as profiles

MADE = "2026-10-10T12:00:00+03:00"
GATEWAY = "gw-lenina-12"


def device(name: str = "m1", serial_number: str = "00001", **changed: Any) -> dict[str, Any]:
    """A two-tariff meter as `tests.central.building.point` has it."""
    profile = profiles.load("abb-b23")
    return {
        "id": name, "profile": profile.id, "digest": profile.digest, "tariffs": 2, "ratio": 1,
        "serial_number": {"wire": serial_number, "plate": serial_number, "registry": None},
        "verified": "2025-03-01", "verify_by": "2041-03-01", "clock": None, "offset_s": None, "model": profile.title,
        "phases": profile.phases, "max_current": profile.max_current, "gateway": GATEWAY, "line": "riser-1",
        "address": "1", **changed,
    }  # fmt: skip


def readings(t1: str, t2: str) -> list[dict[str, Any]]:
    """Both tariffs, in kWh, as the wire and the display say them."""
    return [
        {"register": code, "wire_wh": int(float(kwh) * 1000), "display": kwh, "raw": "00"}
        for code, kwh in (("1.8.1", t1), ("1.8.2", t2))
    ]


def fields(number: str = "2026-000001", previous: Act | None = None, **changed: Any) -> dict[str, Any]:
    """The fields of a commissioning."""
    return {
        "schema": 1, "kind": "commissioning", "number": number, "language": "ru", "made": MADE, "point": "kv1",
        "account": "10001", "address": "ул. Ленина, 12", "place": "щит на этаже 4", "utility": "generic",
        "meter": device(), "readings": readings("100.90", "10.50"), "old_meter": None,
        "seals": [{"number": "A123", "type": "пломба", "place": "крышка зажимов", "before": None, "after": "set"}],
        "persons": [
            {"role": "utility", "name": "Иванов И. И., инженер"},
            {"role": "consumer", "name": None, "state": "absent"},
        ],
        "checks": {"serial": True, "communication": True}, "evidence": [],
        "decision": {"admitted": True, "grounds": [], "billing_from": "2026-10-10"},
        "previous": None if previous is None else previous.hash, **changed,
    }  # fmt: skip


def act(number: str = "2026-000001", previous: Act | None = None, **changed: Any) -> Act:
    """A commissioning of meter m1 at point kv1."""
    return sealed(fields(number, previous, **changed))


def old(name: str = "m1", serial_number: str = "00001", *, t1: str, t2: str, **changed: Any) -> dict[str, Any]:
    """The meter that goes."""
    return {
        "meter": device(name, serial_number), "readings": readings(t1, t2), "source": "wire",
        "read_at": "2026-10-20T11:50:00+03:00", "reason": "плановая замена", **changed,
    }  # fmt: skip


def replacement(number: str, previous: Act | None, **changed: Any) -> Act:
    """m1 makes room for m2 on 20 October."""
    base: Mapping[str, Any] = {
        "kind": "replacement", "made": "2026-10-20T12:00:00+03:00", "meter": device("m2", "00002"),
        "readings": readings("5.00", "1.00"), "old_meter": old(t1="120.00", t2="15.00"),
        "decision": {"admitted": True, "grounds": [], "billing_from": "2026-10-20"},
    }  # fmt: skip
    return act(number, previous, **{**base, **changed})
