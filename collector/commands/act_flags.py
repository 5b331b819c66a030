"""The flags of `meterline act new` and its like: what may be given beforehand, and where the act is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from collector.acts.finishing import Box
from collector.acts.meter_questions import Site
from collector.acts.said import Wired
from collector.commands.this_zone import given_or_this_zone
from collector.config import load_gateway
from collector.config_fields import read_secret
from collector.exits import UsageFault
from collector.model_act import Kind, Language
from drivers import strict_yaml

# name of the answer -> what it is; docs/acts.md has the same list.
SINGLE = {
    "number": "Number of the act; else the next one.", "point": "Metering point.", "account": "The utility's key.",
    "address": "Address of the point.", "flat": "Flat.", "place": "Where the meter hangs.",
    "utility": "Id of the utility's profile.", "contract": "Contract number.", "meter": "Id of the meter.",
    "profile": "Its profile, where gateway.yaml does not know it.", "line": "Its line of gateway.yaml.",
    "port": "Its port, without gateway.yaml.", "wire_address": "Its address on the line.", "baudrate": "Its speed.",
    "framing": "Its framing.", "password_file": "File with its password.", "meter_time": "local, standard or utc.",
    "tariffs": "Billed tariffs, 1 to 4.", "ratio": "Transformer ratio.",
    "registry_serial": "Serial number in the registry.", "plate": "Serial number on the name plate.",
    "verified": "Day of the last verification.", "verify_by": "Day of the next one.", "certificate": "Its number.",
    "year": "Year of manufacture.", "accuracy_class": "Accuracy class.", "transformers": "current;voltage;serials",
    "representative": "The utility's representative.", "consumer": "The consumer; absent; refused.",
    "billing_from": "Billed from this day on.", "note": "A note.", "supersedes": "The act this one corrects.",
    "old_meter": "The meter that goes.", "old_profile": "Its profile.", "old_line": "Its line.",
    "old_port": "Its port.",
    "old_wire_address": "Its address.", "old_plate": "Its plate.", "old_registry_serial": "In the registry.",
    "old_tariffs": "Its tariffs.", "old_ratio": "Its ratio.", "reason": "Why it goes.",
    "use_stored": "yes: take the last stored reading of a dead meter.",
}  # fmt: skip
PAIRS = {
    "displays": ("--display", "CODE=KWH", "What the display shows."),
    "old_displays": ("--old-display", "CODE=KWH", "What the old display shows."),
    "checks": ("--check", "NAME=yes|no", "A check: wiring=yes."),
}
LISTS = {
    "seals": ("--seal", "N;TYPE;PLACE", "A seal."), "photos": ("--photo", "FILE", "A photo."),
    "grounds": ("--ground", "CODE", "A ground of a refusal."), "witness": ("--witness", "NAME", "A witness."),
}  # fmt: skip
FLAGS = {"no_wire": "Do not read the meter over the wire."}

# Of the meter that goes, and of a refusal: taken by every kind, as a file of answers is, shown where they are asked.
_OF_THE_OLD = {"reason", "use_stored", "old_displays", *(name for name in SINGLE if name.startswith("old_"))}


def answer_options(kind: Kind) -> list[Callable[[Any], Any]]:
    """The options of the command that makes an act of this kind."""
    unseen = set() if kind in ("replacement", "removal") else set(_OF_THE_OLD)
    if kind != "refusal":
        unseen.add("grounds")
    return [
        *(click.option(_flag(name), name, help=text, hidden=name in unseen) for name, text in SINGLE.items()),
        *(
            click.option(flag, name, metavar=form, help=text, multiple=True, hidden=name in unseen)
            for name, (flag, form, text) in (PAIRS | LISTS).items()
        ),
        *(click.option(_flag(name), name, is_flag=True, help=text) for name, text in FLAGS.items()),
    ]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class Place:
    """Where an act is made: what the interview must know, and the gateway, if there is one."""

    site: Site
    box: Box | None


def given_answers(file: Path | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Answers of a YAML file, and those of flags over them. Raises UsageFault, ConfigError."""
    given: dict[str, Any] = {} if file is None else _of_file(file)
    for name, value in flags.items():
        if name in PAIRS:
            given[name] = {**(given.get(name) or {}), **dict(_pair(PAIRS[name][0], text) for text in value)}
        elif name in LISTS:
            if value:
                given[name] = list(value)
        elif value:
            given[name] = value
    witnesses = given.pop("witness", None)
    if isinstance(witnesses, list):
        witnesses = {str(place): name for place, name in enumerate(witnesses, 1)}
    if witnesses:
        given["witness"] = witnesses
    return {name: value for name, value in given.items() if value not in (None, {}, [])}


def _of_file(path: Path) -> dict[str, Any]:
    document = strict_yaml.load(path)
    if not isinstance(document.data, dict):
        raise UsageFault(f"{path}: answers are a mapping of keys")
    known = {*SINGLE, *PAIRS, *LISTS, *FLAGS}
    if odd := [name for name in document.data if name not in known]:
        where = document.where((odd[0],))
        raise UsageFault(f"{where}: {odd[0]}: no answer of an act; known are {', '.join(sorted(known))}")
    return dict(document.data)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageFault(f"{option} {text!r}: NAME=VALUE is wanted")
    return name.strip(), value.strip()


def site_of(config_file: Path | None, language: Language, time_zone: str | None) -> Place:
    """Where the act is made. Raises ConfigError, UsageFault."""
    if config_file is None:
        return Place(Site(None, _zone(time_zone), {}, {}, language), None)
    config = load_gateway(config_file)
    meters = {
        meter.id: Wired(
            meter.profile, line.port, meter.address, line.name, meter.baudrate, meter.framing, meter.meter_time,
            meter.serial_number, None if meter.password_file is None else _secret(meter.password_file),
        )
        for line in config.lines
        for meter in line.meters
    }  # fmt: skip
    lines = {line.name: line.port for line in config.lines}
    return Place(Site(config.gateway, config.time_zone, meters, lines, language), Box(config_file, config))


def _secret(path: Path) -> bytes:
    try:
        return read_secret(path).encode()
    except ValueError as error:
        raise UsageFault(f"password_file: {error}") from None


def _zone(name: str | None) -> str:
    found = given_or_this_zone(name)
    if found is None:
        raise UsageFault(
            "--time-zone: this machine's is not known, and an act says local time with its offset; give it"
        )
    return found
