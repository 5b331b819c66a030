"""Reads a configuration file through its schema, collects every fault; and the sections that both ends share."""

from __future__ import annotations

import difflib
import os
import stat
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from collector.config_fields import FilePath, Listen, MqttUrl, Protocol, Section, Text, keys, located, read_secret
from drivers.strict_yaml import ConfigError, Document, Location

S = TypeVar("S", bound=Section)


class Mqtt(Section):
    """How a broker is reached. The password stays in its file until a connection asks for it."""

    url: MqttUrl
    protocol: Protocol = "auto"
    username: Text | None = None
    password_file: FilePath | None = None
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None

    def password(self) -> str | None:
        """The password from its file. Raises ValueError when the file cannot be read or is empty."""
        return None if self.password_file is None else read_secret(self.password_file)


class Metrics(Section):
    """Where Prometheus may ask for figures: `host:port`, or a port of this computer alone."""

    listen: Listen

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Faults:
    """Collects faults and warnings, each with file, line and key, and raises them all at once."""

    def __init__(self) -> None:
        self._faults: list[tuple[str, int, str]] = []
        self.warnings: list[str] = []

    def add(self, document: Document, location: Location, text: str) -> None:
        """A fault of the value at `location`."""
        key = ".".join(map(str, location)) or "(whole file)"
        self._faults.append((document.name, _line(document, location), f"{document.where(location)}: {key}: {text}"))

    def extend(self, path: Path, error: ConfigError) -> None:
        """The faults of a file that could not be read as YAML."""
        self._faults += [(str(path), 0, text) for text in error.faults]

    def warn(self, document: Document, location: Location, text: str) -> None:
        """Something that works and is not as it should be."""
        key = ".".join(map(str, location)) or "(whole file)"
        self.warnings.append(f"{document.where(location)}: {key}: {text}")

    def check(self) -> None:
        """Raise ConfigError with all faults, file by file, in the order of their lines."""
        if self._faults:
            order = list(dict.fromkeys(name for name, _, _ in self._faults))
            raise ConfigError([text for _, _, text in sorted(self._faults, key=lambda f: (order.index(f[0]), f[1]))])

    def validate(self, document: Document, schema: type[S], folder: Path) -> S | None:
        """The document through its schema; None when it has faults, which are collected."""
        if not isinstance(document.data, dict):
            self.add(document, (), f"a mapping of keys is wanted: {', '.join(keys(schema))}")
            return None
        try:
            return schema.model_validate(document.data, context={"folder": folder})
        except ValidationError as error:
            for item, text in zip(error.errors(include_url=False), document.faults(error), strict=True):
                location = tuple(item["loc"])
                if item["type"] == "extra_forbidden":
                    self.add(document, location, _unknown_key(schema, location))
                else:
                    self._faults.append((document.name, _line(document, location), text))
            return None


def _line(document: Document, location: Location) -> int:
    while location not in document.lines and location:
        location = location[:-1]
    return document.lines.get(location, 0)


def _unknown_key(schema: type[Section], location: Location) -> str:
    """What to say of a key that its section does not have."""
    section: Any = schema
    for part in location[:-1]:
        if isinstance(part, str):
            fields = {field.alias or name: field for name, field in section.model_fields.items()}
            section = next(_sections(fields[part].annotation))
    known = keys(section)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"unknown key; {f'is {near[0]} meant? ' if near else ''}known here are {', '.join(known)}"


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _sections(inner)


def at(data: Any, *location: str | int) -> Any:
    """The raw value at a location, None where there is nothing of the kind: checks go on beside other faults."""
    for part in location:
        if isinstance(part, str) and isinstance(data, dict):
            data = data.get(part)
        elif isinstance(part, int) and isinstance(data, list) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def path_at(document: Document, folder: Path, *location: str | int) -> Path | None:
    """The path that stands at a location, relative to the file's folder."""
    text = at(document.data, *location)
    return located(folder, text) if isinstance(text, str) and text and "\0" not in text else None


def check_secret(faults: Faults, document: Document, folder: Path, *location: str | int) -> None:
    """A password file must be readable and have a first line; nobody else should be able to read it."""
    path = path_at(document, folder, *location)
    if path is None:
        return
    try:
        read_secret(path)
        mode = path.stat().st_mode
    except (ValueError, OSError) as error:
        faults.add(document, location, str(error))
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        faults.warn(document, location, f"{path} can be read by everybody on this computer; chmod 600 {path}")


def check_mqtt(faults: Faults, document: Document, folder: Path) -> None:
    """What no single key of the `mqtt` section shows: files that are there, keys that need one another."""
    section = at(document.data, "mqtt")
    if not isinstance(section, dict):
        return
    url = section.get("url")
    if isinstance(url, str):
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if "@" in parts.netloc:
            # The text is not repeated: it holds a password.
            faults.add(document, ("mqtt", "url"), "user and password stand in username and password_file, not here")
        if parts.scheme == "mqtt":
            for key in ("ca_file", "cert_file", "key_file"):
                if section.get(key) is not None:
                    text = (
                        "mqtt:// is not encrypted and takes no certificates; write mqtts:// in url, or leave this out"
                    )
                    faults.add(document, ("mqtt", key), text)
    for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if section.get(key) is not None and section.get(other) is None:
            faults.add(
                document, ("mqtt", key), f"a client certificate needs both cert_file and key_file; {other} is missing"
            )
    for key in ("ca_file", "cert_file", "key_file"):
        path = path_at(document, folder, "mqtt", key)
        if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
            faults.add(document, ("mqtt", key), f"{path} is not a file that can be read")
    check_secret(faults, document, folder, "mqtt", "password_file")
