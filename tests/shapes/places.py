"""Datasets of odd shape: a source or a file, a healthy series beside the sick ones, and a model."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Engine

from forecaster.schemas import INSTANT
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from jobs import ingest, retrain
from jobs.execution.reports import ForecastReport, IngestReport, PullReport
from jobs.retrain import Challenger
from jobs.stages import pull, pull_progress
from tests.jobs.small import DATASET, LAST, World, hour, query, rows

Road = Literal["pull", "ingest"]
Row = tuple[Any, Any, Any]
"""Key, timestamp and value."""

HEALTHY = "healthy"
NUMBERS = ("q025", "q05", "q10", "q20", "q30", "q40", "q50", "q60", "q70", "q80", "q90", "q95",
           "q975")  # fmt: skip
_FRAME_KINDS: Mapping[str, pl.DataType] = {
    "timestamptz": INSTANT,
    "timestamp": pl.Datetime("us"),
    "date": pl.Date(),
    "text": pl.String(),
    "double precision": pl.Float64(),
    "bigint": pl.Int64(),
    "numeric(20,0)": pl.Decimal(20, 0),
    "numeric(20,2)": pl.Decimal(20, 2),
    "boolean": pl.Boolean(),
    "bytea": pl.Binary(),
}


class Kinds(NamedTuple):
    """How a source declares its columns."""

    timestamp: str = "timestamptz"
    value: str = "double precision"
    key: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of rows, those of the healthy series not counted."""

    rows: int
    new: int
    corrected: int
    unchanged: int
    duplicates: int
    conflicting: int
    rejected: dict[str, int]
    outside: int

    @property
    def lost(self) -> int:
        """Rows of which nobody can say what became."""
        landed = self.new + self.corrected + self.unchanged
        known = landed + self.duplicates + self.conflicting + self.outside
        return self.rows - known - sum(self.rejected.values())


def healthy() -> list[Row]:
    return list(rows(HEALTHY, 0, LAST).iter_rows())


def series(key: str, values: Sequence[float | None], *, last: int = LAST) -> list[Row]:
    """Rows of one value an hour; the last one at hour `last`."""
    first = last - len(values) + 1
    return [(key, hour(first + place), value) for place, value in enumerate(values)]


