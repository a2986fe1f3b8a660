"""RetryPolicy: a database may be away for a moment, but whoever asks for the end is heard."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
)
from tenacity import wait_random_exponential as wait_longer_and_longer

from forecaster.errors import DatabaseUnavailable
from jobs.execution.attempt import CONFLICTS, LONGEST_PAUSE

SECONDS = 60.0
"""How long a database may be away: longer than it takes to restart."""
_TOLD_AT = 3
"""The attempt at which it is told; what is gone by then is nobody's concern."""

R = TypeVar("R")


class Stopped(Exception):
    """Somebody asked for the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Tries transactions again, each of which looks for itself what is there."""

    stopping: threading.Event
    tell: Callable[[str], None]
    seconds: float = SECONDS

    def until_done(self, attempt: Callable[[], R]) -> R:
        """Return what `attempt` returns once the database lets it; its error when that lasts.

        Stopped, and no other attempt, when somebody asked for the end.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(CONFLICTS),
            stop=stop_after_delay(self.seconds) | stop_when_event_set(self.stopping),
            wait=wait_longer_and_longer(multiplier=0.1, max=LONGEST_PAUSE),
            sleep=sleep_using_event(self.stopping),
            before_sleep=self._note,
            reraise=True,
        )
        try:
            return attempts(attempt)
        except CONFLICTS as error:
            if self.stopping.is_set():
                raise Stopped from error
            raise

    def watch(self, _: object) -> None:
        """End a training by Stopped; to be called again and again."""
        if self.stopping.is_set():
            raise Stopped

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if isinstance(error, DatabaseUnavailable) and state.attempt_number == _TOLD_AT:
            self.tell(f"trying again for up to {self.seconds:g} s: {error.message}")
