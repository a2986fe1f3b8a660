"""How long to leave alone what keeps failing: longer each time, and not all at once."""

import random
import time

FIRST, LONGEST = 15.0, 600.0
"""Seconds; the pause doubles each time."""
FIRST_OUTAGE, LONGEST_OUTAGE = 1.0, 15.0
"""The same where it is our own database that does not answer."""
SPREAD = 0.2
"""Pauses are longer or shorter by up to this share, so that those who wait do not come at once."""


class Backoff:
    """The pause between attempts at one thing; none before a first failure."""

    def __init__(self) -> None:
        self.is_outage = False
        """Whether the last failure was that of our own database."""
        self._failures = 0
        self._until = 0.0

    def left(self) -> float:
        """Return the seconds that it still lasts."""
        return max(0.0, self._until - time.monotonic())

    def lasted_beyond(self, instant: float) -> bool:
        """Tell whether it ended, or will end, after an instant of `time.monotonic`."""
        return self._until > instant

    def lengthen(self, *, is_outage: bool, at_most: float = LONGEST) -> None:
        """Begin a pause after a failure, the longer the more there were of this kind."""
        self._failures = self._failures + 1 if is_outage == self.is_outage else 1
        self.is_outage = is_outage
        first, longest = (FIRST_OUTAGE, LONGEST_OUTAGE) if is_outage else (FIRST, LONGEST)
        length = min(longest, at_most, first * 2 ** min(self._failures - 1, 10))
        self._until = time.monotonic() + length * random.uniform(1 - SPREAD, 1 + SPREAD)

    def end(self) -> None:
        """Forget the failures: it worked."""
        self._failures, self._until = 0, 0.0
