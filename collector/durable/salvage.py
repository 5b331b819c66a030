"""Reads rows out of the pages of an SQLite file that SQLite itself cannot read any more.

Rule 1. Every page stands for itself: a bad one costs the rows on it, whether it is a leaf, a page above the leaves, the
        header or a piece of the write-ahead log.
Rule 2. Nothing found here is believed because it looks right. The caller keeps a row only when the digest that the row
        carries is the digest of its payload.

Formats: "Database File Format" and "WAL-Mode File Format", sqlite.org/fileformat2.html and walformat.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from collector.durable.layout import PAGE, Row, Value

# All our files have pages of PAGE bytes, so a lost header does not matter.
FRAME = 24 + PAGE  # a frame of the log: its header and one page
LOG_HEADER = 32
LOG_MAGIC = (0x377F0682, 0x377F0683)  # the second one counts its checksums in big-endian words
TABLE_LEAF, INDEX_LEAF = 0x0D, 0x0A
LARGEST = 1 << 20  # bytes of one row: a batch has at most 256 KiB, a damaged length any number


class Found(NamedTuple):
    """A row as it stands in a leaf of a table. `live`: its page belongs to the file's present contents."""

    rowid: int
    values: Row
    live: bool


class Pages:
    """The pages of a file and of the log beside it. Raises OSError when neither can be opened."""

    def __init__(self, path: Path) -> None:
        log = path.with_name(path.name + "-wal")
        self._file = os.open(path, os.O_RDONLY) if path.exists() else None
        self._log = os.open(log, os.O_RDONLY) if log.exists() else None
        self._frames: dict[int, list[int]] = {}  # page -> where its copies stand in the log, oldest first
        for number, offset in _frames(self._log) if self._log is not None else ():
            self._frames.setdefault(number, []).append(offset)
        size = os.fstat(self._file).st_size if self._file is not None else 0
        self._stored = range(1, size // PAGE + 1)
        self._free = self._free_pages()

    def close(self) -> None:
        for handle in (self._file, self._log):
            if handle is not None:
                os.close(handle)

    def rows(self) -> Iterator[Found]:
        """Every row in a table's leaf: first those of the present contents, then older copies that still lie about."""
        for number in self._numbers():
            if number not in self._free:
                yield from self._rows_of(self._now(number), number, live=True)
        for number in self._free:
            yield from self._rows_of(self._now(number), number, live=False)
        for number, offsets in self._frames.items():  # needed where the newest copy is bad, or its change half there
            for page in (self._before(number), *(_read(self._log, offset) for offset in offsets[:-1])):
                yield from self._rows_of(page, number, live=False)

    def index_entries(self) -> Iterator[Row]:
        """Every entry in an index' leaf of the present contents: its columns, then the row's number."""
        for number in self._numbers():
            if number not in self._free:
                page = self._now(number)
                for local, size, _rowid, _rest in _cells(page, number, INDEX_LEAF):
                    values = _record(local) if len(local) == size else None
                    if values is not None:
                        yield values

    def _numbers(self) -> list[int]:
        return sorted({*self._stored, *self._frames})

    def _now(self, number: int) -> bytes:
        offsets = self._frames.get(number)
        return _read(self._log, offsets[-1]) if offsets else self._before(number)

    def _before(self, number: int) -> bytes:
        return _read(self._file, (number - 1) * PAGE)

    def _rows_of(self, page: bytes, number: int, *, live: bool) -> Iterator[Found]:
        for local, size, rowid, rest in _cells(page, number, TABLE_LEAF):
            values = _record(self._whole(local, size, rest))
            if values is not None:
                yield Found(rowid, values, live)

    def _whole(self, local: bytes, size: int, rest: int) -> bytes:
        """The row with its overflow pages; shorter than it should be where the chain is broken."""
        parts, have = [local], len(local)
        while have < size and rest:
            page = self._now(rest)
            if len(page) < PAGE:
                break
            piece = page[4 : 4 + size - have]
            parts.append(piece)
            have += len(piece)
            rest = int.from_bytes(page[:4], "big")
        return b"".join(parts)

    def _free_pages(self) -> set[int]:
        """The pages on the free list, as far as it can be followed."""
        free: set[int] = set()
        trunk = int.from_bytes(self._now(1)[32:36], "big")
        last = max(self._numbers(), default=0)
        while 0 < trunk <= last and trunk not in free:
            free.add(trunk)
            page = self._now(trunk)
            if len(page) < PAGE:
                break
            trunk, count = struct.unpack_from(">II", page)
            free.update(struct.unpack_from(f">{min(count, (PAGE - 8) // 4)}I", page, 8))
        return {number for number in free if number <= last}


def log_fault(log: Path) -> str | None:
    """Says in words why committed changes in a write-ahead log would be passed over in silence; None when sound.

    SQLite ends its reading of a log at the first frame whose checksum is wrong: right for the torn last change of a
    power cut, a silent loss for a log that rotted. They can be told apart, for a change is synced before the next one
    begins: behind a torn one there is never a whole one and the beginning of another.
    """
    data = log.read_bytes() if log.exists() else b""
    if len(data) < LOG_HEADER + FRAME:
        return None
    magic = int.from_bytes(data[:4], "big")
    if magic not in LOG_MAGIC or _checksum(data[:24], (0, 0), magic) != struct.unpack_from(">II", data, 24):
        return None if not any(data[:LOG_HEADER]) else "the header of its write-ahead log is unreadable"
    salts, seed = data[16:24], struct.unpack_from(">II", data, 24)
    bad: int | None = None
    whole = False  # the frame before, sound and behind a bad one, was the last of its change
    for number, offset in enumerate(range(LOG_HEADER, len(data) - FRAME + 1, FRAME), start=1):
        header, page = data[offset : offset + 24], data[offset + 24 : offset + FRAME]
        stored = struct.unpack_from(">II", header, 16)
        sound = header[8:16] == salts and _checksum(header[:8] + page, seed, magic) == stored
        if sound and whole:
            return f"frame {bad} of its write-ahead log is damaged and whole changes stand behind it"
        if not sound:
            bad = bad or number
        # A bad frame's own word that it ended a change means nothing: half of its header may be older than the rest.
        whole = sound and bad is not None and header[4:8] != b"\0\0\0\0"
        seed = stored
    return None


def _frames(log: int) -> list[tuple[int, int]]:
    """(page number, offset of the page in the log) of the log's present run, oldest first.

    Behind it stand frames of earlier runs, with other salts. A frame inside it counts whatever its header says.
    """
    header = _read(log, 0, LOG_HEADER + FRAME)
    salts = (
        header[16:24] if int.from_bytes(header[:4], "big") in LOG_MAGIC else header[LOG_HEADER + 8 : LOG_HEADER + 16]
    )
    found, end = [], 0
    for offset in range(LOG_HEADER, os.fstat(log).st_size - FRAME + 1, FRAME):
        frame = _read(log, offset, 24)
        found.append((int.from_bytes(frame[:4], "big"), offset + 24))
        if frame[8:16] == salts:
            end = len(found)
    return [(number, offset) for number, offset in found[:end] if number]


def _read(handle: int | None, offset: int, size: int = PAGE) -> bytes:
    """What can be read there: nothing where the disk refuses or the file ends."""
    try:
        return os.pread(handle, size, offset) if handle is not None else b""
    except OSError:
        return b""


def _cells(page: bytes, number: int, kind: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(bytes in the page, size of the whole, row number, first overflow page) of each cell of a leaf of that kind."""
    start = 100 if number == 1 else 0  # the file's header stands before the first page's
    if len(page) < PAGE or page[start] != kind:
        return
    # Sizes of "Cell payload overflow", with no reserved bytes at a page's end.
    least = (PAGE - 12) * 32 // 255 - 23
    most = PAGE - 35 if kind == TABLE_LEAF else (PAGE - 12) * 64 // 255 - 23
    count = min(int.from_bytes(page[start + 3 : start + 5], "big"), (PAGE - start - 8) // 2)
    for at in struct.unpack_from(f">{count}H", page, start + 8):
        try:
            size, at = _varint(page, at)
            rowid, at = _varint(page, at) if kind == TABLE_LEAF else (0, at)
        except IndexError:
            continue
        if size > LARGEST:
            continue
        fits = least + (size - least) % (PAGE - 4)
        local = size if size <= most else fits if fits <= most else least
        rest = int.from_bytes(page[at + local : at + local + 4], "big") if local < size else 0
        yield page[at : at + local], size, rowid, rest


def _record(data: bytes) -> Row | None:
    """The columns of a record; a last column may be cut short. None when it is not a record."""
    try:
        end, at = _varint(data, 0)
        kinds = []
        while at < end:
            kind, at = _varint(data, at)
            kinds.append(kind)
        values: list[Value] = []
        for kind in kinds:
            size = (kind - 12) // 2 if kind >= 12 else (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]
            values.append(_value(kind, data[at : at + size]))
            at += size
    except (IndexError, ValueError, struct.error):
        return None
    return tuple(values)


def _value(kind: int, data: bytes) -> Value:
    """A column of a serial type. Raises ValueError for text that is not UTF-8, struct.error for a broken float."""
    if kind == 0:
        return None
    if kind == 7:
        return float(struct.unpack(">d", data)[0])
    if kind in (8, 9):
        return kind - 8
    if kind < 12:
        return int.from_bytes(data, "big", signed=True)
    return data.decode() if kind % 2 else data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, next offset). Raises IndexError at the end of the data."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | data[at], at + 1


def _checksum(data: bytes, seed: tuple[int, ...], magic: int) -> tuple[int, int]:
    """The log's checksum ("WAL checksum algorithm"): a running pair over 32-bit words."""
    one, two = seed
    words = struct.unpack(f"{'>' if magic & 1 else '<'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two
