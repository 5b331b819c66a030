"""The import rules of docs/architecture.md, read from the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("drivers", "collector", "hil")

# part of the tree -> what it may import of ours (prefixes). The first prefix that matches a file counts.
MAY_IMPORT = {
    "collector/commands/": ("collector", "drivers"),
    "collector/cli.py": ("collector", "drivers", "hil"),
    "collector/__main__.py": ("collector.cli",),
    "collector/edge/": (
        "collector.edge", "collector.config", "collector.messages", "collector.spool", "collector.mqtt",
        "collector.model", "collector.clock", "collector.localtime", "collector.exits", "collector.serials", "drivers",
        "collector.control", "collector.metrics", "collector.pulse", "collector.watchdog",
    ),
    "collector/central/": (
        "collector.central", "collector.config", "collector.messages", "collector.spool", "collector.mqtt",
        "collector.model", "collector.clock", "collector.localtime", "collector.exits", "collector.serials",
        "drivers.profile", "drivers.obis", "drivers.values", "drivers.strict_yaml",
        "collector.metrics", "collector.pulse", "collector.watchdog",
    ),
    "collector/acts/": (
        "collector.acts", "collector.config", "collector.messages", "collector.durable", "collector.outbox_beside",
        "collector.model", "collector.control", "collector.localtime", "collector.exits", "collector.serials",
        "drivers.profile", "drivers.obis", "drivers.values", "drivers.strict_yaml",
    ),
    "collector/outbox_beside.py": ("collector.outbox", "collector.durable"),
    "collector/spool.py": ("collector.durable", "collector.outbox", "collector.inbox"),
    "collector/inbox_beside.py": ("collector.inbox", "collector.durable"),
    "collector/mqtt.py": ("collector.mqtt_attempt",),
    "collector/mqtt_attempt.py": (),
    # What deploy/setup.py uses too, where nothing but Python's standard library may be there.
    "collector/credentials/": ("collector.credentials",),
    "drivers/": ("drivers",),
    "hil/": ("hil", "collector", "drivers"),
    "collector/": (
        "collector.model", "collector.config", "collector.messages", "collector.exits", "collector.localtime",
        "collector.clock", "collector.durable", "collector.serials", "collector.config_fields", "drivers",
        "collector.control", "collector.pulse",
    ),
}  # fmt: skip


def files() -> Iterator[Path]:
    for part in OURS:
        yield from sorted((ROOT / part).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for name in node.names:
                inner = ROOT / module.replace(".", "/") / f"{name.name}.py"
                yield f"{module}.{name.name}" if inner.is_file() else module


@pytest.mark.parametrize("path", list(files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_part_may(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    allowed = next(names for prefix, names in MAY_IMPORT.items() if relative.startswith(prefix))
    for name in imports(path):
        if name.split(".")[0] in OURS:
            assert name.startswith(allowed), f"{relative} imports {name}; its part may import {', '.join(allowed)}"


@pytest.mark.parametrize("path", list(files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_drivers_have_no_clock_no_port_no_log_no_thread(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] != "drivers":
        return
    forbidden = {"time", "logging", "threading", "socket", "serial", "select", "asyncio", "os", "subprocess"}
    assert not forbidden & {name.split(".")[0] for name in imports(path)}


def loaded_by(module: str) -> set[str]:
    code = f"import {module}, sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_the_central_service_carries_no_protocol_and_no_serial_port() -> None:
    assert not {"pymodbus", "serial"} & loaded_by("collector.central.service")


def test_a_gateway_carries_no_web_server_no_sql_toolkit_no_influxdb_client() -> None:
    heavy = {"sqlalchemy", "alembic", "influxdb_client", "amqtt", "aiohttp", "fastapi", "flask", "uvicorn", "rich"}
    heavy |= {"prometheus_client"}  # loaded where figures are asked for
    assert not heavy & loaded_by("collector.edge.gateway")


def test_only_the_spool_deletes_a_reading() -> None:
    """DELETE, DROP and payload updates stand in collector/spool.py alone (rule of docs/architecture.md)."""
    for path in files():
        relative = str(path.relative_to(ROOT))
        if relative == "collector/spool.py" or "migrations" in relative:
            continue
        strings = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
        text = " ".join(value for value in strings if isinstance(value, str)).upper()
        for word in ("DELETE FROM", "DROP TABLE"):
            assert word not in text, f"{relative} holds {word}"
