"""What follows when an act is made: it is kept, the gateway asks the right meters, and the centre hears of it.

Rule 1. The order is: the act on the disk; the gateway's configuration, checked and on the disk; the spool. Each step
        finds out by itself whether it was done, so that after a power cut anywhere all of it is done again.
Rule 2. A configuration that the gateway would refuse is taken back, and the act stays: it says what is true.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from collector import control
from collector.acts.durable_files import put, put_new
from collector.acts.folder import ActFolder
from collector.acts.words import words
from collector.config import GatewayConfig, load_gateway
from collector.durable.layout import SpoolFull, SpoolUnusable
from collector.messages import encode
from collector.model import Batch
from collector.model_act import Act, Device
from collector.model_act_chain import as_data
from collector.outbox_beside import append_beside
from drivers.strict_yaml import ConfigError

CHANGES: tuple[str, ...] = ("commissioning", "replacement", "removal")


@dataclass(frozen=True)
class Box:
    """The gateway at which an act is made: its configuration and the file that it stands in."""

    file: Path
    config: GatewayConfig


def finish(
    act: Act,
    folder: ActFolder,
    box: Box | None,
    extra: dict[str, Any],
    *,
    now: int,
    synced: bool,
    say: Callable[[str], None],
) -> None:
    """Do all of it, as far as there is a gateway. `extra`: what its line must know of the new meter beside the act."""
    folder.add(act)
    say(f"{folder.place(act.number)} ({act.hash})")
    if box is None:
        say(words(act.language).said["alone"])
        return
    if act.decision.admitted and act.kind in CHANGES:
        _configure(act, box, extra, say)
    queue(act, folder, box, now=now, synced=synced, say=say)


def change_of(act: Act, box: Box, extra: dict[str, Any]) -> dict[str, Any]:
    """What the act means for the gateway: a file of gateway.d; {} where it asks the right meters already."""
    there = {meter.id: meter for line in box.config.lines for meter in line.meters}
    change: dict[str, Any] = {}
    if act.meter is not None and act.meter.id not in there and act.meter.line is not None:
        change["meters"] = [_added(act.meter, extra)]
    if act.old_meter is not None:
        old = there.get(act.old_meter.meter.id)
        if old is not None and old.ended is None:
            change["ended"] = [{"id": old.id, "at": act.made}]
    return change


def _added(meter: Device, extra: dict[str, Any]) -> dict[str, Any]:
    numbers = meter.serial_number
    return {
        "line": meter.line,
        "id": meter.id,
        "profile": meter.profile,
        "address": meter.address,
        "serial_number": None if numbers.wire is None else numbers.plate,
        **extra,
    }


def _configure(act: Act, box: Box, extra: dict[str, Any], say: Callable[[str], None]) -> None:
    said = words(act.language).said
    place = box.file.absolute().parent / "gateway.d" / f"act-{act.number}.yaml"
    change = {} if place.exists() else change_of(act, box, extra)
    if change:
        head = f"# Act {act.number} of {act.made}: {act.kind} at {act.point}. {act.hash}\n"
        put(place, (head + yaml.safe_dump(change, allow_unicode=True, sort_keys=False)).encode())
        _readable_like(place, box.file)
        try:
            load_gateway(box.file)
        except ConfigError as error:
            place.unlink()
            say(f"{said['refused_change']}\n{error}")
            return
        say(f"{place}: {', '.join(change)}")
    if place.exists():
        try:
            loaded = control.reload(box.config.spool.path)
            added, ended = (", ".join(names) or "-" for names in (loaded.added, loaded.ended))
            say(said["asks_now"].format(added=added, ended=ended))
        except control.NotRunning:
            say(said["asleep"])
        except control.Refused as error:
            say(said["not_taken"].format(why=error))


def _readable_like(path: Path, model: Path) -> None:
    """Whoever may read `model` may read `path`: the gateway's own user, also where root has made the act."""
    for new, old in ((path.parent, model.absolute().parent), (path, model)):
        known = old.stat()
        new.chmod(known.st_mode & 0o777)
        if os.name == "posix" and os.geteuid() == 0:
            os.chown(new, known.st_uid, known.st_gid)


def queue(act: Act, folder: ActFolder, box: Box, *, now: int, synced: bool, say: Callable[[str], None]) -> None:
    """Put the act into the gateway's spool, once; a second time would be no more than a repeat at the centre."""
    said = words(act.language).said
    mark = folder.beside(act.number) / ".queued"
    if mark.exists():
        return

    def batch(spool: str, sequence: int) -> bytes:
        return encode(
            Batch(
                gateway=box.config.gateway, spool=spool, sequence=sequence, class_="keep",
                zone=box.config.time_zone, synced=synced, act=as_data(act),
            )
        )  # fmt: skip

    try:
        entry = append_beside(box.config.spool.path, batch, now)
    except (SpoolUnusable, SpoolFull) as error:
        say(said["waits"].format(folder=folder.path, why=error))
        return
    put_new(mark, f"{entry.spool} {entry.sequence}\n".encode())
    say(said["queued"].format(spool=entry.spool, sequence=entry.sequence))
