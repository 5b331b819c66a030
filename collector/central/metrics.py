"""The centre's figures for Prometheus; docs/operations.md says what each is for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from collector.central.service import Figures


def families(figures: Figures) -> Iterator[Metric]:
    """Every family, from the figures of one moment. Seconds, bytes."""
    about = GaugeMetricFamily("meterline_centre_info", "Which centre this is.", labels=("version",))
    about.add_metric((figures.version,), 1)
    yield about
    yield _gauge("meterline_broker_connected", "Whether the broker is connected.", figures.connected)
    yield from _ingest(figures)
    yield from _worker(figures)
    trouble = GaugeMetricFamily(
        "meterline_centre_trouble", "Whether this part has trouble; `meterline fleet` says which.", labels=("part",)
    )
    for part, text in figures.trouble.items():
        trouble.add_metric((part,), float(bool(text)))
    yield trouble
    heard = GaugeMetricFamily(
        "meterline_gateway_last_message_timestamp_seconds", "When a gateway was heard last.", labels=("gateway",)
    )
    for gateway, at in figures.heard.items():
        heard.add_metric((gateway,), at / 1000)
    yield heard


def _ingest(figures: Figures) -> Iterator[Metric]:
    counts = figures.ingest
    yield CounterMetricFamily("meterline_batches_stored", "Batches taken into the spool.", counts.stored)
    yield CounterMetricFamily("meterline_batches_repeated", "Batches that were there already.", counts.repeats)
    refused = CounterMetricFamily("meterline_batches_refused", "Batches refused, by code.", labels=("code",))
    for code, count in dict(counts.refused).items():
        refused.add_metric((code,), count)
    yield refused
    yield CounterMetricFamily("meterline_messages_unreadable", "Messages nobody can answer.", counts.unreadable)
    yield CounterMetricFamily("meterline_statuses", "Statuses of gateways that were kept.", counts.statuses)
    yield CounterMetricFamily("meterline_receipts_lost", "Receipts the broker did not take.", counts.lost_receipts)


def _worker(figures: Figures) -> Iterator[Metric]:
    counts = figures.worker
    yield CounterMetricFamily("meterline_batches_settled", "Batches that every store has answered for.", counts.batches)
    yield CounterMetricFamily("meterline_values_stored", "Values written to the series.", counts.values)
    quarantined = CounterMetricFamily(
        "meterline_quarantined", "Snapshots and values not believed, by reason.", labels=("reason",)
    )
    for reason, count in dict(counts.reasons).items():
        quarantined.add_metric((reason,), count)
    yield quarantined
    yield CounterMetricFamily("meterline_batches_poisonous", "Batches that broke our own code.", counts.poisonous)
    yield CounterMetricFamily("meterline_snapshots_evicted", "Snapshots that gateways had to give up.", counts.evicted)
    if figures.spool is not None:
        state = figures.spool
        yield _gauge("meterline_spool_unsettled_batches", "Batches that wait for their stores.", state.unsettled)
        lag = 0.0 if state.oldest is None else max(0, figures.at - state.oldest) / 1000
        yield _gauge("meterline_worker_lag_seconds", "Age of the oldest batch that waits for its stores.", lag)
        yield _gauge("meterline_spool_bytes", "Bytes in use in the spool file.", state.bytes)
        yield _gauge(
            "meterline_spool_damaged", "Whether damage was found; the log says which.", state.damage is not None
        )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, float(value))
