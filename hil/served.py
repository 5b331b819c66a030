"""The lines of a bench, open for clients: real pseudo terminals and ports, each with its meters and their faults."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

from collector.exits import Unreachable
from hil.bench import Bench, BenchLine
from hil.faults import Faulty, on_one_wire
from hil.line import Millis, Wire
from hil.meter import VirtualMeter
from hil.tcp import TcpMeters

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Served:
    """A line that is open. `port`: what a client opens."""

    line: BenchLine
    port: str
    ends: Wire | TcpMeters
    meters: tuple[VirtualMeter | Faulty, ...]

    @property
    def answers(self) -> int:
        """How often a meter spoke so far."""
        return self.ends.answers

    @property
    def struck(self) -> Counter[str]:
        """How often which fault struck so far."""
        return sum((meter.struck for meter in self.meters if isinstance(meter, Faulty)), start=Counter())


def serve(bench: Bench, clock: Millis, stack: ExitStack) -> list[Served]:
    """Open all lines; they are closed with `stack`. Raises Unreachable where one cannot be opened."""
    return [_open(line, bench.seed, clock, stack) for line in bench.lines]


def _open(line: BenchLine, seed: int, clock: Millis, stack: ExitStack) -> Served:
    meters = on_one_wire([(item.meter, item.faults) for item in line.meters], clock, seed)
    listen = (LOOPBACK, line.listen or 0)
    try:
        if line.kind == "tcp":
            tcp = stack.enter_context(TcpMeters(meters, clock, turnaround=line.turnaround, listen=listen))
            return Served(line, f"tcp://{LOOPBACK}:{tcp.port}", tcp, tuple(meters))
        wire = Wire(
            meters, clock, baudrate=line.baudrate, framing=line.framing, turnaround=line.turnaround, kind=line.kind,
            listen=listen, echo=line.echo,
        )  # fmt: skip
    except OSError as error:
        raise Unreachable(f"{line.name}: cannot listen on {listen[0]}:{listen[1]}: {error.strerror}") from None
    stack.enter_context(wire)
    return Served(line, _linked(line, wire.path, stack), wire, tuple(meters))


def _linked(line: BenchLine, path: str, stack: ExitStack) -> str:
    """The name under which a pseudo terminal is found: its link, where it has one."""
    if line.link is None:
        return path
    if line.link.is_symlink():
        line.link.unlink()
    try:
        line.link.symlink_to(path)
    except OSError as error:
        raise Unreachable(f"{line.name}: the link {line.link} cannot be made: {error.strerror}") from None
    stack.callback(line.link.unlink, missing_ok=True)
    return str(line.link)
