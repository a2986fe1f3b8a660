"""Score one dataset for one tick: compare forecasts that matured with actual values."""

import logging
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from time import monotonic

import polars as pl
from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.data.panel import build
from forecaster.errors import StageTimedOut
from forecaster.evaluation import metrics
from forecaster.evaluation.scoring import score_forecasts
from forecaster.schemas import ACCURACY, empty
from forecaster.store.connection.engine import reading
from forecaster.store.forecasts import accuracy
from forecaster.store.maintenance import partitions
from forecaster.store.state import datasets, models, run_history, watermarks
from forecaster.times.durations import MICROSECOND
from jobs.execution.attempt import Attempt
from jobs.execution.reports import LeadAccuracy, ScoreReport
from jobs.stages import matured
from jobs.stages.matured import SCORED, Case, Span

SHARE = 0.5
"""Of `deadlines.pull`: after this share of it no other interval is begun."""

log = logging.getLogger("forecaster")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """ACCURACY of some forecasts of a model, and why not all of them could be scored as usual."""

    model_id: int
    accuracy: pl.DataFrame
    problem: str | None


def run(
    engine: Engine, dataset: DatasetConfig, attempt: Attempt, *, retention: RetentionConfig
) -> ScoreReport:
    """Score each lead of each forecast as soon as its last step has happened, against
    seasonal_naive on the same points.

    Actual values count as known when `delay` and `late_data` are over and something newer was
    observed, so that an outage of the source leaves nothing unscored. If there is more than can be
    scored in time, the oldest forecasts are scored, and the next tick continues.
    """
    until, scored = _score_in_time(engine, dataset, attempt)
    frames = {
        model_id: pl.concat(part.accuracy for part in scored if part.model_id == model_id)
        for model_id in {part.model_id for part in scored}
    }
    problems = {part.problem for part in scored if part.problem is not None}

    def write(conn: Connection) -> ScoreReport:
        written = [
            accuracy.write(conn, dataset.name, model_id, frame, scored_at=attempt.clock())
            for model_id, frame in frames.items()
        ]
        watermarks.advance(conn, dataset.name, SCORED, until, now=attempt.clock())
        new = pl.concat([empty(ACCURACY), *written])
        return ScoreReport(
            dataset=dataset.name,
            tick=attempt.tick,
            matured_to=until,
            points=int(new["points"].sum()),
            rows=new.height,
            leads=by_lead(new, dataset.prediction_length),
            stages=attempt.seconds,
            notes=tuple(sorted(problems)),
        )

    with attempt.stage("write", dataset.deadlines.write):
        cutoffs = {cutoff for frame in frames.values() for cutoff in frame["cutoff"].unique()}
        partitions.ensure(engine, retention, ("accuracy",), cutoffs)
        return attempt.commit(engine, write)


def _score_in_time(
    engine: Engine, dataset: DatasetConfig, attempt: Attempt
) -> tuple[datetime, list[_Scored]]:
    """Score one interval after the other while there is time; return the end of the last one.

    StageTimedOut when not even the first is done in time; a later one is left to the next tick.
    """
    budget = SHARE * dataset.deadlines.pull.total_seconds()
    enough, usual = monotonic() + budget, dataset.forecast_schedule.shortest
    reported: set[int] = set()
    with attempt.stage("read", dataset.deadlines.pull), reading(engine) as conn:
        interval = _first(conn, dataset, attempt, reported)
    begun = monotonic()
    scored = latest = _score_interval(engine, dataset, attempt, interval, reported)
    until = interval.until
    while until < interval.goal and monotonic() <= enough:
        is_light = not latest or monotonic() - begun < budget / 8
        interval = interval.next(2 * interval.width if is_light else usual)
        begun = monotonic()
        try:
            latest = _score_interval(engine, dataset, attempt, interval, reported)
        except StageTimedOut as error:
            log.warning("%s: scored only up to %s: %s", dataset.name, until.isoformat(), error)
            break
        until, scored = interval.until, scored + latest
    return until, scored


