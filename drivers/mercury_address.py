"""Addresses of Mercury meters: on the wire, in one spelling, and as they follow from the serial number."""

from __future__ import annotations

from drivers.dialogue import NotInProfile
from drivers.mercury_requests import Family

ANYBODY = 0  # any meter answers, so one may hang there (INC20 1.5.2)
SINGLE = range(0x01, 0xF1)  # of the 230 family (INC20 table 1.2); F1 to FF are reserved, FE speaks to all
WITH_D = range(17, 125)  # of its meters with D in their type (INC20 appendix B)
MOST = 0xFFFFFFFF  # of the 200 family: four bytes, as delivered the serial number (M206 table 1)


def normal_address(address: str, port: str) -> str:  # noqa: ARG001 - as every driver has it; no port matters here
    """The one spelling of an address. Raises ValueError that says what would be right."""
    number = _number(address)
    if number == ANYBODY:
        raise ValueError(
            "0 asks whatever Mercury hangs there, and on a wire with others all answer at once; for a single meter use "
            "--profile auto, else give the meter's own address"
        )
    if not 1 <= number <= MOST:
        raise ValueError(
            "a Mercury address is a decimal number: 1 to 240 for three-phase meters (the last digits of the serial "
            "number), the serial number itself or its last six digits for single-phase ones"
        )
    return str(number)


def _number(address: str) -> int:
    return int(address) if address.isascii() and address.isdecimal() and len(address) <= 10 else -1


def on_the_wire(family: Family, address: str) -> bytes:
    """The address as a frame has it: one byte, or four with the most significant first. Raises NotInProfile.

    0 is let through for the 230 family: it asks a meter that is alone.
    """
    number = _number(address)
    if family == "200" and 1 <= number <= MOST:
        return number.to_bytes(4, "big")
    if family == "230" and (number in SINGLE or number == ANYBODY):
        return bytes((number,))
    right = "a number from 1 to 240" if family == "230" else "the serial number, or its last six digits"
    raise NotInProfile(f"address {address!r}: a Mercury of the {family} family has {right}")


def of_serial(serial: str, *, d_index: bool = False) -> int:
    """The address that a meter of the 230 family leaves the factory with (INC20 appendix B).

    `d_index`: its type has the letter D (SPODES too). Its three last digits, or two where three are too many; 0 becomes
    1; with D, what is below 17 is raised by tens. Raises ValueError for a serial number that is not all digits.
    """
    if not (serial.isascii() and serial.isdecimal()):
        raise ValueError(f"serial number {serial!r} is not all digits")
    number = int(serial[-3:])
    most = WITH_D[-1] if d_index else 239  # F0 is allowed by table 1.2, but the appendix says 239
    if number > most or (d_index and number < WITH_D[0]):
        number = int(serial[-2:])
    if not d_index:
        return number or 1
    while number < WITH_D[0]:
        number += 10
    return number
