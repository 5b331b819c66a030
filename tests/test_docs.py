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
    command: click.Command = cli
    name, rest = "meterline", words[start + 1 :]
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


CONTRACT = (ROOT / "docs" / "contract.md").read_text().split("## Commands")[1].split("`PORT`:")[0]
# `--config` is every command's own; where acts are, and the many answers of one, are told once (docs/acts.md).
TOLD_ONCE = {"--config", "--folder"}


def commands(group: click.Group = cli, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from commands(found, (*before, name))
        elif found is not None:
            yield (*before, name), found


def published() -> dict[tuple[str, ...], set[str]]:
    """The commands of the contract's table, each with its options: `act new|replace` is two, `--x` alone goes on."""
    known = dict(commands())
    found: dict[tuple[str, ...], set[str]] = {}
    for row in CONTRACT.splitlines():
        paths: list[tuple[str, ...]] = []
        for span in re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", row)[1]) if row.startswith("| `") else ():
            words = span.replace("\\|", "|").split()
            firsts = [word for word in words[0].split("|") if any(path[0] == word for path in known)]
            if firsts:
                paths = [(first,) for first in firsts]
                if (paths[0]) not in known:
                    paths = [(firsts[0], second) for second in words[1].split("|")]
            for path in paths:
                found.setdefault(path, set()).update(re.findall(r"--[a-z-]+", span))
    return found


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda item: " ".join(item) if type(item) is tuple else ""
)
def test_the_contract_publishes_each_command_with_its_options(path: tuple[str, ...], command: click.Command) -> None:
    told = published()[path]
    options = [item for item in command.params if isinstance(item, click.Option)]
    assert told <= {name for item in options for name in (*item.opts, *item.secondary_opts)}
    if not any("--plate" in item.opts for item in options):
        assert {item.opts[0] for item in options} - told <= TOLD_ONCE


def test_the_contract_publishes_no_other_command() -> None:
    assert published().keys() <= dict(commands()).keys()


# The user's own files, and what a setup makes: not in the tree.
MADE = ("hil/rig.yaml", "deploy/variable")
NAMED = sorted(
    {
        (page.name, path)
        for page in PAGES
        for path in re.findall(r"`((?:deploy|hil|tests|collector|drivers|profiles)/[^`\s]+)`", page.read_text())
    }
)


@pytest.mark.parametrize(("page", "path"), [item for item in NAMED if not item[1].startswith(MADE)])
def test_a_path_that_a_page_names_is_there(page: str, path: str) -> None:
    pattern = re.sub(r"<[^>]+>|NAME", "*", path).rstrip("/")
    assert any(ROOT.glob(pattern)), f"{page}: {path}"


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
