"""Detect sums over unfinished periods, by corrections of rows while their period lasted.

A view or a query that counts what happened in an hour gives a row as soon as the hour begins, and
another value at every look until it is over. A reading at an instant stays as it is.
"""

import polars as pl

from forecaster.schemas import VERSIONS, conform
from forecaster.times.durations import Step

LOOK_BACK = 200
"""Steps whose versions are examined."""
_FEWEST, _ENOUGH = 3, 20
"""Rows that came while their period lasted: from so few on they can be sums, or be none."""
_MOSTLY, _HARDLY = 0.5, 0.05
"""Shares of them that were corrected later, where rows are sums and where they are none."""


def are_sums(versions: pl.DataFrame, step: Step) -> bool | None:
    """Return whether rows of VERSIONS grow while their step lasts; None where too few show it."""
    conform(versions, VERSIONS)
    if versions.is_empty():
        return None
    looks = versions.group_by("series_id", "timestamp").agg(
        pl.col("recorded_at").min().alias("first"), pl.len().alias("versions")
    )
    over, latest = pl.col("timestamp") + step.approximate, versions["recorded_at"].max()
    is_early = pl.col("first").is_between("timestamp", over, closed="left")
    early = looks.filter(is_early & (over < latest))
    if early.height < _FEWEST:
        return None
    corrected = (early["versions"] > 1).sum() / early.height
    if corrected >= _MOSTLY:
        return True
    return False if corrected <= _HARDLY and early.height >= _ENOUGH else None
