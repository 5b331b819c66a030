"""`meterline act`: acts are made in front of the meter, kept, printed, checked, and carried to the centre."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import click

from collector.acts import evidence
from collector.acts.folder import ActFolder
from collector.commands.act_flags import answer_options, given_answers, site_of
from collector.commands.counted import counted
from collector.commands.groups import Group
from collector.exits import CheckFailed, UsageFault
from collector.model_act import Act, Kind, Language
from collector.model_act_chain import ActFault, as_data, chain_faults, opened, written

COMMANDS: dict[str, tuple[Kind, str]] = {
    "new": ("commissioning", "Commission a meter: it is read, checked, sealed, and admitted to billing or not."),
    "replace": ("replacement", "Replace a meter: the old one's last readings, the new one's first."),
    "remove": ("removal", "Remove a meter, with its last readings."),
    "control": ("control_reading", "Read a meter for the record: wire and display side by side."),
    "seal": ("sealing", "Set seals."),
    "unseal": ("unsealing", "Take seals off."),
    "reprogram": ("reprogramming", "Write down what was changed in a meter."),
    "refuse": ("refusal", "Refuse a meter, on coded grounds."),
}

Command = Callable[..., Any]

folder_option = click.option(
    "--folder", type=click.Path(path_type=Path), help="Where acts are kept.  [default: acts, beside gateway.yaml]"
)
gateway_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="gateway.yaml; none on a laptop without a gateway."
)
either_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="gateway.yaml or central.yaml."
)


@click.group(cls=Group)
def act() -> None:
    """Acts: commissioning, replacement, removal and what else is signed at a meter."""


# ----------------------------------------------------------------------------- making one


def _making(kind: Kind, function: Command) -> Command:
    for decorate in reversed([
        gateway_option,
        folder_option,
        click.option("--language", type=click.Choice(get_args(Language)), default="ru", show_default=True),
        click.option("--time-zone", metavar="Z", help="Without gateway.yaml.  [default: this machine's]"),
        click.option("--answers", type=click.Path(path_type=Path), metavar="FILE", help="YAML with answers."),
        click.option("--no-input", is_flag=True, help="Ask nobody; what is not given must have a proposal."),
        *answer_options(kind),
    ]):  # fmt: skip
        function = decorate(function)
    return function


def _make(kind: Kind, **options: Any) -> None:
    """Make an act of this kind."""
    from collector.commands.act_making import begin

    config_file, folder = options.pop("config_file"), options.pop("folder")
    site = site_of(config_file, options.pop("language"), options.pop("time_zone"))
    no_input, file = options.pop("no_input"), options.pop("answers")
    given = given_answers(file, options)
    begin(kind, site, given, _folder(folder, config_file), ask=not no_input and sys.stdin.isatty())


for _name, (_kind, _help) in COMMANDS.items():
    act.add_command(click.command(_name, help=_help)(_making(_kind, partial(_make, _kind))))


@act.command()
@click.argument("number", required=False)
@gateway_option
@folder_option
@click.option("--no-input", is_flag=True, help="Ask nobody.")
@click.option("--anew", multiple=True, metavar="NAME", help="Ask for this answer again.")
@click.option("--answers", "file", type=click.Path(path_type=Path), metavar="FILE", help="YAML with more answers.")
def resume(
    *,
    number: str | None,
    config_file: Path | None,
    folder: Path | None,
    no_input: bool,
    anew: tuple[str, ...],
    file: Path | None,
) -> None:
    """Go on with an act that was begun (the newest without NUMBER)."""
    from collector.commands.act_making import go_on

    place = _folder(folder, config_file)
    unfinished = place.unfinished()
    if number is None and not unfinished:
        raise UsageFault(f"no act was begun in {place.path}")
    journal = place.journal(number) if number else unfinished[-1]
    if not journal.exists():
        raise UsageFault(f"{journal} is not there; begun are: {', '.join(p.stem for p in unfinished) or 'none'}")
    given = given_answers(file, {})
    go_on(journal, config_file, place, given, anew=anew, ask=not no_input and sys.stdin.isatty())


# ----------------------------------------------------------------------------- looking at them


@act.command("list")
@folder_option
@either_option
@click.option("--point", help="Of this point only.")
@click.option("--held", is_flag=True, help="At the centre: those that were not taken, with the reason.")
@click.option(
    "--verification-due", type=click.IntRange(0, 10_000), metavar="DAYS", help="At the centre: meters to verify."
)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def list_(
    *,
    folder: Path | None,
    config_file: Path | None,
    point: str | None,
    held: bool,
    verification_due: int | None,
    form: str,
) -> None:
    """Acts by number; with central.yaml those of the centre."""
    if config_file is not None and _is_central(config_file):
        _centre().listed(config_file, point, held, verification_due, form)
        return
    if held or verification_due is not None:
        raise UsageFault("--held and --verification-due are questions to the centre: give --config central.yaml")
    found = [item for item in _folder(folder, config_file).acts() if point in (None, item.point)]
    from collector.commands.output import show

    columns = ("number", "kind", "made", "point", "meter", "serial_number", "admitted", "grounds", "hash")
    people = ("number", "kind", "made", "point", "meter", "admitted", "grounds")
    rows = (_row(item, item.made[:16].replace("T", " ") if form == "table" else item.made) for item in found)
    show(form, columns, rows, people=people)  # type: ignore[arg-type]  # click has checked the choice


def _row(item: Act, made: str) -> list[str]:
    device, decision = item.subject, item.decision
    serial_number = device.serial_number.plate or device.serial_number.wire or ""
    admitted = "yes" if decision.admitted else "no"
    return [
        item.number, item.kind, made, item.point, device.id, serial_number, admitted,
        " ".join(decision.grounds), item.hash,
    ]  # fmt: skip


@act.command()
@click.argument("number")
@folder_option
@either_option
@click.option("--format", "form", type=click.Choice(["json"]), default="json", show_default=True)
def show(number: str, folder: Path | None, config_file: Path | None, form: str) -> None:  # noqa: ARG001 - one form
    """One act, by its number or the path of its file, as JSON."""
    click.echo(json.dumps(as_data(_find(number, folder, config_file)), ensure_ascii=False, indent=1))


@act.command("print")
@click.argument("number")
@folder_option
@either_option
@click.option("--language", type=click.Choice(get_args(Language)), help="Of the page.  [default: the act's own]")
@click.option("--out", type=click.Path(path_type=Path), help="The PDF.  [default: NUMBER.pdf]; - for stdout.")
def print_(
    number: str, folder: Path | None, config_file: Path | None, language: Language | None, out: Path | None
) -> None:
    """One act as one A4 page (PDF)."""
    from collector.acts.page import page

    item = _find(number, folder, config_file)
    data = page(item, language or item.language)
    if str(out) == "-":
        sys.stdout.buffer.write(data)
        return
    place = out or Path(f"{item.number}.pdf")
    try:
        place.write_bytes(data)
    except OSError as error:
        raise UsageFault(f"{place}: cannot be written: {error.strerror}") from None
    click.echo(str(place))


@act.command()
@folder_option
@either_option
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def verify(folder: Path | None, config_file: Path | None, files: tuple[Path, ...]) -> None:
    """Check hashes, chains, photos, scans: of FILES, of the folder, or of the centre. Ends with 5 for faults."""
    if files:
        acts, faults = _of_files(files)
    elif config_file is not None and _is_central(config_file):
        acts, faults = _centre().acts_and_faults(config_file)
    else:
        place = _folder(folder, config_file)
        faults = list(place.faults())
        acts = [] if faults else place.acts()
        faults += [text for item in acts for text in evidence.faults(item, place.beside(item.number))]
    faults += [f"{fault.point}: act {fault.number} {fault.text}" for fault in chain_faults(acts)]
    for text in faults:
        click.echo(text)
    if faults:
        raise CheckFailed(f"{counted(len(faults), 'fault')} in {counted(len(acts), 'act')}")
    points = len({item.point for item in acts})
    click.echo(
        f"{counted(len(acts), 'act')} of {counted(points, 'point')}: hashes, chains and photos are right", err=True
    )


def _of_files(files: Iterable[Path]) -> tuple[list[Act], list[str]]:
    from collector.commands.act_centre import read_acts

    acts, faults = [], []
    for path in files:
        for where, text in read_acts(path):
            try:
                acts.append(opened(text))
            except ActFault as fault:
                faults.append(f"{where}: {fault}")
    return acts, faults


@act.command()
def schema() -> None:
    """The JSON schema of an act."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Act.model_json_schema(by_alias=True)}
    click.echo(json.dumps(found, ensure_ascii=False, indent=1))


