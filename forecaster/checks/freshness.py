"""Whether rows still arrive, and whether `delay` is long enough for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from forecaster.checks.findings import Finding, note
from forecaster.checks.lateness import ON_TIME, by_arrival, by_loads, by_missing_rows
from forecaster.config.settings import DatasetConfig
from forecaster.data.grid import Grid
from forecaster.schemas import INSTANT
from forecaster.times.durations import format_duration, rough, rounded_up

_LIVE_STEPS = 20
"""A series without rows for longer is not used to measure how late rows arrive."""
_GAPS, _USUAL_GAP = 2, 0.99
"""A live series has no gap longer than so many times its usual longest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What was found, and a `delay` that fits better; None if unknown."""

    findings: tuple[Finding, ...]
    delay: timedelta | None = None


@dataclass(frozen=True, slots=True)
class _Ends:
    """One row a series: series_id, newest, and `max_silence`, how long it may be silent."""

    frame: pl.DataFrame

    @property
    def latest(self) -> datetime:
        latest = self.frame["newest"].max()
        assert isinstance(latest, datetime)
        return latest

    @property
    def live(self) -> pl.DataFrame:
        return self.frame.filter(self.latest - pl.col("newest") <= pl.col("max_silence"))

    @property
    def max_silence(self) -> timedelta:
        """How long the live series may be without rows."""
        longest = self.live["max_silence"].max()
        assert isinstance(longest, timedelta)
        return longest

    def slow(self) -> str:
        """Return a live series that ends earlier than most; of a few, not the very earliest."""
        ordered = self.live.sort("newest", "series_id")
        place = max(1, int((1 - ON_TIME) * ordered.height))
        return str(ordered["series_id"][min(place, ordered.height - 1)])


def check(
    observations: pl.DataFrame,
    grid: Grid,
    dataset: DatasetConfig,
    now: datetime,
    versions: pl.DataFrame | None,
    arrivals: pl.DataFrame | None = None,
) -> Freshness:
    """Check the newest rows of OBSERVATIONS, sorted; the step of `grid` is that of the rows.

    `arrivals` has the columns series_id, timestamp and arrived, if the source has them.
    """
    past = observations.filter(pl.col("timestamp") <= now)
    findings = [*_on_future(observations.height - past.height, observations, dataset)]
    if past.is_empty():
        return Freshness(findings=tuple(findings))
    ends = _ends(past, grid)
    findings += _on_silent(ends, dataset)
    late = None if arrivals is None else by_loads(arrivals, grid)
    if now - ends.latest > ends.max_silence + max(dataset.delay, late or timedelta()):
        message = (
            f"the newest row is {rough(now - ends.latest)} old: series without rows for so long "
            "are not forecast"
        )
        findings.append(note(dataset.name, message, hint="check that rows still arrive"))
        return Freshness(findings=tuple(findings))
    if arrivals is not None and late is None:
        findings.append(_on_bulk(arrivals, dataset))
        return Freshness(findings=tuple(findings))
    if late is None and versions is not None:
        late = _seen(versions, grid, dataset)
    how = "at least" if late is None else "up to"
    if late is None:
        slow = past.filter(pl.col("series_id") == ends.slow())
        late = by_missing_rows(slow["timestamp"], grid, now) or timedelta()
    if late <= dataset.delay:
        return Freshness(findings=tuple(findings))
    delay = rounded_up(late)
    findings.append(_too_short(late, how, delay, dataset))
    return Freshness(findings=tuple(findings), delay=delay)


def _seen(versions: pl.DataFrame, grid: Grid, dataset: DatasetConfig) -> timedelta | None:
    """Return how late rows were first seen, `delay` if by the tick that they are for; or None."""
    schedule = dataset.forecast_schedule
    first = versions.group_by("timestamp").agg(recorded=pl.col("recorded_at").min())
    at = first["recorded"].unique()
    ticks = pl.DataFrame(
        {"recorded": at, "arrived": pl.Series([*map(schedule.floor, at)], dtype=INSTANT)}
    )
    late = by_arrival(first.join(ticks, on="recorded"), grid)
    if late is None:
        return None
    return late if late >= dataset.delay + schedule.shortest else min(late, dataset.delay)


def _ends(past: pl.DataFrame, grid: Grid) -> _Ends:
    gap = pl.col("timestamp").diff().quantile(_USUAL_GAP, "higher")
    ends = past.group_by("series_id").agg(newest=pl.col("timestamp").max(), gap=gap)
    steps = pl.lit(_LIVE_STEPS * grid.step.approximate)
    max_silence = pl.max_horizontal(_GAPS * pl.col("gap").fill_null(timedelta()), steps)
    return _Ends(ends.select("series_id", "newest", max_silence=max_silence))


def _on_future(count: int, observations: pl.DataFrame, dataset: DatasetConfig) -> Iterator[Finding]:
    last = observations["timestamp"].max()
    if count and isinstance(last, datetime):
        yield note(
            dataset.name,
            f"{count} rows have timestamps in the future, up to {last:%Y-%m-%d %H:%M}Z: "
            "they are used once that time has come",
            hint="check timestamp_column and timezone",
        )


def _on_silent(ends: _Ends, dataset: DatasetConfig) -> Iterator[Finding]:
    silent = ends.frame.height - ends.live.height
    if silent:
        message = f"{silent} of {ends.frame.height} series have had no rows for {_LIVE_STEPS} steps"
        yield note(dataset.name, message)


def _on_bulk(arrivals: pl.DataFrame, dataset: DatasetConfig) -> Finding:
    last = arrivals["arrived"].max()
    assert isinstance(last, datetime)
    return note(
        dataset.name,
        f"by {dataset.ingest_column}, rows arrived together or only a few times, last on "
        f"{last:%Y-%m-%d %H:%M}Z: this does not show how late rows arrive, and no delay is "
        "suggested",
        hint="check again once rows have arrived for ten steps or more",
    )


def _too_short(late: timedelta, how: str, delay: timedelta, dataset: DatasetConfig) -> Finding:
    return note(
        dataset.name,
        f"delay is {format_duration(dataset.delay)}, but rows arrive {how} {rough(late)} after the "
        "end of their step: forecasts would miss them",
        hint=f'set delay = "{format_duration(delay)}"',
    )
