"""The accuracy of both runs of a replay, scored with all values that are known now."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Engine

from forecaster.data.panel import build, constant_series
from forecaster.evaluation import metrics
from forecaster.evaluation.scoring import score_forecasts
from forecaster.schemas import ACCURACY, empty
from forecaster.store.connection.engine import reading
from forecaster.store.forecasts import export, history
from jobs.simulation.report import AccuracyLine
from jobs.stages.champions import Champion

CUTOFFS_AT_ONCE = 50
_KEY = ["series_id", "cutoff", "lead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs on the series, cutoffs and leads that both have."""

    cutoffs: int
    scored: int
    """Cutoffs of the clean run, whatever the other one has."""
    unscaled: int
    """Series that were constant in the training data: not in any MASE."""
    lines: tuple[AccuracyLine, ...]


def compare(
    engine: Engine, datasets: Sequence[str], champion: Champion, truth: pl.DataFrame
) -> Comparison:
    """Compare the clean and the disturbed dataset, forecast by `champion`, with OBSERVATIONS."""
    clean, disturbed = (_score(engine, dataset, champion, truth) for dataset in datasets)
    shared = clean.join(disturbed, on=_KEY, how="semi")
    has_scale = ~pl.col("series_id").is_in(_constant(champion, truth))
    lines: tuple[AccuracyLine, ...] = ()
    if not shared.is_empty():
        lines = (
            _line("clean", shared, has_scale),
            _line("disturbed", disturbed.join(clean, on=_KEY, how="semi"), has_scale),
            AccuracyLine(
                forecasts="seasonal naive", mase=_mase(shared, has_scale, "seasonal_naive_mase")
            ),
        )
    return Comparison(
        cutoffs=shared["cutoff"].n_unique(),
        scored=clean["cutoff"].n_unique(),
        unscaled=shared.filter(~has_scale)["series_id"].n_unique(),
        lines=lines,
    )


def _score(engine: Engine, dataset: str, champion: Champion, truth: pl.DataFrame) -> pl.DataFrame:
    """Return ACCURACY of all forecasts of a dataset, sorted."""
    spec, season = champion.model.spec, champion.model.spec.season_length
    panel = build(truth, spec.grid(), season_length=season, scales=champion.model.series_scale)
    scored = [empty(ACCURACY)]
    with reading(engine) as conn:
        cutoffs = export.by_cutoff(conn, dataset)["cutoff"].to_list()
        for first in range(0, len(cutoffs), CUTOFFS_AT_ONCE):
            some = cutoffs[first : first + CUTOFFS_AT_ONCE]
            forecasts = history.read_quantiles(conn, dataset, since=some[0], until=some[-1])
            scored.append(
                score_forecasts(
                    forecasts,
                    panel,
                    season_length=season,
                    lookback=max(spec.context_length, season),
                    prediction_length=spec.prediction_length,
                )
            )
    return pl.concat(scored).sort(_KEY)


def _constant(champion: Champion, truth: pl.DataFrame) -> list[str]:
    """Return the series that were constant in the training data, or not in it."""
    spec = champion.model.spec
    known = truth.filter(pl.col("timestamp") <= champion.trained_to)
    past = build(known, spec.grid(), season_length=spec.season_length)
    is_constant = dict(zip(past.series_ids, constant_series(past).tolist(), strict=True))
    return [
        series_id for series_id in truth["series_id"].unique() if is_constant.get(series_id, True)
    ]


def _line(name: str, scored: pl.DataFrame, has_scale: pl.Expr) -> AccuracyLine:
    (summary,) = metrics.summarise(scored).to_dicts()
    return AccuracyLine(
        forecasts=name,
        mase=_mase(scored, has_scale, "mase"),
        wql=summary["wql"],
        coverage_80=summary["coverage_80"],
    )


def _mase(scored: pl.DataFrame, has_scale: pl.Expr, column: str) -> float | None:
    scaled = scored.filter(has_scale)
    value: float | None = None if scaled.is_empty() else metrics.summarise(scaled)[column].item()
    return value
