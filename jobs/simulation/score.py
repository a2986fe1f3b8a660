"""How good two runs of one replay were, both held against what is known by now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlalchemy import Engine

from forecaster.data.panel import Panel, build, constant_series
from forecaster.evaluation import metrics
from forecaster.evaluation.scoring import score_forecasts
from forecaster.schemas import ACCURACY, empty
from forecaster.store.connection.engine import reading
from forecaster.store.forecasts import export
from jobs.simulation.report import AccuracyLine
from jobs.stages.champions import Champion

CUTOFFS_AT_ONCE = 50
_KEY = ["series_id", "cutoff", "lead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs on the series, cutoffs and leads that both have."""

    cutoffs: int
    judged: int
    """Cutoffs of the clean run, whatever the other one has."""
    unscaled: int
    """Series that never moved in what the model was trained on: not in any MASE."""
    lines: tuple[AccuracyLine, ...]


class Scorer:
    """The same judge for every run."""

    def __init__(self, champion: Champion, truth: pl.DataFrame) -> None:
        """Judge what the model of `champion` said by OBSERVATIONS."""
        spec = champion.model.spec
        self._spec = spec
        self._panel: Panel = build(
            truth,
            spec.grid(),
            season_length=spec.season_length,
            scales=champion.model.series_scale,
        )
        known = truth.filter(pl.col("timestamp") <= champion.trained_to)
        past = build(known, spec.grid(), season_length=spec.season_length)
        moved = zip(past.series_ids, (~constant_series(past)).tolist(), strict=True)
        self._moved = [series_id for series_id, has_moved in moved if has_moved]

    def judge(self, engine: Engine, dataset: str, cutoffs: Sequence[datetime]) -> pl.DataFrame:
        """Return ACCURACY of what a dataset said at some cutoffs, in order."""
        parts = [self._judge(said) for said in _said(engine, dataset, cutoffs)]
        return pl.concat([empty(ACCURACY), *parts]).sort(_KEY)

    def _judge(self, said: pl.DataFrame) -> pl.DataFrame:
        spec = self._spec
        return score_forecasts(
            said,
            self._panel,
            season_length=spec.season_length,
            lookback=max(spec.context_length, spec.season_length),
            prediction_length=spec.prediction_length,
        )

    def compare(self, clean: pl.DataFrame, disturbed: pl.DataFrame) -> Comparison:
        """Hold two ACCURACY against one another."""
        ours = clean.join(disturbed, on=_KEY, how="semi")
        theirs = disturbed.join(clean, on=_KEY, how="semi")
        has_moved = pl.col("series_id").is_in(self._moved)
        naive = _mase(ours.filter(has_moved))["seasonal_naive_mase"]
        return Comparison(
            cutoffs=ours["cutoff"].n_unique(),
            judged=clean["cutoff"].n_unique(),
            unscaled=ours.filter(~has_moved)["series_id"].n_unique(),
            lines=()
            if ours.is_empty()
            else (
                _line("clean", ours, has_moved),
                _line("disturbed", theirs, has_moved),
                AccuracyLine(forecasts="seasonal naive", mase=naive),
            ),
        )


def _said(engine: Engine, dataset: str, cutoffs: Sequence[datetime]) -> Iterator[pl.DataFrame]:
    for first in range(0, len(cutoffs), CUTOFFS_AT_ONCE):
        some = cutoffs[first : first + CUTOFFS_AT_ONCE]
        with reading(engine) as conn:
            yield export.read(conn, dataset, since=some[0], until=some[-1])


def _line(name: str, found: pl.DataFrame, has_moved: pl.Expr) -> AccuracyLine:
    (everything,) = metrics.summarise(found).to_dicts()
    return AccuracyLine(
        forecasts=name,
        mase=_mase(found.filter(has_moved))["mase"],
        wql=everything["wql"],
        coverage_80=everything["coverage_80"],
    )


def _mase(found: pl.DataFrame) -> dict[str, float | None]:
    """Return `mase` and `seasonal_naive_mase`, None of no rows."""
    if found.is_empty():
        return {"mase": None, "seasonal_naive_mase": None}
    (summary,) = metrics.summarise(found).to_dicts()
    return summary
