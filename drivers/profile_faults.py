"""Contradictions between the keys of a profile: what no single key shows, as places and sentences.

They are looked for in the text as written, beside the schema's own check, so that a file with a misspelled key and a
wrong unit hears of both at once. What a single key has wrong is the schema's to say and is passed over here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivers import obis
from drivers.values import CLOCK_SIZE, SIZE, base_unit

Location = tuple[str | int, ...]
Fault = tuple[Location, str]


def contradictions(data: Any) -> Iterator[Fault]:
    """Where a profile, as read from YAML, contradicts itself, and what would be right."""
    profile = _mapping(data)
    registers = _mapping(profile.get("registers"))
    blocks: list[tuple[Location, dict[str, Any]]] = [(("registers",), registers)]
    for number, block in enumerate(_sequence(profile.get("frozen"))):
        blocks.append((("frozen", number, "registers"), _mapping(_mapping(block).get("registers"))))
    for location, block in blocks:
        yield from _units(location, block)
    yield from _wire(profile, blocks)
    yield from _total(profile, registers)
    yield from _proofs(profile, registers)


def _units(location: Location, registers: dict[str, Any]) -> Iterator[Fault]:
    for code, register in registers.items():
        try:
            wanted = obis.parse(code).unit
            given = _mapping(register).get("unit") or ""
            if base_unit(given)[0] == base_unit(wanted)[0]:
                continue
        except (ValueError, AttributeError):
            continue
        right = f"{wanted} (another prefix will do)" if wanted else "left out: it has none"
        yield (*location, code, "unit"), f"the unit of {code} is {right}, not {given or 'none'}"


def _wire(profile: dict[str, Any], blocks: list[tuple[Location, dict[str, Any]]]) -> Iterator[Fault]:
    """Places that overlap, that are longer than a request, or that start at an odd register of an even meter."""
    settings = _mapping(profile.get("modbus"))
    usual = settings.get("function")
    most = settings.get("most_registers")
    places: list[tuple[Location, Any]] = [((name,), profile.get(name)) for name in ("serial", "clock")]
    places += [((*location, code), register) for location, block in blocks for code, register in block.items()]
    for number, block in enumerate(_sequence(profile.get("frozen"))):
        places.append((("frozen", number, "stamp"), _mapping(block).get("stamp")))
    taken: dict[tuple[str, int], Location] = {}
    for location, place in places:
        span = _span(_mapping(place))
        if span is None:
            continue
        first, words = span
        if isinstance(most, str) and most.isdigit() and words > int(most):
            yield location, f"it has {words} registers, a request to this meter at most {most} (modbus.most_registers)"
        if settings.get("even") == "true" and (first % 2 or words % 2):
            yield (*location, "address"), "this meter is read at even addresses and counts only (modbus.even)"
        function = str(_mapping(place).get("function") or usual)
        others = {taken[function, at] for at in range(first, first + words) if (function, at) in taken}
        for other in sorted(others, key=str):
            yield (
                (*location, "address"),
                f"it overlaps {'.'.join(map(str, other))}; each value has registers of its own",
            )
        taken |= {(function, at): location for at in range(first, first + words)}


def _total(profile: dict[str, Any], registers: dict[str, Any]) -> Iterator[Fault]:
    if profile.get("total") == "sum":
        if "1.8.0" in registers:
            yield ("total",), "sum is for meters without a total; this one has 1.8.0"
        if "1.8.1" not in registers:
            yield ("total",), "sum needs tariff registers 1.8.1 ... to add up"


def _proofs(profile: dict[str, Any], registers: dict[str, Any]) -> Iterator[Fault]:
    shown: set[str] = set()
    for number, proof in enumerate(_sequence(profile.get("proof"))):
        for name in _mapping(_mapping(proof).get("gives")):
            shown.add(name)
            held = profile.get(name, "none") != "none" if name in ("serial", "clock") else name in registers
            summed = name == "1.8.0" and profile.get("total") == "sum"
            if not held and not summed:
                yield ("proof", number, "gives", name), f"{name} is not a register of this profile"
    counted = sorted((code for code in registers if _is_energy(code)), key=obis.sort_key)
    if not counted:
        if registers:
            yield ("registers",), "no register counts energy; a meter's profile has at least one"
        return
    billed = "1.8.0" if "1.8.0" in counted else counted[0]
    if shown and billed not in shown:
        yield ("proof",), f"no proof gives {billed}: word order and scale of the energy are unproven"


def _span(place: dict[str, Any]) -> tuple[int, int] | None:
    """(first register, how many) of a place whose spelling is right."""
    kind, words = place.get("type"), place.get("words")
    size = {**SIZE, **CLOCK_SIZE}.get(kind, 0) if isinstance(kind, str) else 0
    count = int(words) if isinstance(words, str) and words.isdigit() else size // 2
    try:
        return (int(place["address"], 16), count) if count else None
    except (KeyError, TypeError, ValueError):
        return None


def _is_energy(code: str) -> bool:
    try:
        return obis.parse(code).is_energy
    except ValueError:
        return False


def _mapping(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _sequence(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []
