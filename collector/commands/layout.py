"""Lays rows out for a person's screen: a table in which no word is cut, or, where none fits, a record for each row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

GAP = 2  # cells between two columns
# A sentence may be folded at its spaces, but not into a tower of single words: three of them stand in a line.
FOLDED = 20


# Not a terminal: as wide as the widest row, so that nothing is folded or cut in a file.
WIDE = 100_000


def screen() -> Console:
    """Stdout as a person sees it: text as it is, folded by a terminal's width alone."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, emoji=False)


def fitting(console: Console, make: Callable[[Sequence[str]], Table], giving_way: Sequence[str]) -> Table:
    """The table that `make` gives without some columns: so many of `giving_way`, from the first, as the width asks."""
    table = make(())
    for count in range(1, len(giving_way) + 1):
        if console.measure(table, options=console.options.update(max_width=WIDE)).maximum <= console.width:
            break
        table = make(giving_way[:count])
    return table


def laid_out(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], width: int
) -> RenderableType:
    """What a screen of so many cells shows of the rows. `right`: which columns are numbers.

    Only text with spaces is folded, and only at them. A row that would need a cut is shown as a record: psql's
    expanded display, which people know.
    """
    cells = [columns, *rows]
    whole = [max(cell_len(row[place]) for row in cells) for place in range(len(columns))]
    least = [min(full, max(_longest_word(row[place] for row in cells), FOLDED)) for place, full in enumerate(whole)]
    room = width - GAP * (len(columns) - 1)
    if sum(least) > room:
        return _records(columns, rows)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name, ends, cell_width in zip(columns, right, _shared(least, whole, room), strict=True):
        table.add_column(name, justify="right" if ends else "left", width=cell_width, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _longest_word(texts: Iterable[str]) -> int:
    return max((cell_len(word) for text in texts for word in text.split()), default=0)


def _shared(least: Sequence[int], whole: Sequence[int], room: int) -> list[int]:
    """Widths from `least` to `whole`: what is left over goes one cell at a time to who lacks most."""
    widths = list(least)
    for _ in range(min(room, sum(whole)) - sum(least)):
        lacking = [full - given for full, given in zip(whole, widths, strict=True)]
        widths[lacking.index(max(lacking))] += 1
    return widths


def _records(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """Name and value in lines of their own; what is empty is left out."""
    label = max(map(cell_len, columns))
    parts: list[RenderableType] = []
    for row in rows:
        record = Table.grid(padding=(0, GAP, 0, 0))
        record.add_column(width=label, style="bold")
        record.add_column(overflow="fold")
        for name, text in zip(columns, row, strict=True):
            if text:
                record.add_row(name, Text(text))
        parts += [record, ""]
    return Group(*parts[:-1])
