"""What `--help` shows on a usual terminal: whole sentences, and what a command asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from collector.cli import cli


def paths(group: click.Group = cli, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield before
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from paths(found, (*before, name))
        else:
            yield (*before, name)


def shown(*path: str) -> str:
    result = CliRunner().invoke(cli, [*path, "--help"], terminal_width=80)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("path", list(paths()), ids=lambda path: " ".join(path) or "meterline")
def test_help_fits_eighty_columns_and_cuts_no_sentence(path: tuple[str, ...]) -> None:
    lines = shown(*path).splitlines()
    # A default is one word to click, which folds none: a few of them stand out.
    assert [line for line in lines if len(line) > 80 and "|" not in line] == []
    assert [line for line in lines if re.search(r"[a-z,:;]\.\.\.$", line)] == []


def test_an_act_asks_of_the_old_meter_and_of_grounds_where_there_are_any() -> None:
    assert "--old-meter" not in shown("act", "new")
    assert "--ground" not in shown("act", "new")
    assert "--old-meter" in shown("act", "replace")
    assert "--old-meter" in shown("act", "remove")
    assert "--ground" in shown("act", "refuse")
