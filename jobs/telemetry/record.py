"""Reports into telemetry: one run, one report, one restart at a time."""

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

REMEMBERED = 100
"""Newest runs of `score` whose accuracy is shown after a restart: few have points of all leads."""
_NAN = float("nan")


def outcome(telemetry: Telemetry, found: Outcome) -> None:
    """Count one run, and take in its report if it succeeded."""
    run = (found.job, found.dataset)
    telemetry.runs.labels(*run, found.result).inc()
    telemetry.retries.labels(*run).inc(found.retries)
    telemetry.run_duration.labels(*run).observe(found.seconds)
    lateness = (found.started_at - found.tick).total_seconds()
    telemetry.run_lateness.labels(*run).observe(max(0.0, lateness))
    if found.report is not None:
        report(telemetry, found.report, at=found.ended_at)


def missed(telemetry: Telemetry, job: str, dataset: str, reason: str, count: int) -> None:
    """Count ticks that will not be run."""
    telemetry.ticks_missed.labels(job, dataset, reason).inc(count)


def report(telemetry: Telemetry, found: JobReport, *, at: datetime) -> None:
    """Take in the report of a run that succeeded, committed at the instant `at`."""
    telemetry.last_success.labels(found.job, found.dataset).set(at.timestamp())
    for stage, seconds in found.stages.items():
        telemetry.stage_duration.labels(found.job, stage, found.dataset).observe(seconds)
    match found:
        case ForecastReport():
            _forecast(telemetry, found, at)
        case RetrainReport():
            _retrain(telemetry, found)
        case ScoreReport():
            _score(telemetry, found)
        case ReconcileReport():
            if found.pull is not None:
                _pull(telemetry, found.dataset, found.pull)
        case PruneReport():
            pass
        case _:
            assert_never(found)


def _forecast(telemetry: Telemetry, found: ForecastReport, at: datetime) -> None:
    dataset = found.dataset
    if found.pull is not None:
        _pull(telemetry, dataset, found.pull)
    champion_is(telemetry, dataset, trained_to=found.trained_to)
    if found.newest_observation is not None:
        newest = found.newest_observation
        telemetry.newest_observation.labels(dataset).set(newest.timestamp())
        lag = (found.cutoff - newest).total_seconds()
        telemetry.pull_lag.labels(dataset).set(max(0.0, lag))
    latency = (at - found.tick).total_seconds()
    telemetry.forecast_latency.labels(dataset).observe(max(0.0, latency))
    written = found.rows + found.attention_rows
    telemetry.rows_written.labels(found.job, dataset).inc(written)
    telemetry.series_forecast.labels(dataset).inc(found.series)
    for reason, count in found.skipped.items():
        telemetry.series_skipped.labels(dataset, reason).inc(count)
    for status, count in found.statuses.items():
        if status != "ok":
            telemetry.series_fallback.labels(dataset, status).inc(count)
    if found.hindsight:
        telemetry.series_fallback.labels(dataset, "hindsight").inc(found.hindsight)
    for rule, count in found.panel.items():
        telemetry.panel_cells.labels(dataset, rule).inc(count)


def _pull(telemetry: Telemetry, dataset: str, found: PullReport) -> None:
    landed = {"new": found.new, "corrected": found.corrected, "unchanged": found.unchanged}
    for outcome, count in landed.items():
        telemetry.pulled_rows.labels(dataset, outcome).inc(count)
    for reason, count in found.rejected.items():
        telemetry.rejected_rows.labels(dataset, reason).inc(count)
    telemetry.duplicate_rows.labels(dataset, "equal").inc(found.duplicates)
    telemetry.duplicate_rows.labels(dataset, "conflicting").inc(found.conflicting)
    telemetry.late_rows.labels(dataset).inc(found.late)


def _retrain(telemetry: Telemetry, found: RetrainReport) -> None:
    dataset = found.dataset
    if found.pull is not None:
        _pull(telemetry, dataset, found.pull)
    telemetry.decisions.labels(dataset, found.decision).inc()
    telemetry.train_duration.labels(dataset).observe(found.train_seconds)
    telemetry.train_windows.labels(dataset).set(found.windows_per_second)
    telemetry.train_loss.labels(dataset).set(found.train_loss)
    telemetry.rows_written.labels(found.job, dataset).inc()
    if found.decision == "promoted":
        champion_is(telemetry, dataset, trained_to=found.trained_to)
        attention(telemetry, dataset, found.scores)


