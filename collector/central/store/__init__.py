"""Time series: what a store must do, and the stores that do it."""

from __future__ import annotations

from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import SeriesStore
from collector.config import CentralConfig


def open_store(config: CentralConfig) -> SeriesStore:
    """The store that central.yaml names. Raises StoreAway for a file; a server is first asked when it is first used."""
    if config.store.influxdb is None:
        return EmbeddedStore(config.data / "series.db")
    from collector.central.store.influx import InfluxStore  # who has no InfluxDB carries no client of it

    return InfluxStore(config.store.influxdb, config.spool.keep)
