"""A backup's one file: a zip archive whose manifest names every member with its size and SHA-256.

Rule 1. It is written beside its place, read back, and then renamed: a file with the name of a backup is one.
Rule 2. Whoever reads one believes nothing in it: no name leads out of it, no member is longer than it says, and
        `verify` has read every byte before anybody acts on one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from collector.exits import UsageFault

MANIFEST = "manifest.json"
SCHEMA = 1
# Bytes of a manifest: a hundred utilities in ten years make 36,000 files of emitted months, 200 bytes each.
LARGEST_MANIFEST = 64 << 20
CHUNK = 1 << 20  # bytes that are read at a time
# The fastest: batches and tables are JSON, which every level makes a tenth of, and nobody waits for a backup.
LEVEL = 1

_TABLE = re.compile(r"tables/([a-z][a-z_]{0,62})\.ndjson")
# A folder or file of emitted months: never hidden (drafts are), never upwards, nothing that a terminal would obey.
_PART = r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,199}"
_OUT = re.compile(rf"out(/{_PART}){{1,12}}")
LONGEST_NAME = 255  # bytes that Linux' file systems take

# What zipfile and zlib raise for bytes that are no archive, or no longer the one that they were.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    OverflowError, IndexError, KeyError, OSError,
)  # fmt: skip


def emitted_name(text: str) -> str:
    """The name, if a folder or file of emitted months may have it. Raises ValueError."""
    if not _OUT.fullmatch(text) or any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        raise ValueError(f"{text!r} is no name of an emitted month, or of a folder or file in one")
    return text


def _name(text: str) -> str:
    known = text in ("central.yaml", "spool.db", "series.db") or _TABLE.fullmatch(text)
    return text if known else emitted_name(text)


class _Section(BaseModel):
    """Strict and immutable. Unknown keys are passed over: a newer Meterline may add some under the same schema."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=True)


class Member(_Section):
    """A file in the archive. `rows`: how many lines a table has."""

    name: Annotated[str, AfterValidator(_name)]
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    rows: int | None = None

    @property
    def table(self) -> str | None:
        """The table that it is."""
        found = _TABLE.fullmatch(self.name)
        return found[1] if found else None


class Spool(_Section):
    """What the centre's spool held: batches that waited for a sink, and the time of its oldest batch (ms, or None)."""

    unsettled: int
    since: int | None


