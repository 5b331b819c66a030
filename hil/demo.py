"""`meterline demo`: a simulated building through month edges, read by a real gateway into a real centre.

Every part is the one that runs in the field: the wires take the time that wires take, the gateway speaks Modbus to the
meters and MQTT to the centre, the month is closed from the ledger. Only the meters are simulated, the broker and the
time series are embedded, and between due times the clock is moved on.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from collector import localtime
from collector.central import points_csv
from collector.central import utility as utilities
from collector.central.acts import ActStore
from collector.central.closing import Books, Closed, close_month
from collector.central.engine import open_engine
from collector.central.points_import import import_points
from collector.central.registry import Registry
from collector.central.service import Centre
from collector.central.store import open_store
from collector.commands.close import rows_table, sentences
from collector.commands.layout import laid_out
from collector.config import CentralConfig, load_central, load_gateway
from collector.edge.gateway import Gateway
from collector.exits import UsageFault
from collector.localtime import from_millis, midnight, to_millis
from collector.model import BillingReading
from hil import building as plan
from hil import demo_acts
from hil.broker import EmbeddedBroker
from hil.building import Flat
from hil.clock import SteppingClock
from hil.line import Wire
from hil.meter import VirtualMeter

FIRST_MONTH = "2026-10"
AROUND_MS = 75 * 60_000  # how long before and after each edge the building is watched: five readings on either side
WIDE = 132  # columns of a table that goes into a file
DELIVERY = 60.0  # real seconds that the last batches may take to the centre


def run(*, meters: int, months: int, out: str | None) -> None:
    """Run the demo. `out`: a folder to keep everything in. Raises RuntimeError when a part of it fails."""
    # What the daemons log is for their operators; here a line of it would break the tables.
    logging.getLogger("collector").setLevel(logging.ERROR)
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    with ExitStack() as stack:
        folder = Path(out or stack.enter_context(tempfile.TemporaryDirectory(prefix="meterline-demo-"))).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageFault(f"{folder} is not empty; the demo starts a building of its own, give it an empty folder")
        flats = plan.flats(meters)
        console.print(_building(flats))
        closed, acts = _months(console, folder, flats, months)
        for item in closed:
            console.print()
            console.print(f"{item.period}, utility {item.utility}, billed at local midnight", style="bold")
            console.print(rows_table(console, item.rows))
            for line in sentences(item.exceptions):
                console.print(line)
        console.print()
        _verdict(console, flats, closed, _silent(flats))
        console.print()
        console.print("Acts", style="bold")
        right = [name.endswith("kWh") for name in demo_acts.COLUMNS]
        console.print(laid_out(demo_acts.COLUMNS, acts, right, console.width))
        console.print()
        kept = "configurations, spools, ledger, the files a utility gets, the acts and their pages"
        console.print(f"{kept}: all in {folder}" if out else f"--out DIR keeps it: {kept}")


def _building(flats: list[Flat]) -> Table:
    lines = plan.risers(flats)
    heads = sum(name.startswith("head") for name in lines)
    title = f"Lenina 12: {len(flats)} flats; RS-485 lines: {len(lines) - heads}, optical heads: {heads}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("flat", "meter", "profile", "line", "address", "serial number"):
        table.add_column(name)
    table.add_column("tariffs", justify="right")
    for flat in flats:
        serial = flat.meter.serial_number or "not readable"
        table.add_row(
            str(flat.number),
            flat.meter_id,
            flat.meter.profile.id,
            flat.line,
            flat.meter.address,
            serial,
            str(flat.tariffs),
        )
    return table


def _edges(months: int) -> list[int]:
    year, month = localtime.parse_month(FIRST_MONTH)
    first = to_millis(midnight(date(year, month, 1), plan.ZONE))
    names = [localtime.next_month(FIRST_MONTH, step) for step in range(months)]
    return [first, *(to_millis(localtime.month_end(name, plan.ZONE)) for name in names)]


def _months(
    console: Console, folder: Path, flats: list[Flat], months: int
) -> tuple[list[Closed], list[tuple[str, ...]]]:
    edges = _edges(months)
    clock = SteppingClock(edges[0] - AROUND_MS)
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker())
        wires = {
            name: stack.enter_context(Wire([*(flat.meter for flat in members), *demo_acts.brought(name)], clock))
            for name, members in plan.risers(flats).items()
        }
        ports = {name: wire.path for name, wire in wires.items()}
        (folder / "gateway.yaml").write_text(plan.gateway_yaml(flats, ports, broker.url, folder))
        (folder / "central.yaml").write_text(plan.central_yaml(broker.url, folder))
        (folder / "points.csv").write_text(plan.points_csv(flats))
        config = load_central(folder / "central.yaml")
        _register(config, folder, clock)
        centre = stack.enter_context(Centre(config, clock))
        reread = partial(load_gateway, folder / "gateway.yaml")
        gateway = stack.enter_context(_running(Gateway(reread(), clock, lambda: True, reread)))
        with _progress(console) as bar:
            for number, edge in enumerate(edges):
                task = bar.add_task("", total=2 * AROUND_MS)
                if number:
                    clock.leap(edge - AROUND_MS)
                silent = _silent(flats)
                if silent and number == len(edges) - 1:
                    wires[silent.line].mute.add(silent.meter.address)

                def told(now: int, task: TaskID = task, edge: int = edge) -> None:
                    local = from_millis(now).astimezone(localtime.zone(plan.ZONE))
                    bar.update(task, completed=now - edge + AROUND_MS, description=f"{local:%d %b %Y %H:%M}")

                clock.advance(edge + AROUND_MS, lambda: gateway.unreceipted == 0, told)
                told(edge + AROUND_MS)
        _delivered(gateway, centre)
        names = [localtime.next_month(FIRST_MONTH, step) for step in range(months)]
        return _close(config, names, clock.millis()), _acts(console, folder, flats, clock, config)


def _acts(
    console: Console, folder: Path, flats: list[Flat], clock: SteppingClock, config: CentralConfig
) -> list[tuple[str, ...]]:
    """What a technician signs at the end, beside the running gateway, as rows of a table that shows it."""
    with ExitStack() as stack:
        engine = open_engine(config)
        stack.callback(engine.dispose)
        store = open_store(config)
        stack.callback(store.close)
        with console.status("a technician commissions, replaces and refuses a meter"):
            return demo_acts.sign(folder, flats, clock, ActStore(Registry(engine), store, plan.ZONE))


def _silent(flats: list[Flat]) -> Flat | None:
    """The flat whose meter falls silent before the last edge, so that a clerk's exception is seen too."""
    return flats[-1] if len(flats) > 3 else None


