"""docs/sizing.md: its figures follow from its inputs, and what comes from our own code still does."""

from __future__ import annotations

import pytest

from collector.messages import encode
from collector.model import Batch, LineState, MeterState, Snapshot, SpoolState, Status
from tests.deploy.shipped import ROOT

PAGE = (ROOT / "docs" / "sizing.md").read_text()

METERS, REGISTERS, GATEWAY, IN_BATCH = 8_300_000, 5, 100, 10
ENVELOPE, SNAPSHOT, STATUS = 331, 213, 14_087
CPU, DISK, DISK_ALONE, MEMORY, INFLUX_CPU = 10e-6, 5.9, 123, 4.6e3, 2.2e-6
EVIDENCE, LEDGER = 600, 1800

HOUR, DAY, MONTH = 3600, 24, 720
VALUES = METERS * REGISTERS  # an hour
BATCHES = METERS / IN_BATCH  # an hour
BATCH = ENVELOPE + IN_BATCH * SNAPSHOT
GATEWAYS = METERS // GATEWAY

FIGURES = {
    "a batch": f"= {BATCH:,} ",
    "snapshots": f"{METERS / HOUR:,.0f} /s | {METERS / 600:,.0f} /s",
    "values": f"{VALUES / HOUR:,.0f} /s | {VALUES / 600:,.0f} /s",
    "batches": f"{BATCHES / HOUR:,.0f} /s | {BATCHES / 600:,.0f} /s",
    "bytes of batches": f"{BATCHES * BATCH * 8 / HOUR / 1e6:.1f} Mbit/s | {BATCHES * BATCH * 8 / 600 / 1e6:.1f} Mbit/s",
    "statuses": f"{GATEWAYS / 600:,.0f} /s",
    "bytes of statuses": f"{GATEWAYS * STATUS * 8 / 600 / 1e6:.1f} Mbit/s",
    "connections": f"{GATEWAYS:,} |",
    "broker's memory": f"{GATEWAYS * 35e3 / 1e9:.1f} GB without TLS",
    "handshakes": f"{GATEWAYS / 60:,.0f} handshakes",
    "cores, mean": f"| {VALUES / HOUR * CPU:.2f} |",
    "cores, ten minutes": f"| {VALUES / 600 * CPU:.2f} |",
    "backlog": f"| {VALUES * 72:,} | {VALUES * 72 * CPU / HOUR / 3.6:.1f} |",
    "spool a day": f"{BATCHES * DAY * BATCH / 1e9:.1f} GB a day come in",
    "spool, 60 days": f"{BATCHES * DAY * BATCH * 60 / 1e12:.1f} TB",
    "spool, 14 days": f"{BATCHES * DAY * BATCH * 14 / 1e9:.0f} GB, {BATCHES * DAY * BATCH * 14 / 4e9:.0f} GB a worker",
    "values a day": f"{VALUES * DAY / 1e6:.0f} million a day, {VALUES * MONTH / 1e9:.1f} billion a month",
    "points a day": f"{METERS * DAY / 1e6:.0f} million a day",
    "disk": f"{VALUES * MONTH * DISK / 1e9:.0f} GB a month, {VALUES * 8760 * DISK / 1e12:.1f} TB a year",
    "series": f"{3 * METERS / 1e6:.1f} million |",
    "memory": f"{METERS * MEMORY / 1e9:.0f} GB |",
    "InfluxDB's cores": f"{VALUES / HOUR * INFLUX_CPU:.2f} cores",
    "InfluxDB's cores, ten minutes": f"{VALUES / 600 * INFLUX_CPU:.2f} in the ten minutes",
    "each fourth": f"{3 * METERS / 4e6:.1f} million series and {METERS * MEMORY / 4e9:.0f} GB each",
    "frozen": f"{VALUES * DISK_ALONE / 1e9:.1f} GB a month. Longer",
    "status table": f"{GATEWAYS * STATUS / 1e9:.1f} GB, and {GATEWAYS * 144 * STATUS / 1e9:.0f} GB a day",
    "evidence": f"{METERS * EVIDENCE / 1e9:.1f} GB a day, {METERS * EVIDENCE * 30 / 1e9:.0f} GB a month",
    "ledger": f"{METERS * 2 * LEDGER / 1e9:.0f} GB a month",
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_the_page_follows_from_its_inputs(name: str) -> None:
    assert FIGURES[name] in " ".join(PAGE.split())


@pytest.mark.parametrize("meters", [1_000, 10_000, 100_000])
def test_a_row_of_the_smaller_ones_follows_too(meters: int) -> None:
    a_second = meters * REGISTERS / 900
    series = a_second * 86_400 * 30 * DISK / 1e9
    spool = meters / IN_BATCH * 96 * 60 * BATCH / 1e9
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {meters:,} | 15 min"))
    shown = [float(cell) for cell in row.split("|")[3:7]]
    for here, exact in zip(shown, [a_second, a_second * CPU, series, spool], strict=True):
        assert here == pytest.approx(exact, rel=0.2), row


def batch(snapshots: int) -> bytes:
    registers = {f"1.8.{tariff}": 20_044_630 for tariff in range(REGISTERS)}
    taken = tuple(
        Snapshot(
            meter=f"lenina-12-{number:03d}", profile="abb-b23", purpose="interval", asked=1793479500120 + number,
            answered=1793479500310 + number, registers=registers,
        )
        for number in range(snapshots)
    )  # fmt: skip
    profiles = dict.fromkeys(("abb-b23", "orno-we-517"), "sha256:" + "a" * 64)
    return encode(Batch.model_validate({
        "schema": 1, "gateway": "gw-lenina-12", "spool": "b7e3c1d09a44", "sequence": 1017, "class": "interval",
        "zone": "Europe/Moscow", "synced": True, "profiles": profiles, "snapshots": taken,
    }))  # fmt: skip


def test_the_bytes_of_a_batch_are_what_our_encoder_makes() -> None:
    each = (len(batch(45)) - len(batch(15))) / 30
    assert each == pytest.approx(SNAPSHOT, rel=0.05)
    assert len(batch(IN_BATCH)) == pytest.approx(BATCH, rel=0.05)


def test_the_bytes_of_a_status_are_what_our_encoder_makes() -> None:
    meter = MeterState.model_validate({
        "last": 1793480463910, "boundary": "2026-11-01", "ok": 960, "no-answer": 2, "damaged": 1, "refused": 0,
        "stranger": 0, "drift_s": -3,
    })  # fmt: skip
    line = LineState(meters=30, answering=28, cycle_ms=2100, silent_share=0.04)
    spool = SpoolState.model_validate({
        "id": "b7e3c1d09a44", "next": 19, "unreceipted": 1, "refused": 0, "evicted": 180, "fill": 0.12,
        "days_left": 41.5, "damage": None,
    })  # fmt: skip
    said = Status.model_validate({
        "schema": 1, "gateway": "gw-lenina-12", "online": True, "at": 1793480520000, "version": "0.1.0",
        "time_zone": "Europe/Moscow", "synced": True, "spool": spool, "lines": {f"riser-{n}": line for n in range(3)},
        "meters": {f"lenina-12-{n:03d}": meter for n in range(GATEWAY)},
    })  # fmt: skip
    assert len(encode(said)) == pytest.approx(STATUS, rel=0.05)
