"""Somebody sets the clock of the machine while the service runs: no tick twice, no silence."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from forecaster.times.schedules import Every
from jobs.execution.clock import SteadyClock
from jobs.scheduling.timer import Scheduler, Timer
from tests.jobs.clocks import Skew
from tests.jobs.execution.errands import Errand, make
from tests.jobs.small import DATASET

SECOND = timedelta(seconds=1)
AHEAD, BACK = 86_400.0, -3600.0


class Wall:
    """What the clock of the machine shows."""

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC)


@pytest.mark.slow
@pytest.mark.fault(8)
@pytest.mark.parametrize("skews", [(0.0, AHEAD, 0.0), (0.0, BACK, 0.0)], ids=["ahead", "back"])
def test_a_clock_that_is_set_and_set_right_again_neither_doubles_nor_silences(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, skews: tuple[float, ...]
) -> None:
    skew = Skew(monkeypatch)
    clock = SteadyClock(Wall())
    errand = Errand(engine)
    job = replace(errand.job, schedule=lambda _: Every(SECOND))
    work = make(engine, clock)
    timer = Timer(
        name="prune:bikes",
        group="prune",
        schedule=Every(SECOND),
        action=lambda: (work.catch_up(job, DATASET), None)[1],
    )
    scheduler = Scheduler([timer], threads={"prune": 1}, clock=clock)
    scheduler.start()
    begun = time.monotonic()
    right = datetime.fromtimestamp(skew.time(), UTC)
    for number, seconds in enumerate(skews, start=1):
        skew.seconds = seconds
        while time.monotonic() - begun < 3 * number:
            scheduler.check_clock()
            time.sleep(0.1)
    scheduler.stop()

    assert len(errand.ticks) == len(set(errand.ticks))
    assert not any(tick > right + timedelta(minutes=1) for tick in errand.ticks)
    ours = {(tick - right).total_seconds() // 1 for tick in errand.ticks}
    assert ours >= {0, 1, 6, 7}
    assert len(errand.ticks) >= 8
