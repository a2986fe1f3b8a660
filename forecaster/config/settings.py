"""The settings, resolved: frozen, and read by every package. Parsing is in `config.file`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import Step
from forecaster.times.schedules import Schedule

SCORES = ("scaled_dot", "dot", "general", "additive", "location", "local")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Hyper-parameters; None means: derived (`forecaster.training.hyperparameters`)."""

    score: str = "scaled_dot"
    normaliser: str = "softmax"
    temperature: float = 1.0
    attention_window: int | None = None
    """In patches; None attends the whole context."""
    self_attention: bool = False
    priors: tuple[str, ...] = ()
    encoder: str = "lstm"
    head: str = "quantile"
    statistics: str | None = None
    """What patches are scaled by; None is chosen on validation windows."""
    calendar: bool | None = None
    """Whether the network gets calendar features; None is chosen on validation windows."""
    season_length: int | None = None
    patch_length: int | None = None
    context_length: int | None = None
    hidden_size: int = 64
    layers: int = 2
    heads: int = 6
    dropout: float = 0.1

    @property
    def plugins(self) -> frozenset[str]:
        """Names of the parts that are the user's own; no other ones are ever loaded."""
        return frozenset({self.score} - set(SCORES)) | set(self.priors)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How to train; None means: derived from the number of series."""

    seed: int = 0
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float = 4e-3
    device: str = "auto"
    ensemble: int = 1
    """Networks that are trained, with seeds from `seed` on, and whose forecasts are averaged."""
    naive_guard: bool = True
    """Whether a naive forecast serves where it beats the model on validation windows."""
    memory_limit_gb: float | None = None
    """Main memory that a training may take, in 10^9 bytes; None leaves it to the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarConfig:
    """When there may be data."""

    open: str = AUTO
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
    query: str | None = None
    source_url: str | None = None
    series_columns: tuple[str, ...] = ("series_id",)
    timestamp_column: str = "timestamp"
    value_column: str = "value"
    timestamp_format: str | None = None
    """The only one in which text is read as a timestamp; None: all that mean one time only."""
    decimal: str | None = None
    """The sign before decimals in text; None: a point, and thousands may not be parted."""
    max_rejected: float = 0.05
    """The share of rows of a file or a pull that may be rejected without its being an error."""
    ingest_column: str | None = None
    """Grows with every row that is written; None where there is no such column."""
    timezone: str | None = None
    timestamp_marks: str | None = None
    """What timestamps mark: an instant, or the start or end of a period; None is detected."""
    delay: timedelta = timedelta(0)
    forecast_schedule: Schedule
    retrain_schedule: Schedule
    history: timedelta
    late_data: timedelta
    read_timeout: timedelta = timedelta(minutes=5)
    """How long one read from the source may take before it is cut."""
    reconcile_schedule: Schedule = DAILY
    """When all of `history` is read again."""
    catchup: str = "all"
    """Which forecast ticks are run that nobody looked at when they were due."""
    catchup_limit: int = 100
    """The most overdue ticks that are run; older ones are missed."""
    overlap: str = "queue"
    """What becomes of ticks that come due while an earlier one of the same job runs."""
    jitter: timedelta = timedelta(0)
    """Jobs wake up to so much later than their ticks, each by a share of its own."""
    deadlines: DeadlineConfig = field(default_factory=DeadlineConfig)
    lower_bound: float | None = None
    upper_bound: float | None = None
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

    observations: timedelta | None = None
    forecasts: timedelta | None = timedelta(days=14)
    attention: timedelta | None = timedelta(days=14)
    accuracy: timedelta | None = timedelta(days=90)
    runs: timedelta | None = timedelta(days=90)
    models: int = 10
    """Retired models kept per dataset; the champion is always kept, and what is yet to score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where the pages are, and for whom; the probes /livez and /readyz have no password."""

    host: str = "127.0.0.1"
    port: int = 8790
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_certificate: str | None = None
    """A file with the certificate and those that signed it; None is plain HTTP."""
    tls_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration."""

    database_url: str
    datasets: Mapping[str, DatasetConfig]
    server: ServerConfig = field(default_factory=ServerConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    prune_schedule: Schedule = DAILY
    lease_ttl: timedelta = timedelta(seconds=15)
    """After how long without a heartbeat other replicas take over."""
