"""`meterline bench compare`: what the simulated meters held against what the centre has."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click

from collector import localtime
from collector.central.store import open_store
from collector.commands.counted import counted
from collector.commands.output import Format, format_option, show
from collector.commands.registry import config_option
from collector.config import load_central
from collector.config_fields import milliseconds
from collector.exits import CheckFailed, UsageFault
from hil import truth as truths

COLUMNS = ("verdict", "meter", "time", "register", "value", "truth")


@click.command()
@click.argument("truth", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@click.option("--late", default="60s", show_default=True, help="How long after its tick a value is late.")
@format_option
def compare(*, truth: Path, config_file: Path, late: str, form: Format) -> None:
    """Hold TRUTH, a file of `simulate --truth`, against the centre's series: wrong, missing and late values.

    Ends with 5 when a value is wrong. The series are read for the time that the file covers.
    """
    try:
        patience = milliseconds(late)
    except ValueError as error:
        raise UsageFault(f"--late: {error}") from None
    config = load_central(config_file)
    with truth.open(newline="") as file:
        known = truths.read(file, str(truth))
    times = [point.time for points in known.live.values() for point in points]
    times += [time for ends in known.frozen.values() for time in ends]
    meters = {meter for meter, _ in (*known.live, *known.frozen)}
    with ExitStack() as stack:
        store = open_store(config)
        stack.callback(store.close)
        stored = store.span(("live", "frozen"), meters, min(times, default=0), max(times, default=0) + 1)
        found = list(truths.compared(known, stored, patience))
    show(
        form,
        COLUMNS,
        ((it.verdict, it.meter, localtime.rfc3339(it.time), it.register, it.value, it.truth) for it in found),
    )
    counts = Counter(verdict.verdict for verdict in found)
    rows = sum(len(points) for points in known.live.values()) + sum(len(ends) for ends in known.frozen.values())
    told = ", ".join(f"{counts[name]} {name}" for name in ("wrong", "missing", "late"))
    click.echo(f"{counted(len(meters), 'meter')}, {counted(rows, 'row')} of truth: {told}", err=True)
    if counts["wrong"]:
        raise CheckFailed(f"{counts['wrong']} values of the centre are not what the meters held")