def _register(config: CentralConfig, folder: Path, clock: SteppingClock) -> None:
    engine = open_engine(config)
    try:
        text = (folder / "points.csv").read_bytes()
        rows = points_csv.parse(text, "points.csv", default_zone=config.time_zone, utilities=utilities.known())
        import_points(engine, rows, "points.csv", now=clock.millis(), who="demo", dry_run=False)
    finally:
        engine.dispose()


@contextlib.contextmanager
def _running(gateway: Gateway) -> Iterator[Gateway]:
    gateway.start()
    try:
        yield gateway
        gateway.check()
    finally:
        gateway.stop()


def _delivered(gateway: Gateway, centre: Centre) -> None:
    deadline = time.monotonic() + DELIVERY
    while gateway.unreceipted or centre.inbox.unsettled("readings", 1):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the centre has not taken {gateway.unreceipted} batches: {centre.worker.trouble}")
        time.sleep(0.05)


def _close(config: CentralConfig, months: list[str], now: int) -> list[Closed]:
    with ExitStack() as stack:
        engine = open_engine(config)
        stack.callback(engine.dispose)
        store = open_store(config)
        stack.callback(store.close)
        books = Books(engine, store, config.out, require_act=False)
        return [close_month(books, month, utilities.load("generic"), now) for month in months]


def _progress(console: Console) -> Progress:
    columns = (BarColumn(bar_width=40), TextColumn("{task.description}"))
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _verdict(console: Console, flats: list[Flat], closed: list[Closed], silent: Flat | None) -> None:
    """Hold every billed value against what the simulated meter really held when it was asked.

    Raises RuntimeError when one is wrong, or when anything but the last month of the silent meter is not billed.
    """
    meters = {flat.point: flat.meter for flat in flats}
    rows = [row for item in closed for row in item.rows]
    billed = [row for row in rows if row.status == "ready"]
    wrong = [row for row in billed if not _held(meters[row.point], row)]
    last = closed[-1].period
    lost = [
        row
        for row in rows
        if row.status != "ready" and not (silent and row.point == silent.point and row.period == last)
    ]
    told = f"{len(billed) - len(wrong)} billed values are what the meters held, {len(wrong)} are not. "
    if silent:
        told += f"Flat {silent.number}'s meter fell silent before the last edge; {len(lost)} other rows are not billed."
    console.print(told, style="bold red" if wrong or lost else "bold green")
    if wrong or lost:
        raise RuntimeError(f"the demo's bill is not what the meters held: {[*wrong, *lost][0]}")


def _held(meter: VirtualMeter, row: BillingReading) -> bool:
    assert row.end_time is not None and row.end_kwh is not None
    # A frozen value is that of its own clock's midnight, neither before nor after. A live one counts while it is asked:
    # what it held a little before and after bounds what it may have said.
    frozen = row.method == "frozen"
    at, around = (meter.passed(row.end_time), (0, 0)) if frozen else (row.end_time, (-1000, 5000))
    low, high = (meter.energy(at + ms)[row.register_] for ms in around)
    return _kwh(low, down=True) <= row.end_kwh <= _kwh(high, down=False)


def _kwh(wh: int, *, down: bool) -> Decimal:
    """Whole kWh as a bill may show it, allowing for float registers, which are exact to seven digits only."""
    margin = wh // 8_000_000 + 1
    return Decimal((wh - margin if down else wh + margin) // 1000)
