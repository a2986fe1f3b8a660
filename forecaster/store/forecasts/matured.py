"""Matured forecasts: those whose actuals are known.

They are read series by series, through the primary key by series and cutoff: a later forecast of an
instant has a cutoff before that instant, so the key finds it, and there is no other index. Closed
steps have no row, so which is the last row of a lead is queried, not computed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, select, true

from forecaster.schemas import DEVIATION_COLUMNS, INSTANT, QUANTILE_COLUMNS
from forecaster.store.connection.bulk import read_frame
from forecaster.store.state import datasets
from forecaster.store.tables import accuracy, forecasts

MATURED = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "model_id": pl.Int32(),
        "step": pl.Int32(),
        "timestamp": INSTANT,
        "status": pl.String(),
        **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64()),
    }
)
"""Forecasts to score, sorted by series_id, cutoff, model_id and step."""

_STORED = {
    **{name: MATURED[name] for name in ("cutoff", "model_id", "step", "timestamp", "status")},
    "id": pl.Int32(),
    "level": pl.Float64(),
    **dict.fromkeys(DEVIATION_COLUMNS, pl.Float64()),
}
_KEY = ("series_id", "cutoff", "model_id")
_LAST, _LATER = forecasts.alias("last"), forecasts.alias("later")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadWindow:
    """The steps of one lead, and when the last of them has to lie."""

    lead: str
    step_from: int
    step_to: int
    nearest: timedelta
    """The last step is at least this far from the cutoff: it leaves few cutoffs to look at."""
    farthest: timedelta
    after: datetime | None
    until: datetime
    has_closed: bool = False
    """Whether closed steps may be missing: the last row is then that of an earlier step."""

    def contains(self, rows: FromClause) -> ColumnElement[bool]:
        """Return the condition that a row of the last step lies in (after, until]."""
        until = (rows.c.timestamp <= self.until) & self.may_contain(rows)
        return until if self.after is None else until & (rows.c.timestamp > self.after)

    def may_contain(self, rows: FromClause) -> ColumnElement[bool]:
        """Return the implied condition on the cutoff, for partition pruning and index scans."""
        until = rows.c.cutoff <= self.until - self.nearest
        return until if self.after is None else until & (rows.c.cutoff > self.after - self.farthest)


def read(conn: Connection, dataset: str, window: LeadWindow) -> pl.DataFrame:
    """Return MATURED of one lead: forecasts whose last step of it lies in the window.

    Left out: hindsight, and forecasts of which this lead was scored before.
    """
    rows = read_frame(conn, _rows(conn, datasets.series_of(dataset), window), _STORED)
    quantiles = [
        (pl.col("level") + pl.col(deviation)).alias(quantile)
        for quantile, deviation in zip(QUANTILE_COLUMNS, DEVIATION_COLUMNS, strict=True)
    ]
    return (
        rows.join(datasets.keys(conn, dataset), on="id")
        .sort("rank", "cutoff", "model_id", "step")
        .with_columns(*quantiles, series_id=pl.col("key"))
        .select(MATURED.names())
    )


def _rows(conn: Connection, owners: Select[int], window: LeadWindow) -> Select[Any]:
    """Select the rows of what is due by descents of the key: of each series, then each forecast.

    OFFSET 0 keeps these steps apart. PostgreSQL, which cannot know how few rows there are, would
    rather read whole partitions.
    """
    columns = [forecasts.c["series_id" if name == "id" else name].label(name) for name in _STORED]
    if conn.dialect.name == "sqlite":
        due = _due(window).where(_LAST.c.series_id.in_(owners)).offset(0).subquery("due")
        return select(*columns).select_from(due.join(forecasts, _belongs(due, window)))
    owner = owners.subquery("each")
    of_one = _due(window).where(_LAST.c.series_id == owner.c.id).offset(0).lateral("due")
    rows = select(*columns).where(_belongs(of_one, window)).offset(0).lateral("rows")
    return select(rows).select_from(owner.join(of_one, true()).join(rows, true()))


def _due(window: LeadWindow) -> Select[Any]:
    """Select which forecasts of which series have this lead behind them."""
    scored = select(accuracy.c.lead).where(
        accuracy.c.lead == window.lead, *(accuracy.c[name] == _LAST.c[name] for name in _KEY)
    )
    return select(*(_LAST.c[name] for name in _KEY)).where(
        _is_last(window),
        ~_LAST.c.hindsight,
        window.contains(_LAST),
        ~scored.exists(),
    )


def _is_last(window: LeadWindow) -> ColumnElement[bool]:
    """Return the condition that a row is the last one of the lead."""
    if not window.has_closed:
        return _LAST.c.step == window.step_to
    later = select(_LATER.c.step).where(
        *(_LATER.c[name] == _LAST.c[name] for name in _KEY),
        _LATER.c.step.between(_LAST.c.step + 1, window.step_to),
    )
    return _LAST.c.step.between(window.step_from, window.step_to) & ~later.exists()


def _belongs(due: FromClause, window: LeadWindow) -> ColumnElement[bool]:
    return and_(
        *(forecasts.c[name] == due.c[name] for name in _KEY),
        forecasts.c.step.between(window.step_from, window.step_to),
        window.may_contain(forecasts),
    )
