"""Times behind options: a moment as it is typed, and the time zone where nobody gives one."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.commands import this_zone as module
from collector.commands.moment import instant, moment
from collector.commands.this_zone import given_or_this_zone, this_zone
from collector.exits import UsageFault

MOSCOW = 1_793_480_400_000  # 2026-11-01 00:00 in Moscow


def test_a_date_is_midnight_of_the_zone_and_a_time_is_the_same_in_each() -> None:
    assert instant("2026-11-01", "--from", "Europe/Moscow") == MOSCOW
    assert instant("2026-11-01", "--from", "UTC") == MOSCOW + 3 * 3_600_000
    for zone in ("Europe/Moscow", "UTC"):
        assert instant("2026-10-31T21:00:00.250Z", "--from", zone) == MOSCOW + 250


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-11-1", "2026-11-01T00:00:00", "2026-02-30"])
def test_what_is_no_moment_is_refused_with_the_name_of_its_option(text: str) -> None:
    with pytest.raises(UsageFault, match=r"^--since: .*; a date such as 2026-11-01 is possible too$"):
        moment(text, "--since")


@pytest.mark.parametrize(
    ("tz", "link", "found"),
    [
        ("Europe/Moscow", "Asia/Omsk", "Europe/Moscow"),
        (":Europe/Moscow", "Asia/Omsk", "Europe/Moscow"),
        (None, "Asia/Omsk", "Asia/Omsk"),
        ("MSK-3", "Asia/Omsk", "Asia/Omsk"),
        ("", "Mars/Olympus", None),
    ],
)
def test_the_zone_of_this_computer_is_that_of_its_environment_or_of_its_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tz: str | None, link: str, found: str | None
) -> None:
    (tmp_path / "localtime").symlink_to(tmp_path / "zoneinfo" / link)
    monkeypatch.setattr(module, "LOCALTIME", str(tmp_path / "localtime"))
    monkeypatch.setenv("TZ", tz) if tz is not None else monkeypatch.delenv("TZ", raising=False)
    assert (this_zone(), given_or_this_zone(None)) == (found, found)
    assert given_or_this_zone("Europe/Samara") == "Europe/Samara"


def test_a_zone_that_is_given_and_unknown_is_refused() -> None:
    with pytest.raises(UsageFault, match=r"^--time-zone: 'Mars/Olympus' is not a time zone"):
        given_or_this_zone("Mars/Olympus")
