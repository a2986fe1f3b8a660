"""Score what matured while a backfill ran, which the job `score` may have skipped."""

from datetime import datetime, timedelta

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.store.connection.engine import reading, writing
from forecaster.store.forecasts import accuracy as scores
from forecaster.store.forecasts import backfills
from forecaster.store.maintenance import partitions
from forecaster.store.observations import versions
from forecaster.store.state import watermarks
from forecaster.times.durations import MICROSECOND
from jobs import score
from jobs.stages import matured

SETTLED = "backfill"
"""The watermark up to which what backfills wrote is scored."""
_COMMITTING = timedelta(hours=1)
"""How long after its finish time a tick may still be uncommitted."""
_AT_ONCE = timedelta(days=1)


def settle_all(
    engine: Engine,
    dataset: DatasetConfig,
    retention: RetentionConfig,
    *,
    begun: datetime,
    now: datetime,
) -> int:
    """Score what was backfilled since `begun`, and by earlier backfills that were killed."""
    with reading(engine) as conn:
        settled = watermarks.get(conn, dataset.name, SETTLED)
        unsettled = None if settled is None else settled - _COMMITTING
        oldest = backfills.oldest_start(conn, dataset.name, finished_after=unsettled)
    if oldest is None:
        return 0
    rows = settle(engine, dataset, retention, since=min(begun, oldest), now=now)
    with writing(engine) as conn:
        watermarks.advance(conn, dataset.name, SETTLED, now, now=now)
    return rows


def settle(
    engine: Engine,
    dataset: DatasetConfig,
    retention: RetentionConfig,
    *,
    since: datetime,
    now: datetime,
) -> int:
    """Score what matured after what was known at `since`; return how many rows of ACCURACY."""
    name, floor, reported = dataset.name, dataset.forecast_schedule.floor, set[int]()
    with reading(engine) as conn:
        after, end = (score.known_until(conn, dataset, floor(instant)) for instant in (since, now))
        newest = versions.newest_known(conn, name, since)
        lags = [grid.lag for grid in matured.grids_of(conn, name, reported).values()]
    after = after if newest is None else min(after, newest)
    after -= max(lags, default=timedelta(0)) + MICROSECOND  # what waited for its last cell
    width, rows = max(_AT_ONCE, dataset.forecast_schedule.shortest), 0
    while after < end:
        until = min(end, after + width)
        span = matured.Span(after=after, until=until, known=end)
        with reading(engine) as conn:
            cases, _ = matured.read(conn, dataset, span, tick=floor(now), reported=reported)
        steps = dataset.prediction_length
        frames = [(case.model_id, score.score_case(case, steps)) for case in cases]
        cutoffs = {cutoff for _, frame in frames for cutoff in frame["cutoff"].unique()}
        partitions.ensure(engine, retention, ("accuracy",), cutoffs)
        with writing(engine) as conn:
            for model_id, frame in frames:
                rows += scores.write(conn, name, model_id, frame, scored_at=now).height
        after = until
    return rows
