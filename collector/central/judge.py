"""What a stored batch gives to each sink: samples, evidence, quarantine, findings. Pure; the worker writes them.

Rule 1. Only a snapshot without a doubt gives samples, and one of class `keep` its evidence with them.
Rule 2. A value is stamped with its asking, a frozen one with the end of its month in the gateway's zone.
Rule 3. A failure is no value: a snapshot that holds nothing gives nothing.
Rule 4. The checks of a single asking run on what is believed, with the thresholds of the utility that bills where the
        meter hung when it was asked: what they find is kept beside the values and drops none.
Rule 5. All that comes in goes through here: a sound snapshot, as nearly all are, leaves no object but its samples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from collector.central.asking_checks import ASKING_CHECKS, Asking
from collector.central.device import device_named
from collector.central.evidence import Evidence, Quarantined
from collector.central.live_findings import LiveFinding
from collector.central.live_thresholds import USUAL, Terms
from collector.central.registry import Meter, in_force
from collector.central.store.series import Sample, WriteResult
from collector.central.validate import Around, doubts, month_end
from collector.messages import BadSnapshot, Envelope, SentSnapshot, open_envelope
from collector.spool import Stored
from drivers.values import kilo

WHOLE = -1  # the position of a batch that is doubted as a whole: before its first snapshot
_LATEST = 253_402_300_800_000  # 10000-01-01: no calendar of ours has later times, and a database column is finite


# Where a sample came from, should the store refuse it: its batch, the snapshot's position there, and the month of a
# frozen sample (else ""). The snapshot itself is let go at once: what lives through a round costs garbage collection.
Origin = tuple[Stored, int, str]


class Judged:
    """What some batches give to each sink. `origins` go with `samples`, one by one.

    `meters`: those that the registry knows; `terms`: the thresholds of each, without which it has the usual ones.
    """

    def __init__(self, meters: Mapping[str, Meter], terms: Mapping[str, Sequence[Terms]]) -> None:
        self._meters = meters
        self._terms = terms
        self.samples: list[Sample] = []
        self.origins: list[Origin] = []
        self.proofs: list[Evidence] = []
        self.quarantine: list[Quarantined] = []
        self.findings: list[LiveFinding] = []

    def add(self, batch: Stored, envelope: Envelope) -> None:
        """Judge every snapshot of a batch."""
        around = Around(batch.gateway, envelope.zone, envelope.synced, envelope.profiles, batch.received)
        keeps = envelope.class_ == "keep"
        for position, item in enumerate(envelope.snapshots or ()):
            if isinstance(item, BadSnapshot):
                row = _doubt(batch, position, item.meter, item.asked, reason=item.reason, snapshot=_text(item))
                self.quarantine.append(row)
            elif reasons := doubts(item, self._meters.get(item["meter"]), around):
                reason = "; ".join(reasons)
                row = _doubt(batch, position, item["meter"], item["asked"], reason=reason, snapshot=_text(item))
                self.quarantine.append(row)
            elif self._accept(batch, position, item, around) and keeps:
                key = (batch.gateway, batch.spool, batch.sequence, position)
                zone = around.zone or ""
                self.proofs.append(Evidence(*key, item["meter"], item["asked"], batch.sha256, zone, _text(item)))

    def _accept(self, batch: Stored, position: int, snapshot: SentSnapshot, around: Around) -> bool:
        """Note the samples of a snapshot that is believed; whether it has any."""
        meter, asked, before = snapshot["meter"], snapshot["asked"], len(self.samples)
        if registers := snapshot.get("registers"):
            self.samples.append(Sample("live", meter, batch.gateway, asked, registers))
            self.origins.append((batch, position, ""))
            self._check(snapshot, registers, around.zone)
        if quantities := snapshot.get("quantities"):
            self.samples.append(Sample("quantity", meter, batch.gateway, asked, quantities))
            self.origins.append((batch, position, ""))
        for month, values in snapshot.get("frozen", {}).items():
            if values:
                end = month_end(month, around.zone or "")
                self.samples.append(Sample("frozen", meter, batch.gateway, end, values))
                self.origins.append((batch, position, month))
        return len(self.samples) > before

    def _check(self, snapshot: SentSnapshot, registers: Mapping[str, int], zone: str | None) -> None:
        """Note what an asking shows by itself."""
        device = device_named(snapshot["profile"])
        if device is None:
            return
        meter, asked, answered = snapshot["meter"], snapshot["asked"], snapshot.get("answered")
        terms = self._terms.get(meter)
        checks = USUAL if terms is None else in_force(terms, asked).checks
        took = 0 if answered is None else max(0, answered - asked)
        asking = Asking(meter, asked, took, registers, snapshot.get("clock"), zone)
        for check in ASKING_CHECKS:
            for doubt in check(asking, device, checks):
                finding = LiveFinding(doubt.time, meter, doubt.check, doubt.level, doubt.quality, doubt.text)
                self.findings.append(finding)

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


def _text(snapshot: SentSnapshot | BadSnapshot) -> str:
    """The snapshot's canonical JSON: as it came, without keys that nobody here knows or that say nothing."""
    if isinstance(snapshot, BadSnapshot):
        return snapshot.text
    said = {key: value for key, value in snapshot.items() if value not in (None, {}, ())}
    return json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
