"""Samples as InfluxDB line protocol, exactly as docs/contract.md, Time series, has it: one point, one line, for each.

Names and codes that can be written need no escaping; one that would is refused, and so nobody ever asks for it either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from collector.central.store.series import Kind, Sample

MEASUREMENT: Mapping[Kind, str] = {"live": "energy", "frozen": "frozen", "quantity": "quantity"}
FIELD_TYPE: Mapping[Kind, str] = {"live": "integer", "frozen": "integer", "quantity": "float"}  # for ever

# Characters that mean nothing in a tag, a field key, a Flux text and, but for the dot, in a regular expression.
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_REMEMBERED = 1 << 17  # series of 100,000 meters and some: some 20 MiB


def plain(name: str) -> bool:
    """Whether a name or code can stand in the series."""
    return _PLAIN.fullmatch(name) is not None


def line(sample: Sample) -> str:
    """The sample's line, without its end. Raises ValueError for a name, code or value that no point can have."""
    kind, meter, gateway, time, values = sample
    if not values:
        raise ValueError("a sample without a value")
    if kind == "quantity":
        fields = ",".join([f"{_code(code)}={float(value)!r}" for code, value in values.items()])
    else:
        fields = ",".join([f"{_code(code)}={value}i" for code, value in values.items()])
    return f"{_series(kind, meter, gateway)} {fields} {time}"


@lru_cache(maxsize=_REMEMBERED)
def _series(kind: Kind, meter: str, gateway: str) -> str:
    for name in (meter, gateway):
        if not plain(name):
            raise ValueError(f"{name!r} can be no tag of a series")
    return f"{MEASUREMENT[kind]},gateway={gateway},meter={meter}"


@lru_cache(maxsize=1024)
def _code(code: str) -> str:
    if not plain(code):
        raise ValueError(f"{code!r} can be no field of a series")
    return code
