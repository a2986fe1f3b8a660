"""From raw rows to OBSERVATIONS: every row is kept, collapsed into another, or counted as rejected.

rows = observations + rejected + duplicates + conflicting, and the order of rows does not matter.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from forecaster.errors import DataError
from forecaster.frames import OBSERVATIONS, conform
from forecaster.instants import Reading, read_instants


class RejectReason(StrEnum):
    """Why a row cannot become an observation; the first that holds is counted."""

    MISSING_SERIES_ID = "missing_series_id"
    UNREADABLE_SERIES_ID = "unreadable_series_id"
    MISSING_TIMESTAMP = "missing_timestamp"
    NONEXISTENT_LOCAL_TIME = "nonexistent_local_time"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    UNREADABLE_TIMESTAMP = "unreadable_timestamp"
    UNREADABLE_VALUE = "unreadable_value"
    NON_FINITE_VALUE = "non_finite_value"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the raw rows hold the series' key, the timestamp and the value."""

    series: tuple[str, ...] = ("series_id",)
    timestamp: str = "timestamp"
    value: str = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What became of raw rows.

    `observations` is OBSERVATIONS. `rejected` counts rows by RejectReason and `examples` shows one
    row for each. `duplicates` counts rows that repeat another, `conflicting` rows that contradict
    one another: these become their mean.
    """

    observations: pl.DataFrame
    rejected: Mapping[str, int]
    examples: Mapping[str, str]
    duplicates: int
    conflicting: int


def normalize(raw: pl.DataFrame, columns: Columns, *, timezone: str | None) -> Intake:
    """Read raw rows; `timezone` is the clock of naive timestamps and dates.

    Several key columns are joined with `/`; inside the keys `/` and `\\` are escaped by `\\`.
    A null or blank value is kept as a gap. Raises DataError for columns that are missing or of the
    wrong type, and for naive timestamps without a zone.
    """
    _require_columns(raw, columns)
    keys = [_plain(raw[name]) for name in columns.series]
    timestamps, values = _plain(raw[columns.timestamp]), _plain(raw[columns.value])
    reading = read_instants(timestamps, timezone)
    numbers = _read_values(values)
    series_ids = _join_keys(keys)
    reasons = _reasons(series_ids, reading, numbers, _is_given(values))
    rows = pl.DataFrame(
        {"series_id": series_ids, "timestamp": reading.timestamps, "value": numbers + 0.0}
    )
    kept = rows.filter(reasons.is_null()).sort("series_id", "timestamp")
    observations, distinct = _collapse(kept)
    shown = [*keys, timestamps, values]
    return Intake(
        observations=conform(observations, OBSERVATIONS),
        rejected=_count(reasons),
        examples=_examples(shown, reasons),
        duplicates=len(kept) - distinct,
        conflicting=distinct - len(observations),
    )


def _require_columns(raw: pl.DataFrame, columns: Columns) -> None:
    needed = [*columns.series, columns.timestamp, columns.value]
    missing = [name for name in needed if name not in raw.columns]
    if not missing:
        return
    found = ", ".join(map(repr, raw.columns)) or "none"
    raise DataError(
        f"columns {', '.join(map(repr, missing))} must be in the rows, found {found}",
        hint=_suggest(missing, [name for name in raw.columns if name not in needed]),
    )


_OTHER_NAMES = {
    "series_id": ("series", "unique_id", "item_id", "id", "key", "name"),
    "timestamp": ("ts", "time", "ds", "datetime", "date", "hour", "day"),
    "value": ("y", "target", "val"),
}


def _suggest(missing: Sequence[str], spare: Sequence[str]) -> str:
    by_folded = {name.casefold(): name for name in reversed(spare)}
    for name in missing:
        near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
        for candidate in (name.casefold(), *_OTHER_NAMES.get(name, ()), *near):
            if candidate in by_folded:
                return f"is {name!r} the column {by_folded[candidate]!r}? {_MAPPING}"
    return _MAPPING


_MAPPING = "name it with series_columns, timestamp_column or value_column"


def _plain(column: pl.Series) -> pl.Series:
    """Turn values that a driver left as Python objects, and categories, into text."""
    if column.dtype == pl.Object:
        texts = [None if value is None else str(value) for value in column]
        return pl.Series(column.name, texts, dtype=pl.String)
    if column.dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    return column


def _join_keys(keys: Sequence[pl.Series]) -> pl.Series:
    texts = [_key_text(key) for key in keys]
    if len(texts) == 1:
        return texts[0].alias("series_id").set((texts[0] == "").fill_null(False), None)
    escaped = [text.str.replace_all(r"([/\\])", r"\$1") for text in texts]
    frame = pl.DataFrame([text.alias(str(place)) for place, text in enumerate(escaped)])
    return frame.select(pl.concat_str(pl.all(), separator="/").alias("series_id")).to_series()


def _key_text(key: pl.Series) -> pl.Series:
    if key.dtype.is_nested() or key.dtype == pl.Binary:
        raise DataError(f"column {key.name!r} must hold text or numbers, found {key.dtype}")
    return key.cast(pl.String)


def _read_values(values: pl.Series) -> pl.Series:
    """Return Float64, null where there is no value or an unreadable one."""
    if values.dtype == pl.String:
        return values.str.strip_chars().cast(pl.Float64, strict=False)
    if values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null):
        return values.cast(pl.Float64, strict=False)
    raise DataError(f"column {values.name!r} must hold numbers, found {values.dtype}")


def _is_given(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        return (values.str.strip_chars() != "").fill_null(False)
    return values.is_not_null()


def _reasons(
    series_ids: pl.Series, reading: Reading, numbers: pl.Series, is_given: pl.Series
) -> pl.Series:
    """Return the RejectReason of each row, null for rows to keep."""
    holds = {
        RejectReason.MISSING_SERIES_ID: series_ids.is_null(),
        RejectReason.UNREADABLE_SERIES_ID: series_ids.str.contains("\0", literal=True),
        RejectReason.MISSING_TIMESTAMP: reading.is_missing,
        RejectReason.NONEXISTENT_LOCAL_TIME: reading.is_nonexistent,
        RejectReason.TIMESTAMP_OUT_OF_RANGE: reading.is_out_of_range,
        RejectReason.UNREADABLE_TIMESTAMP: reading.timestamps.is_null(),
        RejectReason.UNREADABLE_VALUE: numbers.is_null() & is_given,
        RejectReason.NON_FINITE_VALUE: ~numbers.is_finite(),
    }
    frame = pl.DataFrame([mask.alias(reason) for reason, mask in holds.items()])
    first = [pl.when(pl.col(reason)).then(pl.lit(reason.value)) for reason in holds]
    return frame.select(pl.coalesce(first).alias("reason")).to_series()


def _count(reasons: pl.Series) -> dict[str, int]:
    counts = reasons.drop_nulls().value_counts(name="rows").sort("reason")
    return dict(counts.iter_rows())


def _examples(shown: Sequence[pl.Series], reasons: pl.Series) -> dict[str, str]:
    """Show the alphabetically first rejected row for each reason, whatever the order of rows."""
    is_rejected = reasons.is_not_null()
    columns = {column.name: column for column in shown}
    rejected = pl.DataFrame([column.filter(is_rejected) for column in columns.values()])
    cells = [
        pl.format("{}={}", pl.lit(name), pl.col(name).cast(pl.String).fill_null("null"))
        for name in columns
    ]
    texts = rejected.select(pl.concat_str(cells, separator=", ").str.head(200).alias("row"))
    firsts = texts.with_columns(reasons.filter(is_rejected)).group_by("reason")
    return dict(firsts.agg(pl.col("row").min()).sort("reason").iter_rows())


def _collapse(kept: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Leave one row per series and timestamp; also count the distinct rows there were."""
    keys = ["series_id", "timestamp"]
    repeats = pl.all_horizontal(pl.col(key) == pl.col(key).shift() for key in keys)
    marked = kept.select(*OBSERVATIONS, repeats.fill_null(False).alias("repeats"))
    if not marked["repeats"].any():
        return kept, len(kept)
    shares = pl.col("repeats") | pl.col("repeats").shift(-1, fill_value=False)
    crowded = marked.filter(shares).group_by(keys)
    distinct = pl.col("value").drop_nulls().unique().sort()
    merged = crowded.agg(_mean(distinct).alias("value"), pl.col("value").n_unique().alias("rows"))
    alone = marked.filter(~shares).select(*OBSERVATIONS)
    observations = pl.concat([alone, merged.select(*OBSERVATIONS)]).sort(keys)
    return observations, len(alone) + int(merged["rows"].sum())


def _mean(values: pl.Expr) -> pl.Expr:
    """Average; where the sum of huge values overflows, average shares of them instead."""
    mean = values.mean()
    return pl.when(mean.is_infinite()).then((values / values.len()).sum()).otherwise(mean)
