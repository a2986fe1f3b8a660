"""Score one dataset for one tick: join forecasts that matured with what happened."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from forecaster.store.forecasts import accuracy as scores
from forecaster.store.maintenance import partitions
from forecaster.store.state import (
    datasets,
    models,
    run_history,
    watermarks,
)
from forecaster.times.durations import MICROSECOND
from jobs.execution.attempt import Attempt
from jobs.execution.reports import LeadAccuracy, ScoreReport
from jobs.stages import matured
from jobs.stages.matured import JUDGED, Case, Span

SHARE = 0.5
"""Of `deadlines.pull`: when so much has gone, nothing more is begun."""

log = logging.getLogger("forecaster")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """ACCURACY of some forecasts of a model, and what stood in the way."""

    model_id: int
    accuracy: pl.DataFrame
    problem: str | None


def run(
    engine: Engine, dataset: DatasetConfig, attempt: Attempt, *, retention: RetentionConfig
) -> ScoreReport:
    """Score each lead of each forecast as soon as its last step has happened, against
    seasonal_naive on the same points.

    What happened counts as known when the delay and the time for late data are over, and
    something newer was observed: an outage of the source leaves nothing unscored. Of more than can
    be judged in good time, the oldest is, and the next tick goes on.
    """
    until, judged = _judge_in_time(engine, dataset, attempt)
    found = {
        model_id: pl.concat(each.accuracy for each in judged if each.model_id == model_id)
        for model_id in {each.model_id for each in judged}
    }
    problems = {each.problem for each in judged if each.problem is not None}

    def write(conn: Connection) -> ScoreReport:
        written = {
            model_id: scores.write(conn, dataset.name, model_id, frame, scored_at=attempt.clock())
            for model_id, frame in found.items()
        }
        watermarks.advance(conn, dataset.name, JUDGED, until, now=attempt.clock())
        report = report_on(dataset, attempt.tick, until, written, attempt.seconds)
        return replace(report, notes=tuple(sorted(problems)))

    with attempt.stage("write", dataset.deadlines.write):
        cutoffs = {cutoff for frame in found.values() for cutoff in frame["cutoff"].unique()}
        partitions.ensure(engine, retention, ("accuracy",), cutoffs)
        report = attempt.commit(engine, write)

    return replace(report, stages=attempt.seconds)


def _judge_in_time(
    engine: Engine, dataset: DatasetConfig, attempt: Attempt
) -> tuple[datetime, list[_Judged]]:
    """Judge one stretch after the other while there is time; return up to when.

    StageTimedOut when not even the first is done in time; a later one is left to the next tick.
    """
    budget = SHARE * dataset.deadlines.pull.total_seconds()
    enough, usual = monotonic() + budget, dataset.forecast_schedule.shortest
    told: set[int] = set()
    with attempt.stage("read", dataset.deadlines.pull), reading(engine) as conn:
        stretch = _first(conn, dataset, attempt, told)
    begun = monotonic()
    done = _judge_stretch(engine, dataset, attempt, stretch, told)
    until, latest = stretch.until, done
    while not (stretch.is_last or monotonic() > enough):
        is_light = not latest or monotonic() - begun < budget / 8
        stretch = stretch.next(2 * stretch.width if is_light else usual)
        begun = monotonic()
        try:
            latest = _judge_stretch(engine, dataset, attempt, stretch, told)
        except StageTimedOut as error:
            log.warning("%s: judged up to %s only: %s", dataset.name, until.isoformat(), error)
            break
        until, done = stretch.until, done + latest
    return until, done


def _judge_stretch(
    engine: Engine, dataset: DatasetConfig, attempt: Attempt, stretch: "_Stretch", told: set[int]
) -> list[_Judged]:
    """Judge what matured in one stretch; StageTimedOut for what takes too long."""
    with attempt.stage("read", dataset.deadlines.pull), reading(engine) as conn:
        span = Span(after=stretch.after, until=stretch.until, known=stretch.goal)
        to_judge, problems = matured.read(conn, dataset, span, tick=attempt.tick, told=told)
    judged = [
        _Judged(model_id=model_id, accuracy=empty(ACCURACY), problem=problem)
        for model_id, problem in problems.items()
    ]
    with attempt.stage("judge", dataset.deadlines.predict):
        for case in to_judge:
            attempt.limit.check()
            frame = judge_case(case, dataset.prediction_length)
            judged.append(_Judged(model_id=case.model_id, accuracy=frame, problem=case.problem))
    return judged


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """What matures in (after, until] is judged at once, on the way to a goal."""

    after: datetime | None
    until: datetime
    goal: datetime
    width: timedelta

    @property
    def is_last(self) -> bool:
        return self.until >= self.goal

    def next(self, width: timedelta) -> "_Stretch":
        until = min(self.goal, self.until + width)
        return replace(self, after=self.until, until=until, width=width)


def _first(conn: Connection, dataset: DatasetConfig, attempt: Attempt, told: set[int]) -> _Stretch:
    """Return what matured in the first forecast interval that was not judged.

    Of a backlog it is two of them, so that it shrinks, unless an attempt failed before.
    """
    goal, width = known_until(conn, dataset, attempt.tick), dataset.forecast_schedule.shortest
    seen = watermarks.get(conn, dataset.name, JUDGED)
    begin = seen or _first_trained(conn, dataset.name) or goal
    if goal - begin > 2 * width and attempt.claim.attempt == 1:
        width = 2 * width
    return _Stretch(
        after=None if seen is None else _look_back(conn, dataset, seen, told),
        until=min(goal, begin + width),
        goal=goal,
        width=width,
    )


def _first_trained(conn: Connection, dataset: str) -> datetime | None:
    """Return up to when the first model has seen data: what one said of its past is not judged."""
    return min((each.trained_to for each in models.list_models(conn, dataset)), default=None)


def _look_back(
    conn: Connection, dataset: DatasetConfig, seen: datetime, told: set[int]
) -> datetime:
    """Return from when on forecasts may have come in after what matured then was judged, or waited
    for their last cell to be complete."""
    lags = [grid.lag for grid in matured.grids_of(conn, dataset.name, told).values()]
    after = seen - dataset.late_data - max(lags, default=timedelta(0)) - MICROSECOND
    scored = run_history.latest(conn, "score", dataset.name, state="succeeded")
    if scored is None or scored.started_at is None:
        return after
    since = scored.started_at - dataset.deadlines.write  # what was being committed then
    oldest = run_history.oldest_tick(conn, "forecast", dataset.name, finished_since=since)
    if oldest is None:
        return after
    return min(after, oldest - dataset.delay - dataset.step.approximate)


def known_until(conn: Connection, dataset: DatasetConfig, tick: datetime) -> datetime:
    """Return up to when everything that happened counts as known at `tick`."""
    until = tick - dataset.delay - dataset.late_data
    newest = datasets.ingest_state(conn, dataset.name).newest_observation
    return until if newest is None else min(until, newest)


def judge_case(case: Case, prediction_length: int) -> pl.DataFrame:
    """Return ACCURACY of one model; a series' scale is the one the model was trained with, that of
    a new one the one that it was forecast with."""
    spec = case.yardstick.spec
    panel = build(
        case.observations,
        spec.grid(),
        season_length=spec.season_length,
        scales=case.yardstick.series_scale,
    )
    return score_forecasts(
        case.forecasts,
        panel,
        season_length=spec.season_length,
        memory=case.memory,
        prediction_length=prediction_length,
        own=spec.context_length if case.is_new else None,
    )


def report_on(
    dataset: DatasetConfig,
    tick: datetime,
    until: datetime,
    found: Mapping[int, pl.DataFrame],
    stages: Mapping[str, float],
) -> ScoreReport:
    """Say how right the forecasts were that were not scored before, over all models."""
    everything = pl.concat([empty(ACCURACY), *found.values()])
    return ScoreReport(
        dataset=dataset.name,
        tick=tick,
        matured_to=until,
        points=int(everything["points"].sum()),
        rows=everything.height,
        leads=by_lead(everything, dataset.prediction_length),
        stages=stages,
    )


def by_lead(frame: pl.DataFrame, prediction_length: int) -> tuple[LeadAccuracy, ...]:
    """Summarise ACCURACY for each lead that has points, nearest first."""
    summary = {row["lead"]: row for row in metrics.summarise(frame, ["lead"]).to_dicts()}
    found: Sequence[str] = [lead.name for lead in metrics.leads(prediction_length)]
    return tuple(_lead(summary[name]) for name in found if name in summary)


def _lead(row: dict[str, float]) -> LeadAccuracy:
    return LeadAccuracy(
        lead=str(row["lead"]),
        points=int(row["points"]),
        mase=row["mase"],
        seasonal_naive_mase=row["seasonal_naive_mase"],
        skill=row["skill"],
        wql=row["wql"],
        bias=row["bias"],
        coverage_50=row["coverage_50"],
        coverage_80=row["coverage_80"],
        coverage_95=row["coverage_95"],
        width_80=row["width_80"],
    )
