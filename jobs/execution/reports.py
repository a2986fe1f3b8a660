"""What a job reports of its run: plain numbers for the run row, the log line and telemetry."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullReport:
    """What one pull read from the source and ingested."""

    since: datetime
    until: datetime
    rows: int
    """Read from the source: what is new, corrected, unchanged, outside, rejected or repeats."""
    new: int
    corrected: int
    unchanged: int
    late: int
    """New rows at or before the newest instant seen by an earlier pull."""
    outside: int
    """Rows before `since` or after `until`, where the source could not leave them out."""
    rejected: Mapping[str, int]
    examples: Mapping[str, str]
    duplicates: int
    conflicting: int
    watermark: datetime | None
    """Newest instant seen so far; the next pull reads `delay` and `late_data` before it again."""
    whole: str | None = None
    """Why all of `history` was read; None when only what is new was."""
    progress: Mapping[str, Any] | None = None
    """How far `ingest_column` was read, as the next pull needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastReport:
    """One tick of forecasts; `rows` are forecast rows, `stages` seconds."""

    job: ClassVar[str] = "forecast"
    dataset: str
    tick: datetime
    cutoff: datetime
    model_id: int
    trained_to: datetime
    """Up to when the model has seen data."""
    known_to: datetime | None
    """Everything ingested up to then was known, nothing since; None before the first ingestion."""
    series: int
    rows: int
    attention_rows: int
    statuses: Mapping[str, int]
    """Series by status of their forecast."""
    skipped: Mapping[str, int]
    skipped_series: Mapping[str, str]
    """Some of the skipped series and why."""
    newest_observation: datetime | None
    panel: Mapping[str, int]
    """Cells merged, off the grid, non-finite and missing in the context."""
    pull: PullReport | None
    stages: Mapping[str, float]
    hindsight: int = 0
    """Series forecast by a model that had seen what came after the cutoff."""
    is_fallback: bool = False
    """Whether an earlier model served, as the champion cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainReport:
    """One training; scores are those of the validation windows."""

    job: ClassVar[str] = "retrain"
    dataset: str
    tick: datetime
    model_id: int
    decision: Literal["promoted", "kept"]
    reason: str
    series: int
    observations: int
    trained_from: datetime
    trained_to: datetime
    season_length: int
    scores: Mapping[str, float]
    train_loss: float
    steps: int
    train_seconds: float
    windows_per_second: float
    device: str
    notes: tuple[str, ...]
    """Deviations from the plan of the training, or that a naive forecast serves."""
    pull: PullReport | None
    stages: Mapping[str, float]
    opening_hours: str = ""
    """Empty is always open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadAccuracy:
    """Accuracy over the points of one lead; NaN where its denominator is 0."""

    lead: str
    points: int
    mase: float
    seasonal_naive_mase: float
    skill: float
    """1 - absolute error over that of seasonal_naive on the same points."""
    wql: float
    bias: float
    coverage_50: float
    coverage_80: float
    coverage_95: float
    width_80: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReport:
    """Forecasts that matured since the last run, compared with actual values."""

    job: ClassVar[str] = "score"
    dataset: str
    tick: datetime
    matured_to: datetime
    points: int
    rows: int
    leads: tuple[LeadAccuracy, ...]
    stages: Mapping[str, float]
    notes: tuple[str, ...] = ()
    """What was scored differently, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What was deleted, and which partitions were created ahead."""

    job: ClassVar[str] = "prune"
    dataset: str
    tick: datetime
    deleted: Mapping[str, int]
    """Rows by table. Of tables in partitions: those of all datasets, large ones by statistics."""
    partitions: Mapping[str, int] = field(default_factory=dict)
    """How many were created ahead, dropped, and not dropped because they were in use."""
    pages_given_back: int = 0
    """By which a SQLite file shrank."""
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What was ingested from one file."""

    job: ClassVar[str] = "ingest"
    dataset: str
    rows: int
    new: int
    corrected: int
    unchanged: int
    rejected: Mapping[str, int]
    examples: Mapping[str, str]
    duplicates: int
    conflicting: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileReport:
    """One reading of all of the history; no pull if it was all read since the tick."""

    job: ClassVar[str] = "reconcile"
    dataset: str
    tick: datetime
    pull: PullReport | None
    stages: Mapping[str, float]


JobReport = ForecastReport | RetrainReport | ScoreReport | PruneReport | ReconcileReport
Report = JobReport | IngestReport


def to_json(value: object) -> Json:
    """Return a report as JSON: instants as ISO text, NaN as null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else None
        case datetime():
            return value.isoformat()
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
        case _ if is_dataclass(value):
            return {part.name: to_json(getattr(value, part.name)) for part in fields(value)}
        case _:
            raise TypeError(f"a report holds numbers, text and timestamps, not {type(value)}")


def document(report: object) -> dict[str, Json]:
    """Return a report as the JSON object that is kept in the run row."""
    json = to_json(report)
    assert isinstance(json, dict)
    return json
