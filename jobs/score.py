"""Score one dataset for one tick: join forecasts that matured with what happened."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl
import torch
from sqlalchemy import Connection, Engine

from forecaster.config import DatasetConfig, RetentionConfig
from forecaster.errors import ModelError
from forecaster.frames import ACCURACY, empty
from forecaster.model import checkpoint
from forecaster.model.checkpoint import Yardstick
from forecaster.model.spec import ModelSpec
from forecaster.series import accuracy
from forecaster.series.baselines import seasonal_naive
from forecaster.series.panel import Panel, build
from forecaster.series.windows import gather
from forecaster.store import accuracy as scores
from forecaster.store import forecasts, models, observations, partitions, runs, watermarks
from forecaster.store.engine import reading, writing
from jobs.reports import LeadAccuracy, ScoreReport, Stopwatch, document
from jobs.ticks import Turn

WATERMARK = "score"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one model said, and what was observed before and after it."""

    model_id: int
    yardstick: Yardstick
    forecasts: pl.DataFrame
    observations: pl.DataFrame


def run(
    engine: Engine, dataset: DatasetConfig, turn: Turn, *, retention: RetentionConfig
) -> ScoreReport:
    """Score each lead of each forecast as soon as its last step has happened, against
    seasonal_naive on the same points.

    What happened counts as known when the delay and the time for late data are over, and
    something newer was observed: an outage of the source leaves nothing unscored.
    """
    watch = Stopwatch()

    with watch.stage("read"), reading(engine) as conn:
        until = known_until(conn, dataset, turn.tick)
        cases = read(conn, dataset, until)

    with watch.stage("judge"):
        found = {case.model_id: judge(case, dataset.prediction_length) for case in cases}
        report = report_on(dataset, turn.tick, until, found, watch.seconds)

    cutoffs = {cutoff for frame in found.values() for cutoff in frame["cutoff"].unique()}
    partitions.ensure(engine, retention, ("accuracy",), cutoffs)
    with watch.stage("write"), writing(engine) as conn:
        runs.finish(conn, turn.claim, now=turn.clock(), report=document(report))
        for model_id, frame in found.items():
            scores.write(conn, dataset.name, model_id, frame, scored_at=turn.clock())
        watermarks.advance(conn, dataset.name, WATERMARK, until, now=turn.clock())

    return replace(report, stages=watch.seconds)


def known_until(conn: Connection, dataset: DatasetConfig, tick: datetime) -> datetime:
    """Return up to when everything that happened counts as known at `tick`."""
    until = tick - dataset.delay - dataset.late_data
    span = observations.span(conn, dataset.name)
    return until if span is None else min(until, span[1])


def read(conn: Connection, dataset: DatasetConfig, until: datetime) -> list[Case]:
    """Read what matured up to `until` and was not scored yet, one case for each model.

    Looks back over `late_data` once more, for ticks that ran late. Forecasts of a model whose
    weights are gone can no longer be scored.
    """
    seen = watermarks.get(conn, dataset.name, WATERMARK)
    after = None if seen is None else seen - dataset.late_data
    matured = pl.concat(
        forecasts.read_matured(
            conn,
            dataset.name,
            lead.name,
            steps=(lead.step_from, lead.step_to),
            after=after,
            until=until,
        )
        for lead in accuracy.leads(dataset.prediction_length)
    )
    cases = []
    for said in matured.partition_by("model_id"):
        with suppress(ModelError):
            cases.append(_case(conn, dataset, said))
    return cases


def _case(conn: Connection, dataset: DatasetConfig, said: pl.DataFrame) -> Case:
    stored = models.get(conn, dataset.name, said["model_id"][0])
    yardstick = checkpoint.yardstick(stored.weights, stored.sha256)
    grid = yardstick.spec.grid()
    first, last = _span(said)
    return Case(
        model_id=stored.model_id,
        yardstick=yardstick,
        forecasts=said,
        observations=observations.read(
            conn,
            dataset.name,
            since=grid.timestamp_at(grid.index_at(first) - _memory(yardstick.spec)),
            until=grid.timestamp_at(grid.index_at(last) + 1),
        ),
    )


def _span(said: pl.DataFrame) -> tuple[datetime, datetime]:
    first, last = said["cutoff"].min(), said["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last


def judge(case: Case, prediction_length: int) -> pl.DataFrame:
    """Return ACCURACY of one model; a series' scale is the one the model was trained with."""
    spec = case.yardstick.spec
    panel = build(
        case.observations,
        spec.grid(),
        season_length=spec.season_length,
        scales=case.yardstick.series_scale,
    )
    parts = [
        said.join(_happened(case, panel, said), on=["series_id", "step"])
        for said in case.forecasts.partition_by("cutoff")
    ]
    return accuracy.score(pl.concat(parts), prediction_length)


def _happened(case: Case, panel: Panel, said: pl.DataFrame) -> pl.DataFrame:
    """Return the actual and the seasonal-naive value of every step after one cutoff."""
    spec = case.yardstick.spec
    rows = torch.arange(len(panel))
    end = torch.full((len(panel),), spec.grid().index_at(said["cutoff"][0]))
    windows = gather(panel, rows, end, _memory(spec), spec.prediction_length)
    assert windows.target is not None
    naive = seasonal_naive(windows.context, spec.prediction_length, spec.season_length)
    steps = torch.arange(1, spec.prediction_length + 1).expand(len(panel), -1)
    each = torch.arange(len(panel))[:, None].expand_as(steps).reshape(-1)
    return pl.DataFrame(
        {
            "series_id": pl.Series(panel.series_ids, dtype=pl.String)[each.numpy()],
            "step": pl.Series(steps.reshape(-1).numpy(), dtype=pl.Int32),
            "actual": _in_units(panel, windows.target),
            "seasonal_naive": _in_units(panel, naive),
            "scale": panel.scale[each].numpy(),
        }
    )


def _memory(spec: ModelSpec) -> int:
    """Return how many steps seasonal_naive may look back: a whole season at the least."""
    return max(spec.context_length, spec.season_length)


def _in_units(panel: Panel, deviations: torch.Tensor) -> pl.Series:
    values = panel.offset[:, None] + panel.scale[:, None] * deviations
    return pl.Series(values.reshape(-1).numpy())


def report_on(
    dataset: DatasetConfig,
    tick: datetime,
    until: datetime,
    found: Mapping[int, pl.DataFrame],
    stages: Mapping[str, float],
) -> ScoreReport:
    """Say how right the forecasts were, over all models."""
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
    summary = {row["lead"]: row for row in accuracy.summarise(frame, ["lead"]).to_dicts()}
    found: Sequence[str] = [lead.name for lead in accuracy.leads(prediction_length)]
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
