"""What is asked of a source: a dataset's own query, between two instants, as one SELECT."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Select
from sqlalchemy.sql.elements import quoted_name

from forecaster.config import DatasetConfig
from forecaster.errors import DataError
from forecaster.store import bounds, placeholders


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which rows of which source are wanted, and how long to wait for them."""

    dataset: str
    url: str
    query: str
    series_columns: tuple[str, ...]
    timestamp_column: str
    value_column: str
    timezone: str | None
    since: datetime
    until: datetime
    seconds: float
    """How long the read may take."""
    odd: bool
    """Whether rows whose timestamps lie nowhere in time come along, so that they are counted."""
    limit: int | None

    @classmethod
    def of(
        cls,
        dataset: DatasetConfig,
        url: str,
        *,
        since: datetime,
        until: datetime,
        odd: bool = True,
        limit: int | None = None,
    ) -> "Question":
        """Return the question; DataError for a dataset without a query."""
        if dataset.query is None:
            raise DataError(
                f"dataset {dataset.name} must have a query, found none",
                hint=f"set query in [datasets.{dataset.name}], or run `forecaster ingest`",
            )
        return cls(
            dataset=dataset.name,
            url=url,
            query=dataset.query,
            series_columns=dataset.series_columns,
            timestamp_column=dataset.timestamp_column,
            value_column=dataset.value_column,
            timezone=dataset.timezone,
            since=since,
            until=until,
            seconds=dataset.read_timeout.total_seconds(),
            odd=odd,
            limit=limit,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the answer, in their order."""
        return (*self.series_columns, self.timestamp_column, self.value_column)

    def to_json(self) -> str:
        """Return the question as one line of JSON, its password included."""
        instants = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return json.dumps(asdict(self) | instants)

    @classmethod
    def from_json(cls, text: str) -> "Question":
        """Undo `to_json`."""
        found: dict[str, Any] = json.loads(text)
        for name in ("since", "until"):
            found[name] = datetime.fromisoformat(found[name])
        found["series_columns"] = tuple(found["series_columns"])
        return cls(**found)


def select_rows(conn: Connection, asked: Question) -> Select[Any]:
    """Return the SELECT of the wanted rows; DataError when the query lacks a column."""
    statement, used = placeholders.statement(asked.query)
    own = bounds.for_parameters(conn.dialect.name, asked.since, asked.until)
    statement = statement.bindparams(*(own[name] for name in sorted(used)))
    _require_columns(asked, _columns_of(conn, statement))
    source = statement.columns(*map(_exact, asked.columns)).subquery("source")
    within = bounds.within(
        conn,
        source.c[asked.timestamp_column],
        asked.since,
        asked.until,
        timezone=asked.timezone,
        odd=asked.odd,
    )
    return sa.select(*source.c).where(*within).limit(asked.limit)


def _exact(name: str) -> sa.ColumnClause[Any]:
    return sa.column(quoted_name(name, True))


def _columns_of(conn: Connection, statement: sa.TextClause) -> list[str]:
    everything = sa.select(sa.text("*")).select_from(statement.columns().subquery("source"))
    return list(conn.execute(everything.limit(0)).keys())


def _require_columns(asked: Question, found: Sequence[str]) -> None:
    settings = {
        "timestamp_column": (asked.timestamp_column,),
        "value_column": (asked.value_column,),
        "series_columns": asked.series_columns,
    }
    missing = [(name, setting) for setting, names in settings.items() for name in names
               if name not in found]  # fmt: skip
    if not missing:
        return
    listed = ", ".join(f"'{name}'" for name, _ in missing)
    raise DataError(
        f"query of dataset {asked.dataset} must have columns {listed}, found {', '.join(found)}",
        hint="; ".join(_suggestion(name, setting, found) for name, setting in missing),
    )


def _suggestion(name: str, setting: str, found: Sequence[str]) -> str:
    near = get_close_matches(name.lower(), [column.lower() for column in found], n=1)
    likely = next((column for column in found if [column.lower()] == near), None)
    if likely is None:
        return f"set {setting}, or name a column AS {name}"
    value = f'["{likely}"]' if setting == "series_columns" else f'"{likely}"'
    return f"did you mean {setting} = {value}?"
