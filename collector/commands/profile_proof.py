"""`meterline profile proof`: a recording of a real meter becomes entries for its profile's `proof`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from collector import recording
from collector.commands.counted import counted
from collector.exits import CheckFailed
from collector.localtime import rfc3339
from drivers import profile as profiles
from drivers.profile import Proof

WIDTH = 118  # of a line of YAML in a profile, without the list's indent


class _Lines(str):
    """A text that is written on several lines."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Dumper.add_representer(
    _Lines, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


@click.command(
    help="Print what a recording proves of a profile, as entries to append to its `proof`: "
    "meterline profile proof capture.txt --profile P >> profiles/meters/P.yaml"
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--profile", "name", required=True, metavar="P", help="Id of a shipped profile, or a .yaml file.")
@click.option("--source", help="Where the bytes are from, so that anybody can look them up.  [default: file and time]")
@click.option("--device", help="The meter, if it is a sibling of the profile's with the same registers.")
def proof(file: Path, name: str, source: str | None, device: str | None) -> None:
    """Ends with 5 where the recording proves nothing of the profile."""
    from drivers.captured import captured

    item = profiles.load(name)
    spoken = recording.load(file)
    told = [(turn.request, turn.answer) for turn in recording.turns(spoken)]
    found = captured(item, told, source=source or f"{file.name}, recorded {rfc3339(spoken[0].at)}", device=device)
    if not found:
        raise CheckFailed(
            f"{file}: none of its {len(told)} exchanges gives a value of {item.id}; is it this meter's profile, and "
            "was "
            "the meter read in this recording?"
        )
    click.echo(as_yaml(found), nl=False)
    given = sorted({value for one in found for value in one.gives})
    click.echo(
        f"meterline: {counted(len(found), 'proof')}, of {', '.join(given)}; look at serial numbers before publishing",
        err=True,
    )


def as_yaml(proofs: list[Proof]) -> str:
    """Entries of the list `proof`, indented as in a profile."""
    entries = [_lined(it.model_dump(mode="json", exclude_none=True, exclude_defaults=True)) for it in proofs]
    text = yaml.dump(entries, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return "".join(f"  {line}\n" if line else "\n" for line in text.splitlines())


def _lined(value: Any) -> Any:
    """Telegrams on a line for each of theirs; gives, quoted by PyYAML where they look like numbers, as they are."""
    if isinstance(value, dict):
        return {key: _lined(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_lined(item) for item in value]
    if isinstance(value, str) and "<LF>" in value[:-4]:
        return _Lines(value.replace("<LF>", "<LF>\n").removesuffix("\n"))
    return value
