"""Rejected rows of a batch: how many, and what they have in common.

Rows whose value is not finite are not counted: they are gaps, like those without a value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from forecaster.ingestion.recency import is_undated
from forecaster.schemas import INSTANT, empty

GROUPS = pl.Schema(
    {
        "reason": pl.String(),
        "series_id": pl.String(),
        "shape": pl.String(),
        "hour": pl.Int8(),
        "undated": pl.Boolean(),
        "rows": pl.Int64(),
        "example": pl.String(),
        "first_number": pl.Int64(),
        "second_number": pl.Int64(),
    }
)
"""Similar rejected rows: the shape of their cell, with 0 for every digit and a for every word, the
hour of the day that it shows, and whether it is nothing new: its timestamp is old, missing or out
of range, so that every pull reads it again."""

MOST_GROUPS = 10_000
"""Groups that are kept separate: the rest get the shape `OTHERS` and no hour, and beyond as many
again, no series. This bounds the memory."""
OTHERS = "others"
"""Never the shape of a cell, whose words are all `a`."""

FEWEST = 5
"""Rows that must be rejected for the same reason to count as a pattern."""

_LIKE = ("reason", "series_id", "shape", "hour", "undated")
_UNDATED = ("missing_timestamp", "timestamp_out_of_range")
_LONGEST = 60
_MOST_NAMED = 3
_MOST_HOURS = 16


@dataclass(frozen=True, slots=True)
class Losses:
    """Rows of one or several batches that were rejected.

    `instants` counts their distinct timestamps, except those out of range; `keys` has up to two of
    the series in the batches.
    """

    groups: pl.DataFrame = field(default_factory=lambda: empty(GROUPS))
    instants: int = 0
    keys: frozenset[str] = frozenset()

    def __add__(self, other: "Losses") -> "Losses":
        together = pl.concat([self.groups, other.groups])
        keys = frozenset(sorted(self.keys | other.keys)[:2])
        return Losses(_bounded(_grouped(together)), self.instants + other.instants, keys)

    @property
    def rows(self) -> int:
        """How many rows were rejected."""
        return int(self.groups["rows"].sum())

    @property
    def in_one_series(self) -> int:
        """How many belong to the series with the most; those without a key belong to none."""
        keyed = self.groups.drop_nulls("series_id")
        most = keyed.group_by("series_id").agg(pl.col("rows").sum())["rows"].max()
        return most if isinstance(most, int) else 0

    @property
    def is_pattern(self) -> bool:
        """Whether more than a few rows are rejected for the same reason."""
        counts = self.groups.group_by("reason").agg(pl.col("rows").sum())
        return bool((counts["rows"] >= FEWEST).any())

    def dated(self) -> "Losses":
        """Leave out the rows whose timestamps are old, missing or out of range."""
        return replace(self, groups=self.groups.filter(~pl.col("undated")))

    def described(self) -> str:
        """Describe what the rejected rows have in common, the most frequent reason first."""
        counts = self.groups.group_by("reason").agg(pl.col("rows").sum())
        ordered = counts.sort("rows", "reason", descending=[True, False])
        parts = [
            _described(self.groups.filter(reason=reason), rows)
            for reason, rows in ordered.iter_rows()
        ]
        return "; ".join(parts[:_MOST_NAMED])


def find(
    reasons: pl.Series,
    series_ids: pl.Series,
    stamps: pl.Series,
    values: pl.Series,
    instants: pl.Series | None = None,
    since: datetime | None = None,
) -> Losses:
    """Group the rows that have a reason for being rejected.

    `stamps` and `values` are raw cells; reasons that end in `value` have values as examples.
    `instants` are what the stamps were read as, those before `since` are old.
    """
    keys = frozenset(str(key) for key in (series_ids.min(), series_ids.max()) if key is not None)
    is_lost = reasons.is_not_null()
    if not is_lost.any():
        return Losses(keys=keys)
    if instants is None:
        instants = pl.Series([None], dtype=INSTANT).new_from_index(0, len(reasons))
    reasons, series_ids, stamps, values, instants = (
        column.filter(is_lost) for column in (reasons, series_ids, stamps, values, instants)
    )
    rejected = pl.DataFrame(
        [
            reasons.alias("reason"),
            series_ids.alias("series_id"),
            text(stamps).alias("stamp"),
            text(values).alias("value"),
            _hours(stamps).alias("hour"),
            (reasons.is_in(_UNDATED) | is_undated(stamps, instants, since)).alias("undated"),
        ]
    )
    cell = pl.when(pl.col("reason").str.ends_with("value")).then("value").otherwise("stamp")
    number = r"^[^0-9]*([0-9]{1,9})[^0-9]+([0-9]{1,9})"
    named = rejected.with_columns(cell.str.slice(0, _LONGEST).alias("example")).with_columns(
        pl.lit(1, pl.Int64).alias("rows"),
        pl.col("example").str.extract(number, 1).cast(pl.Int64).alias("first_number"),
        pl.col("example").str.extract(number, 2).cast(pl.Int64).alias("second_number"),
        shape=pl.col("example").str.replace_all("[0-9]", "0").str.replace_all(r"\p{L}+", "a"),
    )
    groups = _bounded(_grouped(named.select(GROUPS.names())))
    return Losses(groups, rejected.filter(~pl.col("undated"))["stamp"].n_unique(), keys)


def _grouped(rows: pl.DataFrame) -> pl.DataFrame:
    groups = rows.group_by(_LIKE, maintain_order=True).agg(
        pl.col("rows").sum(),
        pl.col("example").min(),
        pl.col("first_number", "second_number").max(),
    )
    return groups.select(pl.col(name).cast(dtype) for name, dtype in GROUPS.items())


def _bounded(groups: pl.DataFrame) -> pl.DataFrame:
    """Count the smallest groups together where there are many, whatever the order of rows was."""
    kept, rest = _largest(groups)
    if rest.is_empty():
        return groups
    shape = pl.when(pl.col("shape").is_not_null()).then(pl.lit(OTHERS)).alias("shape")
    alike = _grouped(rest.with_columns(shape, hour=pl.lit(None, pl.Int8)))
    with_series, without = _largest(alike)
    without = without.with_columns(series_id=pl.lit(None, pl.String))
    return _grouped(pl.concat([kept, with_series, without]))


def _largest(groups: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    if groups.height <= MOST_GROUPS:
        return groups, groups.clear()
    ordered = groups.sort("rows", *_LIKE, descending=[True, *(False for _ in _LIKE)])
    return ordered[:MOST_GROUPS], ordered[MOST_GROUPS:]


def text(cells: pl.Series) -> pl.Series:
    """Turn cells into text; dates beyond the calendar, which cannot be printed, into numbers."""
    if not cells.dtype.is_temporal():
        return cells.cast(pl.String)
    is_printable = cells.dt.year().is_between(1, 9999).fill_null(False)
    numbers = cells.to_physical().cast(pl.String)
    return cells.set(~is_printable, None).cast(pl.String).zip_with(is_printable, numbers)


def _hours(stamps: pl.Series) -> pl.Series:
    """Return the hours of the day, even where the rest of the text cannot be parsed."""
    if isinstance(stamps.dtype, pl.Datetime):
        return stamps.dt.hour().cast(pl.Int8)
    if stamps.dtype != pl.String:
        return pl.Series([None], dtype=pl.Int8).new_from_index(0, len(stamps))
    shown = stamps.str.extract(r"(?:^|[T ])([0-9]{1,2}):[0-9]{2}", 1)
    return shown.cast(pl.Int8, strict=False)


def _described(alike: pl.DataFrame, rows: int) -> str:
    shapes = alike.group_by("shape").agg(pl.col("rows").sum()).sort("rows", descending=True)
    parts = [f"{rows} {alike['reason'][0]}"]
    named = [f"{shape!r}" for shape in shapes["shape"].drop_nulls()]
    if named and len(named) <= _MOST_NAMED and OTHERS not in shapes["shape"]:
        parts.append(f"all of the form {' or '.join(named)}")
    hours = sorted(alike["hour"].drop_nulls().unique())
    if hours and alike["hour"].null_count() == 0 and len(hours) <= _MOST_HOURS:
        parts.append(f"at hours {_ranges(hours)}")
    if alike["series_id"].null_count() == 0 and alike["series_id"].n_unique() == 1:
        parts.append(f"in series {alike['series_id'][0][:_LONGEST]!r}")
    example = alike["example"].min()
    return ", ".join([*parts, f"such as {example!r}"] if example is not None else parts)


def _ranges(hours: Sequence[int]) -> str:
    """Write 0, 1, 2, 5 as `0-2, 5`."""
    parts: list[list[int]] = []
    for hour in hours:
        if parts and parts[-1][-1] == hour - 1:
            parts[-1].append(hour)
        else:
            parts.append([hour])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
