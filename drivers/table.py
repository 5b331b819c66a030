"""DRIVERS: protocol name -> module, imported on use. The one list of protocols.

A driver module gives two functions:

`read(profile, ask)`: a `Dialogue[Readout]`, our side; raises DriverError.
`answer(profile, address, held, buffer)`: the meter's side for simulated meters, `buffer` the bytes that came; the three
outcomes of a parser, where `Done.frame` is the answer's bytes (empty: the request is for another meter, stay silent).
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

DRIVERS = {
    "modbus": "drivers.modbus",
}


def driver(protocol: str) -> ModuleType:
    """The module of a protocol. Raises KeyError for a protocol that is not in the table."""
    return import_module(DRIVERS[protocol])
