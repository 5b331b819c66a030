"""A text table in a utility's own encoding: delimiter, quotes, line ends, and no text that a spreadsheet calculates."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from typing import Annotated, BinaryIO, Literal

from collector.central.spreadsheet import guarded
from collector.central.submissions.rows import OutputSection
from collector.config_fields import Truth, from_text, one_of

_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
_ENDS = {"lf": "\n", "crlf": "\r\n"}


def _encoding(text: str) -> str:
    try:
        found = codecs.lookup(text)
    except LookupError:
        raise ValueError("an encoding such as utf-8, windows-1251, koi8-r is wanted") from None
    ascii_text = "\r\n\t" + "".join(map(chr, range(32, 127)))
    if ascii_text.encode(found.name) != ascii_text.encode("ascii"):
        raise ValueError("an encoding that has ASCII's bytes is wanted: utf-8, windows-1251, koi8-r")
    return found.name


class TableSection(OutputSection):
    """How a table is written down. `guard`: a text that begins with = + - @ or a tab gets a leading apostrophe."""

    encoding: Annotated[str, from_text(_encoding)] = "utf-8"
    bom: Truth = False
    delimiter: Annotated[Literal["comma", "semicolon", "tab", "bar"], one_of("comma", "semicolon", "tab", "bar")] = (
        "comma"
    )
    ends: Annotated[Literal["lf", "crlf"], one_of("lf", "crlf")] = "lf"
    guard: Truth = True


class Table:
    """A file of records in the making. `rows` counts them."""

    def __init__(self, section: TableSection, file: BinaryIO) -> None:
        self.rows = 0
        self._section = section
        self._file = file
        self._text = io.StringIO(newline="")
        self._csv = csv.writer(self._text, delimiter=_DELIMITERS[section.delimiter], lineterminator=_ENDS[section.ends])
        if section.bom and section.encoding == "utf-8":
            file.write(codecs.BOM_UTF8)

    def texts(self, cells: Sequence[str]) -> list[str]:
        """Cells that no spreadsheet calculates, where the utility does not refuse that; numbers stay as they are."""
        if not self._section.guard:
            return list(cells)
        return [cell if re.fullmatch(r"-?[0-9]+([.,][0-9]+)?", cell) else guarded(cell) for cell in cells]

    def record(self, cells: Sequence[str]) -> str:
        """Write a record; characters that the encoding lacks become `?` and are returned, else ""."""
        self._csv.writerow(cells)
        line = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        self.rows += 1
        try:
            self._file.write(line.encode(self._section.encoding))
        except UnicodeEncodeError:
            self._file.write(line.encode(self._section.encoding, errors="replace"))
            return "".join(dict.fromkeys(sign for sign in line if not self.has(sign)))
        return ""

    def has(self, text: str) -> bool:
        """Whether the encoding has all these characters."""
        try:
            text.encode(self._section.encoding)
        except UnicodeEncodeError:
            return False
        return True
