"""`meterline close`: exit statuses, what a clerk reads, and that a look changes nothing."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from collector.clock import SystemClock
from tests.central.books import FIRST, SECOND, Centre, at, point
from tests.central.building import Meterline, bring, central_yaml

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return central_yaml(tmp_path)


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    """Two flats, the second never read; it is 2 November."""
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 08:00:00"))
    centre = Centre(tmp_path, point(1), point(2, account="=10002"))
    centre.month_of("m1", "2026-09", FIRST)
    centre.month_of("m1", "2026-10", SECOND)
    yield centre
    centre.store.close()
    centre.engine.dispose()


def test_a_clerk_sees_every_row_of_a_small_house_and_why_some_are_not_ready(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    answer = meterline("close", "2026-10", "--config", config)
    assert answer.status == 0
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines == [
        "generic, 2026-10, up to 2026-11-01 00:00 (Europe/Moscow)",
        "account point meter register start kWh end kWh ratio consumption status method quality",
        "10001 kv1 m1 T1 (1.8.1) 100 150 1 50 ready live 0.1",
        "10001 kv1 m1 T2 (1.8.2) 10 22 1 12 ready live 0.1",
        "=10002 kv2 m2 T1 (1.8.1) 1 missing 5.259",
        "=10002 kv2 m2 T2 (1.8.2) 1 missing 5.259",
        "missing: kv2 T1: no accepted reading of 1.8.1 of m2 from 2026-10-31 23:50:00 to 2026-11-01 01:00:00 [missing]",
        "missing: kv2 T2: no accepted reading of 1.8.2 of m2 from 2026-10-31 23:50:00 to 2026-11-01 01:00:00 [missing]",
        "4 rows: 2 ready, 0 held, 2 missing, 0 estimated",
    ]
    assert answer.err == f"4 rows written to {centre.out / '2026-10' / 'generic' / 'r1'}\n"


def test_when_a_month_ends_is_told_on_the_clocks_of_its_points(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    bring(centre.engine, *(point(n, time_zone=zone) for n, zone in ((3, "Asia/Yekaterinburg"), (4, "Europe/Moscow"))))
    answer = meterline("close", "2026-10", "--config", config, "--preview")
    head = "generic, 2026-10, up to 2026-11-01 00:00 (Asia/Yekaterinburg, Europe/Moscow)"
    assert answer.out.splitlines()[0] == head
    answer = meterline("close", "2026-10", "--config", config, "--status")
    assert answer.out.splitlines()[1].split()[:4] == ["generic", "2026-11-01", "00:00", "8"]


def test_a_reason_that_several_registers_of_a_point_share_is_told_once(
    config: Path, meterline: Meterline, tmp_path: Path
) -> None:
    centre = Centre(tmp_path, point(1), point(2))
    for meter in ("m1", "m2"):
        centre.month_of(meter, "2026-10", FIRST)
    answer = meterline("close", "2026-10", "--config", config, "--preview")
    assert [line for line in answer.out.splitlines() if line.startswith("held")] == [
        f"held: kv{n} T1, T2: m{n} has no value at the start of the period, 2026-10-01 00:00:00 [no-start]"
        for n in (1, 2)
    ]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("what", ["--status", "--preview"])
def test_on_a_terminal_no_word_or_number_is_cut(
    what: str, width: int, centre: Centre, config: Path, tmp_path: Path
) -> None:
    for month in ("2026-09", "2026-10"):
        bring(centre.engine, point(3, account="123456789012", tariffs="3"))
        centre.month_of("m3", month, dict.fromkeys(("1.8.1", "1.8.2", "1.8.3"), "123456.7"))
    said = on_a_terminal(width, "close", "2026-10", "--config", str(config), what)
    assert "\x1b[" in said
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert max(map(len, plain.splitlines())) <= width
    assert "…" not in plain
    whole = ["utility", "2026-11-01 00:00", "expected", "to write", "nothing"]
    rows = ["start kWh", "consumption", "123456", "up to 2026-11-01 00:00 (Europe/Moscow)"]
    assert [word for word in (whole if what == "--status" else rows) if word not in plain] == []


def on_a_terminal(width: int, *arguments: str) -> str:
    """What a process of its own writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    names = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    command, names = [sys.executable, "-m", "collector", *arguments], names | {"TERM": "xterm"}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=names)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # EIO: the other end is closed
        while piece := os.read(ours, 65536):
            said += piece
    os.close(ours)
    assert process.wait() == 0, said
    return said.decode()


def test_into_a_pipe_go_no_colours(centre: Centre, config: Path, meterline: Meterline) -> None:
    for what in ("--status", "--preview"):
        assert "\x1b" not in meterline("close", "2026-10", "--config", config, what).out


def test_closing_again_says_that_nothing_is_new(centre: Centre, config: Path, meterline: Meterline) -> None:
    meterline("close", "2026-10", "--config", config)
    files = centre.files()
    answer = meterline("close", "2026-10", "--config", config)
    assert (answer.status, answer.err) == (0, f"as it is in {centre.out / '2026-10' / 'generic' / 'r1'}\n")
    assert centre.files() == files


