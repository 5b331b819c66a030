"""A text table in a utility's own encoding: delimiter, quotes, line ends, and no text that a spreadsheet calculates."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, BinaryIO, Literal, Self

from pydantic import model_validator

from collector.central.spreadsheet import guarded
from collector.central.submissions.rows import OutputSection, Remark
from collector.config_fields import Truth, from_text, one_of
from collector.model import BillingReading

_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
_ENDS = {"lf": "\n", "crlf": "\r\n"}


_ASCII = "\r\n\t" + "".join(map(chr, range(32, 127)))


def _encoding(text: str) -> str:
    try:
        found = codecs.lookup(text).name
        plain = _ASCII.encode(found)
    except (LookupError, UnicodeError):  # no such name; or what Python calls a codec and is none of texts, as rot13
        raise ValueError("an encoding such as utf-8, windows-1251, koi8-r is wanted") from None
    if plain != _ASCII.encode("ascii"):
        raise ValueError("an encoding that has ASCII's bytes is wanted: utf-8, windows-1251, koi8-r")
    return found


def lacking(text: str, encoding: str) -> str:
    """The characters of a text that the encoding does not have, each once."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(dict.fromkeys(sign for sign in text if not _has(sign, encoding)))
    return ""


def _has(sign: str, encoding: str) -> bool:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


class TableSection(OutputSection):
    """How a table is written down. `guard`: a text that begins with = + - @ or a tab gets a leading apostrophe."""

    encoding: Annotated[str, from_text(_encoding)] = "utf-8"
    bom: Truth = False
    delimiter: Annotated[Literal["comma", "semicolon", "tab", "bar"], one_of("comma", "semicolon", "tab", "bar")] = (
        "comma"
    )
    ends: Annotated[Literal["lf", "crlf"], one_of("lf", "crlf")] = "lf"
    guard: Truth = True

    @model_validator(mode="after")
    def _mark(self) -> Self:
        if self.bom and self.encoding != "utf-8":
            raise ValueError(f"bom: a mark of byte order is utf-8's alone, this table is in {self.encoding}")
        return self


class Table:
    """A file of records in the making."""

    def __init__(self, section: TableSection, file: BinaryIO) -> None:
        self._section = section
        self._file = file
        self._text = io.StringIO(newline="")
        self._csv = csv.writer(self._text, delimiter=_DELIMITERS[section.delimiter], lineterminator=_ENDS[section.ends])
        if section.bom:
            file.write(codecs.BOM_UTF8)

    def texts(self, cells: Sequence[str]) -> list[str]:
        """Cells that no spreadsheet calculates, where the utility does not refuse that; numbers stay as they are."""
        if not self._section.guard:
            return list(cells)
        return [cell if re.fullmatch(r"-?[0-9]+([.,][0-9]+)?", cell) else guarded(cell) for cell in cells]

    def strange(self, reading: BillingReading) -> Remark | None:
        """Why a meter cannot be in this table: a `?` in its account or serial number would be somebody else's."""
        for name, text in (("account", reading.account), ("serial number", reading.serial_number)):
            if lacking(text, self._section.encoding):
                reason = f"{name} {text!r} cannot be written in {self._section.encoding}"
                return Remark(reading.account, reading.point, "", False, reason)
        return None

    def lost(self, reading: BillingReading, cells: Sequence[str]) -> Iterator[Remark]:
        """What of a meter's cells becomes `?`."""
        if lost := lacking("".join(cells), self._section.encoding):
            reason = f"{lost!r} cannot be written in {self._section.encoding}: `?`"
            yield Remark(reading.account, reading.point, "", True, reason)

    def record(self, cells: Sequence[str]) -> None:
        """Write a record; a character that the encoding lacks becomes `?`."""
        self._csv.writerow(cells)
        line = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        self._file.write(line.encode(self._section.encoding, errors="replace"))