def _score_interval(
    engine: Engine,
    dataset: DatasetConfig,
    attempt: Attempt,
    interval: "_Interval",
    reported: set[int],
) -> list[_Scored]:
    """Score what matured in one interval; StageTimedOut if it takes too long."""
    with attempt.stage("read", dataset.deadlines.pull), reading(engine) as conn:
        span = Span(after=interval.after, until=interval.until, known=interval.goal)
        cases, problems = matured.read(conn, dataset, span, tick=attempt.tick, reported=reported)
    scored = [
        _Scored(model_id=model_id, accuracy=empty(ACCURACY), problem=problem)
        for model_id, problem in problems.items()
    ]
    with attempt.stage("evaluate", dataset.deadlines.predict):
        for case in cases:
            attempt.limit.check()
            frame = score_case(case, dataset.prediction_length)
            scored.append(_Scored(model_id=case.model_id, accuracy=frame, problem=case.problem))
    return scored


@dataclass(frozen=True, slots=True, kw_only=True)
class _Interval:
    """What matures in (after, until] is scored together; `goal` is the end of the last interval."""

    after: datetime | None
    until: datetime
    goal: datetime
    width: timedelta

    def next(self, width: timedelta) -> "_Interval":
        until = min(self.goal, self.until + width)
        return replace(self, after=self.until, until=until, width=width)


def _first(
    conn: Connection, dataset: DatasetConfig, attempt: Attempt, reported: set[int]
) -> _Interval:
    """Return the first forecast interval that was not scored.

    Of a backlog it is two of them, so that it shrinks, unless an attempt failed before. What the
    first model forecast of the data that it was trained on is not scored.
    """
    goal, width = known_until(conn, dataset, attempt.tick), dataset.forecast_schedule.shortest
    scored = watermarks.get(conn, dataset.name, SCORED)
    trained = (model.trained_to for model in models.list_models(conn, dataset.name))
    begin = scored or min(trained, default=None) or goal
    if goal - begin > 2 * width and attempt.claim.attempt == 1:
        width = 2 * width
    return _Interval(
        after=None if scored is None else _look_back(conn, dataset, scored, reported),
        until=min(goal, begin + width),
        goal=goal,
        width=width,
    )


def _look_back(
    conn: Connection, dataset: DatasetConfig, scored: datetime, reported: set[int]
) -> datetime:
    """Return from when on forecasts may have been written after what matured then was scored, or
    were not scored because their last cell was incomplete."""
    lags = [grid.lag for grid in matured.grids_of(conn, dataset.name, reported).values()]
    after = scored - dataset.late_data - max(lags, default=timedelta(0)) - MICROSECOND
    last = run_history.latest(conn, "score", dataset.name, state="succeeded")
    if last is None or last.started_at is None:
        return after
    since = last.started_at - dataset.deadlines.write  # what was being committed then
    oldest = run_history.oldest_tick(conn, "forecast", dataset.name, finished_since=since)
    if oldest is None:
        return after
    return min(after, oldest - dataset.delay - dataset.step.approximate)


def known_until(conn: Connection, dataset: DatasetConfig, tick: datetime) -> datetime:
    """Return up to when actual values count as known at `tick`."""
    until = tick - dataset.delay - dataset.late_data
    newest = datasets.ingest_state(conn, dataset.name).newest_observation
    return until if newest is None else min(until, newest)


def score_case(case: Case, prediction_length: int) -> pl.DataFrame:
    """Return ACCURACY of the forecasts of one model.

    A series is scaled as in the training of the model; a series that is new since, by the context
    that it was forecast from.
    """
    spec = case.scoring_scale.spec
    panel = build(
        case.observations,
        spec.grid(),
        season_length=spec.season_length,
        scales=case.scoring_scale.series_scale,
    )
    return score_forecasts(
        case.forecasts,
        panel,
        season_length=spec.season_length,
        lookback=case.memory,
        prediction_length=prediction_length,
        own=spec.context_length if case.is_new else None,
    )


def by_lead(frame: pl.DataFrame, prediction_length: int) -> tuple[LeadAccuracy, ...]:
    """Summarise ACCURACY for each lead that has points, nearest first."""
    summary = {row["lead"]: row for row in metrics.summarise(frame, ["lead"]).to_dicts()}
    names = [lead.name for lead in metrics.leads(prediction_length) if lead.name in summary]
    measures = [field.name for field in fields(LeadAccuracy)]
    return tuple(LeadAccuracy(**{key: summary[name][key] for key in measures}) for name in names)
