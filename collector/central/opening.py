"""Opens a batch once for both who look into it: the door when it comes, and soon after that the worker.

Reading the JSON is half of what a value costs the centre. What piles up is opened twice: it would not fit here.
"""

from __future__ import annotations

from functools import lru_cache

from collector.messages import Envelope, open_envelope

# Envelopes that are remembered, and the largest payload of which one is: a batch of a usual line has 2 to 8 KiB, and
# some ten times as much as objects. So this holds some 40 MiB at most.
REMEMBERED, LARGEST = 256, 16 << 10


def opened(payload: bytes) -> Envelope:
    """As `open_envelope`. The answer is shared: nobody changes it. Raises MessageFault."""
    return _remembered(payload) if len(payload) <= LARGEST else open_envelope(payload)


_remembered = lru_cache(maxsize=REMEMBERED)(open_envelope)