def attention(telemetry: Telemetry, dataset: str, scores: Mapping[str, float | None]) -> None:
    """Show how far the attention of the model in service can be trusted, where that is known."""
    trust = Trust.from_scores(scores)
    if trust is None or not trust.removals:
        return
    telemetry.attention_ratio.labels(dataset).set(trust.removals[0].ratio)
    telemetry.attention_patches.labels(dataset).set(trust.shares.effective_patches)


def champion_is(telemetry: Telemetry, dataset: str, *, trained_to: datetime) -> None:
    """Show until when the data of the model in service reaches."""
    telemetry.champion_trained.labels(dataset).set(trained_to.timestamp())


def _score(telemetry: Telemetry, found: ScoreReport) -> None:
    telemetry.points_scored.labels(found.dataset).inc(found.points)
    telemetry.rows_written.labels(found.job, found.dataset).inc(found.rows)
    accuracy(telemetry, found.dataset, found.leads)


def damage(telemetry: Telemetry, dataset: str) -> None:
    """Count a model that was found damaged."""
    telemetry.models_damaged.labels(dataset).inc()


def lease(telemetry: Telemetry, dataset: str, token: int | None) -> None:
    """Show whether a dataset is ours, and under which token; None: it is not any more."""
    if dataset not in telemetry.datasets:
        return
    telemetry.lease_held.labels(dataset).set(token is not None)
    if token is not None:
        telemetry.lease_token.labels(dataset).set(token)


def health(telemetry: Telemetry, found: Iterable[Health]) -> None:
    """Show in which state each configured dataset is."""
    for each in found:
        dataset, life = each.facts.dataset, each.lifecycle
        if dataset not in telemetry.datasets:
            continue
        for state in STATES:
            telemetry.state.labels(dataset, state).set(state == life.state)
        done = 0.0 if each.facts.serving is None else 1.0
        telemetry.initialized.labels(dataset).set(life.progress or done)


def accuracy(telemetry: Telemetry, dataset: str, leads: Iterable[LeadAccuracy]) -> None:
    """Show the accuracy of each lead that has points; a NaN leaves the gauge as it was."""
    for lead in leads:
        measures = {
            telemetry.mase: lead.mase,
            telemetry.wql: lead.wql,
            telemetry.bias: lead.bias,
            telemetry.skill: lead.skill,
            telemetry.width: lead.width_80,
        }
        for gauge, value in measures.items():
            if value == value:
                gauge.labels(dataset, lead.lead).set(value)
        _coverage(telemetry, dataset, lead)


def _coverage(telemetry: Telemetry, dataset: str, lead: LeadAccuracy) -> None:
    levels: Mapping[str, float] = {
        "0.5": lead.coverage_50,
        "0.8": lead.coverage_80,
        "0.95": lead.coverage_95,
    }
    for level, share in levels.items():
        if share == share:
            telemetry.coverage.labels(dataset, lead.lead, level).set(share)


def restore(telemetry: Telemetry, conn: Connection, dataset: str) -> None:
    """Show what was true when the program last stopped, so that a restart is no alert."""
    for task in TASKS:
        run = run_history.latest(conn, task, dataset, state="succeeded")
        if run is None or run.finished_at is None:
            continue
        telemetry.last_success.labels(task, dataset).set(run.finished_at.timestamp())
        if newest := (run.report or {}).get("newest_observation"):
            instant = datetime.fromisoformat(newest)
            telemetry.newest_observation.labels(dataset).set(instant.timestamp())
    for run in reversed(run_history.list_runs(conn, dataset, job="score", limit=REMEMBERED)):
        leads = (run.report or {}).get("leads", ())
        accuracy(telemetry, dataset, [_lead(lead) for lead in leads])
    with suppress(NoChampion):
        champion = models.champion(conn, dataset)
        champion_is(telemetry, dataset, trained_to=champion.trained_to)
        attention(telemetry, dataset, champion.scores)


def _lead(kept: Mapping[str, Any]) -> LeadAccuracy:
    """Return the accuracy of one lead as a run row keeps it, maybe one of another version.

    Null stands for NaN, and so does what it does not say.
    """
    names = [part.name for part in fields(LeadAccuracy)]
    values = {name: kept[name] for name in names if kept.get(name) is not None}
    return LeadAccuracy(**{**dict.fromkeys(names, _NAN), **values})
