"""points.csv to checked rows: every fault of the file at once, each with its line, and what would be right.

What a file alone can show is checked here; what it takes the registry to see is checked by `points_import`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from decimal import Decimal
from sys import intern
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from collector import localtime
from collector.central.case import billed
from collector.central.spreadsheet import unguarded
from collector.config_fields import name
from collector.serials import plain_serial
from drivers import profile as profiles
from drivers.strict_yaml import ConfigError

HEADER = (
    "point", "account", "utility", "address", "flat", "tariffs", "receipt_order",
    "meter", "serial_number", "profile", "gateway", "ratio", "time_zone",
)  # fmt: skip
DEVICE = ("meter", "serial_number", "profile", "gateway")  # all given, or all empty: a point read by hand

MOST_ROWS = 1_000_000  # they are held in memory at once, about 1 KiB each; a larger registry comes in several files
MOST_BYTES = 1 << 30  # a thousand bytes a row, four times what the longest real addresses make
MOST_FAULTS = 1000  # as many as a person may want to read; the rest are counted


def _name(text: str) -> str:
    return intern(name(text))


def _text(most: int, least: int = 0) -> AfterValidator:
    def check(text: str) -> str:
        if not least <= len(text) <= most or not text.isprintable() or text != text.strip():
            raise ValueError(f"{least} to {most} printable characters, without blanks at the ends")
        return text

    return AfterValidator(check)


def _whole(least: int, most: int) -> BeforeValidator:
    def check(text: Any) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return BeforeValidator(check)


def _ratio(text: Any) -> Decimal:
    # Transformers of 35 kV and 1000 A make 70,000; a calculated ratio has at most four places behind the point.
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not Decimal(text):
        raise ValueError("a decimal number above 0 such as 1 or 40 or 0.5")
    return Decimal(text)


def _zone(text: str) -> str:
    localtime.zone(text)
    return intern(text)


def _profile(text: str) -> str:
    if text.endswith(".yaml"):
        raise ValueError("the id of a shipped profile, not a file")
    try:
        return intern(profiles.load(text).id)
    except ConfigError as error:
        raise ValueError("; ".join(error.faults)) from None


Name = Annotated[str, AfterValidator(_name)]


@dataclass(frozen=True, slots=True)
class Device:
    """The meter of a row."""

    meter: Name
    serial_number: Annotated[str, _text(64, 1)]
    profile: Annotated[str, AfterValidator(_profile)]
    gateway: Name


@dataclass(frozen=True, slots=True)
class PointRow:
    """One row. `line`: where it begins in the file. `device` None: a point read by hand."""

    line: int
    point: Name
    account: Annotated[str, _text(64, 1)]
    utility: Name
    address: Annotated[str, _text(500)]
    flat: Annotated[str, _text(50)]
    tariffs: Annotated[int, _whole(1, 4)]
    receipt_order: Annotated[int, _whole(1, 999)]
    ratio: Annotated[Decimal, BeforeValidator(_ratio)]
    time_zone: Annotated[str, AfterValidator(_zone)]
    device: Device | None


_ROW = TypeAdapter(PointRow)


class Faults:
    """Faults by line; the first thousand in full, the rest counted."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: list[tuple[int, str]] = []
        self._count = 0

    def add(self, line: int, text: str) -> None:
        """Note a fault of the row that begins at this line."""
        self._count += 1
        if len(self._found) < MOST_FAULTS:
            self._found.append((line, text))

    def raise_any(self) -> None:
        """Raise ConfigError, in the order of the file, if there is any."""
        if self._count:
            lines = [f"{self._file}:{line}: {text}" for line, text in sorted(self._found, key=lambda item: item[0])]
            more = self._count - len(lines)
            raise ConfigError([*lines, f"{self._file}: and {more} faults more"] if more else lines)


def brand(profile: str) -> str:
    """The maker: a profile's id begins with it. Two makers may well give out the same serial number."""
    return profile.split("-", 1)[0]


def parse(data: bytes, file: str, *, default_zone: str, utilities: Collection[str]) -> list[PointRow]:
    """The rows of a file, sound each and together.

    `file` stands for it in faults, `default_zone` for an empty time_zone. Raises ConfigError with all faults.
    """
    faults = Faults(file)
    rows: list[PointRow] = []
    for line, cells in _records(_decode(data, file), faults):
        if len(rows) >= MOST_ROWS:
            faults.add(line, f"more than {MOST_ROWS} rows; cut the file into several")
            break
        row = _row(line, cells, default_zone, faults)
        if row is not None:
            _check_references(row, utilities, faults)
            rows.append(row)
    _check_together(rows, faults)
    faults.raise_any()
    return rows


