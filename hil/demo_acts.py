"""The demo's last act: a technician commissions a meter, replaces one and refuses one, beside the running gateway.

Everything is what runs in the field: the line is taken from the gateway and given back, the meters are read over the
wire, the acts go by MQTT in the numbering of readings, the centre judges them and changes its registry, and each is
printed. Only the technician's answers are prepared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.acts.folder import ActFolder
from collector.acts.journal import Journal
from collector.acts.page import page
from collector.central.acts import ActStore
from collector.clock import Clock
from collector.commands.act_flags import site_of
from collector.commands.act_making import run
from collector.model_act import Act, Kind
from drivers.profile import load
from drivers.values import kilo
from hil import building as plan
from hil.building import Flat
from hil.household import Household
from hil.meter import VirtualMeter

PROFILE = "abb-b23"
COLUMNS = ("act", "kind", "point", "meter", "1.8.1 kWh", "admitted")
DELIVERY = 60.0  # real seconds that the acts may take to the centre
NEW, OTHER, BAD = "101", "102", "103"  # addresses of the meters that a technician brings along


def brought(line: str) -> list[VirtualMeter]:
    """The three meters that the technician hangs on the first riser, ready to answer; on other lines none."""
    if line != "riser-1":
        return []
    return [
        VirtualMeter(
            load(PROFILE), address, Household.of_seed(900 + number, 2, plan.OFFSET_MS), f"99000{address}", plan.ZONE
        )
        for number, address in enumerate((NEW, OTHER, BAD))
    ]


@dataclass(frozen=True)
class Visit:
    """One act: its kind, number, and what the technician answers."""

    kind: Kind
    number: str
    answers: Mapping[str, Any]


def sign(folder: Path, flats: Sequence[Flat], clock: Clock, centre: ActStore) -> list[tuple[str, ...]]:
    """Make the three acts, wait until the centre has taken them, print them. A row of COLUMNS for each.

    Raises RuntimeError when the centre does not take one, or admits what it should not.
    """
    acts = [_make(folder, visit, clock) for visit in _visits(flats[0], clock.millis())]
    _taken(centre, acts)
    rows: list[tuple[str, ...]] = []
    for act in acts:
        pdf = folder / "acts" / f"{act.number}.pdf"
        pdf.write_bytes(page(act, act.language))
        first = next(
            (kilo(it.wire_wh) for it in act.readings if it.register_ == "1.8.1" and it.wire_wh is not None), ""
        )
        admitted = "yes" if act.decision.admitted else f"no: {', '.join(act.decision.grounds)}"
        rows.append((act.number, act.kind, act.point, act.subject.id, first, admitted))
    if [act.decision.admitted for act in acts] != [True, True, False]:
        raise RuntimeError(f"the demo's acts do not admit what they should: {[act.decision for act in acts]}")
    return rows


def _make(folder: Path, visit: Visit, clock: Clock) -> Act:
    """As `meterline act ...` with a file of answers; what it says on its way the demo leaves out."""
    acts = ActFolder(folder / "acts")
    journal = Journal(acts.journal(visit.number))
    journal.put("kind", visit.kind)
    place = site_of(folder / "gateway.yaml", "ru", None)
    return run(journal, place, dict(visit.answers), acts, clock=clock, prompt=None, say=lambda _text: None)


def _visits(flat: Flat, now: int) -> list[Visit]:
    common = {
        "utility": "generic", "address": "ул. Ленина, 12", "representative": "Морозова А. В., инженер", "tariffs": "2",
        "consumer": "Петров П. П.", "verified": "2026-03-01", "verify_by": "2042-03-01", "line": "riser-1",
        "profile": PROFILE, "certificate": "С-ДЕМО/2026-03", "year": "2026", "accuracy_class": "1",
        "checks": dict.fromkeys(("verifier_mark", "no_damage", "wiring", "phase_order", "tariff_calendar"), "yes"),
    }  # fmt: skip
    new, other, bad = brought("riser-1")
    commissioning = {
        **common, "point": "lenina-12-attic", "account": "434745459001", "place": "чердак, щит вентиляции",
        "meter": "lenina-12-attic-1", **_typed(new, now), "seals": ["М 104 417;роторная;крышка зажимов"],
    }  # fmt: skip
    replacement = {
        **common, "point": flat.point, "account": flat.account, "flat": str(flat.number), "place": "этажный щит",
        "old_meter": flat.meter_id, "old_plate": flat.meter.serial_number or f"PLATE-{flat.number:04d}",
        "old_tariffs": str(flat.tariffs), "tariffs": str(min(2, flat.tariffs)), "reason": "истёк срок службы",
        "meter": f"{flat.meter_id}-2", **_typed(other, now), "seals": ["М 104 418;роторная;крышка зажимов"],
    }  # fmt: skip
    if flat.tariffs == 1:
        replacement["displays"] = {"1.8.0": _display(other, "1.8.0", now)}
    refused = {
        **common, "point": "lenina-12-shop", "account": "434745459002", "place": "магазин, подсобное помещение",
        "meter": "lenina-12-shop-1", **_typed(bad, now), "verify_by": "2026-06-30", "seals": [],
    }  # fmt: skip
    return [
        Visit("commissioning", "demo-2026-000001", commissioning),
        Visit("replacement", "demo-2026-000002", replacement),
        Visit("commissioning", "demo-2026-000003", refused),
    ]


def _typed(meter: VirtualMeter, now: int) -> dict[str, Any]:
    """What a person reads on the plate and on the display."""
    return {
        "wire_address": meter.address,
        "plate": meter.serial_number,
        "displays": {code: _display(meter, code, now) for code in ("1.8.1", "1.8.2")},
    }


def _display(meter: VirtualMeter, code: str, now: int) -> str:
    wh = meter.energy(now)[code]
    return f"{wh // 1000}.{wh % 1000 // 10:02d}"


def _taken(centre: ActStore, acts: Sequence[Act]) -> None:
    wanted = {act.hash for act in acts}
    deadline = time.monotonic() + DELIVERY
    while time.monotonic() < deadline:
        found = {act.hash: (state, reason) for act, state, reason in centre.acts()}
        if wanted <= found.keys():
            held = {act.number: found[act.hash][1] for act in acts if found[act.hash][0] != "taken"}
            if held:
                raise RuntimeError(f"the centre holds acts of the demo: {held}")
            return
        time.sleep(0.05)
    raise RuntimeError("the acts of the demo have not reached the centre")
