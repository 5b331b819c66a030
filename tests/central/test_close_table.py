"""The table of a close on screens of any width."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest
from rich.console import Console

from collector.commands.close import rows_table
from collector.model import BillingReading


@pytest.mark.parametrize(
    ("ratio", "width", "shown"),
    [
        (1, 132, "account point meter register start kWh end kWh ratio consumption status method quality"),
        (1, 120, "account point meter register start kWh end kWh consumption status method quality"),
        (40, 110, "account point register start kWh end kWh ratio consumption status method quality"),
        (1, 80, "point register start kWh end kWh consumption status method"),
    ],
)
def test_on_a_narrow_screen_what_can_be_looked_up_gives_way_and_nothing_is_folded(
    ratio: int, width: int, shown: str
) -> None:
    row = BillingReading(
        "2026-10", "generic", "434745450012", "lenina-12-kv12", "lenina-12-012", "4140407", "1.8.0", "total", None,
        Decimal(241690), None, Decimal(241990), Decimal(ratio), Decimal(300), "missing", "frozen", "5.259", 1,
    )  # fmt: skip
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(rows_table(console, [row]))
    header, line = capture.get().splitlines()
    assert " ".join(header.split()) == shown
    assert "lenina-12-kv12" in line
