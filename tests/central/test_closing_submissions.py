"""A closed month's submissions: whole with the folder, named in its manifest, made again to the byte, sent once."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from collector.central import ledger
from collector.central.closing import preview_month
from collector.exits import CheckFailed
from tests.central.books import FIRST, Centre, own_utility, two_flats

pytestmark = pytest.mark.usefixtures("database")

SMS = '{format: messages, file: sms.txt, line: "{account}*{values}", join: "*"}'
XML = '{format: iec61968-9, file: "{period}-r{revision}.xml"}'
STES = own_utility(outputs=f"[{SMS}, {XML}]")


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    made = two_flats(tmp_path)
    made.close("2026-09", by=STES)
    return made


def folder(centre: Centre, revision: int) -> Path:
    return centre.out / "2026-10" / "generic" / f"r{revision}"


def messages(centre: Centre, revision: int) -> list[str]:
    return (folder(centre, revision) / "submissions" / "sms.txt").read_text().splitlines()


def test_the_ready_account_is_sent_and_the_missing_one_remarked(centre: Centre) -> None:
    centre.close("2026-10", by=STES)
    rows = {row["account"]: row for row in centre.billing("2026-10") if row["status"] == "ready"}
    (account,) = rows
    assert messages(centre, 1) == [f"{account}*150*22"]
    remarks = (folder(centre, 1) / "submissions" / "remarks.csv").read_text()
    assert "sms.txt" in remarks
    assert "missing" in remarks


def test_the_manifest_names_each_submission_with_its_digest(centre: Centre) -> None:
    centre.close("2026-10", by=STES)
    manifest = json.loads((folder(centre, 1) / "manifest.json").read_text())
    named = {entry["name"]: entry for entry in manifest["files"]}
    assert [name for name in named if "/" in name] == [
        "submissions/sms.txt", "submissions/2026-10-r1.xml", "submissions/remarks.csv",
    ]  # fmt: skip
    for name, entry in named.items():
        assert hashlib.sha256((folder(centre, 1) / name).read_bytes()).hexdigest() == entry["sha256"], name
    assert named["submissions/sms.txt"]["rows"] == 1


def test_a_second_close_sends_nothing_again(centre: Centre) -> None:
    centre.close("2026-10", by=STES)
    before = centre.files()
    centre.close("2026-10", by=STES)
    assert centre.files() == before


def test_a_late_reading_sends_the_account_that_is_new_and_not_the_other_again(centre: Centre) -> None:
    centre.close("2026-10", by=STES)
    (sent,) = messages(centre, 1)
    centre.month_of("m2", "2026-09", FIRST)
    centre.month_of("m2", "2026-10", {"1.8.1": "120", "1.8.2": "11"})
    centre.close("2026-09", by=STES)
    centre.close("2026-10", by=STES)
    (late,) = messages(centre, 2)
    assert late.split("*")[1:] == ["120", "11"]
    assert late.split("*")[0] != sent.split("*")[0]


def test_a_lost_folder_is_made_again_to_the_byte_though_the_profile_is_another_now(centre: Centre) -> None:
    centre.close("2026-10", by=STES)
    before = centre.files()
    shutil.rmtree(centre.out)
    other = own_utility(title="Renamed", outputs=f"[{SMS.replace('*', '#')}]")
    for period in ("2026-09", "2026-10"):
        centre.close(period, by=other)
    after = centre.files()
    assert {name: after[name] for name in before} == before


def test_a_submission_that_the_ledger_does_not_give_any_more_is_said(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    centre.close("2026-10", by=STES)
    shutil.rmtree(folder(centre, 1))
    monkeypatch.setattr("collector.central.submissions.messages.number", lambda value: f"{value + 1:f}")
    with pytest.raises(CheckFailed, match="does not give the files"):
        centre.close("2026-10", by=STES)


def test_a_preview_writes_no_submission(centre: Centre) -> None:
    preview_month(centre.books, "2026-10", STES)
    assert not (centre.out / "2026-10").exists()


def test_the_profile_that_a_month_was_closed_with_stays_in_the_ledger(centre: Centre) -> None:
    with centre.engine.connect() as connection:
        (run,) = ledger.runs(connection, "2026-09", "generic")
        assert run.profile == STES.digest
        assert ledger.profile_text(connection, STES.digest) == STES.text