def _decode(data: bytes, file: str) -> str:
    """The file's text without the mark that spreadsheets put before it."""
    if len(data) > MOST_BYTES:
        raise ConfigError([f"{file}: {len(data)} bytes; a file has at most {MOST_BYTES}; cut it into several"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        faults = Faults(file)
        for number, line in enumerate(data.split(b"\n"), 1):  # no UTF-8 sequence has a line break inside
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}"
                faults.add(number, f"not UTF-8 ({byte}); save the file as UTF-8")
        faults.raise_any()
        raise


def _records(text: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each record behind the header, blank lines left out; stops where the file is no CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        if tuple(header) != HEADER:
            faults.add(1, _header_fault(header))
            return
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        faults.add(line, f"not CSV: {error}; put quotes around a text with commas or quotes, and double those inside")


def _header_fault(header: list[str]) -> str:
    wanted = ",".join(HEADER)
    for delimiter, word in ((";", "semicolons"), ("\t", "tabs")):
        if delimiter in "".join(header):
            return f"the columns are separated by {word}; separate them by commas: {wanted}"
    missing = [column for column in HEADER if column not in header]
    strange = [repr(column) for column in header if column not in HEADER]
    parts = [f"missing: {', '.join(missing)}"] if missing else []
    parts += [f"unknown: {', '.join(strange)}"] if strange else []
    return f"the header must be {wanted} ({'; '.join(parts) or 'here in another order, or one of them twice'})"


def _row(line: int, cells: list[str], default_zone: str, faults: Faults) -> PointRow | None:
    if len(cells) != len(HEADER):
        faults.add(line, f"{len(cells)} columns instead of {len(HEADER)}; put quotes around a text with commas")
        return None
    text = dict(zip(HEADER, map(unguarded, cells), strict=True))
    device = {column: text.pop(column) for column in DEVICE}
    empty = [column for column, cell in device.items() if not cell]
    if 0 < len(empty) < len(DEVICE):
        faults.add(line, f"{', '.join(empty)}: empty; {', '.join(DEVICE)} are all given, or all empty (read by hand)")
    text["receipt_order"] = text["receipt_order"] or "1"
    text["ratio"] = text["ratio"] or "1"
    text["time_zone"] = text["time_zone"] or default_zone
    try:
        return _ROW.validate_python({"line": line, **text, "device": None if empty else device})
    except ValidationError as error:
        for item in error.errors(include_url=False):
            message = item["msg"].removeprefix("Value error, ")
            faults.add(line, f"{item['loc'][-1]}: {message} (here: {str(item['input'])[:80]!r})")
        return None


def _check_references(row: PointRow, utilities: Collection[str], faults: Faults) -> None:
    """The utility is known, and the meter has the registers that are billed."""
    if row.utility not in utilities:
        faults.add(row.line, f"utility: {row.utility!r} is not known; known are {', '.join(sorted(utilities))}")
    if row.device is None:
        return
    profile = profiles.load(row.device.profile)
    registers = billed(row.tariffs)
    if missing := [code for code in registers if not profile.can_give(code)]:
        faults.add(
            row.line,
            f"tariffs: {row.tariffs} bills {', '.join(registers)}; {profile.id} has no {', '.join(missing)} "
            f"(it has {', '.join(code for code in profile.energy_codes if code.startswith('1.8.'))})",
        )


def _check_together(rows: list[PointRow], faults: Faults) -> None:
    """Points and meters come once, serial numbers once for each maker, and no two names differ only in case."""
    devices = [(row.line, row.device) for row in rows if row.device is not None]
    _check_once("point", [(row.line, row.point, row.point) for row in rows], faults)
    _check_once("meter", [(line, item.meter, item.meter) for line, item in devices], faults)
    plates = [
        (line, f"{brand(item.profile)} {plain_serial(item.serial_number)}", item.serial_number)
        for line, item in devices
    ]
    _check_once("serial_number", plates, faults)
    for column, names in (
        ("point", [(row.line, row.point) for row in rows]),
        ("meter", [(line, item.meter) for line, item in devices]),
        ("gateway", [(line, item.gateway) for line, item in devices]),
    ):
        spelled: dict[str, tuple[int, str]] = {}
        for line, spelling in names:
            first_line, first = spelled.setdefault(spelling.casefold(), (line, spelling))
            if first != spelling:
                faults.add(line, f"{column}: {spelling!r} differs from {first!r} in line {first_line} only in case")


def _check_once(column: str, items: list[tuple[int, str, str]], faults: Faults) -> None:
    first: dict[str, int] = {}
    for line, key, shown in items:
        if first.setdefault(key, line) != line:
            faults.add(line, f"{column}: {shown!r} is in line {first[key]} already")
