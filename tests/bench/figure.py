"""One measured figure: what, how much, what was to be reached."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """`value` and `target` are text as it stands in docs/benchmarks.md; `detail` says what it was made of."""

    name: str
    value: str
    target: str
    detail: str
