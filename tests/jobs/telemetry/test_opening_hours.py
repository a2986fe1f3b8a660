"""Closed time is neither silence nor lateness of a source."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jobs.telemetry.dataset_state import lifecycle
from tests.jobs.small import DATASET
from tests.jobs.telemetry.test_dataset_state import (
    HOUR,
    SERVING,
    WELL,
    forecasts,
    run,
)

CLOSED = {"step": "1h", "anchor": 0, "timezone": "UTC", "opening_hours": "mon-fri 08:00-20:00"}


@pytest.mark.parametrize(
    ("now", "newest", "state"),
    [
        ((23, 10, 30), (20, 19), "running"),  # Monday, and Friday evening
        ((23, 11, 30), (20, 19), "degraded"),
        ((22, 12, 30), (20, 15), "degraded"),  # silent before it closed
    ],
)
def test_closed_time_is_no_silence_of_the_source(
    now: tuple[int, int, int], newest: tuple[int, int], state: str
) -> None:
    at = datetime(2026, 11, *now, tzinfo=UTC)
    tick = at.replace(minute=0)
    done = replace(run("succeeded"), tick=tick, finished_at=tick)
    facts = replace(
        WELL,
        newest_observation=datetime(2026, 11, *newest, tzinfo=UTC),
        serving=replace(SERVING, spec=CLOSED, promoted_at=tick - 9 * HOUR),
        **forecasts(done),
    )

    assert lifecycle(facts, DATASET, at).state == state
