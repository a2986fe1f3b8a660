"""A backfill writes what the ticks of its range have written, or would have written."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import CalendarConfig
from forecaster.times.durations import Step
from forecaster.times.schedules import Cron, Every
from jobs.backfill import known_values, run
from jobs.backfill.report import BackfillReport
from tests.jobs.replay import MINUTE, QUERY, Said, Story, backfill, differences, forget, live, said
from tests.jobs.small import DATASET, HOUR

pytestmark = pytest.mark.numeric

NEW_YORK = ZoneInfo("America/New_York")
FIRST_DAY = datetime(2023, 2, 1, tzinfo=NEW_YORK)


def day(number: float) -> datetime:
    """Midnight of New York, or a share of a day after it; clocks change on day 404."""
    whole = FIRST_DAY + timedelta(days=number // 1)
    return whole.astimezone(UTC) + timedelta(days=number % 1)


DAYS = replace(
    DATASET,
    step=Step.parse("1d"),
    timezone="America/New_York",
    forecast_schedule=Cron("30 5 * * *", "America/New_York"),
    history=timedelta(days=1000),
    late_data=timedelta(days=2),
    delay=5 * HOUR,
)

STORIES = {
    "landed row by row": Story(dataset=replace(DATASET, delay=45 * MINUTE), ticks=12, seed=1),
    "pulled by the ticks": Story(
        dataset=replace(DATASET, query=QUERY, timezone="UTC", delay=20 * MINUTE), ticks=12, seed=2
    ),
    "without a delay": Story(),
    "two ticks at a cutoff": Story(
        dataset=replace(DATASET, forecast_schedule=Every(30 * MINUTE)), seed=3, ticks=12
    ),
    "several rows a step": Story(within=(0, 0.25, 0.5, 0.75), seed=4),
    "nothing counts as late": Story(
        dataset=replace(DATASET, late_data=timedelta(0), delay=2 * HOUR), within=(0, 0.5), seed=5
    ),
    "looked at again": Story(
        dataset=replace(DATASET, late_data=0 * HOUR, forecast_schedule=Every(15 * MINUTE)),
        late=(20 * MINUTE, 50 * MINUTE, 65 * MINUTE, 80 * MINUTE, 100 * MINUTE),
        seed=13,
        ticks=14,
        lateness=0.6,
    ),
    "an outage of the source": Story(outage=range(404, 412), seed=6),
    "an outage longer than a lead": Story(outage=range(403, 418), ticks=32, seed=7),
    "days of New York": Story(
        dataset=DAYS, stamp=day, late=(6 * HOUR, 40 * HOUR, 120 * HOUR), within=(0, 0.5), seed=8
    ),
    "opening hours": Story(
        dataset=replace(DATASET, calendar=CalendarConfig(open="mon-sun 07:00-15:30")), seed=11
    ),
    "opening hours and rows that come late": Story(
        dataset=replace(DATASET, calendar=CalendarConfig(open="08:00-18:00"), late_data=0 * HOUR),
        late=(20 * MINUTE, 50 * MINUTE, 100 * MINUTE),
        seed=12,
        lateness=0.6,
    ),
    "a naive forecast": Story(
        dataset=replace(DATASET, training=replace(DATASET.training, naive_guard=True)), seed=9
    ),
    "several networks within bounds": Story(
        dataset=replace(
            DATASET,
            lower_bound=15.0,
            upper_bound=26.0,
            training=replace(DATASET.training, ensemble=2),
        ),
        seed=10,
        ticks=12,
    ),
}
OFTEN = {("postgres", "landed row by row")}


TOLD = [
    pytest.param(
        *(store, story),
        id=f"{store}-{name}",
        marks=[pytest.mark.postgres] * (store == "postgres")
        + [pytest.mark.slow] * ((store, name) not in OFTEN),
    )
    for store in ("sqlite", "postgres")
    for name, story in STORIES.items()
]
"""Stories on each store; most of them are slow."""


@pytest.mark.parametrize(("database_url", "story"), TOLD, indirect=["database_url"])
def test_a_backfill_writes_what_the_service_wrote(engine: Engine, story: Story) -> None:
    live(engine, story)
    expected = said(engine)
    forget(engine)

    report = backfill(engine, story)

    assert differences(expected, said(engine)) == []
    assert_everything_happened(story, expected, report)


def assert_everything_happened(story: Story, expected: Said, report: BackfillReport) -> None:
    """Look whether the story has put to the test what it is about."""
    assert len(report.models) == 2
    assert report.skipped["too_short"] > 0
    dataset = story.dataset
    is_naive, keeps_all = dataset.training.naive_guard, dataset.query is None
    statuses = {"fallback_naive"} if is_naive else {"ok", *(["cold_start"] * keeps_all)}
    assert report.statuses.keys() == statuses
    assert (not expected["attention"]) == is_naive
    judged = {key[3] for key in expected["accuracy"]}
    assert judged >= {"1", "2", "3-5"}
    assert "6-12" in judged or story.ticks < 15


def of_cutoffs(found: Said, cutoffs: Collection[datetime]) -> Said:
    return {
        name: {key: row for key, row in rows.items() if row["cutoff"] in cutoffs}
        for name, rows in found.items()
    }


@pytest.mark.slow
def test_a_part_of_a_range_is_judged_by_what_came_after_it(engine: Engine) -> None:
    story = Story(outage=range(410, 417), ticks=22, seed=11)
    live(engine, story)
    part = story.range[:3]
    expected = of_cutoffs(said(engine), part)
    forget(engine)

    backfill(engine, story, until=part[-1])

    assert max(row["points"] for row in expected["accuracy"].values()) < 7
    assert differences(expected, said(engine)) == []


@pytest.mark.slow
def test_stretches_done_side_by_side_say_what_one_after_the_other_does(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(ticks=12, late=(HOUR,), seed=12)
    live(engine, story)
    found = []
    for jobs, cells in ((1, known_values.MOST_CELLS), (2, 2000)):
        forget(engine)
        monkeypatch.setattr(run, "MOST_CELLS", cells)
        backfill(engine, story, jobs=jobs)
        found.append(said(engine))

    assert differences(*found) == []