class Manifest(_Section):
    """What an archive holds, and of what.

    `made`: RFC 3339. `revision`: the version of the tables. `series`: inside (`embedded`), or where they stay.
    `folders`: those of emitted months, since some are empty.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["meterline backup"] = "meterline backup"
    version: str
    made: str
    database: Literal["sqlite", "postgresql"]
    revision: str
    series: Literal["embedded", "influxdb"]
    spool: Spool | None
    folders: tuple[Annotated[str, AfterValidator(emitted_name)], ...]
    files: tuple[Member, ...]

    def get(self, name: str) -> Member | None:
        """The member of this name, if there is one."""
        return next((member for member in self.files if member.name == name), None)


# ----------------------------------------------------------------------------- writing


class Taken:
    """Bytes on their way into an archive. `rows` is for whoever counts them."""

    def __init__(self, into: IO[bytes]) -> None:
        self.rows: int | None = None
        self._into = into
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._into.write(data)
        self._digest.update(data)
        self._bytes += len(data)

    def member(self, name: str) -> Member:
        """What the manifest says of them."""
        return Member(name=name, bytes=self._bytes, sha256=self._digest.hexdigest(), rows=self.rows)


class Draft:
    """An archive in the making, beside its place. A context: what is not published when it ends is swept away.

    Every method raises UsageFault when the place is taken or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: list[Member] = []
        with self._in_words():
            if path.exists():
                raise UsageFault(f"{path} is there already; a backup takes no other's place, give it a name of its own")
            # For its owner's eyes alone, as `mkstemp` makes it: names, addresses and accounts are in it.
            handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        self._draft = Path(draft)
        self._file = os.fdopen(handle, "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):  # the disk is full, or a member was left half
            self._zip.close()
        with suppress(OSError):
            self._file.close()
        self._draft.unlink(missing_ok=True)

    @contextmanager
    def member(self, name: str) -> Iterator[Taken]:
        """A member that is written as it comes."""
        with self._in_words():
            with self._zip.open(name, "w", force_zip64=True) as into:
                taken = Taken(into)
                yield taken
            self.files.append(taken.member(name))

    def add(self, name: str, path: Path) -> None:
        """A file as it is now."""
        with self.member(name) as taken, path.open("rb") as source:
            while data := source.read(CHUNK):
                taken.write(data)

    def publish(self, manifest: Manifest) -> None:
        """Put the manifest behind the members, read all of it back, and give it its name, durable."""
        with self._in_words():
            text = json.dumps(manifest.model_dump(by_alias=True), ensure_ascii=False, indent=1)
            self._zip.writestr(MANIFEST, text + "\n")
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            with Archive(self._draft) as written:
                written.verify()
            self._draft.rename(self.path)
            sync(self.path.parent)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageFault(f"{self.path} cannot be made: {error}") from error


# ----------------------------------------------------------------------------- reading


class Archive:
    """An archive that somebody gives us. A context. Every method raises UsageFault, in words, for one that is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise UsageFault(f"{path} is not there") from None
        except _BROKEN as error:
            raise self._fault(f"it is no archive, or it was cut short ({error})") from error
        try:
            text = self._manifest_text()
            self.digest = hashlib.sha256(text).hexdigest()
            self.manifest = self._read_manifest(text)
            self._check_names()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def verify(self) -> None:
        """Read every member and hold it against the manifest."""
        for member in self.manifest.files:
            for _ in self.read(member):
                pass

    def read(self, member: Member) -> Iterator[bytes]:
        """The member's bytes. Ends with a fault where they are not those that the manifest names."""
        digest, count = hashlib.sha256(), 0
        with self._broken(member.name), self._zip.open(member.name) as source:
            while data := source.read(CHUNK):
                digest.update(data)
                count += len(data)
                yield data
        if count != member.bytes or digest.hexdigest() != member.sha256:
            raise self._fault(f"{member.name} is not what it was: its digest is another than in the manifest")

    def extract(self, member: Member, target: Path) -> None:
        """The member into a new file, durable."""
        with target.open("xb") as file:
            for data in self.read(member):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def lines(self, member: Member, longest: int) -> Iterator[bytes]:
        """The member's lines, none longer than so many bytes."""
        rest = b""
        for data in self.read(member):
            *whole, rest = (rest + data).split(b"\n")
            yield from whole
            if len(rest) > longest:
                raise self._fault(f"{member.name} has a line of more than {longest} bytes")
        if rest:
            raise self._fault(f"{member.name} does not end with a line's end")

    def newer(self, version: str, what: str) -> UsageFault:
        """The fault of an archive that a later Meterline has made."""
        text = f"{self._path} was made by Meterline {version[:40]!r} and has {what}, which this one does not know"
        return UsageFault(f"{text}; install that version, or a newer one. Nothing was changed")

    def _manifest_text(self) -> bytes:
        with self._broken(MANIFEST):
            info = self._zip.getinfo(MANIFEST)
            if info.file_size > LARGEST_MANIFEST:
                raise self._fault(f"its manifest has {info.file_size} bytes, at most {LARGEST_MANIFEST} are read")
            with self._zip.open(info) as source:
                return source.read(LARGEST_MANIFEST + 1)

    def _read_manifest(self, text: bytes) -> Manifest:
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._fault(f"its manifest is no JSON: {error}") from None
        schema = data.get("schema") if isinstance(data, dict) else None
        if type(schema) is int and schema > SCHEMA:
            raise self.newer(str(data.get("version")), f"form {schema}")
        try:
            return Manifest.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise self._fault(f"its manifest: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def _check_names(self) -> None:
        inside, named = self._zip.namelist(), [MANIFEST, *(member.name for member in self.manifest.files)]
        if len(set(named)) < len(named) or sorted(inside) != sorted(named):
            odd = sorted(set(inside) ^ set(named))[:3] or "one of them stands twice"
            raise self._fault(f"its members are not those of its manifest: {odd}")
        folders = {str(folder) for name in (*named, *self.manifest.folders) for folder in PurePosixPath(name).parents}
        if both := folders.union(self.manifest.folders).intersection(named):
            raise self._fault(f"{min(both)!r} is a folder and a file in it")
        for member in self.manifest.files:
            info = self._zip.getinfo(member.name)
            if info.file_size != member.bytes or info.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
                raise self._fault(f"{member.name} has not the size and form that the manifest names")

    @contextmanager
    def _broken(self, name: str) -> Iterator[None]:
        try:
            yield
        except _BROKEN as error:
            raise self._fault(f"{name} cannot be read ({error})") from error

    def _fault(self, text: str) -> UsageFault:
        return UsageFault(f"{self._path} is no whole backup: {text}. Nothing was changed; take another copy of it")


def make_folder(path: Path) -> None:
    """The folder and those above it, as far as they are not there, durable."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in made:
        sync(folder.parent)


def sync(path: Path) -> None:
    """What a file or folder holds has reached the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
