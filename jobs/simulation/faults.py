"""Inject random faults into rows. Pure: frames in, frames out.

A clean source shows each row as late as `delay` allows, once and for ever. A disturbed one shows
some later, some first with a wrong value, some twice, and some never; each row has at most one of
these faults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.random import Generator

from forecaster.schemas import INSTANT, OBSERVATIONS, conform

DELIVERIES = pl.Schema(
    {
        "shown_at": INSTANT,
        "row": pl.Int64(),
        **OBSERVATIONS,
    }
)
"""What a source shows from when on, sorted by `shown_at` and `row`. A later one of the same `row`
takes the place of the earlier."""

_KEY = ("series_id", "timestamp")
_UTC_TEXT, _WALL_TEXT = "%Y-%m-%dT%H:%M:%S%.6f+00:00", "%Y-%m-%dT%H:%M:%S%.6f"


class Fault(StrEnum):
    """What may be wrong with a row."""

    LATE = "late"
    CORRECTION = "correction"
    GAP = "gap"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


_KINDS = np.array([*(fault.value for fault in Fault), "none"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How many of all rows have which fault, from 0 to 1; half of the duplicates contradict."""

    late: float = 0.0
    corrections: float = 0.0
    gaps: float = 0.0
    duplicates: float = 0.0

    def __post_init__(self) -> None:
        if min(self.each) < 0 or sum(self.each) > 1:
            raise ValueError(
                f"shares must be between 0 and 1, with a sum of at most 1, found {self}"
            )

    @property
    def each(self) -> tuple[float, ...]:
        """The share of each Fault, in their order."""
        half = self.duplicates / 2
        return (self.late, self.corrections, self.gaps, half, half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lags:
    """By how much later than usual a late row or the right value is shown; short ones are usual."""

    shortest: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """DELIVERIES, and how many rows have each Fault."""

    deliveries: pl.DataFrame
    counts: Mapping[Fault, int]


def inject(
    rows: pl.DataFrame,
    shares: Shares,
    *,
    between: tuple[datetime, datetime],
    delay: timedelta,
    lags: Lags,
    rng: Generator,
) -> Injection:
    """Return how a source shows the OBSERVATIONS of `rows`.

    Only rows after the first instant of `between` have faults, and all that is late or to be
    corrected is shown rightly by the second one.
    """
    plain = (
        conform(rows, OBSERVATIONS)
        .sort(_KEY)
        .select(
            (pl.col("timestamp") + delay).alias("shown_at"),
            pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
            *OBSERVATIONS.names(),
        )
    )
    lag = _lags(plain.height, lags, rng)
    is_open = (plain["timestamp"] > between[0]) & (plain["shown_at"] + lag <= between[1])
    drawn = plain.with_columns(lag, _kinds(is_open, shares, rng), _wrong(plain, rng))
    parts = [
        drawn.filter(pl.col("kind") != Fault.GAP.value).with_columns(
            _later_if(Fault.LATE), value=_wrong_if(Fault.CORRECTION)
        ),
        drawn.filter(pl.col("kind") == Fault.CORRECTION.value).with_columns(
            _later_if(Fault.CORRECTION)
        ),
        drawn.filter(
            pl.col("kind").is_in([Fault.DUPLICATE.value, Fault.CONFLICT.value])
        ).with_columns(row=pl.col("row") + plain.height, value=_wrong_if(Fault.CONFLICT)),
    ]
    shown = pl.concat(part.select(DELIVERIES.names()) for part in parts)
    return Injection(
        deliveries=conform(shown.sort("shown_at", "row"), DELIVERIES),
        counts={fault: int((drawn["kind"] == fault.value).sum()) for fault in Fault},
    )


def with_text(deliveries: pl.DataFrame, *, since: datetime, zone: str | None) -> pl.DataFrame:
    """Return DELIVERIES with `text`: their timestamps as a source of text has them.

    ISO 8601 in UTC; with a `zone`, those after `since` as its wall clock shows them, without an
    offset.
    """
    text = pl.col("timestamp").dt.strftime(_UTC_TEXT)
    if zone is not None:
        local = pl.col("timestamp").dt.convert_time_zone(zone).dt.strftime(_WALL_TEXT)
        text = pl.when(pl.col("timestamp") > since).then(local).otherwise(text)
    return deliveries.with_columns(text.alias("text"))


def as_read(timestamps: pl.Series, zone: str) -> pl.Series:
    """Return what is read from a zone's wall clock: the first instant, where it shows two alike."""
    wall = timestamps.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    first = wall.dt.replace_time_zone(zone, ambiguous="earliest")
    return first.dt.convert_time_zone("UTC")


def settled(deliveries: pl.DataFrame, *, until: datetime) -> pl.DataFrame:
    """Return OBSERVATIONS as DELIVERIES up to an instant leave them: means of what contradicts."""
    shown = deliveries.filter(pl.col("shown_at") <= until).unique("row", keep="last")
    means = shown.unique([*_KEY, "value"]).group_by(_KEY).agg(pl.col("value").mean())
    return means.sort(_KEY).select(OBSERVATIONS.names())


def _kinds(is_open: pl.Series, shares: Shares, rng: Generator) -> pl.Series:
    lots = rng.random(len(is_open))
    drawn = np.searchsorted(np.cumsum(shares.each), lots, side="right")
    numbers = np.where(is_open.to_numpy(), drawn, len(Fault))
    return pl.Series("kind", _KINDS[numbers], dtype=pl.String())


def _lags(number: int, lags: Lags, rng: Generator) -> pl.Series:
    """Draw lags whose logarithms are as likely as one another."""
    shortest, longest = (
        each // timedelta(microseconds=1) for each in (lags.shortest, lags.longest)
    )
    drawn = shortest * (max(longest, shortest) / shortest) ** rng.random(number)
    return pl.Series("lag", drawn.astype(np.int64)).cast(pl.Duration("us"))


def _wrong(plain: pl.DataFrame, rng: Generator) -> pl.Expr:
    """Draw values that are off by about as much as their series varies."""
    off = rng.uniform(0.5, 1.5, plain.height) * rng.choice((-1.0, 1.0), plain.height)
    spread = pl.col("value").std().over("series_id")
    is_flat = (spread > 0).fill_null(value=False).not_()
    unit = pl.when(is_flat).then(1 + pl.col("value").abs()).otherwise(spread)
    return (pl.col("value") + pl.Series("off", off) * unit).alias("wrong")


def _later_if(fault: Fault) -> pl.Expr:
    later = pl.col("shown_at") + pl.col("lag")
    return (
        pl.when(pl.col("kind") == fault.value).then(later).otherwise("shown_at").alias("shown_at")
    )


def _wrong_if(fault: Fault) -> pl.Expr:
    return pl.when(pl.col("kind") == fault.value).then("wrong").otherwise("value")
