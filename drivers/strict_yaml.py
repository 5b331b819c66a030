"""YAML in which every scalar is text, no key stands twice, and every fault names file, line and key.

Numbers keep their spelling (`012`, `00123456`, `8E1` mean what they say); a schema types them afterwards. `null` (or
nothing) is None. Anchors, tags and documents behind the first are refused: configuration needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

Location = tuple[str | int, ...]


class ConfigError(Exception):
    """An input file that is refused. `faults` lists all of them, each a line of text."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class Document:
    """A parsed file: `data` (dict, list, str, None) and the line where each value stands."""

    def __init__(self, name: str, data: Any, lines: dict[Location, int]) -> None:
        self.name = name
        self.data = data
        self.lines = lines

    def where(self, location: Location) -> str:
        """`file:line` of the value at `location`, or of the nearest thing around it."""
        for end in range(len(location), -1, -1):
            if location[:end] in self.lines:
                return f"{self.name}:{self.lines[location[:end]]}"
        return self.name

    def faults(self, error: ValidationError) -> list[str]:
        """The faults of a schema check, each with file, line, key and what would be right."""
        found = []
        for item in error.errors(include_url=False):
            location = self._written(item["loc"])
            key = ".".join(str(part) for part in location) or "(whole file)"
            text = _in_words(item["type"], item["msg"], item.get("input"), item.get("ctx", {}))
            found.append(f"{self.where(location)}: {key}: {text}")
        return found

    def _written(self, location: Location) -> Location:
        """A schema's location without its own names for the kinds of a section, which do not stand in the file."""
        node, kept = self.data, []
        for place, part in enumerate(location):
            inside = isinstance(node, dict) and part in node
            if inside or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
                node = node[part]
            elif place < len(location) - 1 or part == "__root__":
                continue
            kept.append(part)
        return tuple(kept)


def _in_words(kind: str, message: str, given: Any, context: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        return "unknown key; see the documentation for the keys of this file"
    if kind == "missing":
        return "this key is required and is missing"
    if kind == "union_tag_not_found":
        return f"the key {context['discriminator']} is required and is missing"
    if kind == "union_tag_invalid":
        wanted = f"{context['discriminator']}: one of {context['expected_tags']} is wanted"
        return f"{wanted} (here: {context['tag'][:80]!r})"
    message = message.removeprefix("Value error, ")
    if isinstance(given, str):
        return f"{message} (here: {given[:80]!r})"
    return message


def parse(text: str, name: str) -> Document:
    """Parse YAML text. `name` stands for the file in faults. Raises ConfigError."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        text = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError([f"{name}{line}: not YAML: {text}"]) from None
    except yaml.reader.ReaderError as error:
        line = f":{text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError([f"{name}{line}: not YAML: the character U+{error.character:04X}"]) from None
    except RecursionError:
        raise ConfigError([f"{name}: not YAML for this program: nested too deeply"]) from None
    if loader.faults:
        # Not read any further: what aliases repeat may be without measure.
        raise ConfigError(f"{name}:{number}: {fault}" for number, fault in loader.faults)
    reader = _Reader(name)
    data = None if root is None else reader.value(root, ())
    if reader.faults:
        raise ConfigError(reader.faults)
    return Document(name, data, reader.lines)


def load(path: Path) -> Document:
    """Read and parse a file (1 MiB at most). Raises ConfigError, also when it cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    if len(raw) > 1 << 20:
        raise ConfigError([f"{path}: {len(raw)} bytes; a configuration file has at most 1 MiB"])
    try:
        return parse(raw.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is not UTF-8 (0x{raw[error.start]:02x})"]) from None


class _Loader(yaml.SafeLoader):
    """PyYAML's own, that notes what is not used here: (line, text)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.faults: list[tuple[int, str]] = []

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # only its stub has no types
        line = event.start_mark.line + 1
        if event.anchor is not None:
            self.faults.append((line, "anchors and aliases are not used here; write the value out"))
        if getattr(event, "tag", None) is not None:
            self.faults.append((line, f"tags such as {event.tag} are not used here; write the value alone"))
        return super().compose_node(parent, index)


class _Reader:
    """Turns YAML nodes into data, and remembers lines and faults."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Location, int] = {}
        self.faults: list[str] = []

    def value(self, node: yaml.Node, at: Location) -> Any:
        self.lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return None if node.style is None and node.value in ("", "null", "~") else node.value
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*at, index)) for index, item in enumerate(node.value)]
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(line, at, "a key must be plain text")
            elif key in mapping:
                self._fault(line, (*at, key), f"this key stands twice, first in line {self.lines[(*at, key)]}")
            else:
                self.lines[(*at, key)] = line
                mapping[key] = self.value(value_node, (*at, key))
        return mapping

    def _fault(self, line: int, at: Location, text: str) -> None:
        key = ".".join(map(str, at)) or "(whole file)"
        self.faults.append(f"{self.name}:{line}: {key}: {text}")
