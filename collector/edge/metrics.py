"""The gateway's figures for Prometheus; docs/operations.md says what each is for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from collector.edge.gateway import Figures
from collector.model import MeterState
from collector.spool import OutboxState


def families(figures: Figures) -> Iterator[Metric]:
    """Every family, from the figures of one moment. Seconds, bytes, shares of 1."""
    status = figures.status
    about = GaugeMetricFamily("meterline_gateway_info", "Which gateway this is.", labels=("gateway", "version"))
    about.add_metric((status.gateway, status.version), 1)
    yield about
    yield _gauge("meterline_clock_synced", "Whether this computer's clock is trusted.", bool(status.synced))
    yield _gauge("meterline_broker_connected", "Whether the broker is connected.", figures.connected)
    yield _gauge("meterline_warnings", "How many things the status warns of.", len(status.warnings or ()))
    yield CounterMetricFamily("meterline_snapshots", "Askings committed to the spool.", figures.snapshots)
    yield CounterMetricFamily("meterline_values", "Register values committed to the spool.", figures.values)
    if figures.spool is not None:
        yield from _spool(figures.spool, status.at)
    yield CounterMetricFamily("meterline_batches_sent", "Batches given to the broker.", figures.counts.sent)
    receipts = CounterMetricFamily("meterline_receipts", "Receipts that came.", labels=("result",))
    for result in ("stored", "refused", "ignored"):
        receipts.add_metric((result,), getattr(figures.counts, result))
    yield receipts
    yield _gauge("meterline_receipts_outstanding", "Batches sent that wait for receipts.", figures.outstanding)
    yield from _lines(figures)
    yield from _meters(figures)


def _spool(state: OutboxState, now: int) -> Iterator[Metric]:
    yield _gauge("meterline_spool_unreceipted_batches", "Batches that nobody else holds.", state.unreceipted)
    yield _gauge("meterline_spool_refused_batches", "Batches refused for good.", state.refused)
    yield _gauge("meterline_spool_evicted_snapshots", "Snapshots lost for want of room or to damage.", state.evicted)
    yield _gauge(
        "meterline_spool_damaged", "Whether damage was found; the status says which.", state.damage is not None
    )
    yield _gauge("meterline_spool_bytes", "Bytes in use in the spool file.", state.bytes)
    yield _gauge("meterline_spool_fill_ratio", "Share of the room that un-receipted batches take.", state.fill)
    age = 0.0 if state.oldest is None else max(0, now - state.oldest) / 1000
    yield _gauge("meterline_spool_oldest_unreceipted_age_seconds", "Age of the oldest batch without a receipt.", age)
    if state.days_left is not None:
        yield _gauge("meterline_spool_days_left", "Days until it is full, without receipts.", state.days_left)


def _lines(figures: Figures) -> Iterator[Metric]:
    meters = _of_line("meterline_line_meters", "Meters of a line.")
    answering = _of_line("meterline_line_meters_answering", "Meters that answered when they were asked last.")
    cycle = _of_line("meterline_line_cycle_seconds", "How long a pass takes.")
    share = _of_line("meterline_line_silent_share_ratio", "Share of its time that silent meters had.")
    paused = _of_line("meterline_line_paused", "Whether it has let go of its port (gateway pause).")
    for name, state in (figures.status.lines or {}).items():
        meters.add_metric((name,), state.meters)
        answering.add_metric((name,), state.answering)
        share.add_metric((name,), state.silent_share)
        paused.add_metric((name,), name in figures.paused)
        if state.cycle_ms is not None:
            cycle.add_metric((name,), state.cycle_ms / 1000)
    yield from (meters, answering, cycle, share, paused)


def _meters(figures: Figures) -> Iterator[Metric]:
    askings = CounterMetricFamily(
        "meterline_meter_askings", "Askings since the start, by what came of them.", labels=("line", "meter", "outcome")
    )
    last = _of_meter("meterline_meter_last_answer_timestamp_seconds", "When it answered last.")
    drift = _of_meter("meterline_meter_clock_drift_seconds", "How far its clock is ahead of ours.")
    for line, meters in figures.meters.items():
        for name, state in meters.items():
            for outcome, count in outcomes(state).items():
                askings.add_metric((line, name, outcome), count)
            if state.last is not None:
                last.add_metric((line, name), state.last / 1000)
            if state.drift_s is not None:
                drift.add_metric((line, name), state.drift_s)
    yield from (askings, last, drift)


def outcomes(state: MeterState) -> dict[str, int]:
    """What came of a meter's askings, by the names of docs/contract.md."""
    return {
        "ok": state.ok,
        "no-answer": state.no_answer,
        "damaged": state.damaged,
        "refused": state.refused,
        "stranger": state.stranger,
    }


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, float(value))


def _of_line(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("line",))


def _of_meter(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("line", "meter"))
