"""Whether an identification is one of a profile's meters, and what is different in its dialect."""

from __future__ import annotations

import re

from drivers.iec62056_21_frames import Identification
from drivers.iec62056_21_session import Session, WrongMeter
from drivers.iec_places import Dialect, IecProfile


class Accepted:
    """Whether an identification is one of the profile's meters; with what is different in its dialect."""

    def __init__(self, profile: IecProfile, session: Session | None = None) -> None:
        self.dialect: Dialect | None = None
        self._profile, self._session = profile, session

    def __call__(self, meter: Identification) -> None:
        """Raises WrongMeter."""
        settings, name = self._profile.iec, str(meter)
        if settings.identification is not None and not re.fullmatch(settings.identification, name):
            raise WrongMeter(
                f"the meter calls itself /{name}, which is no {self._profile.title} "
                f"({settings.identification}); use the profile of that meter, or generic-iec62056-21"
            )
        self.dialect = next((one for one in settings.dialects if re.fullmatch(one.identification, name)), None)
        if self.dialect is not None and self._session is not None:
            self._session.check = self.dialect.check or settings.check
            self._session.fastest = self.dialect.fastest or settings.fastest
