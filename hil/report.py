"""`meterline bench report`: reads the meters of a rig some times and writes a page with plots of the timing."""

from __future__ import annotations

from pathlib import Path
from statistics import median, quantiles

import click
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from collector.clock import SystemClock
from collector.exits import UsageFault
from collector.localtime import rfc3339
from hil import rig
from hil.timing import Timed, timed

READINGS = 20  # of each meter: nineteen of twenty is a figure that can be told
WIDTH, HEIGHT = 8.0, 4.5  # inches


@click.command(help="Read each meter of a rig some times; write report.md and its plots (SVG) into a folder.")
@click.option(
    "--rig", "file", type=click.Path(dir_okay=False, path_type=Path), default=Path("hil/rig.yaml"), show_default=True
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Made if it is not there.")
@click.option("--readings", type=click.IntRange(2, 10_000), default=READINGS, show_default=True, help="Of each meter.")
def report(file: Path, out: Path, readings: int) -> None:
    """Prints the page's path. A reading that fails is in the report; a port that cannot be opened ends it (6)."""
    measured = []
    for meter in rig.load(file):
        click.echo(f"meterline: {readings} readings of {meter}", err=True)
        measured.append(timed(meter, readings))
    try:
        out.mkdir(parents=True, exist_ok=True)
        _plots(measured, out)
        page = out / "report.md"
        page.write_text(markdown(measured, readings, rfc3339(SystemClock().millis())))
    except OSError as error:
        raise UsageFault(f"--out {out}: cannot be written: {error.strerror}") from None
    click.echo(str(page))


def markdown(measured: list[Timed], readings: int, made: str) -> str:
    """The page."""
    rows = "\n".join(_row(it) for it in measured)
    failed = [f"- {it.meter}: {text}" for it in measured for text in dict.fromkeys(it.failed)]
    return f"""# Timing of a rig

{readings} readings of each meter, {made}. Times are milliseconds. *Begins*: from the end of a question to the first
byte of its answer, half of all, nineteen of twenty, and the longest; what is allowed is the profile's. *Pace*: how long
the characters of the answers took, by the wire's arithmetic; below 1 an adapter had gathered them. *Reading*: a whole
one, and as planned with the profile's turnaround.

| meter | adapter | failed | begins: 1/2 | 19/20 | longest | allowed | pace | reading: 1/2 | planned |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

## How soon answers begin

![Share of answers that have begun by then](turnaround.svg)

## A whole reading, measured and planned

![Readings beside their plan](reading.svg)

## How an answer arrives

The longest answer of each meter, piece by piece; the dashed line is the wire. Steps of 16 ms are the latency timer of
an FTDI adapter (hil/README.md says how it is set to 1 ms); a single step is a converter that packs.

![Bytes that have come, by time](arrival.svg)
""" + ("\n## Readings that failed\n\n" + "\n".join(failed) + "\n" if failed else "")


def _row(it: Timed) -> str:
    begins = sorted(answer.turnaround for answer in it.answers)
    late = quantiles(begins, n=20)[-1] if len(begins) > 1 else None
    paces = [answer.pace for answer in it.answers if len(answer.pieces) > 1]
    cells = (
        str(it.meter),
        it.meter.adapter,
        f"{len(it.failed)}",
        _ms(median(begins) if begins else None),
        _ms(late),
        _ms(begins[-1] if begins else None),
        _ms(it.meter.profile.line.timeout),
        f"{median(paces):.2f}" if paces else "-",
        _ms(median(it.readings) if it.readings else None),
        _ms(it.planned),
    )
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.0f}"


# ----------------------------------------------------------------------------- plots


def _plots(measured: list[Timed], out: Path) -> None:
    for name, draw in (("turnaround", _turnaround), ("reading", _reading), ("arrival", _arrival)):
        draw(measured).savefig(out / f"{name}.svg", metadata={"Date": None})


def _turnaround(measured: list[Timed]) -> Figure:
    """Share of answers that have begun by then."""
    figure, axes = _figure("ms from the end of the question", "share of answers")
    for it in measured:
        if it.answers:
            axes.ecdf([1000 * answer.turnaround for answer in it.answers], label=str(it.meter))
    axes.set_xlim(left=0)
    axes.legend(loc="lower right", fontsize="small")
    return figure


def _reading(measured: list[Timed]) -> Figure:
    """A box of each meter's readings beside its plan."""
    figure, axes = _figure("ms of a whole reading", "")
    places = range(1, len(measured) + 1)
    axes.boxplot(
        [[1000 * it for it in one.readings] for one in measured], positions=list(places), orientation="horizontal"
    )
    axes.plot([1000 * it.planned for it in measured], list(places), "D", color="tab:red", label="planned")
    axes.set_yticks(list(places), [str(it.meter) for it in measured], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.legend(fontsize="small")
    return figure


def _arrival(measured: list[Timed]) -> Figure:
    """The longest answer of each meter, as a staircase, with the wire's own line."""
    figure, axes = _figure("ms from the first piece", "bytes that have come")
    for it in measured:
        if (answer := it.longest) is None:
            continue
        times = [1000 * at for at, _ in answer.pieces]
        counts = [sum(size for _, size in answer.pieces[: number + 1]) for number in range(len(times))]
        (line,) = axes.step(times, counts, where="post", marker="o", markersize=3, label=str(it.meter))
        if answer.character:
            rest = 1000 * (answer.size - counts[0]) * answer.character
            axes.plot([0, rest], [counts[0], answer.size], "--", color=line.get_color(), linewidth=1)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", fontsize="small")
    return figure


def _figure(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    return figure, axes
