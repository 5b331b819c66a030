"""The demo's building: which meters hang where, what their flats use, and the files that a real one would have."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from collector.central.points_csv import HEADER
from drivers.profile import load
from hil.household import HOUR_MS, Household
from hil.meter import VirtualMeter

ZONE = "Europe/Moscow"  # no summer time: the flats' tariff calendars run three hours ahead of UTC all year
OFFSET_MS = 3 * HOUR_MS
GATEWAY = "gw-lenina-12"
BAUDRATE, FRAMING = 9600, "8N1"
PER_LINE = 8  # meters on a riser; a real segment carries 31 or 32 unit loads

# Profile and billed tariffs, flat after flat: every proven profile, one to three tariffs.
KINDS = (
    ("eastron-sdm120", 1), ("eastron-sdm230-2t", 2), ("orno-we-515", 3), ("abb-b23", 3), ("gavazzi-em340", 2),
    ("orno-we-517", 3), ("eastron-sdm630", 1), ("inepro-pro380", 2), ("schneider-iem3155", 3),
)  # fmt: skip


@dataclass(frozen=True)
class Flat:
    """A flat with its point, account and meter."""

    number: int
    tariffs: int
    line: str
    meter_id: str
    meter: VirtualMeter

    @property
    def point(self) -> str:
        return f"lenina-12-kv{self.number}"

    @property
    def account(self) -> str:
        return f"43474545{self.number:04d}"


def flats(count: int) -> list[Flat]:
    """The first `count` flats; the same each time."""
    found = []
    for index in range(count):
        profile_id, tariffs = KINDS[index % len(KINDS)]
        profile = load(profile_id)
        serial = (
            None if isinstance(profile.serial, str) else str(4_140_000 + 37 * index)
        )  # seven digits: what every profile's register can hold
        household = Household.of_seed(index, tariffs, OFFSET_MS)
        meter = VirtualMeter(profile, str(index % PER_LINE + 1), household, serial, ZONE, drift_ms=700 * (index % 5))
        found.append(Flat(index + 1, tariffs, f"riser-{index // PER_LINE + 1}", f"lenina-12-{index + 1:03d}", meter))
    return found


def risers(building: list[Flat]) -> dict[str, list[Flat]]:
    """The flats by line."""
    lines: dict[str, list[Flat]] = {}
    for flat in building:
        lines.setdefault(flat.line, []).append(flat)
    return lines


def gateway_yaml(building: list[Flat], ports: dict[str, str], broker: str, folder: Path) -> str:
    """The gateway's configuration."""
    lines = [
        "schema: 1",
        f"gateway: {GATEWAY}",
        f"time_zone: {ZONE}",
        "interval: 15m",
        f"mqtt: {{url: {broker}, protocol: 3.1.1}}",
        f"spool: {{path: {folder / 'gateway.db'}, max_mb: 64, keep: 40d}}",
        "lines:",
    ]
    for name, members in risers(building).items():
        lines += [
            f"  - name: {name}",
            f"    port: {ports[name]}",
            f"    baudrate: {BAUDRATE}",
            f"    framing: {FRAMING}",
            "    meters:",
        ]
        for flat in members:
            meter = flat.meter
            serial = f", serial_number: {meter.serial_number}" if meter.serial_number else ""
            lines.append(
                f"      - {{id: {flat.meter_id}, profile: {meter.profile.id}, address: {meter.address}{serial}}}"
            )
    return "\n".join(lines) + "\n"


def central_yaml(broker: str, folder: Path) -> str:
    """The centre's configuration."""
    return "\n".join([
        "schema: 1",
        f"data: {folder / 'data'}",
        f"time_zone: {ZONE}",
        f"mqtt: {{url: {broker}, protocol: 3.1.1}}",
        "database: sqlite",
        "store: embedded",
        f"out: {folder / 'out'}",
        "",
    ])  # fmt: skip


def points_csv(building: list[Flat]) -> str:
    """The utility's list of points."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    for flat in building:
        meter = flat.meter
        # A meter without a serial register still has one on its name plate.
        plate = meter.serial_number or f"PLATE-{flat.number:04d}"
        rows.writerow([
            flat.point, flat.account, "generic", "Lenina 12", flat.number, flat.tariffs, 1, flat.meter_id, plate,
            meter.profile.id, GATEWAY, 1, ZONE,
        ])  # fmt: skip
    return text.getvalue()
