"""What every test shares: how property tests are run, and which tests begin first."""

from __future__ import annotations

import pytest
from hypothesis import settings

# No deadline: machines are shared, and a slow example is no fault.
settings.register_profile("meterline", deadline=None)
settings.load_profile("meterline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo first, which takes longest; then the system, which waits for wires and processes while others work."""
    items.sort(key=lambda item: (item.path.name != "test_demo.py", "system" not in item.path.parts))
