"""How the daemons log: lines that a program can read, and nothing beside them."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from collector import log
from collector.localtime import parse_time


def said(form: log.Form, work: str) -> list[str]:
    code = f"import logging, threading, warnings\nfrom collector import log\nlog.to_stderr({form!r})\n{work}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_json_line_holds_time_level_logger_message_and_fields() -> None:
    work = "logging.getLogger('a.b').warning('%d of\\n%s', 3, 'ключ', extra={'line': 'riser-1'})"
    (line,) = said("json", work)
    found = json.loads(line)
    parse_time(found.pop("time"))
    assert found == {
        "level": "warning", "logger": "a.b", "message": "3 of\nключ",
        "fields": {"line": "riser-1", "thread": "MainThread"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("work", "what"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", "ZeroDivisionError"),
        ("try:\n  1 / 0\nexcept ZeroDivisionError:\n  logging.exception('it broke')", "ZeroDivisionError"),
        ("warnings.warn('old')", "old"),
    ],
)
def test_what_python_itself_would_print_is_a_json_line_too(work: str, what: str) -> None:
    (line,) = said("json", work)
    found = json.loads(line)
    assert what in found["message"] + found["fields"].get("exception", "")


def test_something_that_has_no_json_is_logged_all_the_same() -> None:
    (line,) = said("json", "logging.warning('x', extra={'where': object()})")
    assert json.loads(line)["fields"]["where"].startswith("<object")


def test_plain_lines_begin_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = said("plain", "logging.error('x')")
    assert line.endswith("ERROR x")
    assert line[:4].isdigit()


def test_in_the_journal_each_line_of_a_message_has_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as end, os.fdopen(read) as other:
        about = os.fstat(write)
        monkeypatch.setenv("JOURNAL_STREAM", f"{about.st_dev}:{about.st_ino}")
        monkeypatch.setattr(sys, "stderr", end)
        log.to_stderr("plain")
        logging.getLogger().error("one\ntwo")
        end.flush()
        assert [other.readline(), other.readline()] == ["<3>ERROR one\n", "<3>two\n"]


def test_a_stderr_that_is_no_file_is_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    log.to_stderr("plain")
    logging.getLogger().error("x")
    assert sys.stderr.getvalue().endswith("ERROR x\n")  # type: ignore[attr-defined]
