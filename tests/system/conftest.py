"""What tests of the system share."""

from __future__ import annotations

import pytest

from tests.system.reading import Read, reading


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Read:
    """`meterline read` where the computer's time is Moscow's."""
    monkeypatch.setenv("TZ", "Europe/Moscow")
    return reading(capsys)
