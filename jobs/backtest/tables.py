"""The accuracy of each predictor as tables: numbers that are finite or null, and OWA."""

from collections.abc import Iterator

import polars as pl

from forecaster.experiments import rivals
from forecaster.experiments.experiment import Experiment
from forecaster.training.validation import MODEL

ROUNDING = 1e-6
"""A smaller error of Naive2 counts as zero, and no OWA is relative to it."""
DOMINANT = 0.99
"""Share of one series of the weight of WQL, from which on the others do not affect it."""
_COVERAGE = ("coverage_50", "coverage_80", "coverage_95")
_SCALED = ("mase", "seasonal_naive_mase", "skill", "bias", "width_80")
"""What is scaled by the past of a series, and so null for one that was constant in it."""
_SCALED_SMAPE = "scaled_smape"


def by(experiment: Experiment, *keys: str) -> pl.DataFrame:
    """Return one row per predictor and `keys`, as `Backtest.by`.

    With `owa` where Naive2 is among them, and rows are not of one series.
    """
    return _averaged(_of_all(experiment, *keys), experiment, *keys)


def by_seed(experiment: Experiment) -> pl.DataFrame:
    """Return the rows of all series of each of several seeds; empty where there is one."""
    names = list(_seeds(experiment))
    table = _of_all(experiment).with_columns(pl.col("predictor").cast(pl.String))
    ours = table.filter(pl.col("predictor").is_in(names if len(names) > 1 else []))
    seeds = pl.col("predictor").replace_strict(_seeds(experiment), return_dtype=pl.Int64)
    return ours.with_columns(seed=seeds).drop("predictor")


def dominant_series(experiment: Experiment) -> Iterator[str]:
    """Yield the series that dominates WQL, if there is one among several."""
    sizes = (
        experiment.backtest.sums.filter(pl.col("predictor") == next(iter(_seeds(experiment))))
        .group_by("series_id")
        .agg(pl.col("absolute_actual").sum())
        .filter(pl.col("absolute_actual") > DOMINANT * pl.col("absolute_actual").sum())
    )
    if experiment.backtest.sums["series_id"].n_unique() > 1:
        yield from sizes["series_id"]


def _seeds(experiment: Experiment) -> dict[str, int]:
    """Return the seed of each predictor that is a model, in order."""
    return {training.name: training.seed for training in experiment.trainings}


def _of_all(experiment: Experiment, *keys: str) -> pl.DataFrame:
    """Return the rows of all predictors, the models of several seeds apart."""
    table = _table(experiment.backtest.by(*keys), experiment.scaled.by(*keys), *keys)
    return table.drop(_SCALED_SMAPE) if "series_id" in keys else _with_owa(table, *keys)


def _averaged(table: pl.DataFrame, experiment: Experiment, *by: str) -> pl.DataFrame:
    """Return a table in which the models of several seeds are one, with their mean figures."""
    names = list(_seeds(experiment))
    if len(names) == 1:
        return table
    is_ours = pl.col("predictor").cast(pl.String).is_in(names)
    numbers = pl.selectors.float()
    ours = table.filter(is_ours).with_columns(predictor=pl.lit(MODEL))
    mean = ours.group_by("predictor", *by, maintain_order=True).agg(
        pl.selectors.integer().first(), numbers.mean()
    )
    others = table.filter(~is_ours).with_columns(pl.col("predictor").cast(pl.String))
    together = pl.concat([mean.select(table.columns), others])
    return together.with_columns(
        pl.col("predictor").cast(pl.Enum(together["predictor"].unique(maintain_order=True)))
    )


def _table(absolute: pl.DataFrame, scaled: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Return a summary that has of `scaled` what is scaled; no spread of point forecasts."""
    keys = ["predictor", *by]
    relative = scaled.select(*keys, *_SCALED, pl.col("smape").alias(_SCALED_SMAPE))
    is_spread = pl.col("width_80") != 0
    known = absolute.with_columns(pl.when(is_spread).then(pl.col(_COVERAGE))).drop(_SCALED)
    table = known.join(relative, on=keys, how="left", maintain_order="left")
    numbers = pl.selectors.float()
    shown = table.with_columns(pl.when(is_spread).then("width_80"))
    return shown.with_columns(pl.when(numbers.is_finite()).then(numbers))


def _with_owa(table: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Add `owa` against Naive2, of the same series as MASE; null where Naive2 has no error."""
    ours = (pl.col(_SCALED_SMAPE), pl.col("mase"))
    naive2 = table.filter(pl.col("predictor") == rivals.NAIVE2)
    if naive2.is_empty():
        return table.drop(_SCALED_SMAPE)
    nothing = (ours[0] < ROUNDING) | (ours[1] < ROUNDING)
    theirs = naive2.select(
        *by,
        naive2_smape=pl.when(~nothing).then(ours[0]),
        naive2_mase=pl.when(~nothing).then(ours[1]),
    )
    if by:
        joined = table.join(theirs, on=by, maintain_order="left")
    else:
        joined = table.join(theirs, how="cross", maintain_order="left")
    owa = (ours[0] / pl.col("naive2_smape") + ours[1] / pl.col("naive2_mase")) / 2
    return joined.with_columns(owa=owa).drop("naive2_smape", "naive2_mase", _SCALED_SMAPE)
