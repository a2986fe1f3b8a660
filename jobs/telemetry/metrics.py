"""Telemetry: every Prometheus metric of the program, never on the global registry.

`jobs.telemetry.record` says what goes into the metrics, `jobs.telemetry.registry` how they are
kept. Labels are bounded (`LABELS`): never a series, and never one called `job`, which Prometheus
owns. Counters start at 0 for every configured dataset, so that an alert never waits for a first
event.
"""

import sys
from collections.abc import Iterable
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter

from forecaster.errors import SkipReason
from forecaster.ingestion.normalize import RejectReason
from jobs.scheduling.misfire_policy import REASONS
from jobs.telemetry.registry import Registry

OUTCOMES = ("succeeded", "failed", "crashed", "already_done")
"""How a run ends, as `jobs.execution.runner` says it."""
LABELS = ("dataset", "task", "stage", "outcome", "reason", "lead", "level", "direction", "state")
TASKS = ("forecast", "retrain", "score", "reconcile", "prune", "ingest")
PULL_OUTCOMES = ("new", "corrected", "unchanged")
DUPLICATES = ("equal", "conflicting")
PANEL_RULES = ("merged", "off_grid", "non_finite", "gaps")
FALLBACKS = ("cold_start", "fallback_naive", "fallback_champion")
"""Statuses of a forecast that is not `ok`."""
RELOADS = ("applied", "refused", "failed")
LATENESS = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
"""Buckets of lateness, up to a day: after an outage old ticks are caught up."""


