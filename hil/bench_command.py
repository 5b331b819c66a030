"""`meterline bench`: its commands, each imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

PARTS = {
    "compare": ("hil.compare", "What simulated meters held against what the centre has."),
    "report": ("hil.report", "What the meters of a rig take for their answers, as a page with plots."),
    "load": ("hil.load", "The traffic of many gateways for a centre, and a verdict."),
}


class Parts(click.Group):
    """The group, which imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PARTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in PARTS:
            return None
        command: click.Command = getattr(import_module(PARTS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in PARTS.items()])


@click.group(cls=Parts)
def bench() -> None:
    """Verdicts of the bench."""
