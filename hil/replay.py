"""`meterline replay`: plays a recording as a meter on a pseudo terminal or a network port."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

import click

from collector import recording
from collector.commands.counted import counted
from collector.exits import CheckFailed
from hil.characters import Setting
from hil.ends import KINDS, LISTEN, Kind, client_end
from hil.play import Play, Player, parts

OPEN = Setting(9600)  # a replay hears every speed; this is what a converter says before it is set


@click.command(help="Play a recording as a meter: what came then is said again, when it is asked again.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--client", type=click.Choice(KINDS), default="pty", show_default=True, help="What the client opens.")
@LISTEN
@click.option(
    "--strict/--lenient",
    default=True,
    show_default=True,
    help="Strict: only what was asked then, in that order, else exit 5. Lenient: in any order, as often as it comes.",
)
@click.option("--at-once", is_flag=True, help="Without the recorded times.")
def replay(file: Path, client: Kind, listen: str, strict: bool, at_once: bool) -> None:
    """Prints the port's name. A strict play ends with 0 when all was asked; a lenient one when it is told to."""
    played = parts(recording.load(file))
    play = Play(played, strict=strict, tcp=client == "tcp", told=_say)
    player = Player(play, client_end(client, listen, OPEN), at_once=at_once)

    def ended(_number: int, _frame: FrameType | None) -> None:
        player.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended)
    try:
        _say(f"{counted(len(played), 'request')} in {file}")
        click.echo(player.name)
        player.run()
    finally:
        player.close()
    _say(f"{play.asked} requests answered")
    if left := play.left():
        raise CheckFailed(left)


def _say(text: str) -> None:
    click.echo(f"meterline: {text}", err=True)
