"""What a person types, as an act keeps it: functions of a text that raise Wanted where something else is wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from collector.config_fields import BAUDRATES, name, read_secret
from collector.model_act import Ground
from drivers import profile as profiles
from drivers.strict_yaml import ConfigError

__all__ = [
    "WANTED", "Wanted", "baudrate", "day", "display", "framing", "ground", "line", "meter_time", "name", "one_of",
    "profile", "ratio", "seal_off", "seal_on", "secret", "transformers", "whole", "yes_or_no",
]  # fmt: skip

# What is wanted, in English; collector/acts/words/ has the same names for those who type.
WANTED: Mapping[str, str] = {
    "yes_or_no": "yes or no (да, нет)",
    "day": "a day is YYYY-MM-DD or DD.MM.YYYY",
    "display": "the digits of the display with its decimal mark, such as 15023.90",
    "long": "at most twelve digits, and six behind the decimal mark",
    "whole": "a whole number from {least} to {most}",
    "ratio": "a decimal number above 0 such as 1 or 40 or 0.5",
    "line": "1 to {most} printable characters (here: {count})",
    "framing": "data bits 7 or 8, parity N, E or O, stop bits 1 or 2: 8N1, 7E1",
    "one_of": "one of {names}",
    "parts": "{names}, with semicolons between them",
    "seal_on": "behind the place: intact for a seal that was there before, or nothing",
    "seal_off": "behind the place: intact or broken, as it was found",
}


class Wanted(ValueError):
    """Something else was typed than is wanted. `name`: of WANTED, which is the text; `facts`: what stands in it."""

    def __init__(self, name: str, **facts: object) -> None:
        super().__init__(WANTED[name].format(**facts))
        self.name, self.facts = name, facts


YES, NO = ("y", "yes", "да", "д", "true"), ("n", "no", "нет", "н", "false")


def yes_or_no(text: str) -> bool:
    """yes, no, да, нет."""
    if text.casefold() in YES:
        return True
    if text.casefold() in NO:
        return False
    raise Wanted("yes_or_no")


def day(text: str) -> str:
    """YYYY-MM-DD, or DD.MM.YYYY as a certificate prints it."""
    parts = text.split(".")
    if len(parts) == 3:
        text = f"{parts[2]}-{parts[1]:0>2}-{parts[0]:0>2}"
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Wanted("day") from None


def display(text: str) -> str:
    """Digits with one decimal mark; a comma, as it stands on many displays, is a point."""
    plain = text.replace(",", ".").replace(" ", "")
    digits, _, places = plain.partition(".")
    if not digits.isdecimal() or not digits.isascii() or (places and not (places.isdecimal() and places.isascii())):
        raise Wanted("display")
    if len(digits) > 12 or len(places) > 6 or plain.endswith("."):
        raise Wanted("long")
    return plain


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def read(text: str) -> int:
        if not text.isdecimal() or not text.isascii() or not least <= int(text) <= most:
            raise Wanted("whole", least=least, most=most)
        return int(text)

    return read


def ratio(text: str) -> int | float:
    """A decimal number above 0, a whole one without a point."""
    plain = text.replace(",", ".")
    if not plain.replace(".", "", 1).isdecimal() or not plain.isascii() or not Decimal(plain) or len(plain) > 13:
        raise Wanted("ratio")
    number = Decimal(plain)
    return int(number) if number == number.to_integral_value() else float(number)


def line(most: int) -> Callable[[str], str]:
    """So many printable characters."""

    def read(text: str) -> str:
        if not text or len(text) > most or not text.isprintable():
            raise Wanted("line", most=most, count=len(text))
        return text

    return read


def baudrate(text: str) -> int:
    """A speed of a serial line."""
    if not text.isdecimal() or int(text[:9]) not in BAUDRATES:
        raise Wanted("one_of", names=", ".join(map(str, BAUDRATES)))
    return int(text)


def framing(text: str) -> str:
    """Data bits, parity, stop bits."""
    if not re.fullmatch(r"[78][NEO][12]", text):
        raise Wanted("framing")
    return text


def meter_time(text: str) -> str:
    """What a meter's clock shows."""
    return one_of(("local", "standard", "utc"))(text)


def secret(text: str) -> bytes:
    """The password in a file's first line."""
    return read_secret(Path(text)).encode()


def profile(text: str) -> str:
    """The id of a meter's profile."""
    try:
        return profiles.load(text).id
    except ConfigError as error:
        raise ValueError("; ".join(error.faults)) from None


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """One of these."""

    def read(text: str) -> str:
        if text not in names:
            raise Wanted("one_of", names=", ".join(names))
        return text

    return read


def ground(text: str) -> str:
    """The code of a ground against admitting a meter."""
    return one_of(get_args(Ground))(text)


def _parts(text: str, names: str, least: int) -> list[str]:
    parts = [part.strip() for part in text.split(";")]
    if not least <= len(parts) <= len(names.split(";")) or not all(parts[:least]):
        raise Wanted("parts", names=names)
    for part in parts:
        if part:
            line(64)(part)
    return parts


def seal_on(text: str) -> dict[str, Any]:
    """A seal that is set, or was there and stays."""
    number, kind, place, *was = _parts(text, "number;type;place;intact", 3)
    if was not in ([], ["intact"]):
        raise Wanted("seal_on")
    state = {"before": "intact", "after": "intact"} if was else {"before": None, "after": "set"}
    return {"number": number, "type": kind, "place": place, **state}


def seal_off(text: str) -> dict[str, Any]:
    """A seal that is taken off, and how it was found."""
    number, kind, place, *was = _parts(text, "number;type;place;intact|broken", 3)
    if was not in ([], ["intact"], ["broken"]):
        raise Wanted("seal_off")
    return {"number": number, "type": kind, "place": place, "before": was[0] if was else "intact", "after": "removed"}


def transformers(text: str) -> dict[str, Any]:
    """Measuring transformers: current, voltage, serial numbers with commas between them."""
    current, *more = _parts(text, "current;voltage;serial numbers", 1)
    found: dict[str, Any] = {"current": current}
    if more and more[0]:
        found["voltage"] = more[0]
    if len(more) > 1:
        found["serial_numbers"] = [part.strip() for part in more[1].split(",") if part.strip()]
    return found
