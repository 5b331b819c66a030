"""A full disk: interval readings stop first, the status says so, keep goes on while it can, nothing stored is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from collector.durable import ballast
from collector.durable.layout import Connect, connect
from collector.outbox import RECEIPTED, WAITING
from collector.spool import Entry, Inbox, Incoming, Outbox, SpoolFull
from tests.custody.boxes import DAY, NOW, append, check, outbox, rows
from tests.custody.synced_disk import Disk, Event

MIB = 1 << 20


class Place:
    """A directory whose disk somebody else can fill up."""

    def __init__(self, directory: Path, connect: Connect, free: Callable[[], int]) -> None:
        self.directory, self.connect, self.free = directory, connect, free
        self.foreign = directory / "log-of-somebody-else"

    def fill(self, leave: int = 0) -> None:
        with self.foreign.open("ab") as file:
            file.write(b"x" * max(0, self.free() - leave))
            file.flush()

    def clear(self) -> None:
        self.foreign.unlink()

    def outbox(self) -> Outbox:
        return outbox(self.directory / "spool.db", connect=self.connect)


@pytest.fixture
def simulated(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A disk of 4 MiB that SQLite is told of by a layer below it."""
    directory = tmp_path / "disk"
    directory.mkdir()
    disk = Disk(directory, f"full-{id(request)}")
    disk.room = 4 * MIB

    def free() -> int:
        assert disk.room is not None
        return disk.room - sum(path.stat().st_size for path in directory.iterdir())

    class Statistics:
        f_frsize = 1

        @property
        def f_bavail(self) -> int:
            return free()

    monkeypatch.setattr(os, "statvfs", lambda _path: Statistics())
    yield Place(directory, disk.connection, free)
    disk.room = None


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Place]:
    """A real file system of 4 MiB in memory."""
    directory = tmp_path / "mounted"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here; the simulated disk was used instead")

    def free() -> int:
        disk = os.statvfs(directory)
        return disk.f_bavail * disk.f_frsize

    yield Place(directory, connect, free)
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture(params=["simulated", "mounted"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def append_until_full(box: Outbox, class_: str) -> list[Entry]:
    """What was committed before there was no room for more."""
    made: list[Entry] = []
    with pytest.raises(SpoolFull):
        while len(made) < 1000:
            made.append(append(box, class_))
    return made


def everything_stands(place: Place, entries: list[Entry], settled: set[int]) -> None:
    """Each batch is there, or receipted, or an interval batch with a tombstone in its place."""
    found = {row["sequence"]: row for row in check(place.directory / "spool.db")}
    for entry in entries:
        row = found.get(entry.sequence)
        if row is None:
            assert entry.sequence in settled
        elif row["sha256"] != entry.sha256:
            assert entry.class_ == "interval"
            assert row["original"] == entry.sha256


def test_on_a_full_disk_receipted_batches_make_way_and_readings_go_on(place: Place) -> None:
    box = place.outbox()
    entries = [append(box) for _ in range(150)]
    for entry in entries:
        box.settle(entry.spool, entry.sequence, entry.sha256)
    place.fill()
    later = [append(box, "keep" if n % 10 == 0 else "interval") for n in range(100)]
    assert {(e.spool, e.sequence) for e in later} == {(e.spool, e.sequence) for e in box.pending(999)}
    state = box.state(NOW)
    assert state.evicted == 0
    assert not state.only_keep_left
    box.close()
    everything_stands(place, entries + later, {entry.sequence for entry in entries})


def test_on_a_full_disk_interval_stops_first_and_the_state_says_so(place: Place) -> None:
    box = place.outbox()
    entries = [append(box, "keep" if n % 2 else "interval") for n in range(100)]
    place.fill()
    entries += append_until_full(box, "keep")  # which takes the place of interval batches
    state = box.state(NOW)
    assert state.only_keep_left
    assert state.evicted > 0
    assert state.fill > 0.9
    with pytest.raises(SpoolFull):
        append(box)
    keep = [entry for entry in entries if entry.class_ == "keep"]
    assert len(keep) > 80
    assert [entry.sequence for entry in box.pending(999) if entry.class_ == "keep"] == [e.sequence for e in keep]
    box.close()
    everything_stands(place, entries, set())


def test_receipts_are_taken_on_a_full_disk_and_make_room(place: Place) -> None:
    box = place.outbox()
    entries = [append(box, "keep") for _ in range(100)]
    place.fill()
    entries += append_until_full(box, "keep")
    settled = set()
    for entry in entries[:80]:
        assert box.settle(entry.spool, entry.sequence, entry.sha256)
        settled.add(entry.sequence)
    assert not box.state(NOW).only_keep_left
    entries += [append(box) for _ in range(20)]
    box.close()
    everything_stands(place, entries, settled)


def test_when_there_is_room_again_the_file_grows_again(place: Place) -> None:
    box = place.outbox()
    entries = [append(box, "keep") for _ in range(60)]
    place.fill()
    entries += append_until_full(box, "interval")
    place.clear()
    before = (place.directory / "spool.db").stat().st_size
    entries += [append(box) for _ in range(100)]
    assert not box.state(NOW).only_keep_left
    box.close()
    assert (place.directory / "spool.db").stat().st_size > before + 200_000
    assert (place.directory / "spool.db.ballast").stat().st_size == ballast.SIZE
    everything_stands(place, entries, set())


def test_a_gateway_starts_on_a_full_disk(place: Place) -> None:
    box = place.outbox()
    entries = [append(box) for _ in range(100)]
    box.close()
    place.fill()
    box = place.outbox()
    assert box.damage is None
    assert sorted(e.sequence for e in box.pending(999)) == [e.sequence for e in entries]
    entries += [append(box, "keep") for _ in range(20)]
    box.close()
    everything_stands(place, entries, set())


def test_a_gateway_killed_on_a_full_disk_starts_again(place: Place) -> None:
    box = place.outbox()
    entries = [append(box) for _ in range(100)]
    place.fill()
    entries += [append(box, "keep") for _ in range(20)]
    left = {path.name: path.read_bytes() for path in place.directory.iterdir() if path.name.startswith("spool.db")}
    box.close()
    for name, content in left.items():
        (place.directory / name).write_bytes(content)
    box = place.outbox()
    assert box.damage is None
    entries += [append(box, "keep") for _ in range(20)]
    box.close()
    everything_stands(place, entries, set())


def test_receipts_that_cannot_be_written_are_remembered(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def refuse(_event: Event) -> None:
        raise apsw.FullError("not a byte more for spool.db-wal")

    disk = Disk(tmp_path, f"stuck-{id(request)}")
    box = outbox(tmp_path / "spool.db", connect=disk.connection)
    entries = [append(box, size=100) for _ in range(150)]
    disk.fail = refuse
    for entry in entries:
        assert box.settle(entry.spool, entry.sequence, entry.sha256)
    assert box.pending(999) == []
    assert box.state(NOW).unreceipted == 0
    disk.fail = lambda _event: None
    append(box, size=100)
    box.close()
    assert [row["state"] for row in rows(tmp_path / "spool.db")] == [RECEIPTED] * 150 + [WAITING]


def test_the_centre_promises_nothing_on_a_full_disk(place: Place) -> None:
    box = Inbox(place.directory / "inbox.db", keep_ms=DAY, connect=place.connect)

    def some(number: int) -> list[Incoming]:
        return [Incoming("gw", "b7e3c1d09a44", number * 3 + n + 1, "readings", os.urandom(9000)) for n in range(3)]

    stored = some(0)
    box.put(stored, NOW)
    place.fill()
    with pytest.raises(SpoolFull, match="free some room"):
        for number in range(1, 1000):
            rows = some(number)
            box.put(rows, NOW)
            stored += rows
    assert box.state().unsettled == len(stored)
    assert box.put(stored, NOW) == ["repeat"] * len(stored)
    place.clear()
    assert box.put(rows, NOW) == ["stored"] * 3
    box.close()
