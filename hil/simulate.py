"""`meterline simulate`: opens the lines of a bench.yaml and answers for their meters until it is told to end."""

from __future__ import annotations

import csv
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from collector import daemon
from collector.clock import Clock, SystemClock
from collector.commands.counted import counted
from collector.config_fields import milliseconds
from collector.edge.schedule import next_tick
from collector.exits import Unreachable, UsageFault
from hil import bench as benches
from hil.bench import Bench
from hil.served import Served, serve
from hil.truth import HEADER, rows_at

LOOK = 0.5  # seconds between two looks of a person
SAID = 60_000  # milliseconds between two lines where nobody looks
BROKER = "mqtt://127.0.0.1:1883"


@click.command(help="Simulated meters on simulated lines, as FILE says, until SIGINT or SIGTERM.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--truth", type=click.Path(dir_okay=False, path_type=Path), help="Write what the meters hold, each tick.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write gateway.yaml and points.csv for these lines into this folder.",
)
@click.option("--broker", default=BROKER, show_default=True, help="The broker in that gateway.yaml.")
@click.option("--for", "span", metavar="DURATION", help="End after this time, such as 10m.")
def simulate(*, file: Path, truth: Path | None, out: Path | None, broker: str, span: str | None) -> None:
    try:
        lasts = None if span is None else milliseconds(span)
    except ValueError as error:
        raise UsageFault(f"--for: {error}") from None
    clock = SystemClock()
    begun = clock.millis()
    bench = benches.load(file, begun)
    stop = daemon.until_signal()
    with ExitStack() as stack:
        served = serve(bench, clock, stack)
        for it in served:
            click.echo(f"{it.line.name} {it.port}")
        sys.stdout.flush()
        if out is not None:
            _write_configuration(bench, served, out, broker)
        truths = None
        if truth is not None:
            truths = Truths(bench, truth, clock, stop)
            stack.enter_context(truths)
        meters = sum(len(it.meters) for it in served)
        click.echo(
            f"{counted(meters, 'meter')} on {counted(len(served), 'line')}, after {clock.millis() - begun} ms", err=True
        )
        _watch(served, clock, stop, None if lasts is None else clock.millis() + lasts)
        if truths is not None:
            truths.check()


def _write_configuration(bench: Bench, served: Sequence[Served], out: Path, broker: str) -> None:
    ports = {it.line.name: it.port for it in served}
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "gateway.yaml").write_text(benches.gateway_yaml(bench, ports, broker, out.absolute() / "gateway.db"))
        (out / "points.csv").write_text(benches.points_csv(bench))
    except OSError as error:
        raise Unreachable(f"--out {out}: {error.strerror}") from None


class Truths:
    """Writes the truth of each tick when it has come. A context; a thread of its own."""

    def __init__(self, bench: Bench, path: Path, clock: Clock, stop: threading.Event) -> None:
        try:
            self._file = path.open("w", newline="")
        except OSError as error:
            raise Unreachable(f"--truth {path}: {error.strerror}") from None
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(HEADER)
        self._file.flush()
        self._bench, self._path, self._clock, self._stop = bench, path, clock, stop
        self._failed: OSError | None = None
        self._thread = threading.Thread(target=self._live, name="truth", daemon=True)

    def __enter__(self) -> Truths:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._file.close()

    def check(self) -> None:
        """Raise Unreachable where the file could not be written."""
        if self._failed is not None:
            raise Unreachable(f"--truth {self._path}: {self._failed.strerror}")

    def _live(self) -> None:
        try:
            tick = self._clock.millis()
            while True:
                tick = next_tick(tick, self._bench.interval, self._bench.time_zone)
                if self._clock.wait(tick, self._stop):
                    return
                self._write(tick)
        except OSError as error:
            self._failed = error
            self._stop.set()

    def _write(self, tick: int) -> None:
        for meter in self._bench.meters:
            self._rows.writerows(rows_at(meter, tick))
        self._file.flush()


# ----------------------------------------------------------------------------- the view


def _watch(served: Sequence[Served], clock: Clock, stop: threading.Event, until: int | None) -> None:
    """Show how it goes until the end: a table that moves on a terminal, now and then a line elsewhere."""
    console = Console(stderr=True)

    def over() -> bool:
        return stop.is_set() or (until is not None and clock.millis() >= until)

    if console.is_terminal:
        with Live(_table(served), console=console, auto_refresh=False) as live:
            while not over():
                stop.wait(LOOK)
                live.update(_table(served), refresh=True)
        return
    _lines(served, clock, stop, over)


def _lines(served: Sequence[Served], clock: Clock, stop: threading.Event, over: Callable[[], bool]) -> None:
    due = clock.millis() + SAID
    while not over():
        stop.wait(LOOK)
        if clock.millis() >= due:
            due += SAID
            click.echo(_summary(served), err=True)
    click.echo(_summary(served), err=True)


def _summary(served: Sequence[Served]) -> str:
    answers = sum(it.answers for it in served)
    struck = sum((it.struck for it in served), start=Counter())
    faults = ", ".join(f"{name} {count}" for name, count in sorted(struck.items()))
    return f"{answers} answers; faults: {faults or 'none'}"


def _table(served: Sequence[Served]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("line", "port"):
        table.add_column(name)
    for name in ("meters", "answers"):
        table.add_column(name, justify="right")
    table.add_column("faults that struck")
    for it in served:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(it.struck.items()))
        table.add_row(it.line.name, it.port, str(len(it.meters)), str(it.answers), faults)
    return table
