"""What the demo ends with: a commissioned, a replaced and a refused meter, taken by the centre, each on its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.central import points_csv
from collector.central.acts import ActStore
from collector.central.engine import open_engine
from collector.central.points_import import import_points
from collector.central.registry import Registry
from collector.central.service import Centre
from collector.central.store import open_store
from collector.clock import SystemClock
from collector.config import load_central, load_gateway
from collector.edge.gateway import Gateway
from hil import building as plan
from hil import demo_acts
from hil.line import Wire
from tests.acts.bench import run
from tests.broker import Mosquitto


def test_the_demos_acts_are_taken_and_change_the_registry(tmp_path: Path) -> None:
    flats = plan.flats(1)
    clock = SystemClock()
    with Mosquitto(tmp_path) as broker, Wire([flats[0].meter, *demo_acts.brought("riser-1")], clock) as wire:
        (tmp_path / "gateway.yaml").write_text(plan.gateway_yaml(flats, {"riser-1": wire.path}, broker.url, tmp_path))
        (tmp_path / "central.yaml").write_text(plan.central_yaml(broker.url, tmp_path))
        config = load_central(tmp_path / "central.yaml")
        engine, series = open_engine(config), open_store(config)
        rows = points_csv.parse(plan.points_csv(flats).encode(), "p", default_zone=plan.ZONE, utilities={"generic"})
        import_points(engine, rows, "p", now=clock.millis(), who="test", dry_run=False)
        acts = ActStore(Registry(engine), series, plan.ZONE)
        gateway = Gateway(load_gateway(tmp_path / "gateway.yaml"), clock, lambda: True,
                          lambda: load_gateway(tmp_path / "gateway.yaml"))  # fmt: skip
        with Centre(config, clock):
            gateway.start()
            try:
                rows = demo_acts.sign(tmp_path, flats, clock, acts)
                asked = {name for line in gateway.figures().meters.values() for name in line}
            finally:
                gateway.stop()
        hanging = {point: items[-1].meter for point, items in Registry(engine).segments().items()}
        series.close()
        engine.dispose()
    assert [row[0] for row in rows] == [f"demo-2026-00000{number}" for number in (1, 2, 3)]
    flat = flats[0]
    assert hanging == {"lenina-12-attic": "lenina-12-attic-1", flat.point: f"{flat.meter_id}-2"}
    assert {"lenina-12-attic-1", f"{flat.meter_id}-2"} <= asked
    pages = sorted(path.name for path in (tmp_path / "acts").glob("*.pdf"))
    assert pages == [f"demo-2026-00000{number}.pdf" for number in (1, 2, 3)]
    status, result = run("act", "show", "demo-2026-000003", "--folder", str(tmp_path / "acts"))
    decision = json.loads(result.stdout)["decision"]
    assert (status, decision["admitted"]) == (0, False)
    assert {"verification-overdue", "seal-missing"} <= set(decision["grounds"])


@pytest.mark.parametrize("line", ["riser-2", "head-1"])
def test_a_technician_brings_meters_to_one_riser_only(line: str) -> None:
    assert demo_acts.brought(line) == []
