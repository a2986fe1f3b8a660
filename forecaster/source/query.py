"""The query to a source: a dataset's own query, between two instants, as one SELECT.

`:since` and `:until` lie at least a step outside these instants, so that no sum over a step or a
day is cut.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import BindParameter, ColumnElement, Connection, Select, Subquery
from sqlalchemy.sql.elements import quoted_name

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from forecaster.source import high_water_mark, placeholders, predicates, text_order
from forecaster.source.cursor import Position, SourceState


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRange:
    """Which rows of a dataset are wanted."""

    since: datetime
    until: datetime
    odd: bool = True
    """Whether rows with missing or out-of-range timestamps are included, to be counted."""
    limit: int | None = None
    """How many rows at most, in no particular order."""
    after: Position | None = None
    """Only rows whose `ingest_column` is not below this, and those of `overlap`."""
    overlap: datetime | None = None
    """From when on rows are wanted whatever their `ingest_column`; with `after`."""
    arrivals: bool = False
    """Whether `ingest_column` is read too, if the dataset has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceQuery:
    """Which rows of which source are wanted, and how long to wait for them.

    With `look`, the high-water mark of `ingest_column`, or the privileges of the role and the types
    of the columns, are wanted in place of rows.
    """

    dataset: str
    url: str
    query: str
    series_columns: tuple[str, ...]
    timestamp_column: str
    value_column: str
    ingest_column: str | None
    timezone: str | None
    timestamp_format: str | None
    groups: bool
    """Whether the query has a GROUP BY."""
    margin: float
    """By how many seconds `:since` and `:until` lie outside what is wanted."""
    seconds: float
    """How long the answer may take."""
    wanted: RowRange
    look: Literal["patient", "quick", "shape"] | None = None

    @classmethod
    def of(
        cls, dataset: DatasetConfig, url: str, wanted: RowRange, *, within: float = math.inf
    ) -> "SourceQuery":
        """Return the query, to be answered within `read_timeout` and `within` seconds.

        DataError for a dataset without a query.
        """
        if dataset.query is None:
            raise DataError(
                f"dataset {dataset.name} has no query",
                hint=f"set query in [datasets.{dataset.name}], or use `forecaster ingest`",
            )
        return cls(
            dataset=dataset.name,
            url=url,
            query=dataset.query,
            series_columns=dataset.series_columns,
            timestamp_column=dataset.timestamp_column,
            value_column=dataset.value_column,
            ingest_column=dataset.ingest_column,
            timezone=dataset.timezone,
            timestamp_format=dataset.timestamp_format,
            groups=dataset.groups,
            margin=predicates.margin(dataset.step).total_seconds(),
            seconds=min(dataset.read_timeout.total_seconds(), within),
            wanted=wanted,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the answer, in their order."""
        columns = (*self.series_columns, self.timestamp_column, self.value_column)
        is_new = self.wanted.arrivals and self.ingest_column not in (None, *columns)
        return (*columns, str(self.ingest_column)) if is_new else columns

    @property
    def has_order(self) -> bool:
        """Whether text may sort chronologically, by the declared format."""
        declared = self.timestamp_format
        return declared is None or declared.startswith(("%Y-%m-%d", "%F"))

    def to_json(self) -> str:
        """Return the query as one line of JSON, its password included."""
        return json.dumps(asdict(self), default=datetime.isoformat)

    @classmethod
    def from_json(cls, text: str) -> "SourceQuery":
        """Undo `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        wanted = fields["wanted"]
        for name in ("since", "until", "overlap"):
            wanted[name] = wanted[name] and datetime.fromisoformat(wanted[name])
        fields["series_columns"] = tuple(fields["series_columns"])
        return cls(**{**fields, "wanted": RowRange(**wanted)})


def select_rows(conn: Connection, request: SourceQuery) -> Select[Any]:
    """Return the SELECT of the wanted rows.

    DataError when the query lacks a column, or compares text with `:since` that does not sort
    chronologically.
    """
    source, wanted = _source(conn, request), request.wanted
    if wanted.odd:
        _require_order(conn, request)
    timestamp = source.c[request.timestamp_column]

    def within(since: datetime, *, odd: bool) -> list[ColumnElement[bool]]:
        if not request.has_order:
            return []
        return predicates.within(
            conn, timestamp, since, wanted.until, timezone=request.timezone, odd=odd
        )

    conditions = within(wanted.since, odd=wanted.odd)
    if request.ingest_column is not None and wanted.after is not None:
        is_new = high_water_mark.from_on(conn, source.c[request.ingest_column], wanted.after)
        again = [] if wanted.overlap is None else within(wanted.overlap, odd=False)
        conditions.append(sa.or_(is_new, *again))
    return (
        sa.select(*(source.c[name] for name in request.columns))
        .where(*conditions)
        .limit(wanted.limit)
    )


def read_state(conn: Connection, request: SourceQuery) -> SourceState:
    """Return the high-water mark of `ingest_column`; DataError when there is no such column."""
    assert request.ingest_column is not None
    column = _source(conn, request).c[request.ingest_column]
    return high_water_mark.read_state(
        conn, column, request.dataset, patient=request.look == "patient"
    )


def types(conn: Connection, request: SourceQuery) -> dict[str, str | None]:
    """Return PostgreSQL's names of the types of the columns; None for a user-defined type."""
    source = _source(conn, request)
    columns = [source.c[name] for name in request.columns]
    return dict(
        zip(request.columns, predicates.declared_types(conn, sa.select(*columns)), strict=True)
    )


def _require_order(conn: Connection, request: SourceQuery) -> None:
    """Raise DataError where the query of a SQLite source loses rows by comparing text itself.

    Queries that group are left out: they return no rows of the source. In PostgreSQL `:since` and
    `:until` are instants, which text cannot be compared with.
    """
    _, used = placeholders.statement(request.query)
    if conn.dialect.name != "sqlite" or not used or request.groups:
        return
    name, wanted = request.timestamp_column, request.wanted

    def compared(since: datetime, until: datetime) -> ColumnElement[Any]:
        own = predicates.for_parameters("sqlite", since, until)
        return _source(conn, request, own).c[name]

    everything = _source(conn, request, predicates.without_end()).c[name]
    between = (wanted.since, wanted.until)
    text_order.require_order(conn, everything, compared, between, request.timezone)


def _source(
    conn: Connection, request: SourceQuery, own: Mapping[str, BindParameter[Any]] | None = None
) -> Subquery:
    """Return the query, with `own` values of its parameters."""
    statement, used = placeholders.statement(request.query)
    if own is None:
        margin = timedelta(seconds=request.margin)
        since, until = request.wanted.since - margin, request.wanted.until + margin
        own = predicates.for_parameters(conn.dialect.name, since, until)
    statement = statement.bindparams(*(own[name] for name in sorted(used)))
    _require_columns(request, _columns_of(conn, statement))
    ingest = () if request.ingest_column is None else (request.ingest_column,)
    names = dict.fromkeys((*request.columns, *ingest))
    columns: list[sa.ColumnClause[Any]] = [sa.column(quoted_name(name, True)) for name in names]
    return statement.columns(*columns).subquery("source")


def _columns_of(conn: Connection, statement: sa.TextClause) -> list[str]:
    everything = sa.select(sa.text("*")).select_from(statement.columns().subquery("source"))
    return list(conn.execute(everything.limit(0)).keys())


def _require_columns(request: SourceQuery, returned: Sequence[str]) -> None:
    settings = {
        "timestamp_column": (request.timestamp_column,),
        "value_column": (request.value_column,),
        "series_columns": request.series_columns,
        "ingest_column": () if request.ingest_column is None else (request.ingest_column,),
    }
    missing = [(name, setting) for setting, names in settings.items() for name in names
               if name not in returned]  # fmt: skip
    if not missing:
        return
    listed = ", ".join(f"'{name}'" for name, _ in missing)
    raise DataError(
        f"query of dataset {request.dataset} does not return {listed}; "
        f"it returns {', '.join(returned)}",
        hint="; ".join(_suggestion(name, setting, returned) for name, setting in missing),
    )


def _suggestion(name: str, setting: str, returned: Sequence[str]) -> str:
    near = get_close_matches(name.lower(), [column.lower() for column in returned], n=1)
    likely = next((column for column in returned if [column.lower()] == near), None)
    if likely is None:
        return f"set {setting}, or name a column AS {name}"
    value = f'["{likely}"]' if setting == "series_columns" else f'"{likely}"'
    return f"did you mean {setting} = {value}?"
