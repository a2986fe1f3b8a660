"""A sample of the history where a training may not hold all of it (`TrainingConfig.max_points`).

The seed draws an order of the series from their names, and as many are kept as there is room for.
So a sample does not depend on the order in which the series are read, and one more series adds or
removes few others. Where they are too long for enough of them, all are cut to their newest steps.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from forecaster.config.settings import TrainingConfig
from forecaster.schemas import VERSIONS

_LEAST_SERIES = 2_000
"""So many series are kept where there are as many, in place of older steps."""
_SURPLUS = 1.25
"""How many times `max_points` are held until what was left out is dropped: that copies the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """CELLS of `kept` of `all_series` series that have any."""

    cells: pl.DataFrame
    kept: pl.Series
    all_series: int


def newest_steps(steps: int, series: int, max_points: int) -> int:
    """Return how many of the newest `steps` a sample sees: so many that thousands of series fit."""
    return min(steps, max(1, max_points // max(1, min(series, _LEAST_SERIES))))


def draw(
    blocks: Iterable[pl.DataFrame], keys: pl.DataFrame, *, steps: int, config: TrainingConfig
) -> Sample:
    """Keep as many series as `config.max_points` has room for, and at least one.

    `blocks` are CELLS of whole series, `keys` the `id` and `key` of all series. A series counts as
    `steps` points, or as its rows where these are more: the panel has `steps` columns.
    """
    order = _order(keys, config.seed)
    kept = beyond = order.clear().with_columns(points=pl.lit(0, pl.Int64))
    parts, all_series = [pl.DataFrame(schema=VERSIONS).drop("recorded_at")], 0
    for cells in blocks:
        rows = cells.group_by("series_id").agg(points=pl.len().cast(pl.Int64).clip(steps))
        observed = order.join(rows, on="series_id")
        kept, beyond = _fitting(pl.concat([kept, beyond, observed]), config.max_points)
        all_series += observed.height
        parts.append(cells)
        if sum(part.height for part in parts) > _SURPLUS * config.max_points:
            _reduce(parts, kept)
    if kept.height < all_series:
        _reduce(parts, kept)
    return Sample(cells=pl.concat(parts), kept=kept["series_id"], all_series=all_series)


def _order(keys: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the `place` of every `series_id`, drawn from its name: equal on all machines."""
    digests = (hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8) for key in keys["key"])
    places = [int.from_bytes(digest.digest()) for digest in digests]
    return pl.DataFrame({"series_id": keys["id"], "place": pl.Series(places, dtype=pl.UInt64)})


def _fitting(series: pl.DataFrame, max_points: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the first series that have no more points together, at least one, and the next one.

    What comes after a series that was left out stays out, however small it is.
    """
    ordered = series.sort("place")
    fits = ordered["points"].cum_sum() <= max_points
    count = max(1, int(fits.sum()))
    return ordered.head(count), ordered[count : count + 1]


def _reduce(parts: list[pl.DataFrame], kept: pl.DataFrame) -> None:
    """Drop the rows of other series, one part after the other: two copies would not fit."""
    for place, part in enumerate(parts):
        parts[place] = part.filter(pl.col("series_id").is_in(kept["series_id"].implode()))
