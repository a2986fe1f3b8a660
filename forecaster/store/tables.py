"""The tables. Users query the views instead, which the migrations define."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from forecaster.schemas import DEVIATION_COLUMNS, PART_COLUMNS
from forecaster.store.column_types import Double, Flag, Instant, Json, Long, RealArray

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}

RUN_STATES = ("running", "succeeded", "failed", "missed")

_PACKED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
"""Stored in the order of the primary key: for many small rows."""
_BY_CUTOFF: dict[str, Any] = {"postgresql_partition_by": "RANGE (cutoff)", **_PACKED}
"""On PostgreSQL in partitions, which the module of that name makes and drops."""


def _one_of(column: str, words: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def _finite_checks(column: str) -> tuple[sa.CheckConstraint, sa.CheckConstraint]:
    """One for each dialect; PostgreSQL orders NaN above Infinity, SQLite stores NaN as null."""
    return (
        sa.CheckConstraint(
            f"{column} > '-Infinity' AND {column} < 'Infinity'", name=f"{column}_finite"
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint(
            f"{column} > -9e999 AND {column} < 9e999", name=f"{column}_finite"
        ).ddl_if(dialect="sqlite"),
    )


def _parent(name: str, target: str, *, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        name, sa.Integer, sa.ForeignKey(target), primary_key=primary_key, nullable=False
    )


def _owner(name: str) -> sa.Column[int]:
    """Part of a key; no foreign key, which would make bulk writes four times slower.

    The referenced rows are never deleted.
    """
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)


def _measure(name: str, kind: TypeEngine[Any] = Double) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


metadata = sa.MetaData(naming_convention=NAMING)

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("landed_at", Instant),
    sa.Column("newest_observation", Instant),
    sa.Column("config", Json),
    sqlite_strict=True,
)
"""The greatest `recorded_at` and the greatest `timestamp` of all observations it ever had, and
the settings that the service last ran with, without secrets."""

series = sa.Table(
    "series",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _parent("dataset_id", "datasets.id"),
    sa.Column("key", sa.Text, nullable=False),
    sa.UniqueConstraint("dataset_id", "key"),
    sqlite_strict=True,
)

observations = sa.Table(
    "observations",
    metadata,
    _owner("series_id"),
    sa.Column("timestamp", Instant, primary_key=True),
    sa.Column("recorded_at", Instant, primary_key=True),
    sa.Column("value", Double),
    *_finite_checks("value"),
    **_PACKED,
)
"""Versions: the greatest `recorded_at` of a timestamp counts; null retracts a value."""

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _parent("dataset_id", "datasets.id"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("config", Json, nullable=False),
    sa.Column("weights", sa.LargeBinary),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("scores", Json, nullable=False),
    sa.Column("parent_id", sa.Integer, sa.ForeignKey("models.id")),
    sa.Column("trained_from", Instant, nullable=False),
    sa.Column("trained_to", Instant, nullable=False),
    sa.Column("promoted_at", Instant),
    sa.Column("retired_at", Instant),
    sa.Column("reason", sa.Text),
    sa.Column("damaged_at", Instant),
    sqlite_strict=True,
)
"""The champion was promoted and not retired. Pruned models keep their row but no weights."""

_IN_SERVICE = sa.and_(models.c.promoted_at.is_not(None), models.c.retired_at.is_(None))
sa.Index(
    "uq_models_champion",
    models.c.dataset_id,
    unique=True,
    sqlite_where=_IN_SERVICE,
    postgresql_where=_IN_SERVICE,
)

forecasts = sa.Table(
    "forecasts",
    metadata,
    _owner("series_id"),
    sa.Column("cutoff", Instant, primary_key=True),
    _owner("model_id"),
    sa.Column("issued_at", Instant, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("hindsight", Flag, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    _measure("level"),
    _measure("parts", RealArray),
    _measure("deviations", RealArray),
    *_finite_checks("level"),
    postgresql_partition_by="RANGE (cutoff)",
    sqlite_strict=True,
)
"""A row for all `steps`: element [step][n] is that of a step, which is 1 or more, in the order of
PART_COLUMNS and DEVIATION_COLUMNS. On SQLite a JSON array of arrays."""

forecast_timestamps = sa.Table(
    "forecast_timestamps",
    metadata,
    _parent("model_id", "models.id", primary_key=True),
    sa.Column("cutoff", Instant, primary_key=True),
    sa.Column("timestamp", Instant, primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
    **_PACKED,
)
"""When the steps of a model's forecasts are, for all series: closed steps have no row."""

forecast_steps = sa.Table(
    "forecast_steps",
    sa.MetaData(),
    *(
        sa.Column(column.name, column.type)
        for column in forecasts.c
        if column.name not in ("steps", "parts", "deviations")
    ),
    sa.Column("step", sa.Integer),
    sa.Column("timestamp", Instant),
    *(sa.Column(name, sa.REAL) for name in (*PART_COLUMNS, *DEVIATION_COLUMNS)),
)
"""A view: one row for each series, cutoff, model and open step, with the numbers as columns."""

attention = sa.Table(
    "attention",
    metadata,
    _owner("series_id"),
    sa.Column("cutoff", Instant, primary_key=True),
    _owner("model_id"),
    sa.Column("step_from", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("step_to", sa.Integer, nullable=False),
    _measure("weights", RealArray),
    sa.CheckConstraint("step_from >= 1 AND step_to >= step_from", name="steps"),
    **_BY_CUTOFF,
)

attention_patches = sa.Table(
    "attention_patches",
    metadata,
    _parent("dataset_id", "datasets.id", primary_key=True),
    sa.Column("cutoff", Instant, primary_key=True),
    _parent("model_id", "models.id", primary_key=True),
    sa.Column("patch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("context_from", Instant, nullable=False),
    sa.Column("context_to", Instant, nullable=False),
    sa.CheckConstraint("patch >= 1", name="patch"),
    sa.CheckConstraint("context_to >= context_from", name="context"),
    **_PACKED,
)

accuracy = sa.Table(
    "accuracy",
    metadata,
    _owner("series_id"),
    sa.Column("cutoff", Instant, primary_key=True),
    _owner("model_id"),
    sa.Column("lead", sa.Text, primary_key=True),
    sa.Column("scored_at", Instant, nullable=False),
    _measure("points", sa.Integer()),
    *(
        _measure(name)
        for name in (
            "absolute_error", "seasonal_naive_error", "bias", "pinball", "absolute_actual",
            "scale",
        )
    ),
    *(_measure(name, sa.Integer()) for name in ("covered_50", "covered_80", "covered_95")),
    _measure("width_80"),
    **_BY_CUTOFF,
)  # fmt: skip

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    _parent("dataset_id", "datasets.id"),
    sa.Column("tick", Instant, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    sa.Column("report", Json),
    sa.Column("error", sa.Text),
    sa.Column("hint", sa.Text),
    sa.Column("token", Long),
    sa.Column("progress", sa.REAL),
    _one_of("state", RUN_STATES),
    sa.UniqueConstraint("job", "dataset_id", "tick"),
    sqlite_strict=True,
)
"""`token` is that of the lease under which the attempt was claimed, `progress` goes to 1."""
sa.Index(None, runs.c.dataset_id, runs.c.token)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("token", Long, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.UniqueConstraint("name", "token"),
    **_PACKED,
)
"""The second key makes a change of the token wait for those who hold it by FOR KEY SHARE."""

watermarks = sa.Table(
    "watermarks",
    metadata,
    _parent("dataset_id", "datasets.id", primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("instant", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("state", Json),
    **_PACKED,
)
