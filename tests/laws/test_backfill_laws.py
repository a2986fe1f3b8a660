"""What was not known at a tick changes nothing of what a backfill says there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select

from forecaster.store.connection.engine import reading, writing
from forecaster.store.forecasts import backfills
from forecaster.store.observations import observations
from forecaster.store.state import models
from forecaster.store.state.models import NewModel
from forecaster.store.tables import observations as versions_table
from jobs.backfill.plan import Reprocess
from tests.jobs.replay import (
    MINUTE,
    SECOND,
    Said,
    Source,
    Story,
    backfill,
    differences,
    forget,
    said,
)
from tests.jobs.small import DATASET, HOUR, World
from tests.store.samples import observed

pytestmark = pytest.mark.quick_on("postgres")

DELAY, LATE = 30 * MINUTE, 2 * HOUR
STORY = Story(
    dataset=replace(DATASET, delay=DELAY, late_data=LATE),
    ticks=14,
    lateness=0.4,
    within=(0, 0.75),
    seed=20,
)
TICKS = STORY.range
RAN = (4, 10)
"""Ticks that the service ran, of all those that it might have run."""
MUCH = 1e4

Version = dict[str, Any]
Changes = tuple[list[Version], list[Version]]
"""Versions that are no more, and others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A history as it was landed, two models one after the other, and two ticks that ran."""

    engine: Engine
    versions: Sequence[Version]
    marks: Mapping[datetime, datetime]
    """Up to when those ticks knew everything."""

    def mark(self, tick: datetime) -> datetime:
        return self.marks.get(tick, tick)

    def unknown(self, tick: datetime) -> list[Version]:
        """The versions that a tick did not know, by the rules one after the other."""
        looked = min((mark for each, mark in self.marks.items() if each >= tick), default=None)
        found, seen = [], set()
        for each in self.versions:
            stamp, recorded = each["timestamp"], each["recorded_at"]
            is_first = (each["series_id"], stamp) not in seen
            seen.add((each["series_id"], stamp))
            is_assumed = is_first and stamp + LATE <= tick
            is_assumed = is_assumed and (looked is None or recorded <= looked)
            if stamp > tick - DELAY or not (recorded <= self.mark(tick) or is_assumed):
                found.append(each)
        return found

    def spoil(self, removed: Sequence[Version], added: Sequence[Version]) -> None:
        """Let other things have been observed."""
        gone = {tuple(each.values())[:3] for each in removed}
        kept = [each for each in self.versions if tuple(each.values())[:3] not in gone]
        forget(self.engine)
        with writing(self.engine) as conn:
            conn.execute(delete(versions_table))
            conn.execute(insert(versions_table), [*kept, *added])

    def says(self) -> Said:
        """What a backfill says of all ticks."""
        backfill(self.engine, STORY)
        return said(self.engine)


def _tell(engine: Engine) -> Past:
    """Let the story happen; few of its ticks are run."""
    world, source = (
        World(engine=engine, dataset=STORY.dataset),
        Source(engine, STORY, one_by_one=False),
    )
    source.reach(STORY.trained_at, at_once=True)
    outcomes = [world.tick("retrain", STORY.trained_at)]
    for number, tick in enumerate(TICKS):
        source.reach(tick)
        outcomes += [world.tick("forecast", tick)] if number in RAN else []
        outcomes += [world.tick("retrain", tick)] if number == STORY.retrained else []
    source.reach(TICKS[-1] + 24 * HOUR)
    assert [each.result for each in outcomes] == ["succeeded"] * 4
    order = [versions_table.c[name] for name in ("series_id", "timestamp", "recorded_at")]
    with reading(engine) as conn:
        versions = conn.execute(select(versions_table).order_by(*order)).mappings().all()
        ran = backfills.succeeded_runs(conn, "bikes", since=TICKS[0])
    return Past(
        engine=engine,
        versions=[dict(each) for each in versions],
        marks={tick: each.known_to for tick, each in ran.items()},
    )


Poison = Callable[[Past, datetime], Changes]


on_one_store = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def past(engine: Engine) -> Past:
    return _tell(engine)


def changed(past: Past, tick: datetime) -> Changes:
    """Everything that was not known is something else."""
    unknown = past.unknown(tick)
    return unknown, [{**each, "value": MUCH} for each in unknown]


def never_was(past: Past, tick: datetime) -> Changes:
    return past.unknown(tick), []


def corrected(past: Past, tick: datetime) -> Changes:
    """Everything that was ever observed is corrected, or taken back, just after the tick."""
    later = {(each["series_id"], each["timestamp"]): each for each in past.versions}
    after = past.mark(tick) + SECOND
    return [], [
        {
            **each,
            "recorded_at": max(after, each["recorded_at"] + SECOND),
            "value": MUCH if number % 3 else None,
        }
        for number, each in enumerate(later.values())
    ]


def foretold(past: Past, tick: datetime) -> Changes:
    """What happens later is there before its time."""
    coming = [each for each in past.unknown(tick) if each["timestamp"] > tick - DELAY]
    firsts = {(each["series_id"], each["timestamp"]): each for each in reversed(coming)}
    long_ago = TICKS[0] - 90 * HOUR
    return coming, [{**each, "recorded_at": long_ago, "value": MUCH} for each in firsts.values()]


def up_to(found: Said, tick: datetime) -> Said:
    """What was said at ticks up to this one, and not how right it turned out.

    There are several rows an hour: the cell of a cutoff is complete an hour after it.
    """
    return {
        name: {key: row for key, row in rows.items() if row["cutoff"] <= tick - DELAY - HOUR}
        for name, rows in found.items()
        if name != "accuracy"
    }


POISONS = (changed, never_was, corrected, foretold)
LOOKS = (TICKS[RAN[0]], TICKS[2], TICKS[RAN[1]], TICKS[8])


@pytest.mark.parametrize(
    "combine", [zip, pytest.param(product, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_nothing_that_was_not_known_changes_what_is_said(
    past: Past, combine: Callable[..., Iterable[tuple[datetime, Poison]]]
) -> None:
    past.spoil([], [])
    clean = past.says()
    for tick, poison in combine(LOOKS, POISONS):
        past.spoil(*poison(past, tick))
        spoilt = past.says()

        assert len(up_to(clean, tick)["forecast_steps"]) > 30
        assert differences(up_to(clean, tick), up_to(spoilt, tick)) == []
        assert differences(up_to(clean, tick + HOUR), up_to(spoilt, tick + HOUR)) != []


@on_one_store
def test_a_series_that_appears_later_changes_nothing_before(past: Past) -> None:
    past.spoil([], [])
    clean, tick = past.says(), TICKS[8]
    forget(past.engine)
    later = {name: [MUCH] * 300 for name in ("A", "newer")}
    with writing(past.engine) as conn:
        observations.ingest(
            conn, "bikes", observed(later, start=tick - LATE + SECOND), recorded_at=TICKS[-1]
        )

    spoilt = past.says()

    assert differences(up_to(clean, tick), up_to(spoilt, tick)) == []


@pytest.mark.numeric
@on_one_store
def test_a_model_that_is_promoted_later_changes_nothing_before(past: Past) -> None:
    past.spoil([], [])
    clean, tick = past.says(), TICKS[12]
    forget(past.engine)
    with writing(past.engine) as conn:
        first = models.get(conn, "bikes", 1)
        copy = NewModel(
            config=first.config,
            weights=first.weights,
            sha256=first.sha256,
            scores={},
            trained_from=first.trained_from,
            trained_to=first.trained_to,
            parent_id=1,
            created_at=tick,
        )
        third = models.add(conn, "bikes", copy)
        models.promote(conn, "bikes", third, now=tick + SECOND, reason="for a test")

    spoilt = past.says()

    assert differences(up_to(clean, tick), up_to(spoilt, tick)) == []
    before = up_to(spoilt, tick)["forecast_steps"]
    asked = {key[2] for key in spoilt["forecast_steps"].keys() - before.keys()}
    assert asked == {third}


def test_twice_is_once_and_what_the_service_said_stays(past: Past) -> None:
    live = said(past.engine)

    first = backfill(past.engine, STORY)
    once = said(past.engine)
    second = backfill(past.engine, STORY)

    assert (first.ticks, first.in_service) == (len(TICKS) - len(RAN), len(RAN))
    assert (second.ticks, second.rows, second.done_before) == (0, 0, first.ticks)
    assert said(past.engine) == once
    assert {row["origin"] for row in live["forecast_steps"].values()} == {"live"}
    assert {key: once["forecast_steps"][key] for key in live["forecast_steps"]} == live[
        "forecast_steps"
    ]
    assert {key: once["attention"][key] for key in live["attention"]} == live["attention"]


@on_one_store
@pytest.mark.parametrize("reprocess", [pytest.param("failed", marks=pytest.mark.slow), "all"])
def test_what_is_done_again_says_the_same_and_what_the_service_said_stays(
    past: Past, reprocess: Reprocess
) -> None:
    live = said(past.engine)["forecast_steps"]
    backfill(past.engine, STORY)
    once = said(past.engine)

    report = backfill(past.engine, STORY, reprocess=reprocess)

    again = said(past.engine)
    assert report.ticks == (len(TICKS) - len(RAN) if reprocess == "all" else 0)
    assert differences(once, again) == []
    assert {key: again["forecast_steps"][key] for key in live} == live


@pytest.mark.numeric
@on_one_store
@pytest.mark.parametrize("end", [7, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 10))])
def test_a_range_in_two_parts_is_the_range(past: Past, end: int) -> None:
    past.spoil([], [])
    whole = past.says()
    forget(past.engine)

    first = backfill(past.engine, STORY, until=TICKS[end - 1])
    second = backfill(past.engine, STORY, since=TICKS[end])

    assert (first.ticks, second.ticks) == (end, len(TICKS) - end)
    assert differences(whole, said(past.engine)) == []
