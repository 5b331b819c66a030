"""The `meterline` command: which module holds which command, and which error ends with which exit status.

Commands are imported when they are called, so that `profile list` needs no serial port library and a gateway no
database. Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any, NoReturn

import click

from collector.commands.folding import folded
from collector.exits import CheckFailed, Exit, Unreachable, UsageFault
from drivers.dialogue import DriverError, NoAnswer
from drivers.strict_yaml import ConfigError

# command -> (module that holds a click command of the same name, line in `meterline --help`)
COMMANDS = {
    "read": ("collector.commands.read", "Read one meter, now."),
    "clock": ("collector.commands.clock", "Set a meter's clock right, as far as it allows."),
    "profile": ("collector.commands.profile", "Meter profiles and how each is proven."),
    "gateway": ("collector.commands.gateway", "The edge daemon and its spool."),
    "central": ("collector.commands.central", "The central daemon."),
    "config": ("collector.commands.config", "Check a configuration; plan its lines in milliseconds."),
    "registry": ("collector.commands.registry", "Points, meters and accounts."),
    "readings": ("collector.commands.readings", "What the series hold."),
    "fleet": ("collector.commands.fleet", "Who answers, since when, and who would be missing today."),
    "close": ("collector.commands.close", "Close a month into billing readings."),
    "act": ("collector.commands.act", "Acts: what is signed at a meter, printed, checked, taken by the centre."),
    "scan": ("collector.commands.scan", "Lay a signed scan beside an act."),
    "store": ("collector.commands.store", "Check the series; write them again from the spool."),
    "walk": ("collector.commands.walk", "Flats to visit before the window ends, by address."),
    "exceptions": ("collector.commands.exceptions", "Rows that are not ready, and what a person decides."),
    "manual": ("collector.commands.manual", "Readings by hand: by phone, messages, lists."),
    "response": ("collector.commands.response", "What a utility answered to its files."),
    "explain": ("collector.commands.explain", "The whole story of one number."),
    "audit": ("collector.commands.audit", "Prove the ledger; who did what."),
    "backup": ("collector.commands.backup", "The centre's whole state into one file."),
    "restore": ("collector.commands.backup", "A backup into an empty centre."),
    "simulate": ("hil.simulate", "Simulated meters on simulated lines, with faults."),
    "bench": ("hil.bench_command", "Verdicts of the bench."),
    "record": ("hil.record", "Write down what a client and a line say."),
    "replay": ("hil.replay", "Play a recording as a meter."),
    "line": ("collector.commands.line", "Say in words what is wrong with a line."),
}

# Modules that an extra brings: what to install when one is missing.
EXTRA_OF = {
    "pymodbus": "edge",
    "serial": "edge",
    "paho": "edge",
    "prometheus_client": "edge",
    "sqlalchemy": "central",
    "alembic": "central",
    "influxdb_client": "central",
    "psycopg": "central",
    "lxml": "central",
    "amqtt": "demo",
    "reportlab": "acts",
    "matplotlib": "bench",
}


class Commands(click.Group):
    """The command group, which imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["demo", *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "demo":
            return demo
        if cmd_name in COMMANDS:
            command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
            return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [("demo", str(demo.help)), *((name, line) for name, (_, line) in COMMANDS.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.command(help="A simulated building through two month edges, on embedded parts.")
@click.option("--meters", type=click.IntRange(1, 200), default=12, show_default=True, help="Meters in the building.")
@click.option("--months", type=click.IntRange(1, 12), default=1, show_default=True, help="Months to bill.")
@click.option("--out", type=click.Path(file_okay=False), help="Keep everything in this folder (default: thrown away).")
def demo(meters: int, months: int, out: str | None) -> None:
    try:
        from hil.demo import run
    except ModuleNotFoundError as error:
        raise UsageFault(f"{error.name} is not installed here; the demo needs: pip install 'meterline[demo]'") from None
    run(meters=meters, months=months, out=out)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="meterline", prog_name="meterline")
def cli() -> None:
    """Meterline reads electricity meters and closes the month into billing readings."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit with the contract's status."""
    sys.exit(_status_of(lambda: cli.main(arguments, prog_name="meterline", standalone_mode=False)))


def _status_of(run: Callable[[], Any]) -> int:
    try:
        run()
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.UNEXPECTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except (ConfigError, UsageFault) as error:
        return _said(error, Exit.USAGE)
    except NoAnswer as error:
        return _said(error, Exit.NO_ANSWER)
    except DriverError as error:
        return _said(error, Exit.DAMAGED)
    except CheckFailed as error:
        return _said(error, Exit.CHECK_FAILED)
    except Unreachable as error:
        return _said(error, Exit.UNREACHABLE)
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        return _said(f"{error.name} is not installed here; this command needs: pip install 'meterline[{extra}]'", 2)
    return Exit.DONE


def _said(error: object, status: int) -> int:
    click.echo(folded(f"meterline: {error}", sys.stderr), err=True)
    return status


def version() -> str:
    """The version that is installed, as in the status."""
    return metadata.version("meterline")
