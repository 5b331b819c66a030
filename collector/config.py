"""The configuration of both daemons: gateway.yaml and central.yaml, strict, every fault with file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from collector.config_central import CentralConfig, load_central
from collector.config_file import Metrics, Mqtt
from collector.config_gateway import GatewayConfig, Line, Meter, Spool, load_gateway, spool_of
from drivers import strict_yaml
from drivers.strict_yaml import ConfigError

__all__ = [
    "CentralConfig",
    "GatewayConfig",
    "Line",
    "Meter",
    "Metrics",
    "Mqtt",
    "Spool",
    "check_file",
    "kind_of",
    "load_central",
    "load_gateway",
    "spool_of",
]


def kind_of(path: Path) -> Literal["gateway", "central"]:
    """Which of the two a file is, by its keys. Raises ConfigError when it is neither."""
    document = strict_yaml.load(path)
    found = set(document.data) if isinstance(document.data, dict) else set()
    if found & {"gateway", "lines"}:
        return "gateway"
    if found & {"data", "database", "store", "require_act", "out"}:
        return "central"
    if found and found <= {"meters", "ended"}:
        raise ConfigError(
            [f"{path}: this is a part of a gateway.yaml (gateway.d/); check the gateway.yaml it belongs to"]
        )
    raise ConfigError(
        [f"{path}: neither a gateway.yaml (keys gateway, lines) nor a central.yaml (keys data, database)"]
    )


def check_file(path: Path) -> GatewayConfig | CentralConfig:
    """Load a file as what it is. Raises ConfigError with all its faults."""
    return load_gateway(path) if kind_of(path) == "gateway" else load_central(path)
