"""The sheet that a clerk reads out on the phone: an account, then its readings, digits in groups that a voice carries.

Rule 1. It is said from top to bottom: what cannot be told is not on the sheet, it is in the remarks.
Rule 2. Only accounts with something new in this revision: a reading told twice is a call too many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, BinaryIO, Literal

from collector.central.submissions.rows import Head, OutputSection, Remark, Row, by_point, in_order, number, unready
from collector.config_fields import whole


class Output(OutputSection):
    """`group`: how many digits of an account are said together; readings are said in threes from the point."""

    format: Literal["phone"]
    group: Annotated[int, whole(2, 5)] = 4


def write(output: Output, head: Head, file: BinaryIO) -> PhoneSheet:
    """Text, UTF-8, `\\n`: a block for each account."""
    return PhoneSheet(output, head, file)


class PhoneSheet:
    """See `Writer`."""

    def __init__(self, output: Output, head: Head, file: BinaryIO) -> None:
        self._output = output
        self._head = head
        self._file = file
        self._count = 0
        file.write(f"{head.title}, {head.period}, r{head.revision}\n".encode())

    def add(self, rows: Sequence[Row]) -> Iterator[Remark]:
        """The block of an account."""
        if not any(row.reading.revision == self._head.revision for row in rows):
            return
        if found := [*unready(rows, self._output.estimated)]:
            yield from found
            return
        account, group = rows[0].reading.account, self._output.group
        lines = ["", " ".join(account[start : start + group] for start in range(0, len(account), group))]
        for point in by_point(rows):
            for row in in_order(point, self._head):
                reading = row.reading
                said = _in_threes(number(reading.end_kwh))
                meter = f"    (meter {reading.serial_number})" if reading.serial_number else ""
                lines.append(f"    {reading.label:<12} {said:>16}{meter}")
        self._file.write(("\n".join(lines) + "\n").encode())
        self._count += 1

    def finish(self) -> int:
        """How many accounts are on the sheet."""
        return self._count


def _in_threes(text: str) -> str:
    whole_part, point, decimals = text.partition(".")
    return f"{int(whole_part):,}".replace(",", " ") + point + decimals