# ----------------------------------------------------------------------------- carrying them


@act.command()
@click.argument("numbers", nargs=-1)
@folder_option
@gateway_option
@click.option("--out", type=click.Path(path_type=Path), help="The file: one act a line.")
@click.option("--queue", "again", is_flag=True, help="Into the gateway's spool: those that are not there yet.")
def export(
    numbers: tuple[str, ...], folder: Path | None, config_file: Path | None, out: Path | None, again: bool
) -> None:
    """Acts (all without NUMBERS) into one file for `act import`, or into the gateway's spool."""
    place = _folder(folder, config_file)
    acts = [place.get(number) for number in numbers] if numbers else place.acts()
    acts.sort(key=lambda item: (item.instant, item.number))
    if again:
        from collector.commands.act_making import queue_all

        if config_file is None:
            raise UsageFault("--queue takes the gateway's spool: give --config gateway.yaml")
        queue_all(acts, place, config_file)
        return
    if out is None:
        raise UsageFault("--out: the name of the file is missing")
    from collector.acts.durable_files import put

    put(out, b"".join(written(item) + b"\n" for item in acts))
    click.echo(f"{counted(len(acts), 'act')} in {out}", err=True)


@act.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--config", "config_file", required=True, type=click.Path(path_type=Path), help="central.yaml")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def import_(files: tuple[Path, ...], config_file: Path, form: str) -> None:
    """Acts from files into the centre; a receipt for each. Ends with 5 when one was held or refused."""
    _centre().imported(config_file, files, form)


# ----------------------------------------------------------------------------- where they are


def _centre() -> Any:
    """What needs the centre's libraries is imported when it is asked for: a gateway has none of them."""
    return import_module("collector.commands.act_centre")


def _is_central(path: Path) -> bool:
    from drivers import strict_yaml

    data = strict_yaml.load(path).data
    return isinstance(data, dict) and "data" in data


def _folder(folder: Path | None, config_file: Path | None) -> ActFolder:
    if folder is None:
        folder = (config_file.absolute().parent if config_file else Path.cwd()) / "acts"
    return ActFolder(folder)


def _find(number: str, folder: Path | None, config_file: Path | None) -> Act:
    path = Path(number)
    if path.suffix == ".json" or path.parent != Path():
        try:
            return opened(path.read_bytes())
        except OSError as error:
            raise UsageFault(f"{path}: cannot be read: {error.strerror}") from None
        except ActFault as fault:
            raise CheckFailed(f"{path}: {fault}") from None
    if config_file is not None and _is_central(config_file):
        found: Act = _centre().one(config_file, number)
        return found
    return _folder(folder, config_file).get(number)
