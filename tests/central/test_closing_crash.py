"""Closing a month where something fails: a kill at any step, a lost series, an altered ledger, two at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from collector.central import billing_files, closing, engine, ledger
from collector.central.billing_files import Draft
from collector.central.case import Case
from collector.central.close import Row, close_points
from collector.central.closing import close_month
from collector.central.engine import writing
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import Sample, StoreAway
from collector.exits import CheckFailed
from tests.central.books import FIRST, GENERIC, Centre, at, point, two_flats
from tests.central.databases import allow_changes

pytestmark = pytest.mark.usefixtures("database")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return two_flats(tmp_path)


# ----------------------------------------------------------------------------- nothing is taken back


def test_a_series_that_lost_its_past_takes_nothing_back_that_was_billed(centre: Centre, tmp_path: Path) -> None:
    for month in ("2026-09", "2026-10"):
        centre.close(month)
    files = centre.files()
    centre.store.close()
    centre.books = closing.Books(centre.engine, EmbeddedStore(tmp_path / "empty.db"), centre.out)
    for month in ("2026-09", "2026-10"):
        assert centre.close(month).changed == 0
    assert centre.files() == files


def frozen_twice(folder: Path, second: str, quality: Sequence[str] = ()) -> Centre:
    """A flat whose October was frozen: asked at the edge, and for the second time then, with this quality."""
    centre = Centre(folder, point(1, tariffs="1"))
    centre.month_of("m1", "2026-09", {"1.8.0": "90"})
    for when, shown in (("2026-11-01 00:00:20", ()), (second, quality)):
        centre.read("m1", when, {"1.8.0": "100.4"}, frozen={"2026-10": {"1.8.0": "99.8"}}, quality=shown)
    return centre


@pytest.mark.parametrize(
    ("second", "quality", "status"),
    [
        ("2026-11-01 00:02:00", [], "ready"),
        ("2026-11-09 12:00:00", [], "ready"),
        ("2026-11-09 12:00:00", ["no-checksum"], "held"),  # what a late asking showed is still said
    ],
)
def test_a_frozen_value_that_only_the_ledger_knows_still_counts(
    tmp_path: Path, second: str, quality: Sequence[str], status: str
) -> None:
    centre = frozen_twice(tmp_path, second, quality)
    closed = centre.close("2026-10")
    assert (closed.counts[status], closed.checks["no-checksum"]) == (1, len(quality))
    centre.books = closing.Books(centre.engine, EmbeddedStore(tmp_path / "empty.db"), centre.out)
    assert centre.close("2026-10").changed == 0


def test_a_frozen_value_of_which_nobody_knows_who_asked_is_one_asking_however_often_it_is_closed(
    tmp_path: Path,
) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    centre.month_of("m1", "2026-09", {"1.8.0": "90"})
    end = at("2026-11-01 00:00:00")
    centre.store.write([Sample("frozen", "m1", "gw", end, {"1.8.0": 99_800})])
    assert centre.close("2026-10").counts["held"] == 1
    centre.read("m1", "2026-11-01 00:05:00", {"1.8.0": "100.4"}, frozen={"2026-10": {"1.8.0": "99.8"}})
    assert centre.close("2026-10").counts["held"] == 1
    centre.read("m1", "2026-11-01 00:06:00", {"1.8.0": "100.4"}, frozen={"2026-10": {"1.8.0": "99.8"}})
    assert centre.close("2026-10").counts["ready"] == 1


def test_a_store_that_goes_away_in_the_middle_leaves_no_trace(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> Mapping[str, object]:
        raise StoreAway("no answer")

    monkeypatch.setattr(closing, "_AT_ONCE", 1)
    with monkeypatch.context() as patched:
        patched.setattr(centre.store, "frozen", away)
        with pytest.raises(StoreAway):
            centre.close("2026-10")
    assert centre.ledger() == []
    assert list((centre.out / "2026-10" / "generic").iterdir()) == []
    assert centre.close("2026-10").revision == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from collector.central import billing_files, closing, ledger
from tests.central.books import Centre

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{where} = kill
Centre(Path(sys.argv[1])).close("2026-10")
"""


