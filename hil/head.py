"""What happens to an optical head between a client and its meter: it is lifted, or the sun shines into it."""

from __future__ import annotations

import random

GLARE = 0.05  # seconds between two bursts of sunlight; flicker of lamps is 100 Hz, moving leaves are slower


class Head:
    """A head that sits well, until it is told otherwise. It may be told by another thread than the wire's."""

    def __init__(self) -> None:
        self._left: int | None = None  # characters until it is lifted; None: it sits
        self._sun: random.Random | None = None

    def lift(self, after: int = 0) -> None:
        """Nothing comes through any more after that many characters, from wherever."""
        self._left = after

    def put_back(self) -> None:
        """It sits again."""
        self._left = None

    def sun(self, seed: int | None) -> None:
        """Light falls in: random characters while nobody speaks, from now on (None: no more)."""
        self._sun = None if seed is None else random.Random(seed)

    @property
    def glare(self) -> float | None:
        """Seconds until light makes characters again, None in the dark."""
        return None if self._sun is None else GLARE

    def light(self) -> bytes:
        """The characters that light makes in one burst."""
        return self._sun.randbytes(self._sun.randint(1, 4)) if self._sun else b""

    def through(self, data: bytes) -> bytes:
        """What of `data` comes through."""
        if self._left is None:
            return data
        passed = data[: self._left]
        self._left -= len(passed)
        return passed
