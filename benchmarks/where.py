"""Where the error sits: by lead, by how noisy a series is, and in which series."""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.protocols import Trial
from benchmarks.scores import MEDIAN, Array, judge
from benchmarks.tables import Row
from forecaster.series.accuracy import leads, mase, smape

GROUPS, WORST = 10, 10


def tables(trial: Trial, quantiles: Array) -> list[list[Row]]:
    """Return the tables of one forecast (B, H, 9)."""
    sizes = np.array([np.abs(trial.seen(row)).mean() for row in range(len(trial.panel))])
    rows, scale = trial.rows.numpy(), trial.scale
    errors = window_errors(trial.actual, quantiles[..., MEDIAN], scale)
    names = [trial.panel.series_ids[row] for row in rows]
    return [
        list(by_lead(trial.actual, quantiles, scale)),
        list(by_noise(errors, scale / sizes[rows])),
        *(worst(names, errors, column) for column in range(2)),
    ]


def by_lead(actual: Array, quantiles: Array, scale: Array) -> Iterator[Row]:
    """Score each lead, a bucket of steps ahead."""
    for lead in leads(actual.shape[1]):
        steps = slice(lead.step_from - 1, lead.step_to)
        yield {"steps ahead": lead.name, **judge(actual[:, steps], quantiles[:, steps], scale)}


def window_errors(actual: Array, median: Array, scale: Array) -> Array:
    """Return MASE and sMAPE of each window, (B, 2)."""
    one_by_one = range(len(actual))
    return np.array(
        [
            (mase(actual[[b]], median[[b]], scale[[b]]), smape(actual[[b]], median[[b]]))
            for b in one_by_one
        ]
    )


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
