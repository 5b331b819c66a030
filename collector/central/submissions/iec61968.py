"""IEC 61968-9 MeterReadings in the message envelope of IEC 61968-100, as many meter data systems take them.

The elements that we write, and their order, are in iec61968_envelope.xsd and iec61968_readings.xsd beside this file.
Rule 1. A reading carries each quality as `3.B.C`: 3, because a central system says it (IEC 61968-9, quality types).
Rule 2. What is held or missing is left out and remarked; nobody gets a number that nobody answers for.
Rule 3. Times and identifiers are the period's own: the same revision is the same message, and has the same MessageID.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, BinaryIO, Literal

from lxml import etree

from collector.central.submissions.rows import Head, OutputSection, Remark, Row, by_point, in_order, number, unready
from collector.config_fields import from_text
from collector.localtime import rfc3339

MESSAGE = "http://iec.ch/TC57/2011/schema/message"
READINGS = "http://iec.ch/TC57/2011/MeterReadings#"
# Bulk quantity, electricity, energy, kWh (IEC 61968-9, annex C): flow 1 is forward (import), 19 reverse (export); the
# twelfth field is the time-of-use tariff, 0 for the total.
READING_TYPE = "0.0.0.1.{flow}.1.12.0.0.0.0.{tariff}.0.0.0.3.72.0"
FLOW = {"1": 1, "2": 19}
SOURCE = "meterline"


def _source(text: str) -> str:
    if not 0 < len(text) <= 100 or not text.isprintable():
        raise ValueError("1 to 100 printable characters: who we are to the utility's system")
    return text


class Output(OutputSection):
    """`source`: what we are called in the header."""

    format: Literal["iec61968-9"]
    source: Annotated[str, from_text(_source)] = SOURCE


def write(output: Output, head: Head, file: BinaryIO) -> MeterReadings:
    """One XML document, UTF-8."""
    return MeterReadings(output, head, file)


class MeterReadings:
    """See `Writer`. The document is written while it is made; nothing of it is held."""

    def __init__(self, output: Output, head: Head, file: BinaryIO) -> None:
        self._output = output
        self._head = head
        self._count = 0
        self._open = ExitStack()
        self._xml = self._open.enter_context(etree.xmlfile(file, encoding="UTF-8"))
        self._begun = False

    def add(self, rows: Sequence[Row]) -> Iterator[Remark]:
        """The meters of an account."""
        for point in by_point(rows):
            left_out = list(unready(point, self._output.estimated))
            yield from left_out
            names = {remark.register for remark in left_out}
            sent = [row for row in in_order(point, self._head) if row.reading.register_ not in names]
            if sent:
                self._begin()
                self._xml.write(_meter_reading(sent), pretty_print=True)
                self._count += 1

    def finish(self) -> int:
        """Close the document; how many meters it has."""
        self._begin()
        self._open.close()
        return self._count

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._xml.write_declaration()
        self._open.enter_context(self._xml.element(f"{{{MESSAGE}}}EventMessage", nsmap={None: MESSAGE, "m": READINGS}))
        self._xml.write(self._header(), pretty_print=True)
        self._open.enter_context(self._xml.element(f"{{{MESSAGE}}}Payload"))
        self._open.enter_context(self._xml.element(f"{{{READINGS}}}MeterReadings"))

    def _header(self) -> etree._Element:
        head = self._head
        plain: Any = {None: MESSAGE}  # the stubs know of named prefixes only
        header = etree.Element(f"{{{MESSAGE}}}Header", nsmap=plain)
        period = f"{SOURCE}/{head.utility}/{head.period}"
        for name, text in (
            ("Verb", "created"),
            ("Noun", "MeterReadings"),
            ("Timestamp", rfc3339(head.at)),
            ("Source", self._output.source),
            ("MessageID", str(uuid.uuid5(uuid.NAMESPACE_URL, f"{period}/r{head.revision}"))),
            ("CorrelationID", str(uuid.uuid5(uuid.NAMESPACE_URL, period))),
        ):
            etree.SubElement(header, f"{{{MESSAGE}}}{name}").text = text
        return header


def reading_type(code: str) -> str:
    """The ReadingType of an OBIS energy code: 1.8.0 -> ...12.0.0.0.0.0..., 1.8.2 -> ...12.0.0.0.0.2..."""
    direction, _, tariff = code.split(".")
    return READING_TYPE.format(flow=FLOW[direction], tariff=tariff)


def _meter_reading(rows: Sequence[Row]) -> etree._Element:
    """One meter's readings, its account and point."""
    first = rows[0].reading
    found = etree.Element(f"{{{READINGS}}}MeterReading", nsmap={"m": READINGS})
    meter = _under(found, "Meter")
    _under(meter, "mRID").text = first.meter or first.point
    _named(meter, first.serial_number, "SerialNumber")
    for row in rows:
        reading = row.reading
        element = _under(found, "Readings")
        _under(element, "reason").text = "billing"
        if reading.end_time is not None:
            _under(element, "timeStamp").text = rfc3339(reading.end_time)
        _under(element, "value").text = number(reading.end_kwh)
        for code in reading.quality.split():
            quality = _under(element, "ReadingQualities")
            _under(quality, "ReadingQualityType").set("ref", f"3.{code}")
        _under(element, "ReadingType").set("ref", reading_type(reading.register_))
    point = _under(found, "UsagePoint")
    _under(point, "mRID").text = first.point
    _named(point, first.account, "Account")
    return found


def _named(parent: etree._Element, name: str, kind: str) -> None:
    if name:
        names = _under(parent, "Names")
        _under(names, "name").text = name
        _under(_under(names, "NameType"), "name").text = kind


def _under(parent: etree._Element, name: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{READINGS}}}{name}")
