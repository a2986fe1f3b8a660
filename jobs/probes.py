"""Is the program alive, and is it ready? What /livez and /readyz answer."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Engine

from forecaster.errors import ForecasterError
from forecaster.store import models, schema
from forecaster.store.engine import reading

SILENCE = 30.0
"""Seconds without a beat of the scheduler that mean it is dead."""
REMEMBERED = 5.0
"""Seconds for which an answer about the database is good."""


def live(silent_for: Callable[[], float]) -> list[str]:
    """Only the scheduler counts: a database that is down must not restart the program."""
    seconds = silent_for()
    return [f"the scheduler has been silent for {seconds:.0f} s"] if seconds > SILENCE else []


@dataclass(slots=True, kw_only=True)
class Ready:
    """Ready means: the database answers, its schema is the newest, every dataset has a model."""

    engine: Engine
    datasets: tuple[str, ...]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: float = float("-inf")
    _answer: list[str] = field(default_factory=list)

    def __call__(self) -> list[str]:
        """Return the reasons not to be ready; asks the database at most every five seconds."""
        with self._lock:
            if time.monotonic() - self._asked > REMEMBERED:
                self._answer = self._reasons()
                self._asked = time.monotonic()
            return self._answer

    def _reasons(self) -> list[str]:
        try:
            schema.require_head(self.engine)
            with reading(self.engine) as conn:
                lacking = [name for name in self.datasets if not models.has_champion(conn, name)]
        except ForecasterError as error:
            return [error.message]
        return [f"{name} has no model in service yet" for name in lacking]
