"""`meterline profile`: the meter profiles, what each says, whether each holds its proofs, and their JSON schema.

All but `check` run with the base dependencies; `check` runs the proofs through the driver and needs the edge's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from collector.commands.counted import counted
from collector.commands.folding import folded
from collector.commands.groups import Group
from collector.commands.layout import fitting, screen
from collector.commands.meaning import meaning
from collector.commands.profile_proof import proof
from collector.exits import CheckFailed
from drivers import obis
from drivers import profile as profiles
from drivers.profile import Profile
from drivers.profile_places import Place, Register
from drivers.profile_table import markdown_table
from drivers.strict_yaml import ConfigError


@click.group(cls=Group, help="Meter profiles and how each is proven.")
def profile() -> None:
    pass


profile.add_command(proof)


# ----------------------------------------------------------------------------- list


@profile.command("list", help="The shipped profiles, one row each.")
@click.option("--format", "form", type=click.Choice(["table", "json", "markdown"]), default="table", show_default=True)
def list_(form: str) -> None:
    known = list(profiles.load_all().values())
    if form == "json":
        click.echo(json.dumps([_summary(item) for item in known], indent=1, ensure_ascii=False))
    elif form == "markdown":
        click.echo(markdown_table(known), nl=False)
    else:
        console = screen()
        console.print(fitting(console, partial(_list_table, known), ("caveats", "serial")))
        told = "proof: of the energy that is billed; *: bytes of a sibling with the same registers"
        click.echo(folded(told, sys.stdout))


def _summary(item: Profile) -> dict[str, Any]:
    return {
        "id": item.id,
        "title": item.title,
        "protocol": item.protocol,
        "phases": item.phases,
        "tariffs": item.tariffs or 1,
        "energy": list(item.energy_codes),
        "serial": item.serial != "none",
        "clock": item.clock != "none",
        "frozen": bool(item.frozen),
        "proof": item.proof_kind,
        "sibling": item.proven.device,
        "caveats": len(item.all_caveats),
        "digest": item.digest,
    }


def _list_table(known: Iterable[Profile], without: Sequence[str]) -> Table:
    rows = [
        {
            "profile": item.id,
            "meter": item.model.split(" (")[0],
            "phases": str(item.phases),
            "tariffs": str(item.tariffs or 1),
            "serial": "none" if item.serial == "none" else "yes",
            "proof": item.proof_kind + ("*" if item.proven.device else ""),
            "caveats": str(len(item.all_caveats)),
        }
        for item in known
    ]
    shown = [name for name in rows[0] if name not in without]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in shown:
        right = name in ("phases", "tariffs", "caveats")
        style = "cyan" if name == "profile" else None
        table.add_column(name, style=style, justify="right" if right else "left", no_wrap=name != "meter")
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


# ----------------------------------------------------------------------------- show


@profile.command(help="Everything that one profile says. ID: a shipped profile, or the path of a .yaml file.")
@click.argument("name", metavar="ID")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show(name: str, form: str) -> None:
    item = profiles.load(name)
    if form == "json":
        shown = {"schema": 1, "digest": item.digest, "profile": item.as_written()}
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
        return
    console = Console(highlight=False, markup=False)
    console.print(item.title, style="bold")
    console.print(_facts(item))
    console.print(_places(item))
    _list(console, "Caveats", item.all_caveats)
    _list(console, "Proofs", (_proof_text(proof) for proof in item.proof))


def _facts(item: Profile) -> Table:
    line = item.line
    times = f"begins to answer after {line.turnaround * 1000:.0f} ms, at most {line.timeout * 1000:.0f} ms"
    times += f", {line.pause * 1000:.0f} ms of silence before a request" if line.pause else ""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("id", item.id)
    table.add_row("digest", item.digest)
    table.add_row("registers from", item.source)
    table.add_row("line", f"{line.baudrate} {line.framing}; {times}. {line.source}")
    table.add_row("read with", ", ".join(item.settings.in_words))
    table.add_row("at most", f"{item.max_current} A a phase, {item.phases} phase{'s' if item.phases > 1 else ''}")
    table.add_row("proof", item.proven.label)
    if item.total == "sum":
        table.add_row("total", "none of its own: the tariffs are added up (quality 11.0)")
    return table


def _places(item: Profile) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("code", style="cyan", no_wrap=True)
    table.add_column("is")
    table.add_column("address", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for code in sorted(item.registers, key=obis.sort_key):
        _add_register(table, code, item.registers[code])
    texts = ((profiles.SERIAL, item.serial, "serial number"), (profiles.CLOCK, item.clock, "the meter's own clock"))
    for name, place, text in texts:
        if isinstance(place, str):
            table.add_row(name, "none known")
        else:
            _add_text(table, name, place, text)
    for number, block in enumerate(item.frozen, 1):
        table.add_section()
        if block.stamp is None:
            table.add_row(f"frozen {number}", f"closing {block.back} back by the meter's counter")
        else:
            _add_text(table, f"frozen {number}", block.stamp, "stamp of the closing")
        for code, register in block.registers.items():
            _add_register(table, code, register)
    return table


def _add_register(table: Table, code: str, register: Register) -> None:
    scale = "" if register.scale == 1 else f"{register.scale:f} "
    text = _marked(meaning(code), register)
    table.add_row(code, text, register.where, register.how, scale + register.unit)


def _add_text(table: Table, name: str, place: Place, text: str) -> None:
    table.add_row(name, _marked(text, place), place.where, place.how)


def _marked(text: str, place: Place) -> str:
    return f"{text} *" if place.caveat else text


def _proof_text(proof: profiles.Proof) -> str:
    gives = ", ".join(f"{name} = {text}" for name, text in proof.gives.items())
    device = f" ({proof.device})" if proof.device else ""
    conversation = "\n".join(proof.lines)
    return f"{proof.kind}{device}: {gives}\n{conversation}\n{proof.source}"


def _list(console: Console, title: str, texts: Iterable[str]) -> None:
    texts = list(texts)
    if not texts:
        return
    console.print(title, style="bold")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for number, text in enumerate(texts, 1):
        table.add_row(f"{number}.", text)
    console.print(table)


# ----------------------------------------------------------------------------- check and schema


@profile.command(
    help="Load strictly and run the proofs: of all shipped profiles, or of those named (ids or .yaml files)."
)
@click.argument("names", nargs=-1, metavar="[ID|FILE]...")
def check(names: tuple[str, ...]) -> None:
    from drivers.proof import failures

    found: list[Profile] = [] if names else list(profiles.load_all().values())
    faults: list[str] = []
    for name in names:
        try:
            found.append(profiles.load(name))
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    failed: list[str] = []
    for item in found:
        wrong = list(failures(item))
        failed += wrong
        if not wrong:
            hold = "holds" if len(item.proof) == 1 else "hold"
            click.echo(f"{item.id}: {counted(len(item.proof), 'proof')} {hold}, energy {item.proven.label}")
    if failed:
        raise CheckFailed("profile check failed\n" + "\n".join(failed))


@profile.command(help="The JSON schema of a profile file, for editors.")
def schema() -> None:
    click.echo(json.dumps(profiles.json_schema(), indent=1, ensure_ascii=False))
