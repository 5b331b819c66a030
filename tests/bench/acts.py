"""What acts cost: from the wire to the act, the printed page, and a big city's working day of acts at the centre."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from collector.acts.page import page
from collector.central.points_csv import HEADER
from collector.clock import SystemClock
from collector.edge.transport import open_port
from collector.edge.wire import Wire as OurWire
from collector.model_act_chain import written
from drivers.dialogue import Ask
from drivers.table import driver
from tests.acts.bench import ANSWERS, Stairwell, meter
from tests.acts.papers import act, device, replacement
from tests.bench.figure import Figure
from tests.bench.process import meterline

ACTS = 1360  # a working day's replacements of a supplier of 8.3 million consumers
ROUNDS = 5


def figures() -> list[Figure]:
    """All three."""
    return [_wire_to_act(), _page(), _import()]


def _wire_to_act() -> Figure:
    """`meterline act new` with all answers given, against the bare dialogue with the same meter and registers."""
    it = meter("4140001", 1_234_567)
    whole, bare = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder, Stairwell(Path(folder), it).open() as stairwell:
            codes = tuple(code for code in it.profile.registers if code[:4] in ("1.8.", "2.8.", "32.7", "52.7", "72.7"))
            ask = Ask(address="1", codes=codes)
            begun = time.perf_counter()
            with closing(open_port(stairwell.wire.path, 9600, "8N1")) as port:
                OurWire(port, SystemClock()).carry(driver("modbus").read(it.profile, ask))
            bare.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            status, result = stairwell.act("new", **ANSWERS)
            whole.append(time.perf_counter() - begun)
            assert status == 0, result.output
    more = statistics.median(whole) - statistics.median(bare)
    detail = f"{statistics.median(whole):.2f} s against {statistics.median(bare):.2f} s, in one process"
    return Figure("acts: wire to act beyond the protocol, s", f"{more:.2f}", "2", detail)


def _page() -> Figure:
    made = replacement("2026-000002", act())
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        page(made, "ru")
        times.append(time.process_time() - begun)
    detail = f"the first, with its fonts; then {statistics.median(times[1:]):.2f} s"
    return Figure("acts: one page, s of CPU", f"{times[0]:.2f}", "1", detail)


def _import() -> Figure:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "central.yaml"
        config.write_text("schema: 1\ndata: ./data\ntime_zone: Europe/Moscow\nmqtt: {url: mqtt://127.0.0.1:1}\n")
        rows = (f"p{n},{n},generic,Bench,{n},2,1,m{n},{n + 1},abb-b23,gw-lenina-12,1," for n in range(ACTS))
        (folder / "points.csv").write_text("\n".join([",".join(HEADER), *rows, ""]))
        with meterline("registry", "import", str(folder / "points.csv"), "--config", str(config)) as done:
            assert done.wait(120) == 0
        (folder / "acts.ndjson").write_bytes(b"".join(_line(number) for number in range(ACTS)))
        begun, before = time.perf_counter(), _children()
        with meterline("act", "import", str(folder / "acts.ndjson"), "--config", str(config)) as done:
            assert done.wait(600) == 0
        seconds = time.perf_counter() - begun
    cpu = _children() - before
    detail = f"{cpu:.1f} s of it CPU, {1000 * cpu / ACTS:.0f} ms each"
    return Figure(f"acts: {ACTS} replacements imported, s", f"{seconds:.1f}", "60", detail)


def _children() -> float:
    """CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _line(number: int) -> bytes:
    old = {**replacement("x", None).model_dump(mode="json", by_alias=True)["old_meter"]}
    old["meter"] = device(f"m{number}", str(number + 1))
    new = device(f"n{number}", str(1_000_000 + number))
    made = replacement(f"day-{number:06d}", None, point=f"p{number}", account=str(number), meter=new, old_meter=old)
    return written(made) + b"\n"
