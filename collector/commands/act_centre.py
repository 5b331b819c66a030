"""`meterline act` at the centre: acts from files, receipts, what is held and why, which meters are to be verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click

from collector.central.acts import ActReceipt, ActStore, Due
from collector.central.engine import opened_engine
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.clock import SystemClock
from collector.commands.counted import counted
from collector.commands.output import Format, show
from collector.config import load_central
from collector.exits import CheckFailed, UsageFault
from collector.localtime import from_millis, local_date
from collector.messages import MessageFault
from collector.messages_envelope import parse
from collector.model_act import Act
from collector.model_act_chain import MOST_BYTES, ActFault, opened

# Bytes of a file of acts: ten thousand of 20 KiB, more than a big city makes in a week.
MOST_FILE = 256 << 20


@contextmanager
def _store(config_file: Path) -> Iterator[ActStore]:
    config = load_central(config_file)
    with opened_engine(config) as engine, closing(open_store(config)) as series:
        yield ActStore(Registry(engine), series, config.time_zone)


def imported(config_file: Path, files: Sequence[Path], form: Format) -> None:
    """Take the acts of some files; a row for each. Raises CheckFailed when one was not taken."""
    now = SystemClock().millis()
    with _store(config_file) as store:
        receipts = [
            _take(store, where, text, f"file:{path.name}", now) for path in files for where, text in read_acts(path)
        ]
    columns = ("number", "point", "outcome", "reason", "hash")
    rows = ([it.number, it.point, it.outcome, it.reason, it.hash] for it in receipts)
    show(form, columns, rows, people=columns[:-1])
    odd = [it for it in receipts if it.outcome in ("held", "refused")]
    if odd:
        raise CheckFailed(f"{len(odd)} of {len(receipts)} acts were not taken; `meterline act list --held` shows why")


def _take(store: ActStore, where: str, text: bytes, source: str, now: int) -> ActReceipt:
    try:
        data = parse(text)
    except MessageFault as fault:
        return ActReceipt("", "", "refused", f"{where}: {fault}", "")
    return store.take(data, source=source, gateway=None, received=now)


def read_acts(path: Path) -> Iterator[tuple[str, bytes]]:
    """(file:line, bytes) of each act in a file: one object however it is spaced, or one a line. Raises UsageFault."""
    try:
        if path.stat().st_size > MOST_FILE:
            raise UsageFault(f"{path}: more than {MOST_FILE >> 20} MiB; cut it into several")
        data = path.read_bytes()
    except OSError as error:
        raise UsageFault(f"{path}: cannot be read: {error.strerror}") from None
    lines = data.splitlines()
    if len(data) <= 2 * MOST_BYTES and (len(lines) < 2 or not lines[0].rstrip().endswith(b"}")):
        yield str(path), data
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{path}:{number}", line


def listed(config_file: Path, point: str | None, held: bool, verification_due: int | None, form: Format) -> None:
    """The acts of the centre; or the meters that have to be verified within so many days."""
    with _store(config_file) as store:
        if verification_due is not None:
            zone = load_central(config_file).time_zone
            today = local_date(from_millis(SystemClock().millis()), zone)
            nothing = f"no meter has to be verified within {counted(verification_due, 'day')}"
            show(form, Due._fields, store.verification_due(today, verification_due), nothing=nothing)
            return
        found = store.acts(point=point, held=held)
    columns = ("number", "kind", "made", "point", "meter", "admitted", "state", "reason")
    nothing = "no act is held" if held else "there are no acts yet"
    show(form, columns, ([*_row(act), state, reason] for act, state, reason in found), nothing=nothing)


def _row(act: Act) -> list[str]:
    return [act.number, act.kind, act.made, act.point, act.subject.id, "yes" if act.decision.admitted else "no"]


def acts_and_faults(config_file: Path) -> tuple[list[Act], list[str]]:
    """The acts that were taken, and what is wrong with single ones as they lie in the database."""
    acts, faults = [], []
    with _store(config_file) as store:
        for number, state, document in store.documents():
            try:
                act = opened(document.encode())
            except ActFault as fault:
                faults.append(f"act {number}: {fault}")
                continue
            if state == "taken":
                acts.append(act)
    return acts, faults


def one(config_file: Path, number: str) -> Act:
    """The act of this number. Raises UsageFault where the centre has none, or several that are held."""
    with _store(config_file) as store:
        found = [(act, state) for act, state, _ in store.acts() if act.number == number]
    taken = [act for act, state in found if state == "taken"] or [act for act, _ in found]
    if not taken:
        raise UsageFault(f"the centre has no act {number}; see `meterline act list --config {config_file}`")
    if len(taken) > 1:
        click.echo(f"{len(taken)} acts of this number are held; this is the first", err=True)
    return taken[0]
