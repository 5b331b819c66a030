"""Folds sentences at a terminal's width, at their spaces: a terminal itself cuts words in two."""

from __future__ import annotations

import shutil
import textwrap
from typing import TextIO


def folded(text: str, stream: TextIO) -> str:
    """The text as it is printed to this stream: as it is, or, for a terminal, folded. Paths and names stay whole."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = (_line(line, width) for line in text.split("\n"))
    return "\n".join(lines)


def _line(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