class Telemetry(Registry):
    """The metrics, one attribute each."""

    def __init__(
        self, datasets: Iterable[str], *, registry: CollectorRegistry | None = None
    ) -> None:
        """Declare everything on `registry`, a fresh one if none is passed."""
        super().__init__(registry)
        self._declare_runs()
        self._declare_pull()
        self._declare_forecasts()
        self._declare_models()
        self._declare_states()
        self._declare_accuracy()
        self._declare_process()
        self.datasets: tuple[str, ...] = ()
        self.serve(datasets)

    def _declare_runs(self) -> None:
        self.runs = self.counter("runs_total", "Runs by outcome.", "task dataset outcome")
        self.run_duration = self.histogram(
            "run_duration_seconds", "Duration of a run.", "task dataset"
        )
        self.run_lateness = self.histogram(
            "run_lateness_seconds",
            "Delay from the scheduled tick to the start of its run.",
            "task dataset",
            buckets=LATENESS,
        )
        self.stage_duration = self.histogram(
            "stage_duration_seconds", "Duration of one stage of a run.", "task stage dataset"
        )
        self.last_success = self.gauge(
            "last_success_timestamp_seconds",
            "Unix time of the last successful run; kept across restarts.",
            "task dataset",
        )
        self.ticks_missed = self.counter(
            "ticks_missed_total",
            "Scheduled ticks that were skipped, by reason.",
            "task dataset reason",
        )
        self.retries = self.counter(
            "database_retries_total",
            "Transactions retried after a conflict or a lost connection.",
            "task dataset",
        )
        self.lease_held = self.gauge(
            "lease_held", "1 if this replica holds the lease on the dataset.", "dataset"
        )
        self.lease_token = self.gauge(
            "lease_token", "Fencing token of the last lease held; it never decreases.", "dataset"
        )

    def _declare_pull(self) -> None:
        self.pulled_rows = self.counter(
            "pulled_rows_total", "Source rows ingested, by outcome.", "dataset outcome"
        )
        self.rejected_rows = self.counter(
            "rejected_rows_total", "Source rows rejected as invalid, by reason.", "dataset reason"
        )
        self.duplicate_rows = self.counter(
            "duplicate_rows_total", "Duplicate source rows within one pull.", "dataset reason"
        )
        self.late_rows = self.counter(
            "late_rows_total", "New rows older than the newest row of earlier pulls.", "dataset"
        )
        self.panel_cells = self.counter(
            "panel_cells_total", "Grid cells that needed cleaning, by reason.", "dataset reason"
        )
        self.newest_observation = self.gauge(
            "newest_observation_timestamp_seconds",
            "Timestamp of the newest ingested row.",
            "dataset",
        )
        self.pull_lag = self.gauge(
            "pull_lag_seconds",
            "Cutoff minus newest observation at the last pull; 0 when the data is complete.",
            "dataset",
        )

    def _declare_forecasts(self) -> None:
        self.forecast_latency = self.histogram(
            "forecast_latency_seconds",
            "Delay from the scheduled tick to the commit of its forecasts.",
            "dataset",
        )
        self.rows_written = self.counter(
            "rows_written_total", "Rows committed to the database.", "task dataset"
        )
        self.series_forecast = self.counter("series_forecast_total", "Series forecast.", "dataset")
        self.series_skipped = self.counter(
            "series_skipped_total", "Series skipped by a forecast, by reason.", "dataset reason"
        )
        self.series_fallback = self.counter(
            "series_fallback_total", "Series forecast by a fallback, by reason.", "dataset reason"
        )

    def _declare_models(self) -> None:
        self.champion_trained = self.gauge(
            "champion_trained_timestamp_seconds",
            "End of the training data of the model in service; kept across restarts.",
            "dataset",
        )
        self.decisions = self.counter(
            "retrain_decisions_total",
            "Challengers promoted or kept back, by outcome.",
            "dataset outcome",
        )
        self.train_duration = self.histogram(
            "train_duration_seconds", "Duration of the training process.", "dataset"
        )
        self.train_windows = self.gauge(
            "train_windows_per_second", "Training throughput of the last retrain.", "dataset"
        )
        self.train_loss = self.gauge(
            "train_loss", "Training loss at the end of the last retrain.", "dataset"
        )

        self.attention_ratio = self.gauge(
            "attention_deletion_ratio",
            "Forecast change without the most attended patches over that without random ones; "
            "at 1 or below attention explains nothing.",
            "dataset",
        )
        self.attention_patches = self.gauge(
            "attention_effective_patches",
            "Effective number of attended patches, exp(entropy).",
            "dataset",
        )

    def _declare_states(self) -> None:
        self.state = self.gauge(
            "dataset_state", "1 for the current state of the dataset, else 0.", "dataset state"
        )
        self.initialized = self.gauge(
            "dataset_initialized_ratio", "Progress of the first training, 0 to 1.", "dataset"
        )
        self.models_damaged = self.counter(
            "models_damaged_total", "Models whose checkpoint is damaged.", "dataset"
        )

    def _declare_accuracy(self) -> None:
        self.mase = self.gauge(
            "accuracy_mase",
            "Mean absolute error in units of the seasonal-naive error.",
            "dataset lead",
        )
        self.wql = self.gauge("accuracy_wql", "Weighted quantile loss.", "dataset lead")
        self.bias = self.gauge(
            "accuracy_bias", "Mean of median minus actual, in units of the scale.", "dataset lead"
        )
        self.skill = self.gauge(
            "accuracy_skill_ratio",
            "1 minus error over seasonal-naive error on the same points; below 0 is worse.",
            "dataset lead",
        )
        self.coverage = self.gauge(
            "accuracy_coverage_ratio", "Share of actuals inside the interval.", "dataset lead level"
        )
        self.width = self.gauge(
            "accuracy_width_ratio", "Width of the 80 % interval over the scale.", "dataset lead"
        )
        self.points_scored = self.counter(
            "points_scored_total", "Forecast points scored against actuals.", "dataset"
        )

    def _declare_process(self) -> None:
        self.heartbeat = self.gauge(
            "scheduler_heartbeat_timestamp_seconds", "Unix time of the last scheduler heartbeat."
        )
        self.config_reloads = self.counter(
            "config_reloads_total", "Configuration reloads by outcome.", "outcome"
        )
        self.config_reloaded = self.gauge(
            "config_last_reload_success_timestamp_seconds",
            "Unix time of the last successful configuration reload.",
        )
        self.clock_skew = self.gauge("clock_skew_seconds", "Database clock minus local clock.")
        self.ready = self.gauge("ready", "1 if /readyz returns 200.")
        self.device_memory = self.gauge(
            "device_memory_bytes", "Accelerator memory allocated by this process."
        )
        self.device_memory.set_function(_device_memory)
        self.build = self.gauge("build_info", "Build information; always 1.", "version torch")
        self.build.labels(_version("forecaster"), _version("torch")).set(1)

        for outcome in RELOADS:
            self.config_reloads.labels(outcome)

    def serve(self, datasets: Iterable[str]) -> None:
        """Show these datasets from now on, new ones from 0, and no others."""
        before, self.datasets = frozenset(self.datasets), tuple(datasets)
        served = frozenset(self.datasets)
        self.show_only("dataset", served)
        for dataset in served - before:
            self.forget("dataset", dataset)
            self._start_at_zero(dataset)

    def _start_at_zero(self, dataset: str) -> None:
        for metric in (
            self.lease_held, self.forecast_latency, self.train_duration, self.series_forecast,
            self.points_scored, self.late_rows, self.models_damaged,
        ):  # fmt: skip
            metric.labels(dataset)
        _touch(self.duplicate_rows, dataset, DUPLICATES)
        _touch(self.panel_cells, dataset, PANEL_RULES)
        _touch(self.pulled_rows, dataset, PULL_OUTCOMES)
        _touch(self.rejected_rows, dataset, [reason.value for reason in RejectReason])
        _touch(self.series_skipped, dataset, [reason.value for reason in SkipReason])
        _touch(self.series_fallback, dataset, FALLBACKS)
        _touch(self.decisions, dataset, ("promoted", "kept"))
        for task in TASKS:
            self.run_duration.labels(task, dataset)
            self.run_lateness.labels(task, dataset)
            for reason in REASONS:
                self.ticks_missed.labels(task, dataset, reason)
            self.rows_written.labels(task, dataset)
            self.retries.labels(task, dataset)
            for outcome in OUTCOMES:
                self.runs.labels(task, dataset, outcome)


def _touch(counter: Counter, dataset: str, values: Iterable[str]) -> None:
    for value in values:
        counter.labels(dataset, value)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _device_memory() -> float:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    return float(torch.cuda.memory_allocated())
