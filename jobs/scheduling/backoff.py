"""Exponential back-off with jitter after failures."""

import random
import time

FIRST, LONGEST = 15.0, 600.0
"""Seconds; the delay doubles each time."""
FIRST_OUTAGE, LONGEST_OUTAGE = 1.0, 15.0
"""The same where our own database does not answer."""
SPREAD = 0.2
"""Delays are longer or shorter by up to this share, so that retries do not coincide."""


class Backoff:
    """The delay before the next attempt at one thing; none before a first failure."""

    def __init__(self) -> None:
        self.is_outage = False
        """Whether the last failure was that of our own database."""
        self._failures, self._until = 0, 0.0

    def remaining(self) -> float:
        """Return the seconds until the next attempt."""
        return max(0.0, self._until - time.monotonic())

    def ends_after(self, instant: float) -> bool:
        """Return whether it ended, or will end, after an instant of `time.monotonic`."""
        return self._until > instant

    def extend(self, *, is_outage: bool, at_most: float = LONGEST) -> None:
        """Start after a failure: the longer the more there were of this kind in a row."""
        self._failures = self._failures + 1 if is_outage == self.is_outage else 1
        self.is_outage = is_outage
        first, longest = (FIRST_OUTAGE, LONGEST_OUTAGE) if is_outage else (FIRST, LONGEST)
        length = min(longest, at_most, first * 2 ** min(self._failures - 1, 10))
        self._until = time.monotonic() + length * random.uniform(1 - SPREAD, 1 + SPREAD)

    def reset(self) -> None:
        """Forget the failures."""
        self._failures, self._until = 0, 0.0
