"""The typed scalars of configuration files: text as it stands in YAML becomes numbers, durations, paths, addresses.

Each validator takes text (a value that has its type already passes) and raises ValueError that says what would be
right. Relative paths are relative to the file: `validate` hands its folder over. Under systemd a credential of the
same name comes first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, model_validator

from collector import localtime
from collector.model import NAME
from drivers import obis

T = TypeVar("T")

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
BAUDRATES = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)


class Section(BaseModel):
    """A part of a configuration file. Frozen; an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, data: Any) -> Any:
        if data is None or isinstance(data, str | list):
            raise ValueError(f"a mapping of keys is wanted here: {', '.join(keys(cls))}")
        return data


def keys(section: type[Section]) -> list[str]:
    """The keys of a section as they stand in the file, in their order."""
    return [field.alias or name for name, field in section.model_fields.items()]


def from_text(read: Callable[[str], T]) -> BeforeValidator:
    """A validator for scalars: text is read, lists and mappings are refused, typed values pass."""

    def take(value: Any) -> Any:
        if value is None or isinstance(value, list | dict):
            raise ValueError(f"one value is wanted here, not {_kind(value)}")
        return read(value) if isinstance(value, str) else value

    return BeforeValidator(take)


def _kind(value: Any) -> str:
    return {type(None): "nothing", list: "a list", dict: "a mapping"}.get(type(value), type(value).__name__)


def _list(value: Any) -> Any:
    if value is None:
        return ()
    if isinstance(value, list | tuple):
        return value
    raise ValueError(f"a list is wanted here, not {_kind(value)}")


def name(text: str) -> str:
    """A gateway, meter, line: safe in topics, tags and file names."""
    if not re.fullmatch(NAME, text):
        raise ValueError("a name is 1 to 63 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit")
    return text


def whole(least: int, most: int) -> BeforeValidator:
    """A decimal whole number; `010` is ten."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"a decimal whole number from {least} to {most} is wanted")
        return int(text)

    return from_text(read)


def milliseconds(text: str) -> int:
    """`30s` -> 30000. Units: ms, s, m, h, d. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text)
    if match is None:
        raise ValueError("a duration is a whole number and its unit: 30s, 15m, 1h, 40d")
    return int(match[1]) * _UNITS[match[2]]


def duration(least: str, most: str) -> BeforeValidator:
    """A duration within bounds, in milliseconds."""

    def read(text: str) -> int:
        found = milliseconds(text)
        if not milliseconds(least) <= found <= milliseconds(most):
            raise ValueError(f"a duration from {least} to {most} is wanted")
        return found

    return from_text(read)


def _share(text: str) -> float:
    try:
        found = Decimal(text) if re.fullmatch(r"[0-9.]{1,12}", text) else Decimal(-1)
    except InvalidOperation:
        found = Decimal(-1)
    if not 0 <= found <= 1:
        raise ValueError("a share is a decimal number from 0 to 1, such as 0.05")
    return float(found)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false is wanted")
    return text == "true"


def _zone(text: str) -> str:
    localtime.zone(text)
    return text


def _instant(text: str) -> int:
    return localtime.to_millis(localtime.parse_time(text))


def _baudrate(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:9]) not in BAUDRATES:
        raise ValueError(f"a baud rate is one of {', '.join(map(str, BAUDRATES))}")
    return int(text)


def _framing(text: str) -> str:
    if not re.fullmatch(r"[78][NEO][12]", text):
        raise ValueError("framing is data bits 7 or 8, parity N, E or O, stop bits 1 or 2: 8N1, 8E1, 7E1")
    return text


def _code(text: str) -> str:
    return str(obis.parse(text))


def located(folder: Path, text: str) -> Path:
    """Where a path of a file in `folder` leads.

    Under systemd (LoadCredential=) a secret is handed to the service in a folder of its own, under the name that it has
    in the file; there it is looked for first, so that the same file is right for the service and for `config check`.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and "/" not in text and (handed := Path(credentials, text)).is_file():
        return handed
    return folder / text


def _path(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        if not value or "\0" in value:
            raise ValueError("the path of a file is wanted")
        return located(Path((info.context or {}).get("folder", ".")), value)
    if isinstance(value, Path):
        return value
    raise ValueError(f"the path of a file is wanted, not {_kind(value)}")


def _port(text: str) -> str:
    if text.startswith("/dev/") or (text.startswith("/") and "//" not in text):
        return text
    match = re.fullmatch(r"(socket|rfc2217|tcp)://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", text)
    if match is None or not 1 <= int(match[2]) <= 65535:
        raise ValueError(
            "a port is a device such as /dev/ttyUSB0, or socket://host:port (a transparent converter), "
            "rfc2217://host:port, tcp://host:port (Modbus TCP)"
        )
    return text


def _mqtt_url(text: str) -> str:
    if "@" in text:
        return text  # it may hold a password: `check_mqtt` says so without repeating it
    wanted = "the broker is mqtts://host:8883 (TLS) or mqtt://host:1883"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(wanted) from None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == 0 or parts.path.strip("/") or parts.query:
        raise ValueError(wanted)
    return text


def _listen(text: str) -> str:
    match = re.fullmatch(r"(?:([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):)?([0-9]{1,5})", text)
    if match is None or not 1 <= int(match[2]) <= 65535:
        raise ValueError(
            "an address to listen at is wanted: 127.0.0.1:9101, [::1]:9101, or a port of this computer alone"
        )
    return f"{match[1] or '127.0.0.1'}:{match[2]}"


def one_of(*words: str) -> BeforeValidator:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)} is wanted")
        return text

    return from_text(read)


ListOf = Annotated[tuple[T, ...], BeforeValidator(_list)]
Version = Annotated[int, whole(1, 1)]  # of the file's own form; a change of meaning is a new number
Name = Annotated[str, from_text(name)]
Text = Annotated[str, from_text(lambda text: text)]
Zone = Annotated[str, from_text(_zone)]
Share = Annotated[float, from_text(_share)]
Truth = Annotated[bool, from_text(_truth)]
Instant = Annotated[int, from_text(_instant)]
Baudrate = Annotated[int, from_text(_baudrate)]
Framing = Annotated[str, from_text(_framing)]
Code = Annotated[str, from_text(_code)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Port = Annotated[str, from_text(_port)]
MqttUrl = Annotated[str, from_text(_mqtt_url)]
MeterTime = Annotated[Literal["local", "standard", "utc"], one_of("local", "standard", "utc")]
Listen = Annotated[str, from_text(_listen)]
LogForm = Annotated[Literal["plain", "json"], one_of("plain", "json")]
Protocol = Annotated[Literal["auto", "5", "3.1.1"], one_of("auto", "5", "3.1.1")]

# Readings older than this are of no use to a bill that is corrected; a typo such as 4000d is caught.
Keep = Annotated[int, duration("1h", "3650d")]
# Faster than 5 s no multi-drop line of ten meters can be read at 9600 baud; slower than a day there is the boundary.
Interval = Annotated[int, duration("5s", "1d")]


def read_secret(path: Path) -> str:
    """The first line of a password or token file, without its line end. Raises ValueError, which never shows it."""
    try:
        text = path.read_bytes()[:4096].decode("utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    secret = text.split("\n", 1)[0].removesuffix("\r")
    if not secret:
        raise ValueError(f"{path}: its first line is empty; it should hold the password")
    return secret
