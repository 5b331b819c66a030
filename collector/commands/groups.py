"""A group of commands that lists each with its whole sentence: click's own cuts it where a line ends."""

from __future__ import annotations

import click


class Group(click.Group):
    """`@click.group(cls=Group)`: what `--help` says of a command goes on in the next line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, _sentence(command)) for name, command in commands if command is not None and not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _sentence(command: click.Command) -> str:
    return command.get_short_help_str(limit=1000)
