"""The whole story of one number: raw bytes, batch, profile, act, witnesses, arithmetic, checks, decisions, sent row.

All of it comes from the ledger and from the kept snapshots that it names; only how the registers went through the month
is looked up in the series, which may have forgotten it.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from collector import localtime
from collector.central import chain, ledger, responses
from collector.central import utility as utilities
from collector.central.billing_files import BILLING, billing_cells
from collector.central.canonical import canonical
from collector.central.closing import Books
from collector.central.database import ledger as table
from collector.central.device import device_of
from collector.central.edge_value import Dial, wall
from collector.central.ledger import Entry
from collector.central.month_path import path_of, sentences
from collector.central.store.series import Row, TimedValue
from collector.central.tariff_hours import advances
from collector.exits import UsageFault
from drivers.strict_yaml import ConfigError
from drivers.values import kilo

DAY = 24 * 3_600_000
_UNITS = ("whole kWh", "0.1 kWh", "0.01 kWh", "0.001 kWh")


def explain(books: Books, point: str, period: str) -> Iterator[str]:
    """Lines of text. Raises UsageFault where the month of the point is not closed, CheckFailed for an altered row."""
    with books.engine.connect() as connection:
        versions = _versions(connection, point, period)
        if not versions:
            raise UsageFault(
                f"{period} of {point} is not closed, or there is no such point; see `close {period} --preview`"
            )
        links = {link.what: link for link in chain.links(connection) if link.kind == "close"}
        newest = [entries[-1] for entries in versions.values()]
        proofs = [ledger.proof_of(connection, entry) for entry in newest]
        row = newest[0].reading
        answers = responses.given(connection, period, row.utility, row.account)
    for entries, proof in zip(versions.values(), proofs, strict=True):
        yield from _register(books, entries, proof, links)
    yield from (_answered(answer, proofs[0]["point"]["time_zone"]) for answer in answers)
    yield from _month(books, newest)


def _versions(connection: Connection, point: str, period: str) -> dict[str, list[Entry]]:
    """register -> its row versions, oldest first, each held against its digest."""
    columns = (table.c.register, *ledger.STORED)
    where = (table.c.period == period, table.c.point == point)
    found: dict[str, list[Entry]] = {}
    for register, *stored in connection.execute(
        select(*columns).where(*where).order_by(table.c.register, table.c.revision)
    ):
        found.setdefault(register, []).append(ledger.read_entry(*stored))
    return found


def _register(
    books: Books, entries: Sequence[Entry], proof: Mapping[str, Any], links: Mapping[str, chain.Link]
) -> Iterator[str]:
    entry = entries[-1]
    row = entry.reading
    zone = proof["point"]["time_zone"]
    yield f"{row.point}, account {row.account}, {row.utility}, {row.period}: {row.label} ({row.register_})"
    used = "not known" if row.consumption_kwh is None else _kwh(row.consumption_kwh)
    yield f"  {_kwh(row.end_kwh)} is {row.status}; consumption {used}; quality {row.quality}"
    first, last = (wall(proof["point"][name], zone) for name in ("opening", "closing"))
    yield f"  the period runs from {first} to {last} ({zone}); utility profile {proof['utility']['digest']}"
    for segment in proof["segments"]:
        yield from _segment(segment, row.register_, zone)
    yield from _arithmetic(entry, proof)
    for finding in entry.findings:
        yield f"  check {finding.check} ({finding.level}, {finding.quality}): {finding.text}"
    if not entry.findings:
        yield "  no check had anything to say"
    if decision := proof.get("decision"):
        when = wall(decision["at"], zone)
        yield f"  decided: {decision['verdict']} by {decision['who']} at {when}: {decision['reason']}"
    carried = proof.get("carried", {}) if entry.carried is None else json.loads(entry.carried)
    months = ", ".join(f"{month} {' '.join(used)}" for month, used in sorted(carried.get("months", {}).items()))
    yield f"  months: {months or 'none before'}"
    for version in entries:
        yield from _version(version, links, zone)
    yield from _sent(books.out, entry)


def _segment(segment: Mapping[str, Any], code: str, zone: str) -> Iterator[str]:
    if segment["meter"]:
        profile = segment["profile"]
        read_by = f"profile {profile['id']} {profile['digest']}"
        yield f"  meter {segment['meter']}, serial number {segment['serial_number']}, {read_by}"
        for name, word in (("from", "hung"), ("to", "taken down")):
            if segment[name] is not None:
                yield f"    {word} at {wall(segment[name], zone)} (by its act)"
    else:
        yield "  no meter that we read hangs here"
    for name in ("start", "end"):
        yield from (f"    {line}" for line in _bound(name, segment[name], code, zone))


def _bound(name: str, proof: Mapping[str, Any] | None, code: str, zone: str) -> Iterator[str]:
    if proof is None:
        yield f"{name}: no value"
        return
    method = proof["method"]
    if method == "ledger":
        row = f"r{proof['revision']}, {proof['digest']}"
        yield f"{name}: {proof['kwh']} kWh, with which {proof['period']} was billed ({row})"
    elif method == "act":
        yield f"{name}: {kilo(proof['wh'])} kWh, from the act of {wall(proof['time'], zone)}"
    elif method == "manual":
        entered = proof["entered"]
        at = wall(entered["at"], zone)
        yield f"{name}: {kilo(proof['wh'])} kWh, told at {wall(proof['time'], zone)} ({entered['source']})"
        yield f"  entered by {entered['who']} at {at}" + (f": {entered['reason']}" if entered["reason"] else "")
    elif method == "estimated":
        yield f"{name}: estimated by {proof['step']}, {proof['kwh']} kWh for the period"
        for tried in proof["tried"]:
            yield f"  {json.dumps(tried, ensure_ascii=False)}"
    else:
        yield from _read(name, proof, code, zone)


def _read(name: str, proof: Mapping[str, Any], code: str, zone: str) -> Iterator[str]:
    """A value that a meter itself gave."""
    if proof["method"] == "frozen":
        yield f"{name}: {kilo(proof['wh'])} kWh, frozen by the meter for {proof['month']}"
        for time, wh in proof["agreed"]:
            yield f"  asked at {wall(time, zone)}: {kilo(wh)} kWh"
        for time, wh in proof["others"]:
            yield f"  asked at {wall(time, zone)}: {kilo(wh)} kWh, which differs"
    else:
        yield f"{name}: {kilo(proof['wh'])} kWh, read at {wall(proof['time'], zone)}"
        for side in ("before", "after"):
            if proof[side] is not None:
                time, wh = proof[side]
                yield f"  witness {side} it: {kilo(wh)} kWh at {wall(time, zone)}"
    for asking in proof["askings"]:
        if "snapshot" not in asking:
            yield f"  from the series; nobody kept that snapshot: {json.dumps(asking['series'], ensure_ascii=False)}"
            continue
        snapshot = asking["snapshot"]
        raw = snapshot.get("raw", {}).get(code)
        yield (
            f"  {asking['gateway']}, spool {asking['spool']}, batch {asking['sequence']}, "
            f"snapshot {asking['position']}, batch SHA-256 {asking['sha256']}"
        )
        yield f"    raw bytes {raw or '(not sent)'}; meter's clock {snapshot.get('clock') or '(not sent)'}"


def _arithmetic(entry: Entry, proof: Mapping[str, Any]) -> Iterator[str]:
    row, decimals = entry.reading, proof["utility"]["decimals"]
    yield f"  dials are cut to {_UNITS[decimals]}, further digits are not billed before they make one"
    if row.consumption_kwh is None:
        yield "  consumption: not known, an end of it is missing"
    elif len(proof["segments"]) == 1:
        dials = f"({_kwh(row.end_kwh)} - {_kwh(row.start_kwh)})"
        yield f"  consumption: {dials} x {row.ratio} = {_kwh(row.consumption_kwh)}"
    else:
        yield f"  consumption: the sum over {len(proof['segments'])} meters x {row.ratio} = {_kwh(row.consumption_kwh)}"


def _version(entry: Entry, links: Mapping[str, chain.Link], zone: str) -> Iterator[str]:
    row = entry.reading
    what = canonical({"period": row.period, "utility": row.utility, "revision": row.revision})
    link = links.get(what)
    by = "" if link is None else f", closed by {link.who or 'nobody noted'} at {wall(link.at, zone)}, link {link.id}"
    yield f"  r{row.revision}: {_kwh(row.end_kwh)} {row.status}{by}; digest {entry.digest}"


def _answered(item: responses.Response, zone: str) -> str:
    when = wall(item.at, zone)
    why = f": {item.reason}" if item.reason else ""
    return (
        f"{item.utility} {item.verdict} what account {item.account} was sent with r{item.revision}{why} "
        f"(entered by {item.who} at {when}, link {item.link})"
    )


def _sent(out: Path, entry: Entry) -> Iterator[str]:
    """The row as it stands in billing.csv, and where the account stands in what was made for the utility."""
    row = entry.reading
    text = StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(billing_cells(row, entry.digest))
    yield f"  sent as: {','.join(BILLING)}"
    yield f"           {text.getvalue()}"
    whole = re.compile(rf"(?<!\w){re.escape(row.account)}(?!\w)")  # account 1 is not in 10001
    folders = sorted(
        (path for path in (out / row.period / row.utility).glob("r*") if path.name[1:].isdigit()),
        key=lambda path: int(path.name[1:]),
    )
    for path in sorted((folders[-1] / "submissions").glob("*")) if folders else ():
        if path.is_file():
            for number, line in enumerate(map(_decoded, path.read_bytes().splitlines()), 1):
                if whole.search(line):
                    yield f"  {path.name}:{number}: {line}"


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1251", "replace")


# ----------------------------------------------------------------------------- how the month went


def _month(books: Books, entries: Sequence[Entry]) -> Iterator[str]:
    """From the series: steps that no meter makes, and in which hours of the last day which register advanced."""
    row, proof = entries[0].reading, json.loads(entries[0].evidence)
    segment = proof["segments"][-1] if proof["segments"] else None
    if segment is None or not segment["meter"]:
        return
    opening, closing, zone = (proof["point"][name] for name in ("opening", "closing", "time_zone"))
    codes = [entry.reading.register_ for entry in entries]
    try:
        growth = device_of(books.load_profile(segment["profile"]["id"])).growth
    except ConfigError as error:
        yield f"how {row.meter} went through the month cannot be told: {error}"
        return
    values: dict[str, list[TimedValue]] = {code: [] for code in codes}
    stored: Iterator[Row] = books.store.span(["live"], [row.meter], opening, closing + 1)
    for item in stored:
        if item.register in values:
            values[item.register].append(TimedValue(item.time, int(item.value)))
    count = sum(map(len, values.values()))
    yield f"through the month the series hold {count} values of {row.meter}"
    for code in codes:
        dial = Dial(row.meter, code, growth, zone)
        if values[code]:
            yield from (f"  {line}" for line in sentences(path_of(values[code], dial), dial))
    if len(codes) > 1:
        yield from _hours(row.utility, values, zone, closing)


def _hours(utility: str, values: Mapping[str, Sequence[TimedValue]], zone: str, closing: int) -> Iterator[str]:
    """Which register advanced in which hour of the last day, and what the utility's calendar says."""
    calendar = utilities.load(utility).calendar
    last_day = {code: [value for value in given if value.time >= closing - DAY] for code, given in values.items()}
    hours: dict[str, dict[str, int]] = {}
    expected: dict[str, set[str]] = {}
    for step in advances(last_day, calendar, zone):
        # By its middle: an hour's step that ends some seconds into the next one is that hour's.
        local = localtime.from_millis((step.start + step.end) // 2).astimezone(localtime.zone(zone)).replace(minute=0)
        named = f"{local:%Y-%m-%d %H:%M}-{local + timedelta(hours=1):%H:%M}"
        came = hours.setdefault(named, dict.fromkeys(values, 0))
        for code, wh in step.came.items():
            came[code] += wh
        expected.setdefault(named, set()).update({step.expected} if step.expected else ())
    for named, came in hours.items():
        moved = ", ".join(f"{code} +{kilo(wh)}" for code, wh in came.items() if wh > 0) or "nothing"
        says = f"; the calendar says {' and '.join(sorted(expected[named]))}" if expected[named] else ""
        yield f"  {named}: {moved}{says}"


def _kwh(value: Decimal | None) -> str:
    return "no reading" if value is None else f"{value:f} kWh"
