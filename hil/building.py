"""The demo's building: which meters hang where, what their flats use, and the files that a real one would have."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collector.central.points_csv import HEADER
from drivers.meter_side import Wiring
from drivers.profile import load
from hil.household import HOUR_MS, Household
from hil.meter import VirtualMeter

ZONE = "Europe/Moscow"  # no summer time: the flats' tariff calendars run three hours ahead of UTC all year
OFFSET_MS = 3 * HOUR_MS
GATEWAY = "gw-lenina-12"
WIRING = Wiring(9600, "8N1")  # of a riser's meters that do not say otherwise
RS485 = Wiring(9600, "7E1")  # how Neva and Energomera meters wait on RS-485
OPTICAL = Wiring(300, "7E1")  # how an optical port waits (IEC 62056-21)
PER_LINE = 8  # meters on a riser; a real segment carries 31 or 32 unit loads
SLOW = "60m"  # interval of meters that take seconds for an asking


@dataclass(frozen=True)
class Kind:
    """One sort of meter. `tariffs`: billed ones. `head`: read through an optical head, on a line of its own."""

    profile: str
    tariffs: int
    wiring: Wiring = WIRING
    head: bool = False


MODBUS = (
    Kind("eastron-sdm120", 1), Kind("eastron-sdm230-2t", 2), Kind("orno-we-515", 3), Kind("abb-b23", 3),
    Kind("gavazzi-em340", 2), Kind("orno-we-517", 3), Kind("eastron-sdm630", 1), Kind("inepro-pro380", 2),
    Kind("schneider-iem3155", 3),
)  # fmt: skip
# Flat after flat. A riser carries several protocols; Neva, Energomera and Mercury freeze their months.
KINDS = (
    MODBUS[0], Kind("neva-mt124", 3, RS485), MODBUS[1], Kind("iskra-mt174", 2, OPTICAL, head=True),
    MODBUS[2], Kind("mercury-230", 3), Kind("mercury-206", 2), *MODBUS[3:5], Kind("mercury-234", 2), *MODBUS[5:7],
    Kind("energomera-ce102m", 1, RS485), Kind("mercury-200", 1), *MODBUS[7:],
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


def flats(count: int, kinds: Sequence[Kind] = KINDS) -> list[Flat]:
    """The first `count` flats; the same each time."""
    found: list[Flat] = []
    places = heads = 0
    for index in range(count):
        kind = kinds[index % len(kinds)]
        profile = load(kind.profile)
        serial = (
            None if isinstance(profile.serial, str) else str(4_140_000 + 37 * index)
        )  # seven digits: what every profile's register can hold
        if kind.head:
            heads += 1
            line, address = f"head-{heads}", serial or ""
        else:
            places += 1
            line, address = f"riser-{(places - 1) // PER_LINE + 1}", str((places - 1) % PER_LINE + 1)
        household = Household.of_seed(index, kind.tariffs, OFFSET_MS)
        drift = 700 * (index % 5)
        meter = VirtualMeter(profile, address, household, serial, ZONE, drift_ms=drift, wiring=kind.wiring)
        found.append(Flat(index + 1, kind.tariffs, line, f"lenina-12-{index + 1:03d}", meter))
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
            f"    baudrate: {WIRING.baudrate}",
            f"    framing: {WIRING.framing}",
            "    meters:",
        ]
        for flat in members:
            meter = flat.meter
            keys = [f"id: {flat.meter_id}", f"profile: {meter.profile.id}", f"address: {meter.address}"]
            keys += [f"serial_number: {meter.serial_number}"] if meter.serial_number else []
            if meter.wiring is not None and meter.wiring != WIRING:
                keys += [f"baudrate: {meter.wiring.baudrate}", f"framing: {meter.wiring.framing}", f"interval: {SLOW}"]
            lines.append(f"      - {{{', '.join(keys)}}}")
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
