"""The wall clock of this process, set from a test: for us and for APScheduler alike."""

import time
from datetime import datetime, tzinfo

import pytest
from apscheduler.schedulers import base

from jobs.scheduling import timer


class Skew:
    """What the clock shows: so much more than it should, or always the same."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real, self._frozen = time.time, 0.0
        self.seconds = 0.0
        shown = self

        class Shown(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.fromtimestamp(shown.time(), tz)

        monkeypatch.setattr(time, "time", self.time)
        monkeypatch.setattr(base, "datetime", Shown)
        monkeypatch.setattr(timer, "datetime", Shown)

    def time(self) -> float:
        return self._frozen or self._real() + self.seconds

    def freeze(self) -> None:
        self._frozen = self.time()
