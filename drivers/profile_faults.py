"""Contradictions between the keys of a profile: what no single key shows, as places and sentences.

They are looked for in the text as written, beside the schema's own check, so that a file with a misspelled key and a
wrong unit hears of both at once. What a single key has wrong is the schema's to say and is passed over here. What
contradicts itself on one protocol's wire is that protocol's places file to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivers import obis
from drivers.values import base_unit

Location = tuple[str | int, ...]
Fault = tuple[Location, str]


def places(profile: dict[str, Any]) -> Iterator[tuple[Location, dict[str, Any]]]:
    """All places of values as written: serial number, clock, registers, frozen ones, at last the stamps of these."""
    yield from (((name,), mapping(profile.get(name))) for name in ("serial", "clock"))
    blocks = [mapping(block) for block in sequence(profile.get("frozen"))]
    groups: list[tuple[Location, dict[str, Any]]] = [(("registers",), profile)]
    groups += [(("frozen", number, "registers"), block) for number, block in enumerate(blocks)]
    for location, group in groups:
        for code, register in mapping(group.get("registers")).items():
            yield (*location, code), mapping(register)
    yield from ((("frozen", number, "stamp"), mapping(block.get("stamp"))) for number, block in enumerate(blocks))


def units(profile: dict[str, Any]) -> Iterator[Fault]:
    """Registers, live and frozen, whose unit is not their code's: for protocols whose wire carries no units."""
    for location, register in places(profile):
        code = str(location[-1])
        try:
            wanted = obis.parse(code).unit
            given = register.get("unit") or ""
            if base_unit(given)[0] == base_unit(wanted)[0]:
                continue
        except (ValueError, AttributeError):
            continue
        right = f"{wanted} (another prefix will do)" if wanted else "left out: it has none"
        yield (*location, "unit"), f"the unit of {code} is {right}, not {given or 'none'}"


def total(profile: dict[str, Any]) -> Iterator[Fault]:
    """A sum where there is a total, or where there is nothing to add up."""
    registers = mapping(profile.get("registers"))
    if profile.get("total") == "sum":
        if "1.8.0" in registers:
            yield ("total",), "sum is for meters without a total; this one has 1.8.0"
        if "1.8.1" not in registers:
            yield ("total",), "sum needs tariff registers 1.8.1 ... to add up"


def proofs(profile: dict[str, Any]) -> Iterator[Fault]:
    """Proofs of what the profile does not have, and energy that no proof shows.

    A profile whose settings say `every` takes registers that it does not list.
    """
    registers = mapping(profile.get("registers"))
    settings = mapping(profile.get(str(profile.get("protocol"))))
    every = settings.get("every") not in (None, "false")
    shown: set[str] = set()
    for number, proof in enumerate(sequence(profile.get("proof"))):
        for name in mapping(mapping(proof).get("gives")):
            shown.add(name)
            held = name in registers or (every and _is_code(name))
            if name in ("serial", "clock"):
                held = profile.get(name, "none") != "none"
            elif name.startswith("frozen."):
                held = bool(profile.get("frozen"))
            summed = name == "1.8.0" and profile.get("total") == "sum"
            if not held and not summed:
                yield ("proof", number, "gives", name), f"{name} is not a register of this profile"
    counted = sorted(filter(_is_energy, {*registers, *(shown if every else ())}), key=obis.sort_key)
    if not counted:
        if every and shown:
            yield ("proof",), "no proof gives a register that counts energy"
        elif registers:
            yield ("registers",), "no register counts energy; a meter's profile has at least one"
        return
    billed = "1.8.0" if "1.8.0" in counted else counted[0]
    if shown and billed not in shown:
        yield ("proof",), f"no proof gives {billed}: word order and scale of the energy are unproven"


def _is_code(name: str) -> bool:
    try:
        return bool(obis.parse(name))
    except ValueError:
        return False


def _is_energy(code: str) -> bool:
    return _is_code(code) and obis.parse(code).is_energy


def mapping(data: Any) -> dict[str, Any]:
    """`data` where it is a mapping, else an empty one."""
    return data if isinstance(data, dict) else {}


def sequence(data: Any) -> list[Any]:
    """`data` where it is a list, else an empty one."""
    return data if isinstance(data, list) else []
