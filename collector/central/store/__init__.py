"""Time series: what a store must do, and the stores that do it."""

from __future__ import annotations

from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import SeriesStore
from collector.config import CentralConfig
from collector.exits import UsageFault


def open_store(config: CentralConfig) -> SeriesStore:
    """The store that central.yaml names. Raises StoreAway, and UsageFault for one that is not built yet."""
    if config.store.influxdb is not None:
        raise UsageFault("store: influxdb: not built yet; write `store: embedded`")
    return EmbeddedStore(config.data / "series.db")
