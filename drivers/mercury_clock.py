"""The one thing that this project ever writes into a Mercury: its clock, by a few minutes, behind a command of its own.

The meter guards itself: at most four minutes, once a day, and the channel must be open (INC20 2.3.11, parameter 0D). No
date goes with it, so nothing is sent while the two clocks have different dates.
"""

from __future__ import annotations

from datetime import datetime

from drivers.dialogue import Ask, Dialogue, MeterRefused, NotInProfile
from drivers.mercury_frames import BAD_REQUEST, CORRECTED, REFUSALS
from drivers.mercury_places import MercuryProfile
from drivers.mercury_session import Session

CORRECT = b"\x03\x0d"
MOST = 240  # seconds by which it may be moved


def correct_clock(profile: MercuryProfile, ask: Ask, shows: datetime, to: datetime) -> Dialogue[None]:
    """Set the clock, which shows `shows`, to `to`: both naive, the meter's own time, of one instant.

    Not repeated by itself after a wrong answer: the meter may have done it. Raises DriverError; MeterRefused also for
    what the meter would refuse.
    """
    if profile.mercury.family != "230":
        raise NotInProfile("meters of the 200 family have no correction of the clock with a limit of their own")
    if shows.date() != to.date():
        raise MeterRefused(f"the meter's date is {shows:%Y-%m-%d}, ours {to:%Y-%m-%d}: a correction carries no date")
    if abs((to - shows).total_seconds()) > MOST:
        raise MeterRefused(
            f"its clock is {(shows - to).total_seconds():+.0f} s off; the meter lets itself be moved by {MOST} s a day "
            "at the most. More needs its owner's password and the manufacturer's program"
        )
    try:
        yield from Session(profile, ask).write(CORRECT + bytes.fromhex(f"{to:%S%M%H}"))
    except MeterRefused as error:
        if error.code == CORRECTED:
            raise MeterRefused(f"status 4: {REFUSALS[CORRECTED]}; try tomorrow", CORRECTED) from None
        if error.code == BAD_REQUEST:
            raise MeterRefused("status 1: the meter does not take this correction", BAD_REQUEST) from None
        raise
