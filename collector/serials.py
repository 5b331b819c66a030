"""When two serial numbers name the same meter: the contract's comparison, used at both ends."""

from __future__ import annotations


def plain_serial(text: str) -> str:
    """What of a serial number counts: no blanks, no case and, if all digits, no leading zeros. "" for an empty one."""
    plain = "".join(text.split()).casefold()
    if plain.isdecimal():
        return plain.lstrip("0") or "0"
    return plain


def same_serial(one: str, other: str) -> bool:
    """Whether two texts name the same meter: "00000201" is "201" is " 2 01". An empty one is nobody's."""
    return bool(one.strip()) and plain_serial(one) == plain_serial(other)
