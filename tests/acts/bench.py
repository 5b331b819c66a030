"""A stairwell: a riser with simulated meters, a gateway with its file, and a technician who answers questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from collector.cli import _status_of, cli
from collector.clock import SystemClock
from collector.config import load_gateway
from collector.edge.gateway import Gateway
from collector.model_act import Act
from collector.model_act_chain import opened
from drivers.meter_side import Held, MeterSide, Wiring
from drivers.profile import load
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter

GATEWAY = "gw-1"
ZONE = "Europe/Moscow"


def meter(serial_number: str, wh: int, address: str = "1", profile: str = "eastron-sdm630") -> VirtualMeter:
    """A meter that stands still, so that a test knows what it holds."""
    return VirtualMeter(load(profile), address, Household(0, start=(wh, 0, 0, 0)), serial_number, ZONE)


class Socket:
    """A place on the wall: one meter after the other hangs in it, of one profile and at one address."""

    def __init__(self, inside: VirtualMeter) -> None:
        self.inside = inside
        self.profile, self.address = inside.profile, inside.address

    def side(self, usual: Wiring) -> MeterSide:
        return self.inside.side(usual)

    def held(self, millis: int) -> Held:
        return self.inside.held(millis)


class Stairwell:
    """A folder with gateway.yaml, whose one riser is a simulated wire with one socket."""

    def __init__(self, folder: Path, inside: VirtualMeter) -> None:
        self.folder = folder
        self.socket = Socket(inside)
        self.config = folder / "gateway.yaml"

    def hang(self, inside: VirtualMeter) -> None:
        """Another meter hangs here from now on."""
        self.socket.inside = inside
        self.wire.mute.clear()

    def kill(self) -> None:
        """The meter answers no more."""
        self.wire.mute.add(self.socket.address)

    @contextmanager
    def open(self, *known: tuple[str, VirtualMeter]) -> Iterator[Stairwell]:
        """The wire in service. `known`: what gateway.yaml asks."""
        with Wire([self.socket], SystemClock()) as self.wire:
            asked = [
                {"id": name, "profile": it.profile.id, "address": it.address, "serial_number": it.serial_number}
                for name, it in known
            ]
            self.config.write_text(json.dumps({
                "schema": "1", "gateway": GATEWAY, "time_zone": ZONE, "interval": "5s",
                "mqtt": {"url": "mqtt://127.0.0.1:1"}, "spool": {"path": "spool.db", "max_mb": "8"},
                "lines": [{"name": "riser-1", "port": self.wire.path, "meters": asked}],
            }))  # fmt: skip
            yield self

    @contextmanager
    def gateway(self) -> Iterator[Gateway]:
        """The daemon, in this process."""
        gateway = Gateway(load_gateway(self.config), SystemClock(), lambda: True, lambda: load_gateway(self.config))
        gateway.start()
        try:
            yield gateway
        finally:
            gateway.stop()

    def act(self, *arguments: str, **answers: Any) -> tuple[int, Result]:
        """`meterline act ...` with these answers as flags, asking nobody."""
        flags = [part for name, value in answers.items() for part in flag(name, value)]
        return run("act", *arguments, "--config", str(self.config), "--no-input", *flags)

    def acts(self) -> dict[str, Act]:
        """Those that were made, by number."""
        found = [opened(path.read_bytes()) for path in sorted((self.folder / "acts").glob("*.json"))]
        return {act.number: act for act in found}

    def the_act(self) -> Act:
        """The only one."""
        (found,) = self.acts().values()
        return found


def flag(name: str, value: Any) -> list[str]:
    """An answer as a flag: mappings and lists as often as they are long."""
    option = "--" + {"displays": "display", "old_displays": "old-display", "checks": "check", "seals": "seal",
                     "photos": "photo", "grounds": "ground"}.get(name, name.replace("_", "-"))  # fmt: skip
    if isinstance(value, Mapping):
        return [part for key, text in value.items() for part in (option, f"{key}={text}")]
    if isinstance(value, list):
        return [part for text in value for part in (option, str(text))]
    return [option] if value is True else [option, str(value)]


def run(*arguments: str) -> tuple[int, Result]:
    """The command as a process would end: its exit status and what it said."""
    status = 0

    def main() -> None:
        nonlocal status
        status = _status_of(lambda: cli.main(list(arguments), prog_name="meterline", standalone_mode=False))

    import click

    wrapper = click.command()(main)
    result = CliRunner().invoke(wrapper, [])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return status, result


ANSWERS: dict[str, Any] = {
    "point": "kv1", "account": "10001", "address": 'ул. Ленина, 12, "А"', "place": "щит", "meter": "m1",
    "profile": "eastron-sdm630", "tariffs": "1", "plate": "4140001", "displays": {"1.8.0": "1234.56"},
    "verified": "2025-03-01", "verify_by": "2041-03-01", "seals": ["A123;пломба;крышка"],
    "representative": "Иванов И. И.", "consumer": "absent",
}  # fmt: skip
