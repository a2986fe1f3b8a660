"""Infer the step of rows, independent of the settings."""

import math
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from forecaster.times.durations import Step

_DAY = 86_400_000_000
_MONTH = 365.2425 / 12 * _DAY
_MONTHS = (1, 2, 3, 4, 6, 12)
"""Periods of so many months are distinguished from days."""
_MOVES = 4 * _DAY
"""How far a distance of months may be from their mean length: months differ, and the last or first
business day moves within them."""
_USUALLY = 0.5
"""Share of the distances that have to be so near to whole periods."""
LEAST_REGULAR = 0.9
"""Share of rows that lie on a step where rows have one."""
_UNITS = (1_000, 1_000_000, 5_000_000, 60_000_000, 300_000_000, 3_600_000_000, _DAY)
"""What distances that jitter are rounded to: a millisecond to a day."""
_NEAR = 0.01
"""Two lengths of time that differ by less are the same."""
_APART = 1.5
"""Median distances that differ by more are of series with different steps."""
_FEWEST = 3
"""Distances between rows that are too few to infer a step."""
_USUAL = ("1ms", "10ms", "100ms", "1s", "5s", "10s", "15s", "30s", "1m", "2m", "5m", "10m", "15m",
          "20m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h", "1d", "1w", "1mo", "3mo",
          "1y")  # fmt: skip
"""Steps that people choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """How rows follow one another in their series."""

    step: Step
    """The distance that is the most common one in most series."""
    regular: float
    """Share of rows that come as far after the one before, or a whole number of times as far."""


def find_spacing(observations: pl.DataFrame) -> Spacing | None:
    """Return how OBSERVATIONS, sorted by series and timestamp, are spaced; None of too few rows."""
    stamps = observations["timestamp"].to_physical()
    is_same = observations["series_id"] == observations["series_id"].shift()
    distances = pl.DataFrame(
        {"series_id": observations["series_id"], "distance": stamps - stamps.shift()}
    ).filter(is_same.fill_null(False))
    if distances.height < _FEWEST:
        return None
    commonest = _commonest(distances)
    if (distances["distance"] == commonest).sum() * 2 < distances.height:
        commonest = _commonest(distances.with_columns(_rounded(distances["distance"])))
    months = _months_of(commonest, distances)
    if months is not None:
        regular = float(_is_near(distances["distance"], months).mean())  # type: ignore[arg-type]
        return Spacing(step=Step(months, "month"), regular=regular)
    days, rest = divmod(commonest, _DAY)
    step = Step(commonest, "microsecond") if rest else Step(days, "day")
    times = distances["distance"] / commonest
    whole = ((times - times.round()).abs() <= _tolerance(step, times)) & (times.round() >= 1)
    return Spacing(step=step, regular=float(whole.sum()) / distances.height)


def find_spacings(observations: pl.DataFrame) -> list[tuple[Spacing, list[str]]]:
    """Return the spacings of OBSERVATIONS, sorted, and which series have each; most series first.

    Series whose rows lie about as far apart, by median, have one spacing. Those with too few rows
    are in none.
    """
    stamps = pl.col("timestamp").to_physical()
    medians = observations.group_by("series_id").agg(distance=stamps.diff().median()).drop_nulls()
    ordered = medians.filter(pl.col("distance") > 0).sort("distance", "series_id")
    is_longer = pl.col("distance") > _APART * pl.col("distance").shift()
    groups = ordered.with_columns(group=is_longer.fill_null(False).cum_sum())
    spacings = []
    for _, group in groups.group_by("group", maintain_order=True):
        names = group["series_id"].sort()
        rows = observations.filter(pl.col("series_id").is_in(names.implode()))
        spacing = find_spacing(rows)
        spacings += [(spacing, names.to_list())] if spacing is not None else []
    return sorted(spacings, key=lambda pair: -len(pair[1]))


def advised_step(spacing: Spacing, observations: pl.DataFrame) -> Step:
    """Return the step of regular rows, and one that people would choose for all others.

    OBSERVATIONS are sorted; `spacing` is theirs.
    """
    if spacing.regular >= LEAST_REGULAR:
        return spacing.step
    return usual_step(observations) or spacing.step


def usual_step(observations: pl.DataFrame) -> Step | None:
    """Return the step that people would choose for OBSERVATIONS, sorted; None of too few rows.

    It is the one nearest, as a ratio, to the median distance between the rows of a series.
    """
    stamps, names = observations["timestamp"].to_physical(), observations["series_id"]
    distances = (stamps - stamps.shift()).filter((names == names.shift()).fill_null(False))
    median = distances.filter(distances > 0).median()
    if not isinstance(median, float):
        return None
    usual = timedelta(microseconds=median)
    return min(map(Step.parse, _USUAL), key=lambda step: abs(math.log(step.approximate / usual)))


def _commonest(distances: pl.DataFrame) -> int:
    """Return the distance that most series have most often; ties go to the shorter one."""
    counts = distances.group_by("series_id", "distance").len()
    ordered = counts.sort("series_id", "len", "distance", descending=[False, True, False])
    modes = ordered.unique("series_id", keep="first", maintain_order=True)
    votes = modes.group_by("distance").agg(pl.len().alias("series"), pl.col("len").sum())
    best = votes.sort("series", "len", "distance", descending=[True, True, False])
    return int(best["distance"][0])


def _rounded(distances: pl.Series) -> pl.Series:
    """Round distances that jitter, to a tenth of the usual one or less."""
    usual = distances.median()
    assert isinstance(usual, float)
    unit = max((unit for unit in _UNITS if 10 * unit <= usual), default=1)
    return ((distances / unit).round() * unit).cast(pl.Int64).clip(lower_bound=unit)


def _months_of(commonest: int, distances: pl.DataFrame) -> int | None:
    """Return how many months rows are apart; None where it is days or less.

    Four weeks look like a month, but soon drift away from the calendar.
    """
    lengths, series = distances["distance"], distances["series_id"].n_unique()
    if lengths.n_unique() == 1:
        return None
    for months in _MONTHS:
        near = _off(lengths, months).filter(_is_near(lengths, months))
        is_usual = abs(commonest - months * _MONTH) <= _MOVES and len(near) > _USUALLY * len(
            lengths
        )
        if is_usual and abs(float(near.sum())) <= 2 * _MOVES * series:
            return months
    return None


def _is_near(lengths: pl.Series, months: int) -> pl.Series:
    """Return which distances are about a whole number of periods of so many months."""
    return (_off(lengths, months).abs() <= _MOVES) & (lengths > _MOVES)


def _off(lengths: pl.Series, months: int) -> pl.Series:
    """Return how far distances are from the nearest whole number of periods, in microseconds."""
    usual = months * _MONTH
    return lengths - (lengths / usual).round() * usual


def _tolerance(step: Step, times: pl.Series) -> pl.Series:
    """Return by how much of a step a distance may be off: an hour where clocks change."""
    hour = 1 / 24 / step.count + 1e-9 if step.is_calendar else 0.0
    return (times * _NEAR).clip(upper_bound=_NEAR) + hour


def is_same_step(step: Step, other: Step) -> bool:
    """Return whether two steps are as good as equally long."""
    longer, shorter = sorted((step.approximate, other.approximate), reverse=True)
    return longer - shorter <= longer * _NEAR
