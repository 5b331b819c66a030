"""Sentences for people: folded at spaces on a terminal, as they are everywhere else; one row is no rows."""

from __future__ import annotations

import io

import pytest

from collector.commands.counted import counted
from collector.commands.folding import folded

TEXT = "meterline: check the meter's address, /dev/serial/by-id/usb-a-very-long-name and framing\n  line 3: no"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_sentence_as_it_is() -> None:
    assert folded(TEXT, io.StringIO()) == TEXT


def test_a_terminal_gets_whole_words_and_what_goes_on_is_set_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "32")
    assert folded(TEXT, Terminal()).splitlines() == [
        "meterline: check the meter's",
        "  address,",
        "  /dev/serial/by-id/usb-a-very-long-name",
        "  and framing",
        "  line 3: no",
    ]


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [(0, "row", "0 rows"), (1, "row", "1 row"), (2, "batch", "2 batches"), (3, "loss", "3 losses")],
)  # fmt: skip
def test_one_is_singular(count: int, noun: str, said: str) -> None:
    assert counted(count, noun) == said
