"""Tables for a person's screen: no word is cut, at any width."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from collector.commands.layout import FOLDED, laid_out

COLUMNS = ("point", "value", "text")
ROW = ("lenina-12-kv12", "241690", "no accepted reading from midnight to one o'clock")


def shown(width: int, rows: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(laid_out(columns, rows, [name == "value" for name in columns], width))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_what_fits_is_a_table_with_numbers_to_the_right() -> None:
    assert shown(80, [ROW, ("kv1", "7", "")]) == [
        "point            value  text",
        "lenina-12-kv12  241690  no accepted reading from midnight to one o'clock",
        "kv1                  7",
    ]


def test_a_sentence_is_folded_at_its_spaces_and_nothing_else_is() -> None:
    assert shown(50, [ROW]) == [
        "point            value  text",
        "lenina-12-kv12  241690  no accepted reading from",
        "                        midnight to one o'clock",
    ]


def test_where_no_table_fits_each_row_is_a_record_without_its_empty_fields() -> None:
    assert shown(14 + 6 + FOLDED + 4 - 1, [ROW, ("kv1", "", "sound")]) == [
        "point  lenina-12-kv12",
        "value  241690",
        "text   no accepted reading from midnight to",
        "       one o'clock",
        "",
        "point  kv1",
        "text   sound",
    ]


def test_brackets_are_text_and_not_a_style() -> None:
    assert "[red]kv1[/red]" in shown(80, [("[red]kv1[/red]", "1", "")])[1]


WORDS = st.lists(st.text("abcйцу-0", min_size=1, max_size=20), max_size=6).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5), st.integers(30, 200))
def test_no_word_is_ever_cut(rows: list[tuple[str, ...]], width: int) -> None:
    """A record's value has at least 23 cells here, so each word of twenty stands whole somewhere."""
    lines = shown(width, rows)
    there = {word for line in lines for word in line.split()}
    assert {word for row in rows for text in row for word in text.split()} <= there
    assert max(map(len, lines)) <= width
