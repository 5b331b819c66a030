"""What README and docs tell people to type exists: commands, options, make targets, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from collector.cli import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "hil" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "profiles").glob("*.md")),
]


def typed(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks, without comments."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if command := line.split(" #")[0].strip():
                yield command


COMMANDS = [(page.name, line) for page in PAGES for line in typed(page) if "meterline " in line]
TARGETS = [(page.name, line.split()[1]) for page in PAGES for line in typed(page) if line.startswith("make ")]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_meterline_command_of_a_page_exists_with_its_options(page: str, line: str) -> None:
    words = shlex.split(line)
    start = next(i for i, word in enumerate(words) if word.rsplit("/", 1)[-1] == "meterline")
    command, name, rest = cli, "meterline", words[start + 1 :]
    context = click.Context(cli, info_name=name)
    while isinstance(command, click.Group) and rest:
        found = command.get_command(context, rest[0])
        assert found is not None, f"{page}: {line}: there is no {rest[0]!r} in {name}"
        context = click.Context(found, info_name=rest[0], parent=context)
        command, name, rest = found, f"{name} {rest[0]}", rest[1:]
    if rest and "--help" not in rest:
        # Parsing alone: files that a page names need not be here.
        context.resilient_parsing = True
        _, leftover, _ = command.make_parser(context).parse_args(rest)
        known = sum(isinstance(item, click.Argument) for item in command.params)
        assert len(leftover) <= known or any(item.nargs == -1 for item in command.params), f"{page}: {line}"


def test_the_pages_show_commands() -> None:
    assert len(COMMANDS) > 8
    assert TARGETS


@pytest.mark.parametrize(("page", "target"), TARGETS)
def test_a_make_target_of_a_page_exists(page: str, target: str) -> None:
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"
