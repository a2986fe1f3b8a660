"""From raw rows to OBSERVATIONS: every row is kept, collapsed into another, or counted as rejected.

rows = observations + rejected + duplicates + conflicting, and the order of rows does not matter.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
import polars as pl

from forecaster.errors import DataError
from forecaster.ingestion import losses
from forecaster.ingestion import numbers as numerals
from forecaster.ingestion.losses import Losses
from forecaster.ingestion.series_keys import INEXACT, key_text
from forecaster.ingestion.timestamps import Reading, read_instants
from forecaster.schemas import OBSERVATIONS, conform

_KEY = ("series_id", "timestamp")
LONGEST_KEY = 2_000
"""Bytes in UTF-8. An index of PostgreSQL holds 2 700: a row that does not fit fails them all."""


class RejectReason(StrEnum):
    """Why a row cannot become an observation; the first that holds is counted."""

    MALFORMED_ROW = "malformed_row"
    MISSING_SERIES_ID = "missing_series_id"
    INEXACT_SERIES_ID = "inexact_series_id"
    UNREADABLE_SERIES_ID = "unreadable_series_id"
    SERIES_ID_TOO_LONG = "series_id_too_long"
    MISSING_TIMESTAMP = "missing_timestamp"
    NAIVE_TIMESTAMP = "naive_timestamp"
    NONEXISTENT_LOCAL_TIME = "nonexistent_local_time"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    AMBIGUOUS_TIMESTAMP = "ambiguous_timestamp"
    UNREADABLE_TIMESTAMP = "unreadable_timestamp"
    UNREADABLE_VALUE = "unreadable_value"
    NON_FINITE_VALUE = "non_finite_value"


REMEDIES: Mapping[str, str] = {
    RejectReason.MALFORMED_ROW.value: "a line of CSV must have as many cells as the header, "
    "one of NDJSON a single object",
    RejectReason.NONEXISTENT_LOCAL_TIME.value: "if timestamps mark the end of an hour, "
    'set timestamp_marks = "end" (--timestamp-marks end)',
}
"""Hints for some of the reasons."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the raw rows hold the series' key, the timestamp and the value."""

    series: tuple[str, ...] = ("series_id",)
    timestamp: str = "timestamp"
    value: str = "value"
    ends: bool = False
    """Whether timestamps mark the end of a period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizedRows:
    """The result of reading raw rows.

    `observations` is OBSERVATIONS. `rejected` counts rows by RejectReason and `examples` shows one
    row for each. `duplicates` counts rows that repeat another, `conflicting` rows that conflict
    with another: they are averaged.
    """

    observations: pl.DataFrame
    rejected: Mapping[str, int]
    examples: Mapping[str, str]
    duplicates: int
    conflicting: int
    lost: Losses = field(default_factory=Losses)
    """The rejected rows, except those that are gaps because their value is not finite."""
    contested: pl.DataFrame
    """OBSERVATIONS that conflict with one another, as they were before they were averaged."""


def normalize(
    raw: pl.DataFrame,
    columns: Columns,
    *,
    timezone: str | None,
    timestamp_format: str | None = None,
    decimal: str | None = None,
    since: datetime | None = None,
) -> NormalizedRows:
    """Read raw rows; `timezone` is the clock of naive timestamps and dates.

    `timestamp_format` is the only one in which text is read as a timestamp, `decimal` the sign
    before decimals in text; where none is given, only what can mean one thing is read.

    Several key columns are joined with `/`; inside the keys `/` and `\\` are escaped by `\\`.
    Numbers are named by their exact digits; a float that may stand for several is rejected.
    Rejected rows before `since` are no losses of what is new (`Losses.dated`).
    A null or blank value is kept as a gap. Raises DataError for columns that are missing or of the
    wrong type, and for timestamps that are all naive without a zone.
    """
    _require_columns(raw, columns)
    keys = [key_text(raw[name]) for name in columns.series]
    timestamps, values = _plain(raw[columns.timestamp]), _plain(raw[columns.value])
    reading = read_instants(timestamps, timezone, timestamp_format, ends=columns.ends)
    numbers = _read_values(values, decimal)
    series_ids = join_keys(keys)
    reasons = _reasons(series_ids, reading, numbers, _is_given(values))
    # Negative zero equals zero, so it must not count as another value.
    positive = numbers.set((numbers == 0).fill_null(False), 0.0)
    rows = pl.DataFrame(
        {"series_id": series_ids, "timestamp": reading.timestamps, "value": positive}
    )
    kept = _in_order(rows.filter(reasons.is_null()))
    distinct, contested = _distinct(kept)
    observations = distinct
    if not contested.is_empty():
        alone = distinct.join(contested, on=_KEY, how="anti")
        observations = pl.concat([alone, settle(contested)]).sort(*_KEY)
    counts = reasons.drop_nulls().value_counts(name="rows").sort("reason")
    is_gap = (reasons == RejectReason.NON_FINITE_VALUE.value).fill_null(False)
    lost = reasons.set(is_gap, None)
    shown = [*(key.str.strip_prefix(INEXACT) for key in keys), timestamps, values]
    return NormalizedRows(
        observations=conform(observations, OBSERVATIONS),
        rejected=dict(counts.iter_rows()),
        examples=_examples(shown, reasons),
        duplicates=len(kept) - len(distinct),
        conflicting=len(distinct) - len(observations),
        lost=losses.find(lost, series_ids, timestamps, values, reading.timestamps, since),
        contested=contested,
    )


def settle(contested: pl.DataFrame) -> pl.DataFrame:
    """Return one row per series_id and timestamp: the mean of its values, in whatever order."""
    ordered = contested.sort(*_KEY, "value")
    return ordered.group_by(*_KEY, maintain_order=True).agg(_mean(pl.col("value")).alias("value"))


def _require_columns(raw: pl.DataFrame, columns: Columns) -> None:
    needed = [*columns.series, columns.timestamp, columns.value]
    missing = [name for name in needed if name not in raw.columns]
    if not missing:
        return
    present = ", ".join(map(repr, raw.columns)) or "none"
    raise DataError(
        f"missing columns {', '.join(map(repr, missing))}, found {present}",
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
                return f"did you mean column {by_folded[candidate]!r} for {name!r}? {_MAPPING}"
    return _MAPPING


_MAPPING = "set it with series_columns, timestamp_column or value_column"


def _plain(column: pl.Series) -> pl.Series:
    """Convert Python objects of a driver, and categories, to text."""
    if column.dtype == pl.Object:
        texts = [None if value is None else str(value) for value in column]
        return pl.Series(column.name, texts, dtype=pl.String)
    if column.dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    return column


def join_keys(keys: Sequence[pl.Series]) -> pl.Series:
    """Return `series_id`, the text keys joined as `normalize` does; null where a key is missing."""
    if len(keys) == 1:
        return keys[0].alias("series_id").set((keys[0] == "").fill_null(False), None)
    frame = pl.DataFrame([_escaped(text).alias(str(place)) for place, text in enumerate(keys)])
    return frame.select(pl.concat_str(pl.all(), separator="/").alias("series_id")).to_series()


def _escaped(text: pl.Series) -> pl.Series:
    needs = text.str.contains("/", literal=True) | text.str.contains("\\", literal=True)
    return text.str.replace_all(r"([/\\])", r"\$1") if needs.any() else text


def _read_values(values: pl.Series, decimal: str | None) -> pl.Series:
    """Return Float64, null where there is no value or an unreadable one."""
    if values.dtype == pl.String:
        return numerals.read(values, decimal)
    if values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null):
        return values.cast(pl.Float64, strict=False)
    raise DataError(f"column {values.name!r} must hold numbers, found {values.dtype}")


def _is_given(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        return numerals.is_given(values)
    return values.is_not_null()


def _reasons(
    series_ids: pl.Series, reading: Reading, numbers: pl.Series, is_given: pl.Series
) -> pl.Series:
    """Return the RejectReason of each row, null for rows to keep."""
    holds = {
        RejectReason.MISSING_SERIES_ID: series_ids.is_null(),
        RejectReason.INEXACT_SERIES_ID: series_ids.str.contains(INEXACT, literal=True),
        RejectReason.UNREADABLE_SERIES_ID: series_ids.str.contains("\0", literal=True),
        RejectReason.SERIES_ID_TOO_LONG: series_ids.str.len_bytes() > LONGEST_KEY,
        RejectReason.MISSING_TIMESTAMP: reading.is_missing,
        RejectReason.NAIVE_TIMESTAMP: reading.is_naive,
        RejectReason.NONEXISTENT_LOCAL_TIME: reading.is_nonexistent,
        RejectReason.TIMESTAMP_OUT_OF_RANGE: reading.is_out_of_range,
        RejectReason.AMBIGUOUS_TIMESTAMP: reading.is_ambiguous,
        RejectReason.UNREADABLE_TIMESTAMP: reading.timestamps.is_null(),
        RejectReason.UNREADABLE_VALUE: numbers.is_null() & is_given,
        RejectReason.NON_FINITE_VALUE: ~numbers.is_finite(),
    }
    masks = {reason: mask.alias(reason) for reason, mask in holds.items() if mask.any()}
    if not masks:
        return pl.Series("reason", [None], dtype=pl.String()).new_from_index(0, len(numbers))
    first = [pl.when(pl.col(reason)).then(pl.lit(reason.value)) for reason in masks]
    return pl.DataFrame(list(masks.values())).select(reason=pl.coalesce(first)).to_series()


def _examples(shown: Sequence[pl.Series], reasons: pl.Series) -> dict[str, str]:
    """Return the alphabetically first rejected row for each reason."""
    is_rejected = reasons.is_not_null()
    if not is_rejected.any():
        return {}
    columns = {column.name: column.filter(is_rejected) for column in shown}
    rejected = pl.DataFrame([losses.text(column) for column in columns.values()])
    cells = [
        pl.format("{}={}", pl.lit(name), pl.col(name).str.head(80).fill_null("null"))
        for name in columns
    ]
    texts = rejected.select(pl.concat_str(cells, separator=", ").alias("row"))
    firsts = texts.with_columns(reasons.filter(is_rejected)).group_by("reason")
    return dict(firsts.agg(pl.col("row").min()).sort("reason").iter_rows())


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort by series and timestamp, unless sorted already. Numbers sort faster than keys."""
    ids, timestamps = rows["series_id"], rows["timestamp"]
    is_same = ids == ids.shift()
    if not ((ids < ids.shift()) | (is_same & (timestamps < timestamps.shift()))).any():
        return rows
    codes = ids.cast(pl.Enum(ids.unique().sort())).to_physical()
    return rows[np.lexsort((timestamps.to_physical().to_numpy(), codes.to_numpy()))]


def _distinct(kept: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows without repetitions, and those of them that conflict with one another."""
    if not _repeats(kept, *_KEY).any():
        return kept, kept.clear()
    ordered = kept.sort(*_KEY, "value")
    distinct = ordered.filter(~_repeats(ordered, *_KEY, "value"))
    repeats = _repeats(distinct, *_KEY)
    return distinct, distinct.filter(repeats | repeats.shift(-1, fill_value=False))


def _repeats(ordered: pl.DataFrame, *names: str) -> pl.Series:
    """Mark the rows that equal the row before them in these columns."""
    same = [pl.col(name).eq_missing(pl.col(name).shift()) for name in names]
    is_later = pl.int_range(pl.len()) > 0
    return ordered.select(pl.all_horizontal(*same, is_later).alias("repeats")).to_series()


def _mean(values: pl.Expr) -> pl.Expr:
    """Average; where the sum of huge values overflows, average shares of them instead."""
    mean = values.mean()
    return pl.when(mean.is_infinite()).then((values / values.len()).sum()).otherwise(mean)
