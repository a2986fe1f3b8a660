"""Pull: read from the source what is new, and ingest it into our own observations.

What is new begins at the watermark less `delay` and `late_data`; `ingest_column` finds what was
written since then with older timestamps. The job `reconcile` reads all of `history` again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import polars as pl
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from forecaster.ingestion import normalize, remedies
from forecaster.ingestion.normalize import NormalizedRows
from forecaster.source import read
from forecaster.source.cursor import Cursor, Position, ReadPlan, plan_read
from forecaster.source.query import RowRange
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import Limit, limit_of
from forecaster.store.observations import observations
from forecaster.store.observations.observations import IngestResult
from jobs.execution.reports import PullReport
from jobs.stages.pull_progress import advance, reached
from jobs.stages.row_counts import RowCounts, newest
from jobs.stages.slices import slices

ROWS_AT_ONCE = 200_000
"""Ingested in one transaction: it takes about a second, and others wait five for a lock. A part is
some series, whose rows lie together in the table."""
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)

OnIngest = Callable[[str, IngestResult], None]


def run(
    engine: Engine,
    dataset: DatasetConfig,
    *,
    now: datetime,
    all_history: bool = False,
    needed_from: datetime | None = None,
    on_ingest: OnIngest = lambda _dataset, _result: None,
) -> PullReport | None:
    """Ingest the source rows up to `now`; None for a dataset without a query.

    Reads again from `delay` and `late_data` before the newest instant seen, so that late rows and
    corrections are found: ingesting twice changes nothing. With an `ingest_column`, also all rows
    written since, however old their timestamps are. With `all_history`, all of `history` is read
    again, for what came later still; likewise if rows are `needed_from` before all that was read.
    Long ranges are read in slices, and ingested in short transactions. `on_ingest` is called with
    each part after its commit. The caller advances the watermarks with `pull_progress.advance`,
    in the transaction that uses these rows.

    DataError where more than `max_rejected` of the rows cannot be used: before that slice of the
    history is ingested or, where only new rows were read, after ingesting the others. StageTimedOut
    when the limit of `engine` is over, reads included; for each slice of all of the history the
    limit starts again.
    """
    if dataset.query is None:
        return None
    url = dataset.source_url or engine.url.render_as_string(hide_password=False)
    limit = limit_of(engine) or Limit()
    origin = _Origin(dataset=dataset, url=url, limit=limit)
    scope = _scope(engine, origin, now, all_history=all_history, needed_from=needed_from)
    counts = RowCounts(seen=scope.seen, recent_from=scope.recent_from)
    read = partial(origin.read, scope)
    for since, until, rows in slices(read, scope.since, now, dataset.step, dataset.timezone):
        taken = normalized(rows, dataset, since=scope.recent_from)
        frame = taken.observations.filter(pl.col("timestamp").is_between(since, until))
        counts.add(rows.height, taken, frame)
        if scope.whole is not None:
            remedies.require_full(
                counts.batch(f"a pull of {dataset.name}", dataset.timestamp_format),
                dataset.max_rejected,
            )
        with reading(engine) as conn:
            differing = observations.differing(conn, dataset.name, frame)
        counts.ingested["unchanged"] += frame.height - differing.height
        for part in differing.iter_slices(ROWS_AT_ONCE):
            with writing(engine) as conn:
                result = observations.ingest(conn, dataset.name, part, recorded_at=now)
            counts.add_result(result)
            on_ingest(dataset.name, result)
        if scope.whole is not None:
            limit.renew()
    report = _report(counts, scope, now)
    if scope.whole is None:
        _require_newest(engine, dataset, counts, report)
    return report


def _require_newest(
    engine: Engine, dataset: DatasetConfig, counts: RowCounts, report: PullReport
) -> None:
    """Raise DataError if too many of the new rows were rejected; the watermarks advance before.

    So the next pull is checked by its own new rows only.
    """
    try:
        remedies.require_newest(
            counts.batch(f"a pull of {dataset.name}", dataset.timestamp_format),
            dataset.max_rejected,
        )
    except DataError:
        with writing(engine) as conn:
            advance(conn, dataset.name, report)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """What a pull reads, and why."""

    since: datetime
    seen: datetime | None
    whole: str | None
    after: Position | None = None
    overlap: datetime | None = None
    progress: Cursor | None = None

    @property
    def recent_from(self) -> datetime | None:
        """From when on losses count, a day before what is read; None where all of them do."""
        return None if self.whole else self.since - _DAY


def _scope(
    engine: Engine,
    origin: "_Origin",
    now: datetime,
    *,
    all_history: bool,
    needed_from: datetime | None,
) -> _Scope:
    dataset = origin.dataset
    with reading(engine) as conn:
        before = reached(conn, dataset.name)
    seen, start = before.newest, now - dataset.history
    first, step = needed_from or start, dataset.step.approximate
    is_older = first < (before.since or start) - step
    start = min(start, first)
    overlap, reason = start, "reconciliation" if all_history else None
    if seen is None:
        reason = "first pull"
    else:  # from before `start` only what was never read
        overlap = max(seen - dataset.delay - dataset.late_data, min(start, seen + _MICROSECOND))
        if is_older:
            reason = "older history is needed than was read so far"
    if dataset.ingest_column is None:
        return _Scope(since=start if reason else overlap, seen=seen, whole=reason)
    reach = origin.reach(before.ingested, RowRange(since=start, until=now))
    reason = reason or reach.full_read_reason
    return _Scope(
        since=start,
        seen=seen,
        whole=reason,
        after=None if reason else reach.after,
        overlap=overlap,
        progress=reach.cursor,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Where rows come from, and until when."""

    dataset: DatasetConfig
    url: str
    limit: Limit

    def reach(self, kept: Cursor | None, wanted: RowRange) -> ReadPlan:
        with self._in_time() as seconds:
            sight = read.read_state(
                self.dataset, self.url, wanted, patient=kept is None, within=seconds
            )
        return plan_read(kept, sight)

    def read(
        self, scope: _Scope, since: datetime, until: datetime, most: int | None
    ) -> pl.DataFrame:
        wanted = RowRange(
            since=since,
            until=until,
            odd=since == scope.since,  # once is enough to count them
            limit=most,
            after=scope.after,
            overlap=scope.overlap,
        )
        with self._in_time() as seconds:
            return read.read_rows(self.dataset, self.url, wanted, within=seconds)

    @contextmanager
    def _in_time(self) -> Iterator[float]:
        """Yield the seconds that are left; StageTimedOut for a read that needs more."""
        self.limit.check()
        with self.limit.converting():
            yield self.limit.remaining()