def test_strict_closes_and_then_exits_with_5_when_a_row_is_not_ready(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    answer = meterline("close", "2026-10", "--config", config, "--strict")
    assert (answer.status, "2026-10: 2 of 4 rows are not ready" in answer.err) == (5, True)
    assert len(centre.files()) == 3
    centre.month_of("m2", "2026-09", FIRST)
    centre.month_of("m2", "2026-10", SECOND)
    assert meterline("close", "2026-10", "--config", config, "--strict").status == 0


def test_before_the_edge_a_close_exits_with_2_and_a_preview_shows_what_there_is(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    answer = meterline("close", "2026-11", "--config", config)
    assert (answer.status, answer.out) == (2, "")
    assert "2026-11 of generic ends at 2026-12-01 00:00:00 (Europe/Moscow)" in answer.err
    shown = meterline("close", "2026-11", "--config", config, "--preview")
    assert (shown.status, "4 missing" in shown.out) == (0, True)
    assert (centre.ledger(), centre.out.exists()) == ([], False)


def test_a_preview_writes_nothing_and_says_what_it_would(centre: Centre, config: Path, meterline: Meterline) -> None:
    answer = meterline("close", "2026-10", "--config", config, "--preview")
    assert answer.err == "preview: 4 rows would be written to r1; nothing was\n"
    assert (centre.ledger(), centre.out.exists()) == ([], False)
    meterline("close", "2026-10", "--config", config)
    again = meterline("close", "2026-10", "--config", config, "--preview", "--strict")
    assert (again.status, "preview: nothing would change" in again.err) == (5, True)


def test_status_counts_what_is_expected_ready_and_emitted(centre: Centre, config: Path, meterline: Meterline) -> None:
    def counts(month: str) -> list[str]:
        answer = meterline("close", month, "--config", config, "--status")
        assert answer.status == 0
        return answer.out.splitlines()[1].split()

    assert counts("2026-10") == ["generic", "2026-11-01", "00:00", "4", "2", "0", "2", "0", "4", "nothing"]
    meterline("close", "2026-10", "--config", config)
    assert counts("2026-10")[3:] == ["4", "2", "0", "2", "0", "0", "r1", "none"]
    centre.month_of("m2", "2026-10", FIRST)
    assert counts("2026-10")[3:] == ["4", "2", "2", "0", "0", "2", "r1", "none"]
    assert counts("2026-11")[3:5] == ["(not", "yet)"]
    assert len(centre.files()) == 3


def test_files_go_where_out_says(centre: Centre, config: Path, meterline: Meterline, tmp_path: Path) -> None:
    assert meterline("close", "2026-10", "--config", config, "--out", tmp_path / "usb").status == 0
    assert (tmp_path / "usb" / "2026-10" / "generic" / "r1" / "billing.csv").is_file()
    assert not centre.out.exists()


def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_in_the_ledger(
    centre: Centre, config: Path, meterline: Meterline, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    answer = meterline("close", "2026-10", "--config", config, "--out", tmp_path / "file" / "out")
    assert answer.status == 2
    assert "file/out" in answer.err
    assert "cannot be written: Not a directory; close again when it can" in answer.err
    assert centre.ledger() == []


def test_a_month_that_the_next_one_starts_from_is_to_be_followed_by_it(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    meterline("close", "2026-09", "--config", config)
    meterline("close", "2026-10", "--config", config)
    centre.read("m1", "2026-10-01 00:00:00", {"1.8.1": "100.0", "1.8.2": "10.1"})
    answer = meterline("close", "2026-09", "--config", config)
    assert "2026-10 is closed already and starts from these rows: close it again" in answer.err


def test_of_many_rows_only_the_exceptions_are_printed(config: Path, meterline: Meterline, tmp_path: Path) -> None:
    centre = Centre(tmp_path, *(point(n, tariffs="4") for n in range(60)))
    for n in range(58):
        for month, dial in (("2023-09", "1"), ("2023-10", "2")):
            centre.month_of(f"m{n}", month, dict.fromkeys(("1.8.1", "1.8.2", "1.8.3", "1.8.4"), dial))
    answer = meterline("close", "2023-10", "--config", config)
    assert answer.out.count("\n") == 1 + 8 + 1
    assert answer.out.splitlines()[-1] == "240 rows: 232 ready, 0 held, 8 missing, 0 estimated"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["2026-13"], "'2026-13' is not a month; expected YYYY-MM"),
        (["October"], "'October' is not a month"),
        (["2026-10", "--utility", "nobody"], "utility 'nobody' is not known; known are"),
        ([], "Missing argument 'YYYY-MM'"),
    ],
)
def test_what_cannot_be_meant_exits_with_2(
    centre: Centre, config: Path, meterline: Meterline, arguments: list[str], said: str
) -> None:
    answer = meterline("close", *arguments, "--config", config)
    assert (answer.status, said in answer.err) == (2, True), answer.err
    assert centre.files() == {}


def test_an_empty_registry_is_said(config: Path, meterline: Meterline) -> None:
    answer = meterline("close", "2023-10", "--config", config)
    assert (answer.status, "the registry has no points yet" in answer.err) == (2, True)


def test_one_utility_before_its_edge_keeps_all_from_being_closed(
    centre: Centre, config: Path, meterline: Meterline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collector.central import utility

    shipped = tmp_path / "utilities"
    shipped.mkdir()
    generic = (utility.UTILITIES / "generic.yaml").read_text()
    (shipped / "generic.yaml").write_text(generic)
    early = generic.replace("id: generic", "id: other").replace("edge: {day: 1,", "edge: {day: 20,")
    (shipped / "other.yaml").write_text(early)
    monkeypatch.setattr(utility, "UTILITIES", shipped)
    bring(centre.engine, point(3, utility="other"), now=at("2026-09-01 00:00:00"))
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-10-25 00:00:00"))
    answer = meterline("close", "2026-10", "--config", config)
    assert (answer.status, "2026-10 of generic ends at" in answer.err, centre.files()) == (2, True, {})
    assert meterline("close", "2026-10", "--config", config, "--utility", "other").status == 0
    assert {name.split("/")[1] for name in centre.files()} == {"other"}
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 00:00:00"))
    assert meterline("close", "2026-10", "--config", config).status == 0
    assert {name.split("/")[1] for name in centre.files()} == {"generic", "other"}
