"""How a scalar of a profile is spelled in its file: the text that is allowed, what it means, and back.

Every scalar of the file is text (`drivers.strict_yaml`), so a value has one spelling here, one fault that says what
would be right, and one entry in the JSON schema. Law: `read(write(value)) == value`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from drivers import obis
from drivers.values import base_unit

ID = r"[a-z0-9][a-z0-9.-]{0,62}"


@dataclass(frozen=True, slots=True)
class Spelled:
    """The spelling of a scalar, for `Annotated`.

    `pattern` is what the whole text must match, `right` the sentence for a text that does not, `read` its value
    (ValueError with a sentence of its own where the pattern cannot say it all), `write` the text of a value. `plain`
    are JSON types beside string that an editor's YAML reader may take the same text for.
    """

    pattern: str
    right: str
    read: Callable[[str], Any]
    write: Callable[[Any], str] = str
    plain: tuple[str, ...] = ()

    def value(self, text: Any) -> Any:
        """The value that `text` spells. Raises ValueError that says what would be right."""
        if not isinstance(text, str) or re.fullmatch(self.pattern, text) is None:
            raise ValueError(self.right)
        return self.read(text)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            self.value,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(self.write, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        types = ["string", *self.plain] if self.plain else "string"
        return {"type": types, "pattern": f"^(?:{self.pattern})$", "description": self.right}


def whole(low: int, high: int) -> Spelled:
    """A whole number from `low` to `high`."""
    right = f"a whole number from {low} to {high}"

    def read(text: str) -> int:
        if not low <= int(text) <= high:
            raise ValueError(right)
        return int(text)

    return Spelled(r"[0-9]{1,9}", right, read, plain=("integer",))


def choice(*texts: str, read: Callable[[str], Any] = int, write: Callable[[Any], str] = str) -> Spelled:
    """One of a few texts that name numbers."""
    return Spelled("|".join(texts), f"one of {', '.join(texts)}", read, write, ("integer",))


def _unit(text: str) -> str:
    base_unit(text)
    return text


Code = Annotated[
    str,
    Spelled(
        r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", "an OBIS code C.D.E such as 1.8.0", lambda text: str(obis.parse(text))
    ),
]
Wire = Annotated[
    int,
    Spelled(
        r"[0-9A-F]{4}",
        "a wire address is four upper-case hex digits as sent in the frame, counted from 0, e.g. 0048",
        lambda text: int(text, 16),
        "{:04X}".format,
    ),
]
Hex = Annotated[
    bytes,
    Spelled(
        r"([0-9A-Fa-f]{2}\s*)+",
        "bytes are pairs of hex digits, blanks between bytes allowed, e.g. 01 04 04",
        bytes.fromhex,
        lambda data: data.hex(" ").upper(),
    ),
]
Unit = Annotated[str, Spelled(r".{0,8}", "a unit such as kWh, kvarh, W, V, A or Hz", _unit)]
Scale = Annotated[
    Decimal,
    Spelled(
        r"0*[1-9][0-9]*(\.[0-9]+)?|0+\.0*[1-9][0-9]*",
        "a scale is a positive decimal number, e.g. 0.01",
        Decimal,
        plain=("number",),
    ),
]
Seconds = Annotated[
    float,
    Spelled(
        r"[0-9]{1,6}ms",
        "a time in a profile is whole milliseconds, e.g. 500ms",
        lambda text: int(text[:-2]) / 1000,
        lambda seconds: f"{seconds * 1000:.0f}ms",
    ),
]
Framing = Annotated[
    str,  # an editor may take 8E1 for the number 80
    Spelled("[78][NEO][12]", "framing is data bits, parity and stop bits, e.g. 8N1 or 8E1", str, plain=("number",)),
]
Function = Annotated[Literal[3, 4], choice("03", "04", write="{:02d}".format)]
Baudrate = Annotated[int, choice("300", "600", "1200", "2400", "4800", "9600", "19200", "38400", "57600", "115200")]
Flag = Annotated[
    bool,
    Spelled("true|false", "true or false", lambda text: text == "true", lambda flag: str(flag).lower(), ("boolean",)),
]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Shown = Annotated[str, Spelled(r".{1,200}", "the text that meterline read prints", str, plain=("number",))]
