"""Pull: read from the source what is new, and land it in our own observations."""

from collections.abc import Callable
from datetime import datetime

import polars as pl
from sqlalchemy import Connection, Engine

from forecaster import intake
from forecaster.config import DatasetConfig
from forecaster.store import observations, watermarks
from forecaster.store.engine import reading, writing
from forecaster.store.observations import Landing
from forecaster.store.source import read_source
from jobs.reports import PullReport

WATERMARK = "pull"


OnLanding = Callable[[str, Landing], None]


def run(
    engine: Engine,
    dataset: DatasetConfig,
    *,
    now: datetime,
    whole: bool = False,
    on_landing: OnLanding = lambda _dataset, _landing: None,
) -> PullReport | None:
    """Land the source rows up to `now`; None for a dataset without a query.

    Reads again from `delay` and `late_data` before the newest instant seen, so that late rows and
    corrections are found: landing twice changes nothing. A `whole` pull reads all of `history`
    again, for what came later still. `on_landing` is told of each landing after its commit. The
    caller moves the watermark with `advance`, in the
    transaction that makes use of these rows.
    """
    if dataset.query is None:
        return None
    with reading(engine) as conn:
        seen = watermarks.get(conn, dataset.name, WATERMARK)
    overlap = dataset.delay + dataset.late_data
    since = now - dataset.history if seen is None or whole else seen - overlap
    raw = read_source(dataset, _source_url(engine, dataset), since=since, until=now)
    taken = intake.normalize(raw, columns_of(dataset), timezone=dataset.timezone)
    frame = taken.observations.filter(pl.col("timestamp").is_between(since, now))
    with writing(engine) as conn:
        late, fresh = _land(conn, dataset.name, frame, seen=seen, now=now)
    for landing in (late, fresh):
        on_landing(dataset.name, landing)
    return PullReport(
        since=since,
        until=now,
        rows=raw.height,
        new=late.new + fresh.new,
        corrected=late.corrected + fresh.corrected,
        unchanged=late.unchanged + fresh.unchanged,
        late=late.new,
        outside=taken.observations.height - frame.height,
        rejected=taken.rejected,
        examples=taken.examples,
        duplicates=taken.duplicates,
        conflicting=taken.conflicting,
        watermark=_newest(seen, newest_of(frame)),
    )


def advance(conn: Connection, dataset: str, report: PullReport | None) -> None:
    """Move the watermark to what `report` has seen; it never moves back."""
    if report is not None and report.watermark is not None:
        watermarks.advance(conn, dataset, WATERMARK, report.watermark, now=report.until)


def columns_of(dataset: DatasetConfig) -> intake.Columns:
    """Return which columns of the source say what."""
    return intake.Columns(
        series=dataset.series_columns,
        timestamp=dataset.timestamp_column,
        value=dataset.value_column,
    )


def newest_of(frame: pl.DataFrame) -> datetime | None:
    """Return the last instant of OBSERVATIONS; None when there is none."""
    found = frame["timestamp"].max()
    return found if isinstance(found, datetime) else None


def _land(
    conn: Connection,
    dataset: str,
    frame: pl.DataFrame,
    *,
    seen: datetime | None,
    now: datetime,
) -> tuple[Landing, Landing]:
    # Rows of a first pull are history, not late.
    is_late = pl.lit(value=False) if seen is None else pl.col("timestamp") <= seen
    late = observations.land(conn, dataset, frame.filter(is_late), recorded_at=now)
    fresh = observations.land(conn, dataset, frame.filter(~is_late), recorded_at=now)
    return late, fresh


def _newest(seen: datetime | None, found: datetime | None) -> datetime | None:
    return max((instant for instant in (seen, found) if instant is not None), default=None)


def _source_url(engine: Engine, dataset: DatasetConfig) -> str:
    return dataset.source_url or engine.url.render_as_string(hide_password=False)
