"""How good two runs of one replay were, both held against what is known by now."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl
from sqlalchemy import Engine

from forecaster.frames import ACCURACY, empty
from forecaster.judgement import judge
from forecaster.model.checkpoint import TrainedModel
from forecaster.series import accuracy
from forecaster.series.panel import Panel, build
from forecaster.store import written
from forecaster.store.engine import reading
from jobs.simulation.reports import AccuracyLine

CUTOFFS_AT_ONCE = 50
_KEY = ["series_id", "cutoff", "lead"]


class Bench:
    """The same judge for every run."""

    def __init__(self, model: TrainedModel, truth: pl.DataFrame) -> None:
        """Judge what `model` said by OBSERVATIONS."""
        spec = model.spec
        self._spec = spec
        self._panel: Panel = build(
            truth, spec.grid(), season_length=spec.season_length, scales=model.series_scale
        )

    def judge(self, engine: Engine, dataset: str, cutoffs: Sequence[datetime]) -> pl.DataFrame:
        """Return ACCURACY of what a dataset said at some cutoffs, in order."""
        parts = [self._judge(said) for said in _said(engine, dataset, cutoffs)]
        return pl.concat([empty(ACCURACY), *parts]).sort(_KEY)

    def _judge(self, said: pl.DataFrame) -> pl.DataFrame:
        spec = self._spec
        return judge(
            said,
            self._panel,
            season_length=spec.season_length,
            memory=max(spec.context_length, spec.season_length),
            prediction_length=spec.prediction_length,
        )


def compare(clean: pl.DataFrame, disturbed: pl.DataFrame) -> tuple[int, tuple[AccuracyLine, ...]]:
    """Return how many cutoffs two ACCURACY have in common, and lines about these."""
    ours = clean.join(disturbed, on=_KEY, how="semi")
    theirs = disturbed.join(clean, on=_KEY, how="semi")
    if ours.is_empty():
        return 0, ()
    (best,) = accuracy.summarise(ours).to_dicts()
    (other,) = accuracy.summarise(theirs).to_dicts()
    return ours["cutoff"].n_unique(), (
        _line("clean", best),
        _line("disturbed", other),
        AccuracyLine(forecasts="seasonal naive", mase=best["seasonal_naive_mase"]),
    )


def _said(engine: Engine, dataset: str, cutoffs: Sequence[datetime]) -> Iterator[pl.DataFrame]:
    for first in range(0, len(cutoffs), CUTOFFS_AT_ONCE):
        some = cutoffs[first : first + CUTOFFS_AT_ONCE]
        with reading(engine) as conn:
            yield written.read(conn, dataset, since=some[0], until=some[-1])


def _line(name: str, summary: dict[str, float]) -> AccuracyLine:
    return AccuracyLine(
        forecasts=name,
        mase=summary["mase"],
        wql=summary["wql"],
        coverage_80=summary["coverage_80"],
    )