def killed_at(where: str, folder: Path) -> None:
    """Close in a process of its own that is killed where it stands."""
    ended = subprocess.run([sys.executable, "-c", KILLED.format(where=where), str(folder)], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("place", ["os.fsync", "ledger.append", "ledger.append_run", "billing_files.Draft.finish"])
def test_a_close_that_is_killed_before_its_commit_never_was(centre: Centre, tmp_path: Path, place: str) -> None:
    killed_at(place, tmp_path)
    assert centre.ledger() == []
    assert centre.close("2026-10").revision == 1
    assert len(centre.files()) == 3


def test_a_close_that_is_killed_between_ledger_and_folder_is_finished_by_the_next(
    centre: Centre, tmp_path: Path
) -> None:
    killed_at("billing_files.Draft.publish", tmp_path)
    assert len(centre.ledger()) == 4
    assert not (centre.out / "2026-10" / "generic" / "r1").exists()
    closed = centre.close("2026-10")
    assert (closed.changed, closed.revision, len(centre.ledger())) == (0, 1, 4)

    undisturbed = two_flats(tmp_path / "undisturbed")
    undisturbed.close("2026-10")
    assert centre.files() == undisturbed.files()
    assert sorted(path.name for path in (centre.out / "2026-10" / "generic").iterdir()) == ["r1"]


def test_folders_that_are_gone_come_back_from_the_ledger_to_the_byte(centre: Centre, tmp_path: Path) -> None:
    centre.close("2026-10")
    centre.month_of("m2", "2026-10", FIRST)
    centre.month_of("m2", "2026-09", FIRST)
    centre.close("2026-10")
    files = centre.files()
    for other in ("elsewhere", "again"):
        centre.out = tmp_path / other
        centre.books = closing.Books(centre.engine, centre.store, centre.out)
        assert centre.close("2026-10").changed == 0
        assert centre.files() == files


def altered(centre: Centre, *, with_digest: bool) -> closing.Books:
    """Somebody who can write to the database makes 150 kWh 140; the folders are elsewhere."""
    centre.close("2026-10")
    with writing(centre.engine) as connection:
        allow_changes(connection, "ledger")
        connection.exec_driver_sql('UPDATE ledger SET row = replace(row, \'"end_kwh":"150"\', \'"end_kwh":"140"\')')
    if with_digest:
        (first, *_) = centre.ledger()
        with writing(centre.engine) as connection:
            digest = ledger.digest_of(first.row, first.evidence, first.carried)
            row = ledger.ledger.c.id == first.id
            connection.execute(ledger.ledger.update().where(row).values(digest=digest))
    return closing.Books(centre.engine, centre.store, centre.out.parent / "elsewhere")


def test_a_row_that_somebody_altered_stops_the_close(centre: Centre) -> None:
    books = altered(centre, with_digest=False)
    with pytest.raises(CheckFailed, match="the ledger was altered: this row does not have the digest"):
        close_month(books, "2026-10", GENERIC, at("2027-01-01 00:00:00"))
    assert len(centre.ledger()) == 4


def test_a_row_that_somebody_altered_together_with_its_digest_does_not_write_the_folder_again(centre: Centre) -> None:
    books = altered(centre, with_digest=True)
    with pytest.raises(CheckFailed, match=r"does not give the files of .*r1 as they were emitted"):
        close_month(books, "2026-10", GENERIC, at("2027-01-01 00:00:00"))


def test_nobody_waits_for_the_database_while_a_close_computes(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def compute(cases: Sequence[Case]) -> list[list[Row]]:
        with writing(centre.engine) as connection:  # as ingest does; it would wait for ever, in the same thread
            connection.exec_driver_sql("INSERT INTO registry_log (at, who, what) VALUES (1, 'ingest', '{}')")
        written.extend(case.point.point for case in cases)
        return close_points(cases)

    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(closing, "close_points", compute)
    assert centre.close("2026-10").changed == 4
    assert written == ["kv1", "kv2"]


def test_a_close_that_somebody_overtakes_computes_again(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    overtaken = []

    def compute(cases: Sequence[Case]) -> list[list[Row]]:
        if not overtaken:
            overtaken.append(True)
            elsewhere = closing.Books(centre.engine, centre.store, centre.out.parent / "elsewhere")
            assert close_month(elsewhere, "2026-10", GENERIC, at("2026-12-01 00:00:00")).revision == 1
        return close_points(cases)

    monkeypatch.setattr(closing, "close_points", compute)
    closed = centre.close("2026-10")
    assert (closed.changed, closed.revision, len(centre.ledger())) == (0, 1, 4)
    assert len(centre.files()) == 3


def test_who_waits_for_another_close_may_give_up(centre: Centre) -> None:
    folder = centre.out / "2026-10" / "generic"
    looked: list[int] = []

    def between() -> None:
        looked.append(1)
        if len(looked) == 3:
            raise InterruptedError("the service ends")

    with billing_files.folder_lock(folder, pytest.fail), pytest.raises(InterruptedError, match="the service ends"):
        close_month(centre.books, "2026-10", GENERIC, at("2026-12-01 00:00:00"), between=between)
    assert centre.ledger() == []
    assert centre.close("2026-10").changed == 4


def test_two_closes_at_once_make_one_folder(centre: Centre) -> None:
    barrier = threading.Barrier(4)
    found: list[tuple[int, int | None]] = []

    def work() -> None:
        store = EmbeddedStore(centre.out.parent / "series.db")
        books = closing.Books(centre.engine, store, centre.out)
        barrier.wait()
        closed = close_month(books, "2026-10", GENERIC, at("2026-12-01 00:00:00"))
        found.append((closed.changed, closed.revision))
        store.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(0, 1), (0, 1), (0, 1), (4, 1)]
    assert len(centre.files()) == 3


def test_a_close_waits_for_the_folder_of_another_that_has_committed(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would take the other's folder for one that a crash kept from appearing, and both would write it."""
    publish, publishing, second_done = Draft.publish, threading.Event(), threading.Event()

    def slowly(draft: Draft) -> None:
        if not publishing.is_set():
            publishing.set()
            second_done.wait(0.5)  # it cannot be done before this one; without the lock it is
        publish(draft)

    def second() -> None:
        publishing.wait()
        store = EmbeddedStore(centre.out.parent / "series.db")
        close_month(closing.Books(centre.engine, store, centre.out), "2026-10", GENERIC, at("2026-12-01 00:00:00"))
        second_done.set()

    monkeypatch.setattr(Draft, "publish", slowly)
    thread = threading.Thread(target=second)
    thread.start()
    assert centre.close("2026-10").changed == 4
    thread.join()
    assert second_done.is_set()
    assert len(centre.files()) == 3
