"""OBIS codes in words, for people who read a table: `1.8.2` is "import, T2" (IEC 62056-6-1, value groups C, D, E)."""

from __future__ import annotations

from drivers import obis

_ENERGY = {
    1: "import",
    2: "export",
    3: "reactive import",
    4: "reactive export",
    5: "reactive, quadrant I",
    6: "reactive, quadrant II",
    7: "reactive, quadrant III",
    8: "reactive, quadrant IV",
    9: "apparent import",
    10: "apparent export",
    15: "import plus export",
    16: "import minus export",
}
_INSTANT = {
    1: "power imported",
    2: "power exported",
    3: "reactive power",
    4: "reactive power exported",
    9: "apparent power",
    11: "current",
    12: "voltage",
    13: "power factor",
    14: "frequency",
    15: "power, absolute",
    16: "power (minus: exported)",
}
_OTHER = {"96.6.3": "battery of the clock"}


def meaning(code: str) -> str:
    """What the code counts or measures; "" for a code that has no words here. Raises ValueError for what is no code."""
    parsed = obis.parse(code)
    if code in _OTHER:
        return _OTHER[code]
    # Phases 1 to 3 are the blocks 21-40, 41-60 and 61-80 of value group C; 81 and more are angles and the like.
    phase, quantity = divmod(parsed.c - 1, 20)
    words = {obis.TIME_INTEGRAL: _ENERGY, obis.INSTANT: _INSTANT}.get(parsed.d, {}).get(quantity + 1)
    if words is None or not 0 <= phase <= 3:
        return ""
    parts = [words]
    if phase:
        parts.append(f"phase {phase}")
    if parsed.d == obis.TIME_INTEGRAL:
        parts.append(f"T{parsed.e}" if parsed.e else "total")
    return ", ".join(parts)
