"""Records runs, reports and restarts in the metrics."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from typing import Any, assert_never

from sqlalchemy import Connection

from forecaster.errors import NoChampion
from forecaster.explain.report import Trust
from forecaster.store.state import models, run_history
from jobs.execution.reports import (
    ForecastReport,
    JobReport,
    LeadAccuracy,
    PruneReport,
    PullReport,
    ReconcileReport,
    RetrainReport,
    ScoreReport,
)
from jobs.execution.runner import Outcome
from jobs.telemetry.dataset_state import STATES
from jobs.telemetry.health import Health
from jobs.telemetry.metrics import TASKS, Telemetry

RESTORED = 100
"""Newest runs of `score` whose accuracy is shown after a restart: few have points of all leads."""
_NAN = float("nan")


def outcome(telemetry: Telemetry, run_outcome: Outcome) -> None:
    """Count one run, and record its report if it succeeded."""
    run = (run_outcome.job, run_outcome.dataset)
    telemetry.runs.labels(*run, run_outcome.result).inc()
    telemetry.retries.labels(*run).inc(run_outcome.retries)
    telemetry.run_duration.labels(*run).observe(run_outcome.seconds)
    lateness = (run_outcome.started_at - run_outcome.tick).total_seconds()
    telemetry.run_lateness.labels(*run).observe(max(0.0, lateness))
    if run_outcome.report is not None:
        report(telemetry, run_outcome.report, at=run_outcome.ended_at)


def missed(telemetry: Telemetry, job: str, dataset: str, reason: str, count: int) -> None:
    """Count ticks that will not be run."""
    telemetry.ticks_missed.labels(job, dataset, reason).inc(count)


def report(telemetry: Telemetry, job_report: JobReport, *, at: datetime) -> None:
    """Record the report of a run that succeeded, committed at the instant `at`."""
    telemetry.last_success.labels(job_report.job, job_report.dataset).set(at.timestamp())
    for stage, seconds in job_report.stages.items():
        telemetry.stage_duration.labels(job_report.job, stage, job_report.dataset).observe(seconds)
    match job_report:
        case ForecastReport():
            _forecast(telemetry, job_report, at)
        case RetrainReport():
            _retrain(telemetry, job_report)
        case ScoreReport():
            _score(telemetry, job_report)
        case ReconcileReport():
            _pull(telemetry, job_report.dataset, job_report.pull)
        case PruneReport():
            pass
        case _:
            assert_never(job_report)


def _forecast(telemetry: Telemetry, report: ForecastReport, at: datetime) -> None:
    dataset = report.dataset
    _pull(telemetry, dataset, report.pull)
    champion_is(telemetry, dataset, trained_to=report.trained_to)
    if report.newest_observation is not None:
        newest = report.newest_observation
        telemetry.newest_observation.labels(dataset).set(newest.timestamp())
        lag = (report.cutoff - newest).total_seconds()
        telemetry.pull_lag.labels(dataset).set(max(0.0, lag))
    latency = (at - report.tick).total_seconds()
    telemetry.forecast_latency.labels(dataset).observe(max(0.0, latency))
    written = report.rows + report.attention_rows
    telemetry.rows_written.labels(report.job, dataset).inc(written)
    telemetry.series_forecast.labels(dataset).inc(report.series)
    for reason, count in report.skipped.items():
        telemetry.series_skipped.labels(dataset, reason).inc(count)
    for status, count in report.statuses.items():
        if status != "ok":
            telemetry.series_fallback.labels(dataset, status).inc(count)
    if report.hindsight:
        telemetry.series_fallback.labels(dataset, "hindsight").inc(report.hindsight)
    for rule, count in report.panel.items():
        telemetry.panel_cells.labels(dataset, rule).inc(count)


def _pull(telemetry: Telemetry, dataset: str, report: PullReport | None) -> None:
    if report is None:
        return
    ingested = {"new": report.new, "corrected": report.corrected, "unchanged": report.unchanged}
    for result, count in ingested.items():
        telemetry.pulled_rows.labels(dataset, result).inc(count)
    for reason, count in report.rejected.items():
        telemetry.rejected_rows.labels(dataset, reason).inc(count)
    telemetry.duplicate_rows.labels(dataset, "equal").inc(report.duplicates)
    telemetry.duplicate_rows.labels(dataset, "conflicting").inc(report.conflicting)
    telemetry.late_rows.labels(dataset).inc(report.late)


def _retrain(telemetry: Telemetry, report: RetrainReport) -> None:
    dataset = report.dataset
    _pull(telemetry, dataset, report.pull)
    telemetry.decisions.labels(dataset, report.decision).inc()
    telemetry.train_duration.labels(dataset).observe(report.train_seconds)
    telemetry.train_windows.labels(dataset).set(report.windows_per_second)
    telemetry.train_loss.labels(dataset).set(report.train_loss)
    telemetry.rows_written.labels(report.job, dataset).inc()
    if report.decision == "promoted":
        champion_is(telemetry, dataset, trained_to=report.trained_to)
        attention(telemetry, dataset, report.scores)


def attention(telemetry: Telemetry, dataset: str, scores: Mapping[str, float | None]) -> None:
    """Show how far the attention of the model in service can be trusted, where that is known."""
    trust = Trust.from_scores(scores)
    if trust is None or not trust.removals:
        return
    telemetry.attention_ratio.labels(dataset).set(trust.removals[0].ratio)
    telemetry.attention_patches.labels(dataset).set(trust.shares.effective_patches)


def champion_is(telemetry: Telemetry, dataset: str, *, trained_to: datetime) -> None:
    """Show up to when the model in service was trained."""
    telemetry.champion_trained.labels(dataset).set(trained_to.timestamp())


def _score(telemetry: Telemetry, report: ScoreReport) -> None:
    telemetry.points_scored.labels(report.dataset).inc(report.points)
    telemetry.rows_written.labels(report.job, report.dataset).inc(report.rows)
    accuracy(telemetry, report.dataset, report.leads)


def damage(telemetry: Telemetry, dataset: str) -> None:
    """Count a model that was found damaged."""
    telemetry.models_damaged.labels(dataset).inc()


def lease(telemetry: Telemetry, dataset: str, token: int | None) -> None:
    """Show the token of the lease on a dataset; None if this replica does not hold it."""
    if dataset not in telemetry.datasets:
        return
    telemetry.lease_held.labels(dataset).set(token is not None)
    if token is not None:
        telemetry.lease_token.labels(dataset).set(token)


def health(telemetry: Telemetry, healths: Iterable[Health]) -> None:
    """Show in which state each configured dataset is."""
    for entry in healths:
        dataset, lifecycle = entry.facts.dataset, entry.lifecycle
        if dataset not in telemetry.datasets:
            continue
        for state in STATES:
            telemetry.state.labels(dataset, state).set(state == lifecycle.state)
        done = 0.0 if entry.facts.serving is None else 1.0
        telemetry.initialized.labels(dataset).set(lifecycle.progress or done)


def accuracy(telemetry: Telemetry, dataset: str, leads: Iterable[LeadAccuracy]) -> None:
    """Show the accuracy of each lead that has points; a NaN leaves the gauge as it was."""
    for lead in leads:
        for gauge, level, value in (
            (telemetry.mase, (), lead.mase),
            (telemetry.wql, (), lead.wql),
            (telemetry.bias, (), lead.bias),
            (telemetry.skill, (), lead.skill),
            (telemetry.width, (), lead.width_80),
            (telemetry.coverage, ("0.5",), lead.coverage_50),
            (telemetry.coverage, ("0.8",), lead.coverage_80),
            (telemetry.coverage, ("0.95",), lead.coverage_95),
        ):
            if value == value:
                gauge.labels(dataset, lead.lead, *level).set(value)


def restore(telemetry: Telemetry, conn: Connection, dataset: str) -> None:
    """Restore gauges from the database, so that a restart causes no alert."""
    for task in TASKS:
        run = run_history.latest(conn, task, dataset, state="succeeded")
        if run is None or run.finished_at is None:
            continue
        telemetry.last_success.labels(task, dataset).set(run.finished_at.timestamp())
        if newest := (run.report or {}).get("newest_observation"):
            instant = datetime.fromisoformat(newest)
            telemetry.newest_observation.labels(dataset).set(instant.timestamp())
    for run in reversed(run_history.list_runs(conn, dataset, job="score", limit=RESTORED)):
        leads = (run.report or {}).get("leads", ())
        accuracy(telemetry, dataset, [_lead(lead) for lead in leads])
    with suppress(NoChampion):
        champion = models.champion(conn, dataset)
        champion_is(telemetry, dataset, trained_to=champion.trained_to)
        attention(telemetry, dataset, champion.scores)


def _lead(stored: Mapping[str, Any]) -> LeadAccuracy:
    """Return the accuracy of one lead as a run row stores it, maybe one of another version.

    Null is NaN, and so is a missing field.
    """
    names = [part.name for part in fields(LeadAccuracy)]
    values = {name: stored[name] for name in names if stored.get(name) is not None}
    return LeadAccuracy(**{**dict.fromkeys(names, _NAN), **values})
