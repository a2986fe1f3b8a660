"""Matured forecasts: those whose actuals are known.

When the last step of a lead is does not depend on the series: the timestamps of the steps say which
cutoffs of which models are due. Their forecasts are then read series by series, through the primary
key by series and cutoff; there is no other index.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, func, select, true

from forecaster.store.forecasts import slices
from forecaster.store.state import datasets
from forecaster.store.tables import accuracy, forecast_timestamps, forecasts

_KEY = ("series_id", "cutoff", "model_id")


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
    """Whether closed steps may be missing: the last one is then an earlier step."""

    @property
    def steps(self) -> range:
        """The steps of the lead, closed ones too."""
        return range(self.step_from, self.step_to + 1)

    def contains(self, instant: ColumnElement[datetime]) -> ColumnElement[bool]:
        """Return the condition that the instant of the last step lies in (after, until]."""
        until = instant <= self.until
        return until if self.after is None else until & (instant > self.after)

    def may_contain(self, rows: FromClause) -> ColumnElement[bool]:
        """Return the implied condition on the cutoff, for partition pruning and index scans."""
        until = rows.c.cutoff <= self.until - self.nearest
        return until if self.after is None else until & (rows.c.cutoff > self.after - self.farthest)


def read(conn: Connection, dataset: str, window: LeadWindow) -> pl.DataFrame:
    """Return QUANTILES of one lead: forecasts whose last step of it lies in the window.

    Left out: hindsight, and forecasts of which this lead was scored before.
    """
    return slices.quantiles(
        conn,
        dataset,
        of=_forecasts(conn, dataset, window),
        at=_steps(dataset, window),
        steps=window.steps,
    )


def _forecasts(conn: Connection, dataset: str, window: LeadWindow) -> Select[Any]:
    """Select what is due by descents of the key, one for each series and cutoff.

    OFFSET 0 keeps these steps apart. PostgreSQL, which cannot know how few rows there are, would
    rather read whole partitions.
    """
    due, owner = _due(dataset, window).subquery("due"), datasets.series_of(dataset).subquery("own")
    is_due = and_(
        forecasts.c.series_id == owner.c.id,
        forecasts.c.cutoff == due.c.cutoff,
        forecasts.c.model_id == due.c.model_id,
        window.may_contain(forecasts),
        ~forecasts.c.hindsight,
        forecasts.c.steps >= window.step_from,
        ~_is_scored(window),
    )
    query = select(*slices.columns(conn, window.steps)).where(is_due)
    if conn.dialect.name == "sqlite":
        return query
    of_each = query.offset(0).lateral("of_each")
    return select(*of_each.c).select_from(owner.join(due, true()).join(of_each, true()))


def _steps(dataset: str, window: LeadWindow) -> Select[Any]:
    """Select the open steps of the lead, with their timestamps, at the cutoffs that are due."""
    due, rows = _due(dataset, window).subquery(), forecast_timestamps
    return select(*(rows.c[name] for name in slices.TIMESTAMPS)).where(
        rows.c.model_id == due.c.model_id,
        rows.c.cutoff == due.c.cutoff,
        rows.c.step.between(window.step_from, window.step_to),
    )


def _due(dataset: str, window: LeadWindow) -> Select[Any]:
    """Select which cutoffs of which models have this lead behind them."""
    rows, last = forecast_timestamps, func.max(forecast_timestamps.c.step)
    ends = func.max(rows.c.timestamp, type_=rows.c.timestamp.type)
    whole = true() if window.has_closed else last == window.step_to
    return (
        select(rows.c.model_id, rows.c.cutoff)
        .where(
            rows.c.model_id.in_(datasets.models_of(dataset)),
            rows.c.step.between(window.step_from, window.step_to),
            window.may_contain(rows),
        )
        .group_by(rows.c.model_id, rows.c.cutoff)
        .having(window.contains(ends) & whole)
    )


def _is_scored(window: LeadWindow) -> ColumnElement[bool]:
    return (
        select(accuracy.c.lead)
        .where(
            accuracy.c.lead == window.lead,
            *(accuracy.c[name] == forecasts.c[name] for name in _KEY),
        )
        .exists()
    )
