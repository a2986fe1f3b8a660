"""Inject random faults into rows. Pure: frames in, frames out.

A clean source shows each row as late as `delay` allows, once and for all. A disturbed one shows
some later, some first with a wrong value, some twice, and some never; a row has at most one of
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
from forecaster.times.durations import MICROSECOND

DELIVERIES = pl.Schema({"shown_at": INSTANT, "row": pl.Int64(), **OBSERVATIONS})
"""Rows that a source shows from `shown_at` on, sorted by it and `row`. A later one of the same
`row` replaces the earlier."""

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
    """The share of rows with each fault, with a sum of at most 1; half of the duplicates differ."""

    late: float = 0.0
    corrections: float = 0.0
    gaps: float = 0.0
    duplicates: float = 0.0

    @property
    def of_faults(self) -> tuple[float, ...]:
        """The share of each Fault, in their order."""
        half = self.duplicates / 2
        return (self.late, self.corrections, self.gaps, half, half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lags:
    """How much later than usual a late row or a corrected value is shown; log-uniform."""

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

    Only rows after the first instant of `between` have faults, and what is late or corrected is
    shown by the second one.
    """
    plain = (
        conform(rows, OBSERVATIONS)
        .sort(_KEY)
        .with_columns(shown_at=pl.col("timestamp") + delay, row=pl.int_range(pl.len()))
    )
    lag = _lags(plain.height, lags, rng)
    may_fail = (plain["timestamp"] > between[0]) & (plain["shown_at"] + lag <= between[1])
    drawn = plain.with_columns(lag, _kinds(may_fail, shares, rng), _wrong(plain, rng))
    kind, shown_late = pl.col("kind"), pl.col("shown_at") + pl.col("lag")
    repeated = drawn.filter(kind.is_in([Fault.DUPLICATE.value, Fault.CONFLICT.value]))
    parts = [
        drawn.filter(kind != Fault.GAP.value).with_columns(
            _where(Fault.LATE, shown_late, "shown_at"), _where(Fault.CORRECTION, "wrong", "value")
        ),
        drawn.filter(kind == Fault.CORRECTION.value).with_columns(shown_at=shown_late),
        repeated.with_columns(
            _where(Fault.CONFLICT, "wrong", "value"), row=pl.col("row") + plain.height
        ),
    ]
    shown = pl.concat(part.select(DELIVERIES.names()) for part in parts).sort("shown_at", "row")
    return Injection(
        deliveries=conform(shown, DELIVERIES),
        counts={fault: int((drawn["kind"] == fault.value).sum()) for fault in Fault},
    )


def with_text(deliveries: pl.DataFrame, *, since: datetime, zone: str | None) -> pl.DataFrame:
    """Return DELIVERIES with `text`: their timestamps as text.

    ISO 8601 in UTC; with a `zone`, those after `since` in its local time, without an offset.
    """
    text = pl.col("timestamp").dt.strftime(_UTC_TEXT)
    if zone is not None:
        local = pl.col("timestamp").dt.convert_time_zone(zone).dt.strftime(_WALL_TEXT)
        text = pl.when(pl.col("timestamp") > since).then(local).otherwise(text)
    return deliveries.with_columns(text.alias("text"))


def as_read(timestamps: pl.Series, zone: str) -> pl.Series:
    """Return the instants read from local time: the first one where an hour is repeated."""
    wall = timestamps.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    first = wall.dt.replace_time_zone(zone, ambiguous="earliest")
    return first.dt.convert_time_zone("UTC")


def settled(deliveries: pl.DataFrame, *, until: datetime) -> pl.DataFrame:
    """Return the OBSERVATIONS that DELIVERIES up to an instant make: means where values differ."""
    shown = deliveries.filter(pl.col("shown_at") <= until).unique("row", keep="last")
    means = shown.unique([*_KEY, "value"]).group_by(_KEY).agg(pl.col("value").mean())
    return means.sort(_KEY).select(OBSERVATIONS.names())


def _kinds(may_fail: pl.Series, shares: Shares, rng: Generator) -> pl.Series:
    drawn = np.searchsorted(np.cumsum(shares.of_faults), rng.random(len(may_fail)), side="right")
    numbers = np.where(may_fail.to_numpy(), drawn, len(Fault))
    return pl.Series("kind", _KINDS[numbers], dtype=pl.String())


def _lags(number: int, lags: Lags, rng: Generator) -> pl.Series:
    """Draw lags whose logarithms are uniformly distributed."""
    shortest, longest = lags.shortest // MICROSECOND, lags.longest // MICROSECOND
    drawn = shortest * (max(longest, shortest) / shortest) ** rng.random(number)
    return pl.Series("lag", drawn.astype(np.int64)).cast(pl.Duration("us"))


def _wrong(plain: pl.DataFrame, rng: Generator) -> pl.Expr:
    """Draw values that are off by about as much as their series varies."""
    off = rng.uniform(0.5, 1.5, plain.height) * rng.choice((-1.0, 1.0), plain.height)
    spread = pl.col("value").std().over("series_id")
    is_flat = (spread > 0).fill_null(value=False).not_()
    unit = pl.when(is_flat).then(1 + pl.col("value").abs()).otherwise(spread)
    return (pl.col("value") + pl.Series("off", off) * unit).alias("wrong")


def _where(fault: Fault, value: pl.Expr | str, otherwise: str) -> pl.Expr:
    """Return `value` in rows with a fault, and the column `otherwise` in others, by its name."""
    return pl.when(pl.col("kind") == fault.value).then(value).otherwise(otherwise).alias(otherwise)
