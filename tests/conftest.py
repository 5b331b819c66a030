"""What every test shares: how property tests are run, which tests begin first, a log that no test leaves changed."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline: machines are shared, and a slow example is no fault.
settings.register_profile("meterline", deadline=None)
settings.load_profile("meterline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo first, which takes longest; then the system, which waits for wires and processes while others work."""
    items.sort(key=lambda item: (item.path.name != "test_demo.py", "system" not in item.path.parts))


@pytest.fixture(autouse=True)
def _the_log_stays_as_it_was() -> Iterator[None]:
    """A daemon that ran in this process logs to a stderr that is closed after its test; the next one would trip."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    yield
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
    logging.captureWarnings(False)
