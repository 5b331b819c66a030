"""The checks of gateway.yaml that need more than one value: duplicates, profiles, addresses, ports, speeds.

They run on raw text beside the check of the form, and pass over what that refused: everything is said at once.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from collector.config_file import Faults, at, check_secret
from drivers import obis, profile
from drivers.profile import Profile
from drivers.strict_yaml import ConfigError, Document, Location
from drivers.table import driver

# Protocols whose frames begin with the same address byte and end with the same check. A Mercury of a Modbus meter's
# address would hear each of its requests (03, read registers) as an order to write (Incotex, 12.2020, 1.5.3).
ADDRESS_BYTE = dict.fromkeys(("modbus", "mercury"), "address byte")


def load_profile(name: str, folder: Path) -> Profile:
    """A shipped profile by id, or a profile file by its path relative to the configuration. Raises ConfigError."""
    return profile.load(str(folder / name) if name.endswith(".yaml") else name)


def misplaced(known: Profile, port: str) -> str:
    """Why a meter of this profile cannot be asked at a port of this kind; "" where it can."""
    if port.startswith("tcp://") and known.protocol != "modbus":
        return (
            f"{known.id} does not speak Modbus TCP; a converter that passes its bytes on is socket:// (set to the "
            "meter's speed) or rfc2217://"
        )
    return ""


@dataclass(frozen=True)
class _Place:
    """A meter as it stands in a file: the raw values, where they stand, and the raw line it belongs to."""

    document: Document
    location: Location
    raw: dict[str, Any]
    line: dict[str, Any]

    def text(self, key: str) -> str | None:
        value = self.raw.get(key)
        return value if isinstance(value, str) else None


class Across:
    """The checks that need more than one value, on raw data: each passes over what the form has refused already."""

    def __init__(self, faults: Faults, folder: Path, main: Document, additions: list[Document]) -> None:
        self.faults = faults
        self.folder = folder
        self.main = main
        self.additions = additions

    def check(self) -> None:
        lines = self._lines()
        places = self._places(lines)
        ended = self._ended(places)
        self._unique_ids(places)
        self._unique_addresses([place for place in places if place.text("id") not in ended])
        for place in places:
            self._meter(place)
        self._speeds(lines, places)

    def _lines(self) -> dict[str, dict[str, Any]]:
        names: dict[str, int] = {}
        ports: dict[str, int] = {}
        found: dict[str, dict[str, Any]] = {}
        for index, raw in enumerate(_dicts(at(self.main.data, "lines"))):
            complain = partial(self.faults.add, self.main)
            name, port = raw.get("name"), raw.get("port")
            if isinstance(name, str):
                if name.casefold() in names:
                    text = _twice(name, self.main, ("lines", names[name.casefold()], "name"))
                    complain(("lines", index, "name"), text)
                names.setdefault(name.casefold(), index)
                found.setdefault(name, raw)
            share = raw.get("silent_share")
            if isinstance(share, str) and re.fullmatch(r"[0.]+", share):
                text = "with no time for silent meters, one that misses an answer is not asked any more; 0.05 is usual"
                self.faults.warn(self.main, ("lines", index, "silent_share"), text)
            if isinstance(port, str):
                wire = port.lower() if "://" in port else os.path.realpath(port)
                if wire in ports:
                    there = self.main.where(("lines", ports[wire], "port"))
                    complain(
                        ("lines", index, "port"), f"{port} is the port of the line at {there}; a wire has one line"
                    )
                ports.setdefault(wire, index)
                if port.startswith("tcp://"):
                    for key in ("baudrate", "framing"):
                        if raw.get(key) is not None:
                            self.faults.warn(self.main, ("lines", index, key), "means nothing on tcp://; leave it out")
        return found

    def _places(self, lines: dict[str, dict[str, Any]]) -> list[_Place]:
        places = [
            _Place(self.main, ("lines", index, "meters", number), raw, line)
            for index, line in enumerate(_dicts(at(self.main.data, "lines")))
            for number, raw in enumerate(_dicts(line.get("meters")))
        ]
        for document in self.additions:
            for number, raw in enumerate(_dicts(at(document.data, "meters"))):
                name = raw.get("line")
                if isinstance(name, str) and name not in lines:
                    text = f"no line is called {name!r}; known are {', '.join(lines) or 'none'}"
                    self.faults.add(document, ("meters", number, "line"), text)
                places.append(_Place(document, ("meters", number), raw, lines.get(name or "", {})))
        return places

    def _ended(self, places: list[_Place]) -> set[str]:
        ids = {place.text("id") for place in places}
        ended: set[str] = set()
        for document in self.additions:
            for number, raw in enumerate(_dicts(at(document.data, "ended"))):
                name = raw.get("id")
                if not isinstance(name, str):
                    continue
                if name not in ids:
                    self.faults.add(document, ("ended", number, "id"), f"no meter is called {name!r}")
                elif name in ended:
                    self.faults.add(document, ("ended", number, "id"), f"{name!r} has ended already")
                ended.add(name)
        return ended

    def _unique_ids(self, places: list[_Place]) -> None:
        first: dict[str, _Place] = {}
        for place in places:
            name = place.text("id")
            if name is None:
                continue
            if name.casefold() in first:
                other = first[name.casefold()]
                text = _twice(name, other.document, (*other.location, "id"))
                self.faults.add(place.document, (*place.location, "id"), text)
            first.setdefault(name.casefold(), place)

    def _unique_addresses(self, places: list[_Place]) -> None:
        seen: dict[tuple[Any, str], dict[str, _Place]] = {}
        for place in places:
            known, address = self._profile(place), place.text("address")
            if known is None or address is None:
                continue
            try:
                address = driver(known.protocol).normal_address(address, str(place.line.get("port")))
            except ValueError:
                continue
            others = seen.setdefault((id(place.line), ADDRESS_BYTE.get(known.protocol, known.protocol)), {})
            other, text = others.get(address), f"address {address} is taken on this line by"
            if others and "" in (address, *others):  # IEC 62056-21: who is asked without an address is all that hear it
                other = others.get("") or next(iter(others.values()))
                text = "a meter without an address must be the only one of its protocol on a line; here is also"
            if other is not None:
                text = f"{text} {other.text('id')}, {_where(other, 'address')}"
                self.faults.add(place.document, (*place.location, "address"), text)
            others.setdefault(address, place)

    def _profile(self, place: _Place) -> Profile | None:
        name = place.text("profile")
        try:
            return None if name is None else load_profile(name, self.folder)
        except ConfigError:
            return None

    def _meter(self, place: _Place) -> None:
        def complain(key: str | tuple[str | int, ...], text: str) -> None:
            self.faults.add(place.document, (*place.location, *((key,) if isinstance(key, str) else key)), text)

        check_secret(self.faults, place.document, self.folder, *place.location, "password_file")
        name = place.text("profile")
        if name is None:
            return
        try:
            known = load_profile(name, self.folder)
        except ConfigError as error:
            complain("profile", "; ".join(error.faults))
            return
        self._serial_number(place, known)
        if (address := place.text("address")) is not None:
            try:
                driver(known.protocol).normal_address(address, str(place.line.get("port")))
            except ValueError as error:
                complain("address", str(error))
        if text := misplaced(known, str(place.line.get("port"))):
            complain("profile", text)
        framing = place.text("framing") or place.line.get("framing")
        if isinstance(framing, str) and re.fullmatch("[78][NEO][12]", framing):
            try:
                driver(known.protocol).port_framing(framing)
            except ValueError as error:
                complain("framing", f"{error}; this meter would get {framing}, its profile's is {known.line.framing}")
        for number, code in enumerate(place.raw.get("quantities") or ()):
            if not isinstance(code, str) or not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", code):
                continue
            if not known.can_give(code):
                quantities = [c for c in known.registers if not obis.parse(c).is_energy]
                complain(("quantities", number), f"{known.id} has no {code}; it has {', '.join(quantities) or 'none'}")
            elif obis.parse(code).is_energy:
                complain(("quantities", number), f"{code} counts energy and is carried anyway; leave it out")

    def _serial_number(self, place: _Place, known: Profile) -> None:
        given = place.raw.get("serial_number")
        location = (*place.location, "serial_number")
        if known.serial == "none" and given is not None:
            text = (
                f"{known.id} knows no register of the serial number, so that nobody can compare it; it is kept as a "
                "remark, what the name plate says belongs into points.csv"
            )
            self.faults.warn(place.document, location, text)
        elif known.serial != "none" and (given is None or given == ""):
            text = (
                f"{known.id} reads its serial number, and values of another meter than this one must not be billed; "
                "write what the meter says (meterline read shows it)"
            )
            self.faults.add(place.document, location, text)

    def _speeds(self, lines: dict[str, dict[str, Any]], places: list[_Place]) -> None:
        """A transparent converter cannot switch: all its meters must have the speed and framing it is set to.

        Where a driver does parity itself, the converter's framing is that of the bare eight bits.
        """
        for line in lines.values():
            if not str(line.get("port")).startswith("socket://"):
                continue
            first: tuple[str, _Place] | None = None
            for place in places:
                known = self._profile(place)
                if place.line is not line or known is None:
                    continue
                speed = place.text("baudrate") or line.get("baudrate") or str(known.line.baudrate)
                framing = place.text("framing") or line.get("framing") or known.line.framing
                with suppress(ValueError):
                    framing = driver(known.protocol).port_framing(framing)
                found = f"{speed} {framing}"
                if first is not None and found != first[0]:
                    text = (
                        f"this meter needs the converter at {found}, {first[1].text('id')} at {first[0]} "
                        f"({_where(first[1], 'id')}); socket:// cannot switch: set baudrate and framing of the line"
                    )
                    self.faults.add(place.document, place.location, text)
                first = first or (found, place)
                if known.protocol == "iec62056-21" and speed == "300":
                    text = (
                        "a session that begins at 300 baud stays there, since socket:// cannot switch: a readout may "
                        "take minutes; use the converter's rfc2217:// service, or set the meter to a fixed speed"
                    )
                    self.faults.warn(place.document, place.location, text)


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The items of a raw list; what is not a mapping counts as an empty one, so that numbers stay."""
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def _where(place: _Place, key: str) -> str:
    return place.document.where((*place.location, key))


def _twice(name: str, document: Document, location: Location) -> str:
    return f"{name!r} stands at {document.where(location)} already (names that differ only in case count as one)"
