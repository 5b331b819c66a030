"""A text that no spreadsheet takes for a formula (contract, Month close)."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t")


def guarded(text: str) -> str:
    """The text, with a leading apostrophe where a spreadsheet would calculate it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def unguarded(text: str) -> str:
    """A text without the apostrophe that `guarded` put before it."""
    bare = text.removeprefix("'")
    return bare if guarded(bare) == text else text
