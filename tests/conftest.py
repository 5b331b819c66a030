"""What every test shares: property tests have no deadline, since machines are shared and a slow example is no fault."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("meterline", deadline=None)
settings.load_profile("meterline")
