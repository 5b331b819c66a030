"""The lines of a file that somebody sends: each a text that can be printed, or cells of CSV, or refused."""

from __future__ import annotations

import csv

from collector.central.manual_desk import Refused
from collector.central.spreadsheet import unguarded
from drivers.strict_yaml import ConfigError

LONGEST = 1000  # characters of a line: an account of 64, an address, a dozen readings; more is no message
MOST_BYTES = 64 << 20  # a line for each of a million accounts


def lines_of(data: bytes, name: str) -> list[bytes]:
    """The lines of a file as they came, one at least. Raises ConfigError for a file that is too large."""
    if len(data) > MOST_BYTES:
        raise ConfigError([f"{name}: {len(data)} bytes; at most {MOST_BYTES}; cut it into several"])
    return data.removeprefix(b"\xef\xbb\xbf").split(b"\n")


def text_of(line: bytes) -> str:
    """The text of a line. Raises Refused for what is none."""
    try:
        text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}, which is not UTF-8") from None
    if len(text) > LONGEST:
        raise Refused(f"{len(text)} characters; a line has at most {LONGEST}")
    if not text.replace("\t", "").isprintable():
        raise Refused("the line holds characters that cannot be printed")
    return text


def cells_of(text: str, delimiter: str, columns: int | None = None) -> list[str]:
    """The cells of a line of CSV, without blanks around them; so many of them where it is known. Raises Refused."""
    try:
        (cells,) = csv.reader([text], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        raise Refused(f"not CSV: {error}; put quotes around a text with {delimiter} or quotes") from None
    if columns is not None and len(cells) != columns:
        raise Refused(f"{len(cells)} columns instead of {columns}")
    return [unguarded(cell.strip()) for cell in cells]
