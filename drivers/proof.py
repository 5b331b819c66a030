"""Whether a profile gives what its proofs say: each answer through the driver, each value as `read` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from drivers import obis
from drivers.dialogue import DriverError, Readout
from drivers.profile import CLOCK, SERIAL, Profile
from drivers.table import driver
from drivers.values import kilo


def printed(code: str, value: int | Decimal) -> str:
    """A value as `meterline read` prints it: energy as kWh with three decimals, others as their plain decimal."""
    return kilo(int(value)) if obis.parse(code).is_energy else f"{Decimal(value):f}"


def shown(readout: Readout) -> dict[str, str]:
    """All that a readout holds, as a proof's `gives` has it."""
    texts = {code: printed(code, measured.value) for code, measured in readout.registers.items()}
    for closing in readout.frozen:
        label = closing.stamp or closing.back
        texts |= {f"frozen.{label}.{code}": printed(code, it.value) for code, it in closing.registers.items()}
    other = ((SERIAL, readout.serial_number), (CLOCK, readout.clock))
    return texts | {name: text for name, text in other if text is not None}


def failures(profile: Profile) -> Iterator[str]:
    """What is wrong with the proofs, a sentence each; nothing when all hold. Needs what the driver needs (pymodbus)."""
    understand = driver(profile.protocol).understand
    for number, proof in enumerate(profile.proof, 1):
        where = f"{profile.id}, proof {number} ({proof.label})"
        try:
            given = shown(understand(profile, proof))
        except DriverError as error:
            yield f"{where}: the answer is refused: {error}"
            continue
        yield from (f"{where}: {text}" for text in _differences(proof.gives, given))


def _differences(wanted: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*wanted, *given)):
        if name not in given:
            yield f"{name} must be {wanted[name]}; the answer gives none"
        elif name not in wanted:
            yield f"the answer gives {name} too, {given[name]}; a proof lists all that its answer holds"
        elif wanted[name] != given[name]:
            yield f"{name} must be {wanted[name]}, the answer gives {given[name]}"