@dataclass(kw_only=True)
class Place:
    """One dataset in a database, where rows arrive by one road."""

    engine: Engine
    road: Road
    kinds: Kinds = field(default_factory=Kinds)
    clock: ZoneInfo | None = None
    """Whose wall clock rows are stamped with; None: in UTC, and it is said."""
    name: str = field(default_factory=lambda: f"shapes_{uuid.uuid4().hex[:10]}")
    now: datetime = hour(LAST) + timedelta(seconds=1)
    _is_open: bool = False
    world: World = field(init=False)

    def __post_init__(self) -> None:
        source = f"SELECT station AS series_id, at AS timestamp, reading AS value FROM {self.name}"
        dataset = replace(DATASET, name=self.name, query=source if self.road == "pull" else None)
        self.world = World(engine=self.engine, dataset=dataset)

    def declare(self, **settings: Any) -> None:
        """Change settings of the dataset."""
        self.world.dataset = replace(self.world.dataset, **settings)

    def stamp(self, zone: str, kind: str) -> None:
        """Let the rows be stamped on the wall clock of a zone, in a column of that kind."""
        self.clock, self.kinds = ZoneInfo(zone), self.kinds._replace(timestamp=kind)
        self.declare(timezone=zone, history=timedelta(days=20 * 365))

    def bring(self, sick: Sequence[Row], *, alone: bool = False) -> Account:
        """Let rows arrive and land them; the first ones come with those of the healthy series."""
        company = [] if self._is_open or alone else healthy()
        report = (
            self._pulled(company, sick) if self.road == "pull" else self._ingested(company, sick)
        )
        account = Account(
            rows=report.rows - len(company),
            new=report.new - len(company),
            corrected=report.corrected,
            unchanged=report.unchanged,
            duplicates=report.duplicates,
            conflicting=report.conflicting,
            rejected=dict(report.rejected),
            outside=report.outside if isinstance(report, PullReport) else 0,
        )
        assert set(report.examples) == set(report.rejected)
        return account

    def arrive(self, sick: Sequence[Row]) -> None:
        """Write rows to the source, and land none."""
        with writing(self.engine) as conn:
            if not self._is_open:
                conn.exec_driver_sql(self._table())
            mark = "?" if conn.dialect.name == "sqlite" else "%s"
            if sick:
                statement = f"INSERT INTO {self.name} VALUES ({mark}, {mark}, {mark})"
                conn.exec_driver_sql(statement, [self._stored(row) for row in sick])
        self._is_open = True

    def alter(self, statement: str, *values: Any) -> None:
        """Run a statement on the source; `?` stands for values, `{}` for the table."""
        with writing(self.engine) as conn:
            mark = "?" if conn.dialect.name == "sqlite" else "%s"
            text = statement.format(self.name).replace("?", mark)
            conn.exec_driver_sql(text, self._stored(values))

    def pull(self, *, whole: bool = False) -> PullReport:
        """Land what the source holds, and move the watermark."""
        report = pull.run(self.engine, self.world.dataset, now=self.now, all_history=whole)
        assert report is not None
        with writing(self.engine) as conn:
            pull_progress.advance(conn, self.name, report)
        return report

    def forecast(self, at: int = LAST) -> ForecastReport:
        report = self.world.tick("forecast", hour(at)).report
        assert isinstance(report, ForecastReport), self.world.outcomes[-1]
        return report

    def landed(self, key: str | None = None) -> list[tuple[Any, ...]]:
        """What is known of a series as (timestamp, value), or of all as (key, timestamp, value)."""
        with reading(self.engine) as conn:
            found = observations.read(conn, self.name, series=key)
        return found.rows() if key is None else found.drop("series_id").rows()

    def forecasts(self) -> dict[str, list[tuple[float, ...]]]:
        """Quantiles of each step from the newest cutoff, by series."""
        newest = f"SELECT max(cutoff) FROM all_forecasts WHERE dataset = '{self.name}'"
        statement = (
            f"SELECT series_id, {', '.join(NUMBERS)} FROM all_forecasts "
            f"WHERE dataset = '{self.name}' AND cutoff = ({newest}) ORDER BY step"
        )
        found: dict[str, list[tuple[float, ...]]] = {}
        for series_id, *numbers in query(self.engine, statement):
            found.setdefault(str(series_id), []).append(tuple(numbers))  # type: ignore[arg-type]
        return found

    def adopt(self, challenger: Challenger) -> None:
        """Put a model in service that was trained elsewhere."""
        with writing(self.engine) as conn:
            retrain.promote(conn, self.name, challenger, now=hour(LAST))

    def _pulled(self, company: Sequence[Row], sick: Sequence[Row]) -> PullReport:
        self.arrive([*company, *sick])
        return self.pull()

    def _ingested(self, company: Sequence[Row], sick: Sequence[Row]) -> IngestReport:
        self._is_open = True
        names = ("series_id", "timestamp", "value")
        kinds = (self.kinds.key, self.kinds.timestamp, self.kinds.value)
        schema = {name: _FRAME_KINDS[kind] for name, kind in zip(names, kinds, strict=True)}
        frame = pl.DataFrame(
            [self._spelled(row) for row in (*company, *sick)], schema=schema, orient="row"
        )
        content = BytesIO()
        frame.write_parquet(content)
        content.seek(0)
        dataset = self.world.dataset
        return ingest.run(self.engine, dataset, content, file_format="parquet", now=self.now)

    def _table(self) -> str:
        typed = self.engine.dialect.name == "postgresql"
        kinds = (self.kinds.key, self.kinds.timestamp, self.kinds.value) if typed else ("",) * 3
        columns = zip(("station", "at", "reading"), kinds, strict=True)
        return f"CREATE TABLE {self.name} ({', '.join(f'{name} {kind}' for name, kind in columns)})"

    def _stored(self, values: Sequence[Any]) -> tuple[Any, ...]:
        typed = self.engine.dialect.name == "postgresql"
        kept = self._spelled(values)
        return kept if typed else tuple(map(_as_text, kept))

    def _spelled(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Put instants on the clock, and turn all into text where the columns hold text."""
        instants, numbers = self.kinds.timestamp == "text", self.kinds.value == "text"
        values = [
            value.astimezone(self.clock).replace(tzinfo=None)
            if self.clock and isinstance(value, datetime) and value.tzinfo
            else value
            for value in values
        ]
        return tuple(
            _as_text(value)
            if instants and isinstance(value, datetime)
            else repr(value)
            if numbers and isinstance(value, float)
            else value
            for value in values
        )


def _as_text(value: Any) -> Any:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else value


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def is_finite(forecasts: Mapping[str, Sequence[Sequence[float]]]) -> bool:
    return all(
        math.isfinite(number) for steps in forecasts.values() for step in steps for number in step
    )
