"""The settings, resolved: frozen, and read by every package.

The reader that a type is annotated with checks the value that the file has, in `config.file`; what
has none follows from several settings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from forecaster.config import score_names, urls, validators
from forecaster.config.score_names import SCORES
from forecaster.config.validators import (
    LARGEST,
    Reader,
    count_between,
    number_between,
    one_of,
    where,
)
from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import Step
from forecaster.times.schedules import Schedule

NORMALISERS = ("softmax", "sparsemax", "entmax15")
ENCODERS = ("lstm", "gru", "rnn")
STATISTICS = ("window", "causal")
HEADS = ("quantile", "student_t", "gaussian_mixture")
DECIMALS = (".", ",")
CATCHUPS = ("all", "latest", "none")
OVERLAPS = ("queue", "skip")
TIMESTAMP_MARKS = ("instant", "start", "end")
_GROUP_BY = re.compile(r"\bgroup\s{1,200}by\b", re.IGNORECASE)
AUTO, ALWAYS = "auto", "always"
DAILY = Periods(Step(1, "day"))
SECRETS = ("password", "url")
"""What the names of settings end with that are secrets, or contain one."""
_Length = Annotated[int | None, count_between(1, 1_000_000)]
_Flag = Annotated[bool, validators.flag]
_Name = Annotated[str, validators.text]
_OptionalName = Annotated[str | None, validators.text]
_Duration = Annotated[timedelta, validators.duration]
_Number = Annotated[float | None, validators.number]
_Age = Annotated[timedelta | None, validators.retention]
_DEVICE = where(
    validators.text,
    re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?").fullmatch,
    "must be 'auto', 'cpu', 'cuda' or 'cuda:N'",
)
_USER = where(validators.text, lambda name: ":" not in name, "must be text without a colon")
_LEASE = where(
    validators.duration,
    lambda ttl: timedelta(seconds=1) <= ttl <= timedelta(minutes=10),
    "must be from 1s to 10m",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Hyper-parameters; None means: derived (`forecaster.training.hyperparameters`)."""

    score: Annotated[str, score_names.score] = "scaled_dot"
    normaliser: Annotated[str, one_of(NORMALISERS)] = "softmax"
    temperature: Annotated[float, number_between(1e-3, 1e3)] = 1.0
    attention_window: _Length = None
    """In patches; None attends the whole context."""
    self_attention: _Flag = False
    priors: Annotated[tuple[str, ...], score_names.priors] = ()
    encoder: Annotated[str, one_of(ENCODERS)] = "lstm"
    head: Annotated[str, one_of(HEADS)] = "quantile"
    statistics: Annotated[str | None, one_of(STATISTICS)] = None
    """What patches are scaled by; None is chosen on validation windows."""
    calendar: Annotated[bool | None, validators.flag] = None
    """Whether the network gets calendar features; None is chosen on validation windows."""
    season_length: _Length = None
    patch_length: _Length = None
    context_length: _Length = None
    hidden_size: Annotated[int, count_between(1, 4096)] = 64
    layers: Annotated[int, count_between(1, 16)] = 2
    heads: Annotated[int, count_between(1, 64)] = 6
    dropout: Annotated[float, number_between(0, 1)] = 0.1

    @property
    def plugins(self) -> frozenset[str]:
        """Names of the parts that are the user's own; no other ones are ever loaded."""
        return frozenset({self.score} - set(SCORES)) | set(self.priors)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How to train; None means: derived from the number of series."""

    seed: Annotated[int, count_between(0, LARGEST)] = 0
    steps: Annotated[int | None, count_between(1, LARGEST)] = None
    batch_size: _Length = None
    learning_rate: Annotated[float, number_between(1e-8, 1)] = 4e-3
    device: Annotated[str, _DEVICE] = "auto"
    ensemble: Annotated[int, count_between(1, 100)] = 1
    """Networks that are trained, with seeds from `seed` on, and whose forecasts are averaged."""
    naive_guard: _Flag = True
    """Whether a naive forecast serves where it beats the model on validation windows."""
    memory_limit_gb: Annotated[float | None, number_between(0.5, 1e6)] = None
    """Main memory that a training may take, in 10^9 bytes; None leaves it to the machine."""
    threads: Annotated[int, count_between(1, 1024)] = 1
    """Of the training process, on the CPU. A second one takes 14 % more processor time, and a fifth
    less wall time where its core is idle."""
    max_points: Annotated[int, count_between(1_000, LARGEST)] = 20_000_000
    """Series times steps that `retrain` holds in memory; a sample of them where there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarConfig:
    """When there may be data."""

    open: Annotated[str, validators.opening_hours] = AUTO
    """Rules of `forecaster.times.opening_hours`; AUTO is detected, ALWAYS is never closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineConfig:
    """How long each stage of a job may take before it is cut."""

    pull: timedelta = timedelta(minutes=30)
    predict: timedelta = timedelta(minutes=30)
    write: timedelta = timedelta(minutes=30)
    train: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """One named group of series sharing a source query, a grid, schedules and a model lineage."""

    name: str
    step: Step
    prediction_length: int
    query: _OptionalName = None
    source_url: Annotated[str | None, urls.source_url] = None
    series_columns: Annotated[tuple[str, ...], validators.column_names] = ("series_id",)
    timestamp_column: _Name = "timestamp"
    value_column: _Name = "value"
    timestamp_format: Annotated[str | None, validators.timestamp_format] = None
    """The only one in which text is read as a timestamp; None: all that mean one time only."""
    decimal: Annotated[str | None, one_of(DECIMALS)] = None
    """The sign before decimals in text; None: a point, and thousands may not be parted."""
    max_rejected: Annotated[float, validators.share] = 0.05
    """The share of rows of a file or a pull that may be rejected without its being an error."""
    ingest_column: _OptionalName = None
    """Grows with every row that is written; None where there is no such column."""
    timezone: Annotated[str | None, validators.timezone] = None
    timestamp_marks: Annotated[str | None, one_of(TIMESTAMP_MARKS)] = None
    """What timestamps mark: an instant, or the start or end of a period; None is detected."""
    delay: _Duration = timedelta(0)
    forecast_schedule: Schedule
    retrain_schedule: Schedule
    history: Annotated[timedelta, validators.positive_duration]
    late_data: _Duration
    read_timeout: timedelta = timedelta(minutes=5)
    """How long one read from the source may take before it is cut."""
    reconcile_schedule: Schedule = DAILY
    """When all of `history` is read again."""
    catchup: Annotated[str, one_of(CATCHUPS)] = "all"
    """Which forecast ticks are run that nobody looked at when they were due."""
    catchup_limit: Annotated[int, count_between(1, 10_000)] = 100
    """The most overdue ticks that are run; older ones are missed."""
    overlap: Annotated[str, one_of(OVERLAPS)] = "queue"
    """What becomes of ticks that come due while an earlier one of the same job runs."""
    jitter: timedelta = timedelta(0)
    """Jobs wake up to so much later than their ticks, each by a share of its own."""
    deadlines: DeadlineConfig = field(default_factory=DeadlineConfig)
    lower_bound: _Number = None
    upper_bound: _Number = None
    calendar: CalendarConfig = field(default_factory=CalendarConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @property
    def groups(self) -> bool:
        """Whether rows of the source are sums or means over a period: the query has a GROUP BY."""
        return self.query is not None and bool(_GROUP_BY.search(self.query))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionConfig:
    """How long rows are kept; None keeps them for ever.

    Forecasts, their attention and accuracy age from when their last step can be scored.
    """

    observations: _Age = None
    forecasts: _Age = timedelta(days=14)
    attention: _Age = timedelta(days=14)
    accuracy: _Age = timedelta(days=90)
    runs: _Age = timedelta(days=90)
    models: Annotated[int, count_between(0, LARGEST)] = 10
    """Retired models kept per dataset; the champion is always kept, and what is yet to score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where the pages are, and for whom; the probes /livez and /readyz have no password."""

    host: str = "127.0.0.1"
    port: int = 8790
    username: Annotated[str | None, _USER] = None
    password: _OptionalName = field(default=None, repr=False)
    tls_certificate: _OptionalName = None
    """A file with the certificate and those that signed it; None is plain HTTP."""
    tls_key: _OptionalName = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration."""

    database_url: Annotated[str, urls.database_url]
    prune_schedule: Schedule = DAILY
    lease_ttl: Annotated[timedelta, _LEASE] = timedelta(seconds=15)
    """After how long without a heartbeat other replicas take over."""
    server: ServerConfig = field(default_factory=ServerConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    datasets: Mapping[str, DatasetConfig]


def readers(kind: type) -> dict[str, Reader[Any]]:
    """Return what checks the fields of a dataclass of settings, by name."""
    types = get_type_hints(kind, include_extras=True)
    return {name: get_args(of)[1] for name, of in types.items() if get_origin(of) is Annotated}
