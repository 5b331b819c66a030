"""What a stored batch gives to each sink: samples, evidence, quarantine, findings. Pure; the worker writes them.

Rule 1. Only a snapshot without a doubt gives samples, and one of class `keep` its evidence with them.
Rule 2. A value is stamped with its asking, a frozen one with the end of its month in the gateway's zone.
Rule 3. A failure is no value: a snapshot that holds nothing gives nothing.
Rule 4. The checks of a single asking run on what is believed, with the thresholds that are usual: what they find is
        kept beside the values and drops none. A utility's own thresholds are applied when its month is closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from collector.central.asking_checks import ASKING_CHECKS, Asking
from collector.central.device import device_named
from collector.central.evidence import Evidence, Quarantined
from collector.central.live_findings import LiveFinding
from collector.central.registry import Meter
from collector.central.store.series import Sample, WriteResult
from collector.central.thresholds import Checks
from collector.central.validate import Around, doubts, month_end
from collector.messages import BadSnapshot, Envelope, open_envelope
from collector.model import Snapshot
from collector.spool import Stored
from drivers.values import kilo

WHOLE = -1  # the position of a batch that is doubted as a whole: before its first snapshot
_USUAL = Checks()
_LATEST = 253_402_300_800_000  # 10000-01-01: no calendar of ours has later times, and a database column is finite


# Where a sample came from, should the store refuse it: its batch, the snapshot's position there, and the month of a
# frozen sample (else ""). The snapshot itself is let go at once: what lives through a round costs garbage collection.
Origin = tuple[Stored, int, str]


class Judged:
    """What some batches give to each sink. `origins` go with `samples`, one by one."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.origins: list[Origin] = []
        self.proofs: list[Evidence] = []
        self.quarantine: list[Quarantined] = []
        self.findings: list[LiveFinding] = []

    def add(self, batch: Stored, envelope: Envelope, meters: Mapping[str, Meter]) -> None:
        """Judge every snapshot of a batch; `meters` are those that the registry knows."""
        around = Around(batch.gateway, envelope.zone, envelope.synced, envelope.profiles, batch.received)
        keeps = envelope.class_ == "keep"
        for position, item in enumerate(envelope.snapshots or ()):
            if isinstance(item, BadSnapshot):
                row = _doubt(batch, position, item.meter, item.asked, reason=item.reason, snapshot=_text(item))
                self.quarantine.append(row)
            elif reasons := doubts(item, meters.get(item.meter), around):
                text = "; ".join(reasons)
                row = _doubt(batch, position, item.meter, item.asked, reason=text, snapshot=_text(item))
                self.quarantine.append(row)
            elif self._accept(batch, position, item, around) and keeps:
                key = (batch.gateway, batch.spool, batch.sequence, position)
                proof = Evidence(*key, item.meter, item.asked, batch.sha256, around.zone or "", _text(item))
                self.proofs.append(proof)

    def _accept(self, batch: Stored, position: int, snapshot: Snapshot, around: Around) -> bool:
        """Note the samples of a snapshot that is believed; whether it has any."""
        meter, before = snapshot.meter, len(self.samples)
        if snapshot.registers:
            self.samples.append(Sample("live", meter, batch.gateway, snapshot.asked, snapshot.registers))
            self.origins.append((batch, position, ""))
            self.findings += _findings(snapshot, around.zone)
        if snapshot.quantities:
            self.samples.append(Sample("quantity", meter, batch.gateway, snapshot.asked, snapshot.quantities))
            self.origins.append((batch, position, ""))
        for month, values in snapshot.frozen.items():
            if values:
                end = month_end(month, around.zone or "")
                self.samples.append(Sample("frozen", meter, batch.gateway, end, values))
                self.origins.append((batch, position, month))
        return len(self.samples) > before

    def add_refused(self, result: WriteResult) -> None:
        """Put into quarantine what the store did not take of the samples."""
        for place, reason in result.rejected:
            for code in self.samples[place].values:
                self._add_value(place, code, reason)
        for place, code, stored, _ in result.conflicts:
            self._add_value(place, code, f"frozen-changed: {kilo(stored)} kWh came first and stays")

    def _add_value(self, place: int, code: str, reason: str) -> None:
        sample, (batch, position, month) = self.samples[place], self.origins[place]
        snapshot = (open_envelope(batch.payload).snapshots or ())[position]
        value = sample.values[code]
        shown = repr(value) if sample.kind == "quantity" else kilo(int(value))
        row = _doubt(batch, position, sample.meter, sample.time, reason=reason, snapshot=_text(snapshot))
        self.quarantine.append(row._replace(kind=sample.kind, month=month, register=code, value=shown))


def whole_batch(batch: Stored, reason: str) -> Quarantined:
    """A batch that cannot be handled at all."""
    return _doubt(batch, WHOLE, "", None, reason=reason, snapshot=batch.payload.decode("utf-8", "replace"))


def _doubt(batch: Stored, position: int, meter: str, time: int | None, *, reason: str, snapshot: str) -> Quarantined:
    """A snapshot that is not believed as a whole."""
    if time is not None and not 0 <= time < _LATEST:
        time = None
    key = (batch.gateway, batch.spool, batch.sequence, position)
    # PostgreSQL takes no NUL in a text.
    return Quarantined(*key, "", "", "", meter, time, "", reason.replace("\0", "\\0"), snapshot.replace("\0", "\\0"))


def _findings(snapshot: Snapshot, zone: str | None) -> Iterator[LiveFinding]:
    """What an asking shows by itself."""
    device = device_named(snapshot.profile)
    if device is None:
        return
    took = 0 if snapshot.answered is None else max(0, snapshot.answered - snapshot.asked)
    asking = Asking(snapshot.meter, snapshot.asked, took, snapshot.registers, snapshot.clock, zone)
    for check in ASKING_CHECKS:
        for doubt in check(asking, device, _USUAL):
            yield LiveFinding(doubt.time, snapshot.meter, doubt.check, doubt.level, doubt.quality, doubt.text)


def _text(snapshot: Snapshot | BadSnapshot) -> str:
    """The snapshot's canonical JSON: as it came, without keys that nobody here knows."""
    if isinstance(snapshot, BadSnapshot):
        return snapshot.text
    data = snapshot.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
