"""The demo's building as a service: its flats' meters by Modbus TCP, one port a riser, until SIGTERM or Ctrl-C.

`python -m hil.serve --meters 12 --host 0.0.0.0 --port 5020`: the first riser answers on 5020, the next on 5021.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack

import click

from collector.clock import SystemClock
from hil.building import MODBUS, flats, risers
from hil.tcp import TcpMeters


@click.command()
@click.option("--meters", type=click.IntRange(1, 500), default=12, show_default=True, help="How many flats.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65000), default=5020, show_default=True, help="Of the first riser; 0: free ones."
)
def main(meters: int, host: str, port: int) -> None:
    """Serve a simulated building by Modbus TCP."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    clock = SystemClock()
    with ExitStack() as stack:
        for index, (name, members) in enumerate(risers(flats(meters, MODBUS)).items()):
            listen = (host, port + index if port else 0)
            served = stack.enter_context(TcpMeters([flat.meter for flat in members], clock, listen=listen))
            click.echo(f"{name}: {len(members)} meters on tcp://{host}:{served.port}", file=sys.stderr)
        stop.wait()


if __name__ == "__main__":
    main()