def _report(counts: RowCounts, scope: _Scope, now: datetime) -> PullReport:
    return PullReport(
        since=scope.since,
        until=now,
        rows=counts.rows,
        new=counts.ingested["new"],
        corrected=counts.ingested["corrected"],
        unchanged=counts.ingested["unchanged"],
        late=counts.late,
        outside=counts.outside,
        rejected=dict(counts.rejected),
        examples=counts.examples,
        duplicates=counts.duplicates,
        conflicting=counts.conflicting,
        watermark=newest(counts.seen, counts.newest),
        whole=scope.whole,
        progress=None if scope.progress is None else scope.progress.document(),
    )


def columns_of(dataset: DatasetConfig) -> normalize.Columns:
    """Return which columns of the source say what."""
    return normalize.Columns(
        series=dataset.series_columns,
        timestamp=dataset.timestamp_column,
        value=dataset.value_column,
        ends=dataset.timestamp_marks == "end",
    )


def normalized(
    rows: pl.DataFrame, dataset: DatasetConfig, *, since: datetime | None = None
) -> NormalizedRows:
    """Return what becomes of rows under the settings of a dataset; those before `since` are old."""
    return normalize.normalize(
        rows,
        columns_of(dataset),
        timezone=dataset.timezone,
        timestamp_format=dataset.timestamp_format,
        decimal=dataset.decimal,
        since=since,
    )
