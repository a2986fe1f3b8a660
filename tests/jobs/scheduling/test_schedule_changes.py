"""A schedule that becomes another one, by a setting or by an upgrade, under ticks that were run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import Step
from forecaster.times.schedules import Every, Schedule
from tests.jobs.execution.errands import Errand, Wall, make
from tests.jobs.small import DATASET, HOUR

pytestmark = pytest.mark.quick_on("postgres")

DAY = timedelta(days=1)
MOMENTS = [datetime(2026, 10, 21, 3, 7, tzinfo=UTC) + days * DAY for days in (0, 3.5, 8, 11, 12)]
CHANGES = {
    "months were four weeks": (Every(28 * DAY), Periods(Step.parse("1mo"), "Europe/Berlin")),
    "months, with a delay": (Every(28 * DAY), Periods(Step.parse("1mo"), "UTC", 5 * DAY)),
    "quarters were 89 days": (Every(89 * DAY), Periods(Step.parse("3mo"))),
    "years were 363 days": (Every(363 * DAY), Periods(Step.parse("1y"), "Asia/Tokyo")),
    "weeks began on Thursdays": (Every(7 * DAY), Periods(Step.parse("1w"), "America/New_York")),
    "days were those of UTC": (Every(DAY), Periods(Step.parse("1d"), "America/New_York", 2 * HOUR)),
    "hours had no delay": (Every(HOUR), Every(HOUR, delay=HOUR / 4)),
    "calendar and back": (Periods(Step.parse("1mo")), Every(28 * DAY)),
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_a_schedule_that_changes_neither_misses_nor_doubles_ticks(
    engine: Engine, before: Schedule, after: Schedule
) -> None:
    moments = [(moment, away) for moment in MOMENTS for away in (0 * HOUR, HOUR, 30 * HOUR)]
    for number, (moment, away) in enumerate(moments):
        dataset = replace(DATASET, name=f"bikes{number}")
        errand, wall, missed = Errand(engine), Wall(moment), list[tuple[str, int]]()
        old = replace(errand.job, schedule=lambda _: before)
        new = replace(errand.job, schedule=lambda _: after)

        make(engine, wall, missed=missed).catch_up(old, dataset)
        upgraded = make(engine, wall, missed=missed)
        for now in (moment + away, after.after(moment + away)):
            wall.now = now
            upgraded.catch_up(new, dataset)

        last = before.floor(moment)
        assert errand.ticks == [last, *after.between(last, wall.now)]
        assert missed == []


def test_what_failed_by_the_schedule_before_is_tried_again(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    wall.now, errand.broken = datetime(2026, 11, 29, tzinfo=UTC), True
    before, after = Every(28 * DAY), Periods(Step.parse("1mo"))
    make(engine, wall).catch_up(replace(errand.job, schedule=lambda _: before), DATASET)
    wall.now, errand.broken = datetime(2026, 12, 1, 1, tzinfo=UTC), False
    make(engine, wall).catch_up(replace(errand.job, schedule=lambda _: after), DATASET)

    first = before.floor(datetime(2026, 11, 29, tzinfo=UTC))
    assert errand.ticks == [first, datetime(2026, 12, 1, tzinfo=UTC), first]
