"""A centre whose own clock is behind is told by the gateways' words, and says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine

from collector.central.database import metadata
from collector.central.status import AHEAD, Health, behind, healths, keep_statuses
from collector.model import Status

NOW = 1_793_480_520_000
DAY = 86_400_000


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://")
    metadata.create_all(made)
    yield made
    made.dispose()


def word(gateway: str, at: int, **changed: object) -> Status:
    numbers = {"next": 1, "unreceipted": 0, "refused": 0, "evicted": 0, "fill": 0.0}
    spool = {"id": "b7e3c1d09a44", "days_left": None, "damage": None} | numbers
    fields = {"gateway": gateway, "online": True, "at": at, "version": "1", "synced": True, "spool": spool}
    return Status.model_validate(fields | changed)


def kept(engine: Engine, *words: Status, now: int = NOW) -> list[Health]:
    with engine.begin() as connection:
        keep_statuses(connection, words, now)
        return healths(connection)


def test_most_of_the_synchronised_gateways_ahead_of_us_say_that_our_clock_is_behind(engine: Engine) -> None:
    found = kept(engine, word("gw-1", NOW + 2 * DAY), word("gw-2", NOW + 2 * DAY + 1), word("gw-3", NOW))
    assert "the centre's clock seems to be wrong: 2 of 3 gateways" in behind(found)
    assert "gw-2 by 2880 min" in behind(found)


@pytest.mark.parametrize(
    "words",
    [
        [],
        [word("gw-1", NOW + AHEAD), word("gw-2", NOW)],  # messages take a while, clocks differ a little
        [word("gw-1", NOW + 2 * DAY), word("gw-2", NOW)],  # it is that gateway's
        [word("gw-1", NOW - 30 * DAY), word("gw-2", NOW - DAY)],  # kept by the broker while nobody listened
        [word("gw-1", NOW + 2 * DAY, synced=False)],
        [word("gw-1", NOW + 2 * DAY, online=False)],
    ],
)
def test_nothing_is_said_where_they_do_not_show_it(words: list[Status], engine: Engine) -> None:
    assert behind(kept(engine, *words)) == ""


def test_it_is_over_when_their_next_words_are_of_the_present(engine: Engine) -> None:
    assert behind(kept(engine, word("gw-1", NOW + 2 * DAY)))
    assert behind(kept(engine, word("gw-1", NOW + 2 * DAY + 5), now=NOW + 2 * DAY)) == ""


def test_each_gateway_is_logged_once_while_it_lasts(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    for minute in range(3):
        kept(engine, word("gw-1", NOW + DAY + minute), word("gw-2", NOW), now=NOW + minute)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "the synchronised clock of gw-1 is 86400 s ahead of ours: is the centre's own clock right?"
    ]
