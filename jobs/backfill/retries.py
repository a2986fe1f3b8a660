"""RetryPolicy: retry while the database is unavailable, unless a stop is requested."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, sleep_using_event, stop_after_delay, stop_when_event_set

from forecaster.errors import DatabaseUnavailable
from jobs.execution.attempt import CONFLICTS, RETRYING

SECONDS = 60.0
"""How long the database may be unavailable: longer than a restart takes."""
_NOTIFY_AT = 3
"""The attempt at which a message is printed; shorter outages are silent."""

R = TypeVar("R")


class Stopped(Exception):
    """A stop was requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Retries transactions, which must be idempotent."""

    stopping: threading.Event
    notify: Callable[[str], None]
    seconds: float = SECONDS

    def until_done(self, attempt: Callable[[], R]) -> R:
        """Return the result of `attempt` once the database is available; its error after too long.

        Stopped, and no other attempt, when a stop was requested.
        """
        attempts = RETRYING.copy(
            stop=stop_after_delay(self.seconds) | stop_when_event_set(self.stopping),
            sleep=sleep_using_event(self.stopping),
            before_sleep=self._note,
        )
        try:
            return attempts(attempt)
        except CONFLICTS as error:
            if self.stopping.is_set():
                raise Stopped from error
            raise

    def watch(self, _: object) -> None:
        """Raise Stopped, to end a training, once a stop was requested; called regularly."""
        if self.stopping.is_set():
            raise Stopped

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if isinstance(error, DatabaseUnavailable) and state.attempt_number == _NOTIFY_AT:
            self.notify(f"retrying for up to {self.seconds:g} s: {error.message}")
