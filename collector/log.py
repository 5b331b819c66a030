"""How the daemons log: plain lines for people and the journal, or one JSON object a line.

A JSON line holds `time` (RFC 3339, UTC), `level`, `logger`, `message` and `fields`: `thread`, whatever the call gave as
`extra`, and `exception` with a traceback. What Python itself would print of an unforeseen end goes the same way.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from types import TracebackType
from typing import Literal

from collector.localtime import rfc3339

Form = Literal["plain", "json"]

# Attributes that every record has (logging, "LogRecord attributes"); what is there beside them came by `extra`.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# The journal takes a line's priority from its beginning (sd-daemon(3)).
_PRIORITY = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _USUAL}
        fields["thread"] = record.threadName
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        line = {
            "time": rfc3339(round(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "fields": fields,
        }
        return json.dumps(line, ensure_ascii=False, default=str)


class Journal(logging.Formatter):
    """Plain lines, each with its priority; the journal has the time."""

    def format(self, record: logging.LogRecord) -> str:
        start = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(start + line for line in super().format(record).split("\n"))


def to_stderr(form: Form, level: int = logging.INFO) -> None:
    """Log to stderr from now on."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(Json())
    elif _is_journal():
        handler.setFormatter(Journal("%(levelname)s %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _unforeseen
    threading.excepthook = lambda end: _unforeseen(end.exc_type, end.exc_value, end.exc_traceback)


def _unforeseen(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, SystemExit):
        logging.getLogger("collector").critical("an unforeseen end: %r", error, exc_info=(kind, error, where))


def _is_journal() -> bool:
    """Whether stderr is the journal's: systemd names its device and inode (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        about = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"
