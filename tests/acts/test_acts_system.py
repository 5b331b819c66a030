"""From the wire to the bill: a real broker, a gateway, a centre; an act goes in the numbering of readings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from collector.central.acts import ActStore
from collector.central.acts_drain import ActDrain
from collector.central.database import quarantine
from collector.central.engine import open_engine
from collector.central.points_csv import HEADER
from collector.central.registry import Registry
from collector.central.service import Centre
from collector.central.store import open_store
from collector.clock import SystemClock
from collector.config import load_central
from collector.messages import encode
from collector.model import Batch
from collector.model_act import Act
from collector.model_act_chain import as_data, written
from collector.outbox_beside import append_beside
from collector.spool import Inbox, Incoming
from tests.acts.bench import ANSWERS, GATEWAY, ZONE, Stairwell, meter, run
from tests.acts.papers import act
from tests.broker import Mosquitto, eventually

A, B = meter("4140001", 1_234_567), meter("5150002", 42_000)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


class World:
    """A centre that knows one gateway by one point, and a stairwell whose gateway has it for its broker."""

    def __init__(self, folder: Path, broker_url: str) -> None:
        self.folder, self.central_yaml = folder, folder / "central.yaml"
        self.central_yaml.write_text(
            f"schema: 1\ndata: ./data\ntime_zone: {ZONE}\nmqtt: {{url: '{broker_url}'}}\nrequire_act: true\n"
        )
        row = {
            "point": "kv1", "account": "10001", "utility": "generic", "address": "Lenina 12", "flat": "1",
            "tariffs": "1", "receipt_order": "1", "meter": "m1", "serial_number": "4140001",
            "profile": "eastron-sdm630", "gateway": GATEWAY, "ratio": "1", "time_zone": ZONE,
        }  # fmt: skip
        text = io.StringIO()
        writer = csv.DictWriter(text, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerow(row)
        (folder / "points.csv").write_text(text.getvalue())
        status, result = run("registry", "import", str(folder / "points.csv"), "--config", str(self.central_yaml))
        assert status == 0, result.output

    def listed(self, *more: str) -> list[dict[str, Any]]:
        """`act list` at the centre."""
        status, result = run("act", "list", "--config", str(self.central_yaml), "--format", "json", *more)
        assert status == 0, result.output
        rows: list[dict[str, Any]] = json.loads(result.stdout)
        return rows


def test_an_act_reaches_the_centre_by_mqtt_and_opens_billing(tmp_path: Path, broker: Mosquitto) -> None:
    world = World(tmp_path, broker.url)
    with Stairwell(tmp_path, A).open(("m1", A)) as stairwell:
        config = json.loads(stairwell.config.read_text())
        stairwell.config.write_text(json.dumps({**config, "mqtt": {"url": broker.url}}))
        with Centre(load_central(world.central_yaml), SystemClock()) as centre, stairwell.gateway() as gateway:
            status, result = stairwell.act("new", **{**ANSWERS, "registry_serial": "4140001"})
            assert status == 0, result.output
            eventually(lambda: [row["state"] for row in world.listed()] == ["taken"])
            eventually(lambda: gateway.unreceipted == 0)
            assert centre.inbox.unsettled("acts", 1) == []
            made = stairwell.the_act()
            # By file too, as a second technician's laptop may carry it: nothing changes.
            (tmp_path / "acts.ndjson").write_bytes(written(made) + b"\n")
            status, result = run("act", "import", str(tmp_path / "acts.ndjson"), "--config", str(world.central_yaml),
                                 "--format", "json")  # fmt: skip
            assert (status, [row["outcome"] for row in json.loads(result.stdout)]) == (0, ["repeat"])
    engine = open_engine(load_central(world.central_yaml))
    (segment,) = Registry(engine).segments()["kv1"]
    engine.dispose()
    assert segment.initial == {it.register_: it.wire_wh for it in made.readings}
    assert run("act", "verify", "--config", str(world.central_yaml))[0] == 0
    status, result = run("act", "show", made.number, "--config", str(world.central_yaml))
    assert json.loads(result.stdout) == as_data(made)


def test_what_is_no_act_on_the_acts_topic_is_kept_in_quarantine(tmp_path: Path, broker: Mosquitto) -> None:
    world = World(tmp_path, broker.url)
    forged = {**as_data(act()), "account": "99999"}
    with Stairwell(tmp_path, A).open(("m1", A)) as stairwell:
        config = json.loads(stairwell.config.read_text())
        stairwell.config.write_text(json.dumps({**config, "mqtt": {"url": broker.url}}))
        with Centre(load_central(world.central_yaml), SystemClock()) as centre, stairwell.gateway() as gateway:

            def batch(spool: str, sequence: int) -> bytes:
                return encode(Batch(gateway=GATEWAY, spool=spool, sequence=sequence, class_="keep", act=forged))

            append_beside(tmp_path / "spool.db", batch, SystemClock().millis())
            eventually(lambda: gateway.unreceipted == 0 and not centre.inbox.unsettled("acts", 1))
    assert world.listed() == []
    _, result = run("readings", "--rejected", "--config", str(world.central_yaml), "--format", "json")
    (found,) = [row for row in json.loads(result.stdout) if row["reason"].startswith("no act")]
    assert "was altered" in found["reason"]


def test_an_act_that_breaks_our_code_is_set_aside_and_those_behind_it_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, "mqtt://127.0.0.1:1")
    config = load_central(world.central_yaml)
    engine, series, inbox = open_engine(config), open_store(config), Inbox(tmp_path / "inbox.db", keep_ms=1000)
    store = ActStore(Registry(engine), series, ZONE)
    whole = store._take

    def broken(item: Act, *rest: Any) -> Any:
        if item.number == "a-1":
            raise ZeroDivisionError("a bug")
        return whole(item, *rest)

    monkeypatch.setattr(store, "_take", broken)
    for sequence, number in enumerate(("a-1", "a-2"), 1):
        data = as_data(act_of(number, "m1", "4140001"))
        batch = Batch(gateway=GATEWAY, spool="b7e3c1d09a44", sequence=sequence, class_="keep", act=data)
        inbox.put([Incoming(GATEWAY, "b7e3c1d09a44", sequence, "acts", encode(batch))], SystemClock().millis())
    assert ActDrain(inbox, store, SystemClock()).round() == 2
    assert [(found.number, state) for found, state, _ in store.acts()] == [("a-2", "taken")]
    with engine.connect() as connection:
        (reason,) = connection.execute(select(quarantine.c.reason)).scalars()
    assert "a bug" in reason
    assert inbox.unsettled("acts", 9) == []
    inbox.close()
    series.close()
    engine.dispose()


def test_a_file_of_acts_gives_a_receipt_for_each_and_ends_with_5_when_one_is_held(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, "mqtt://127.0.0.1:1")
    good = act_of("a-1", "m1", "4140001")
    rival = act_of("a-2", "m1", "4140001", note="second technician")
    file = tmp_path / "two.ndjson"
    file.write_bytes(written(good) + b"\n" + written(rival) + b"\n{}\n")
    status, result = run("act", "import", str(file), "--config", str(world.central_yaml), "--format", "json")
    assert status == 5
    rows = json.loads(result.stdout)
    assert [row["outcome"] for row in rows] == ["taken", "held", "refused"]
    (held,) = world.listed("--held")
    assert "two acts for one place" in held["reason"]


def act_of(number: str, name: str, serial_number: str, **changed: Any) -> Act:
    """A commissioning of the stairwell's meter."""
    from tests.acts.papers import device

    numbers = {"wire": serial_number, "plate": serial_number, "registry": None}
    block = device(name, serial_number, profile="eastron-sdm630", tariffs=1, gateway=GATEWAY) | {
        "serial_number": numbers
    }
    readings = [{"register": "1.8.0", "wire_wh": 1_234_567, "display": "1234.5", "raw": "00"}]
    return act(number, meter=block, readings=readings, **changed)


def test_a_backup_carries_acts_seals_and_verifications(tmp_path: Path) -> None:
    world = World(tmp_path, "mqtt://127.0.0.1:1")
    (tmp_path / "one.json").write_bytes(written(act_of("a-1", "m1", "4140001")))
    assert run("act", "import", str(tmp_path / "one.json"), "--config", str(world.central_yaml))[0] == 0
    archive = tmp_path / "centre.zip"
    status, result = run("backup", "--out", str(archive), "--config", str(world.central_yaml))
    assert status == 0, result.output
    there = tmp_path / "there"
    there.mkdir()
    (there / "central.yaml").write_text(world.central_yaml.read_text())
    status, result = run("restore", str(archive), "--config", str(there / "central.yaml"))
    assert status == 0, result.output
    config = load_central(there / "central.yaml")
    engine, series = open_engine(config), open_store(config)
    store = ActStore(Registry(engine), series, ZONE)
    assert [found.number for found, _, _ in store.acts()] == ["a-1"]
    from datetime import date

    assert [due.meter for due in store.verification_due(date(2041, 2, 1), 60)] == ["m1"]
    (segment,) = Registry(engine).segments()["kv1"]
    assert segment.initial == {"1.8.0": 1_234_567}
    series.close()
    engine.dispose()
