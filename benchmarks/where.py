"""Where the error sits: by lead, by how noisy a series is, and in which series."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from benchmarks.protocols import Trial
from benchmarks.scores import Array, published, wql
from benchmarks.tables import Row
from forecaster.evaluation.metrics import leads
from forecaster.evaluation.rolling_origin import Backtest

GROUPS, WORST = 10, 10


def tables(trial: Trial, quantiles: Array) -> list[list[Row]]:
    """Return the tables of one forecast (B, H, 9)."""
    sizes = np.array([np.abs(trial.seen(row)).mean() for row in range(len(trial.panel))])
    rows = trial.rows.numpy()
    found = trial.backtest({"forecast": trial.said(quantiles)})
    errors = window_errors(trial, found)
    names = [trial.panel.series_ids[row] for row in rows]
    return [
        list(by_lead(found, trial.actual, quantiles)),
        list(by_noise(errors, trial.scale / sizes[rows])),
        *(worst(names, errors, column) for column in range(2)),
    ]


def by_lead(found: Backtest, actual: Array, quantiles: Array) -> Iterator[Row]:
    """Score each lead, a bucket of steps ahead, of the only predictor of `found`."""
    ends = {lead.name: slice(lead.step_from - 1, lead.step_to) for lead in leads(actual.shape[1])}
    for row in found.by_lead().to_dicts():
        steps = ends[row["lead"]]
        said = wql(actual[:, steps], quantiles[:, steps])
        yield {"steps ahead": row["lead"], **published(row, said)}


def window_errors(trial: Trial, found: Backtest) -> Array:
    """Return MASE and sMAPE of each window, (B, 2), NaN where nothing was judged."""
    windows = pl.DataFrame({"series_id": trial.names})
    errors = windows.join(found.by_series(), on="series_id", how="left", maintain_order="left")
    return errors.select("mase", "smape").cast(pl.Float64).fill_null(np.nan).to_numpy()


def by_noise(errors: Array, noise: Array) -> Iterator[Row]:
    """Split windows into ten groups by seasonal error / mean size, the least noisy first."""
    order = np.argsort(noise)
    totals = np.nansum(errors, axis=0)
    for place, group in enumerate(np.array_split(order, GROUPS), start=1):
        mean, share = np.nanmean(errors[group], axis=0), np.nansum(errors[group], axis=0) / totals
        yield {
            "tenth by noise": place,
            "windows": len(group),
            "noise": float(np.median(noise[group])),
            "mase": float(mean[0]),
            "smape": float(mean[1]),
            "share of mase": float(share[0]),
            "share of smape": float(share[1]),
        }


def worst(names: Sequence[str], errors: Array, column: int) -> list[Row]:
    """Return the windows with the largest MASE (column 0) or sMAPE (column 1)."""
    order = np.argsort(-np.nan_to_num(errors[:, column]))[:WORST]
    total = float(np.nansum(errors[:, column]))
    said = "mase" if column == 0 else "smape"
    return [
        {
            f"largest {said}": names[place],
            "mase": float(errors[place, 0]),
            "smape": float(errors[place, 1]),
            "share": float(errors[place, column]) / total,
        }
        for place in order
    ]
