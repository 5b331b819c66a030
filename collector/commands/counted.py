"""A count and its noun, as a person says it: `1 link`, `2 links`."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """The noun in its singular for one, else in its plural: with an s, after s, x, ch and sh with es."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"
