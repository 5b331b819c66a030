"""`backup`, and the drill: a restored centre ends with the same bill, on whichever database."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.central import archive as archives
from collector.central import backup as backups
from collector.central.engine import open_engine
from collector.central.registry import Registry
from collector.central.restore import restore
from collector.central.worker import Worker
from collector.clock import SystemClock
from collector.config import load_central
from collector.exits import CheckFailed, Unreachable, UsageFault
from collector.spool import Inbox
from tests.central.books import Centre
from tests.central.building import Meterline, SetClock, batch, bring, point, snapshot
from tests.central.databases import KINDS
from tests.central.drill import LEDGER_ROWS, NOW, SECOND, THIRD, building, emitted, empty, made, receive, state


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "millis", lambda _: NOW)


# ----------------------------------------------------------------------------- the drill


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("here", KINDS)
def test_a_restored_centre_ends_with_the_same_bill(
    tmp_path: Path, use: Callable[[str], None], meterline: Meterline, here: str, there: str
) -> None:
    use(here)
    original = building(tmp_path / "here")
    file = tmp_path / "centre.backup"
    assert meterline("backup", "--config", tmp_path / "here/central.yaml", "--out", file).status == 0
    use(there)
    restored = empty(tmp_path / "there")
    answer = meterline("restore", file, "--config", tmp_path / "there/central.yaml")
    assert (answer.status, answer.out) == (0, "")
    assert answer.err == (
        "restored: the centre as it was at 2026-12-02T05:00:00.000Z\n"
        "what gateways have delivered after that is not in it\n"
    )
    use(here)
    before = state(original)
    use(there)
    assert state(restored) == before
    assert len(before["ledger"]) == LEDGER_ROWS
    use(here)
    bills = [later(tmp_path / "here", meterline)]
    use(there)
    bills.append(later(tmp_path / "there", meterline))
    assert bills[0] == bills[1]


def later(folder: Path, meterline: Meterline) -> tuple[Any, ...]:
    """What becomes of a centre: it goes on with its spool, is asked, closes again, and closes the next month."""
    config = load_central(folder / "central.yaml")
    yaml = folder / "central.yaml"
    files = emitted(config)
    again = [meterline("close", month, "--config", yaml) for month in ("2026-09", "2026-10")]
    assert [answer.err.split()[:4] for answer in again] == [["as", "it", "is", "in"]] * 2
    assert emitted(config) == files
    centre = Centre(folder)
    centre._sequence = 1000
    inbox = Inbox(config.data / "spool.db", keep_ms=config.spool.keep)
    worker = Worker(inbox, Registry(centre.engine), centre.store, SetClock())
    while worker.round():
        pass
    inbox.close()
    for meter in ("m1", "m2"):
        centre.read(meter, "2026-11-15 00:00:00", SECOND, kept=True)
        centre.month_of(meter, "2026-11", THIRD)
    closed = centre.close("2026-11")
    late = centre.close("2026-10")
    digests = [row.digest for row in centre.ledger()]
    ids = [row.id for row in centre.ledger()]
    centre.store.close()
    centre.engine.dispose()
    shown = [
        meterline("readings", "--config", yaml, "--format", "csv", *more).out
        for more in ((), ("--frozen",), ("--rejected",))
    ]
    assert [len(text) > 200 for text in shown] == [True, False, True]
    return closed.counts, late.changed, digests, ids, emitted(config), shown


def test_a_backup_says_what_is_in_it(tmp_path: Path, meterline: Meterline) -> None:
    config = building(tmp_path)
    answer = meterline("backup", "--config", tmp_path / "central.yaml", "--out", tmp_path / "b", "--format", "csv")
    rows = {line.split(",")[0]: line.split(",")[1] for line in answer.out.splitlines()[1:]}
    counts = [rows[name] for name in ("tables/ledger.ndjson", "tables/evidence.ndjson", "spool.db", "out")]
    assert counts == [str(LEDGER_ROWS), "4", "", "12"]
    assert f"{tmp_path / 'b'}: {(tmp_path / 'b').stat().st_size} bytes, read back and whole" in answer.err
    assert "1 batches were not yet in series and database" in answer.err
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    manifest = json.loads(zipfile.ZipFile(tmp_path / "b").read("manifest.json"))
    assert (manifest["schema"], manifest["kind"], manifest["made"]) == (
        1,
        "meterline backup",
        "2026-12-02T05:00:00.000Z",
    )
    assert manifest["spool"] == {"unsettled": 1, "since": SetClock().now}
    assert config.out.exists()


def test_no_secret_is_in_it_and_no_comment(tmp_path: Path) -> None:
    config = empty(tmp_path)
    (tmp_path / "secret").write_text("geheim\n")
    (tmp_path / "secret").chmod(0o600)
    yaml = tmp_path / "central.yaml"
    text = yaml.read_text().replace("1883'", "1883', username: c, password_file: secret")
    yaml.write_text(text + "# the old password was geheim\n")
    config = load_central(yaml)
    with zipfile.ZipFile(made(config, tmp_path / "b")) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
        copy = archive.read("central.yaml").decode()
    assert b"geheim" not in everything
    (tmp_path / "copy.yaml").write_text(copy)
    assert load_central(tmp_path / "copy.yaml") == config


def test_what_influxdb_holds_is_not_in_it_and_that_is_said(tmp_path: Path, meterline: Meterline) -> None:
    building(tmp_path / "here")
    yaml = tmp_path / "here" / "central.yaml"
    (tmp_path / "here/token").write_text("t\n")
    yaml.write_text(
        yaml.read_text() + "store: {influxdb: {url: 'http://127.0.0.1:1', org: o, bucket: b, token_file: token}}\n"
    )
    answer = meterline("backup", "--config", yaml, "--out", tmp_path / "b")
    assert "series.db" not in zipfile.ZipFile(tmp_path / "b").namelist()
    wanted = (
        "What came in from 2026-10-31T21:01:07.120Z on, `meterline store rebuild` makes anew from the spool; what is "
        "older, only a backup of InfluxDB's own (`influx backup`) keeps"
    )
    assert wanted in answer.err
    config = empty(tmp_path / "there")
    answer = meterline("restore", tmp_path / "b", "--config", tmp_path / "there/central.yaml")
    assert answer.status == 0
    assert f"the series of this centre were not restored. {wanted}" in answer.err
    assert not (config.data / "series.db").exists()


def test_a_centre_that_has_nothing_yet_can_be_backed_up(tmp_path: Path) -> None:
    file = made(empty(tmp_path / "here"), tmp_path / "b")
    config = empty(tmp_path / "there")
    restore(config, file, NOW, "olga")
    assert sorted(path.name for path in config.data.iterdir()) == ["central.db", "out"]


# ----------------------------------------------------------------------------- while the centre runs


@pytest.mark.usefixtures("database")
def test_a_backup_of_a_centre_at_work_is_one_whole_state(tmp_path: Path) -> None:
    """Batches come in and are carried on while backups are made: none lacks in a sink what its spool calls settled."""
    config = building(tmp_path / "here")
    centre = Centre(tmp_path / "here")
    inbox = Inbox(config.data / "spool.db", keep_ms=config.spool.keep)
    worker = Worker(inbox, Registry(centre.engine), centre.store, SetClock())
    stop = threading.Event()
    faults: list[BaseException] = []

    def work() -> None:
        try:
            number = 10
            while not stop.is_set():
                number += 1
                asked = SetClock().now - 1_000_000 + number
                receive(inbox, batch(snapshot(1, asked=asked, answered=None), sequence=number))
                if number % 3 == 0:
                    worker.round()
        except BaseException as error:
            faults.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        files = [made(config, tmp_path / f"b{number}") for number in range(4)]
    finally:
        stop.set()
        thread.join()
    assert faults == []
    inbox.close()
    centre.store.close()
    sizes = []
    for number, file in enumerate(files):
        restored = empty(tmp_path / f"there{number}")
        restore(restored, file, NOW, "olga")
        found = state(restored)
        waiting = {stored.sequence for stored in found["spool"][1]}
        settled = {stored.sequence for stored in found["spool"][0] if stored.sequence > 10} - waiting
        proven = {row[2] for row in found["evidence"]}
        times = {row[-2] for row in found["series"]["sample"]}
        assert settled <= proven
        assert {SetClock().now - 1_000_000 + sequence for sequence in settled} <= times
        sizes.append(len(settled))
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


@pytest.mark.usefixtures("database")
def test_registry_and_ledger_are_those_of_one_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = building(tmp_path / "here")
    before = state(config)
    engine = open_engine(config)
    lines = backups._lines
    numbers = iter(range(7, 100))

    def beside(*arguments: Any) -> Iterator[bytes]:
        yield from lines(*arguments)
        number = next(numbers)  # behind every table somebody brings in a point, which goes into five of them
        bring(engine, point(number))

    monkeypatch.setattr(backups, "_lines", beside)
    file = made(config, tmp_path / "b")
    assert len(Registry(engine).meters()) > 10
    engine.dispose()
    restored = empty(tmp_path / "there")
    restore(restored, file, NOW, "olga")
    assert state(restored) == before


def test_a_month_that_is_closed_meanwhile_is_in_the_ledger_when_its_folder_is_in_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = building(tmp_path / "here")
    centre = Centre(tmp_path / "here")
    centre._sequence = 1000
    centre.month_of("m1", "2026-11", THIRD)
    original = backups._add_spool
    monkeypatch.setattr(backups, "_add_spool", lambda *a: (centre.close("2026-11"), original(*a))[1])
    file = made(config, tmp_path / "b")
    restored = empty(tmp_path / "there")
    restore(restored, file, NOW, "olga")
    assert not (restored.out / "2026-11").exists()
    again = Centre(tmp_path / "there")
    assert again.close("2026-11").changed == 0
    assert again.files() == centre.files()


def test_a_close_that_is_under_way_is_not_in_the_backup(tmp_path: Path) -> None:
    config = building(tmp_path / "here")
    before = emitted(config)
    (config.out / "2026-10/generic/.r7").mkdir()
    (config.out / "2026-10/generic/.r7/billing.csv").write_text("half")
    (config.out / ".note").write_text("x")
    file = made(config, tmp_path / "b")
    restored = empty(tmp_path / "there")
    restore(restored, file, NOW, "olga")
    assert emitted(restored) == before


# ----------------------------------------------------------------------------- what a backup refuses


def test_a_backup_takes_no_others_place(tmp_path: Path, meterline: Meterline) -> None:
    empty(tmp_path)
    (tmp_path / "b").write_text("mine")
    answer = meterline("backup", "--config", tmp_path / "central.yaml", "--out", tmp_path / "b")
    assert (answer.status, "is there already" in answer.err) == (2, True)
    assert (tmp_path / "b").read_text() == "mine"
    answer = meterline("backup", "--config", tmp_path / "central.yaml", "--out", tmp_path / "no" / "b")
    assert (answer.status, "cannot be made" in answer.err) == (2, True)


@pytest.mark.parametrize("name", ["spool.db", "series.db"])
def test_a_damaged_file_is_said_and_not_backed_up(tmp_path: Path, name: str) -> None:
    config = building(tmp_path)
    data = bytearray((config.data / name).read_bytes())
    for page in range(4096, len(data), 4096):
        data[page + 8 : page + 200] = b"\xff" * 192
    (config.data / name).write_bytes(data)
    with pytest.raises((CheckFailed, Unreachable), match=rf"{name} (is damaged|cannot be copied)"):
        made(config, tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["central.yaml", "data"]
    assert (config.data / name).read_bytes() == data


def test_a_link_among_the_emitted_months_is_said(tmp_path: Path) -> None:
    config = building(tmp_path)
    (config.out / "2026-08").symlink_to(tmp_path)
    with pytest.raises(UsageFault, match="2026-08 is neither a file nor a folder"):
        made(config, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = building(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.Taken, "write", full)
    with pytest.raises(UsageFault, match=r"cannot be made: .*No space left"):
        made(config, tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["central.yaml", "data"]


def test_what_the_disk_did_not_keep_is_noticed_before_the_backup_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = building(tmp_path)
    fsync = os.fsync

    def lying(handle: int) -> None:
        os.pwrite(handle, b"\0\0\0\0", 2000)
        fsync(handle)

    monkeypatch.setattr(archives.os, "fsync", lying)
    with pytest.raises(UsageFault, match="no whole backup"):
        made(config, tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["central.yaml", "data"]
