"""BacktestWindows: at which cutoffs of which series a backtest forecasts, and what is known before.

All are cells of one grid. Turns count from 0, the oldest; a series has at most one window in each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from forecaster.data.grid import Grid
from forecaster.errors import DataError, InsufficientHistory

USUAL_WINDOWS = 8
SHARE = 0.25
"""Share of the history that is tested on by default."""
NOT_TRAINED, NOT_TESTED, SHORT_TEST = "no_train_rows", "no_test_rows", "test_part_too_short"
"""Why a series has no window in a given split."""
NO_ROOM = "no_room_for_a_window"
"""Why it has none before its own end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """How windows follow each other, in steps; None takes what is usual."""

    prediction_length: int
    stride: int
    windows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestWindows:
    """The windows of a backtest.

    windows   series_id, turn and the cutoff's grid index `end`
    limits    series_id and `end`, the last cell that is known before the first turn
    left_out  series without a window, and why
    """

    grid: Grid
    windows: pl.DataFrame
    limits: pl.DataFrame
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def turns(self) -> int:
        """How many windows the series have that have most."""
        last = self.windows["turn"].max()
        return last + 1 if isinstance(last, int) else 0

    def span(self, prediction_length: int) -> tuple[datetime, datetime]:
        """Return the first cutoff, and the last instant that is forecast."""
        ends = self.windows["end"].to_list()
        first, last = min(ends), max(ends) + prediction_length
        return self.grid.timestamp_at(first), self.grid.timestamp_at(last)

    def limits_at(self, turn: int | None) -> pl.DataFrame:
        """Return series_id and the last cell `end` that is known at a turn; None: before all."""
        if turn is None:
            return self.limits
        reached = self.windows.filter(pl.col("turn") <= turn).select("series_id", "end")
        return pl.concat([self.limits, reached]).group_by("series_id").agg(pl.col("end").max())

    def split_known(
        self, observations: pl.DataFrame, turn: int | None
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return what is known at a turn of OBSERVATIONS, and what is not."""
        located = observations.with_columns(
            self.grid.index_of(observations["timestamp"]).alias("i")
        )
        located = located.join(
            self.limits_at(turn), on="series_id", how="left", maintain_order="left"
        )
        is_known = (located["i"] <= located["end"]).fill_null(False)
        return observations.filter(is_known), observations.filter(~is_known)


def at_the_end(observations: pl.DataFrame, grid: Grid, rolling: Rolling) -> BacktestWindows:
    """Return the last windows of OBSERVATIONS, at the same cutoffs for all series.

    InsufficientHistory where so many leave nothing before them.
    """
    indices = grid.index_of(observations["timestamp"])
    first, last = indices.min(), indices.max()
    assert isinstance(first, int)
    assert isinstance(last, int)
    count = _count(last - first + 1, rolling)
    newest = last - rolling.prediction_length
    turns = pl.DataFrame({"turn": range(count)}, schema={"turn": pl.Int64})
    ends = turns.with_columns(end=newest - (count - 1 - pl.col("turn")) * rolling.stride)
    series = observations.select(pl.col("series_id").unique(maintain_order=True))
    return BacktestWindows(
        grid=grid,
        windows=series.join(ends, how="cross", maintain_order="left"),
        limits=series.with_columns(end=pl.lit(ends["end"][0], dtype=pl.Int64)),
    )


def _count(length: int, rolling: Rolling) -> int:
    """Return how many windows the end of a history of `length` steps has."""
    horizon, stride = rolling.prediction_length, rolling.stride
    most = (length - 1 - horizon) // stride + 1
    if most < (rolling.windows or 1):
        needed = horizon + ((rolling.windows or 1) - 1) * stride + 1
        raise InsufficientHistory(
            f"{rolling.windows or 1} windows of {horizon} steps need more than {needed - 1} steps "
            f"of history, found {length}",
            hint=InsufficientHistory.TOO_LITTLE,
        )
    spare = (int(SHARE * length) - horizon) // stride + 1
    return rolling.windows or max(1, min(USUAL_WINDOWS, spare))


def at_series_ends(observations: pl.DataFrame, grid: Grid, rolling: Rolling) -> BacktestWindows:
    """Return the last windows of each series of OBSERVATIONS, at cutoffs of its own.

    A shorter series has fewer; one too short for any is known to its end.
    InsufficientHistory where all are too short.
    """
    horizon, stride = rolling.prediction_length, rolling.stride
    located = observations.with_columns(grid.index_of(observations["timestamp"]).alias("index"))
    ends = located.group_by("series_id", maintain_order=True).agg(
        first=pl.col("index").min(), last=pl.col("index").max()
    )
    ends = ends.with_columns(possible=_possible(pl.col("last") - pl.col("first") + 1, rolling))
    ends = ends.with_columns(end=pl.col("last") - horizon - (pl.col("possible") - 1) * stride)
    room = ends.filter(pl.col("possible") > 0)
    if room.is_empty():
        raise InsufficientHistory(
            f"a window of {horizon} steps needs a series of more than {horizon} steps, found none",
            hint=InsufficientHistory.TOO_LITTLE,
        )
    windows = _rolled(room, rolling)
    firsts = windows.group_by("series_id", maintain_order=True).agg(pl.col("end").min())
    without = ends.filter(pl.col("possible") == 0)
    limits = pl.concat([firsts, without.select("series_id", end="last")])
    return BacktestWindows(
        grid=grid,
        windows=windows,
        limits=limits,
        left_out=dict.fromkeys(without["series_id"], NO_ROOM),
    )


def _possible(length: pl.Expr, rolling: Rolling) -> pl.Expr:
    """Return how many windows a series of `length` steps may have, as `_count` does for all."""
    most = ((length - 1 - rolling.prediction_length) // rolling.stride + 1).clip(0)
    if rolling.windows is not None:
        return most
    tested = (SHARE * length).floor().cast(pl.Int64)
    usual = ((tested - rolling.prediction_length) // rolling.stride + 1).clip(1, USUAL_WINDOWS)
    return pl.min_horizontal(most, usual)


def of_split(
    train: pl.DataFrame, test: pl.DataFrame, grid: Grid, rolling: Rolling
) -> BacktestWindows:
    """Return windows that roll through the test part of each series, from its last train row on.

    DataError where test rows do not come after the train rows of their series, or where the horizon
    is longer than every test part.
    """
    parts = _parts(train, test, grid)
    _require_order(parts)
    possible = (pl.col("last") - pl.col("end") - rolling.prediction_length) // rolling.stride + 1
    parts = parts.with_columns(possible=possible.fill_null(0).clip(0))
    left_out = _left_out(parts)
    if len(left_out) == len(parts):
        raise _without_windows(parts, rolling)
    return BacktestWindows(
        grid=grid,
        windows=_rolled(parts.filter(pl.col("possible") > 0), rolling),
        limits=parts.select("series_id", "end").drop_nulls(),
        left_out=left_out,
    )


def _rolled(parts: pl.DataFrame, rolling: Rolling) -> pl.DataFrame:
    """Return the windows of series, the newest of those that are `possible`."""
    shown = pl.min_horizontal("possible", pl.lit(rolling.windows or 2**31))
    ends = parts.select(
        "series_id",
        "end",
        skipped=pl.col("possible") - shown,
        turn=pl.int_ranges(pl.lit(0), shown),
    ).explode("turn")
    end = pl.col("end") + (pl.col("skipped") + pl.col("turn")) * rolling.stride
    return ends.select("series_id", "turn", end=end)


def _parts(train: pl.DataFrame, test: pl.DataFrame, grid: Grid) -> pl.DataFrame:
    """Return per series the last train cell `end`, the first and last test cell, and instants."""

    def ends(rows: pl.DataFrame, **of: pl.Expr) -> pl.DataFrame:
        located = rows.with_columns(grid.index_of(rows["timestamp"]).alias("index"))
        return located.group_by("series_id").agg(**of)

    index, instant = pl.col("index"), pl.col("timestamp")
    trained = ends(train, end=index.max(), trained_to=instant.max())
    tested = ends(test, first=index.min(), last=index.max(), tested_from=instant.min())
    return trained.join(tested, on="series_id", how="full", coalesce=True).sort("series_id")


def _require_order(parts: pl.DataFrame) -> None:
    wrong = parts.filter(pl.col("trained_to") >= pl.col("tested_from"))
    if wrong.is_empty():
        return
    row = wrong.row(0, named=True)
    raise DataError(
        "test rows must come after the train rows of their series, but do not in "
        f"{len(wrong)} of {len(parts)} series, such as {row['series_id']}: train "
        f"until {row['trained_to']:%Y-%m-%d %H:%M:%S}Z, "
        f"test from {row['tested_from']:%Y-%m-%d %H:%M:%S}Z",
        hint="fix the column split, or omit it",
    )


def _left_out(parts: pl.DataFrame) -> dict[str, str]:
    reason = (
        pl.when(pl.col("end").is_null())
        .then(pl.lit(NOT_TRAINED))
        .when(pl.col("last").is_null())
        .then(pl.lit(NOT_TESTED))
        .otherwise(pl.lit(SHORT_TEST))
    )
    without = parts.filter(pl.col("possible") == 0).select("series_id", reason.alias("reason"))
    return dict(without.iter_rows())


def _without_windows(parts: pl.DataFrame, rolling: Rolling) -> DataError:
    longest = (parts["last"] - parts["end"]).max()
    if not isinstance(longest, int):
        return DataError(
            "no series has both train and test rows",
            hint="fix the column split, or omit it",
        )
    return DataError(
        f"the horizon must be at most {longest} steps, the longest test part, "
        f"found {rolling.prediction_length} steps",
        hint="use a shorter horizon",
    )
