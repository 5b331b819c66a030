"""Canonical JSON, over which every digest of the ledger is taken: keys sorted, no blanks, UTF-8, short numbers.

It is made and read in one place, because a close of 300,000 rows does little else.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def canonical(data: Any) -> str:
    """The text. Takes dicts with text keys, lists, tuples, texts, whole numbers below 2^63, floats, truth, None."""
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS).decode()


def parsed(text: str) -> Any:
    """What a JSON text holds; whole numbers are exact below 2^63. Raises ValueError."""
    return orjson.loads(text)


def sha256(text: str) -> str:
    """Lower-case hex SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()
