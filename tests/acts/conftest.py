"""Tests of acts at the centre run on both databases, as the centre's own do."""

from tests.central.conftest import database, postgres

__all__ = ["database", "postgres"]
