"""Job reports as text, a few lines each."""

from collections.abc import Iterator, Mapping
from typing import assert_never

from forecaster.explain.report import PREFIX, Trust
from forecaster.training import sample_extent
from jobs.execution.reports import (
    ForecastReport,
    IngestReport,
    PruneReport,
    PullReport,
    ReconcileReport,
    Report,
    RetrainReport,
    ScoreReport,
)
from jobs.terminal.attention_report import headline
from jobs.terminal.output import cell, when

EXAMPLES = 5
"""Skipped series that are named."""


def text_of(report: Report) -> str:
    """Return a report as text; the first line is the summary."""
    return "\n  ".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    match report:
        case ForecastReport():
            yield from _forecast(report)
        case RetrainReport():
            yield from _retrain(report)
        case ScoreReport():
            yield from _score(report)
        case ReconcileReport():
            yield from _reconcile(report)
        case PruneReport():
            deleted = _counts(report.deleted) or "nothing to delete"
            yield f"{report.dataset}: pruned: {deleted}"
            if report.partitions.get("busy"):
                yield f"partitions in use, to be deleted next time: {report.partitions['busy']}"
        case IngestReport():
            yield from _ingest(report)
        case _:
            assert_never(report)


def _forecast(report: ForecastReport) -> Iterator[str]:
    closed = " (all steps ahead are closed)" if report.series and not report.rows else ""
    yield (
        f"{report.dataset}: forecast {report.series} series, {report.rows} rows{closed}, "
        f"for the tick {when(report.tick)}"
    )
    yield f"cutoff {when(report.cutoff)}, model {report.model_id}, {_seconds(report.stages)}"
    yield from _pull(report.pull)
    if report.skipped:
        yield f"skipped: {_counts(report.skipped)}"
        for series, reason in list(report.skipped_series.items())[:EXAMPLES]:
            yield f"  {series}: {reason}"


def _retrain(report: RetrainReport) -> Iterator[str]:
    yield (f"{report.dataset}: model {report.model_id} {report.decision}: {report.reason}")
    season = f"season of {report.season_length} steps" if report.season_length > 1 else "no season"
    hours = f", open {report.opening_hours}" if report.opening_hours else ""
    yield (
        f"trained on {report.series} series, {report.observations} observations, "
        f"{when(report.trained_from)} … {when(report.trained_to)}, {season}{hours}"
    )
    yield (
        f"{report.steps} steps in {report.train_seconds:.1f} s on {report.device}, "
        f"{report.windows_per_second:,.0f} windows/s, loss {report.train_loss:.4f}"
    )
    others = (PREFIX, sample_extent.PREFIX)
    accuracy = {name: n for name, n in report.scores.items() if not name.startswith(others)}
    scores = ", ".join(f"{name} {cell(value)}" for name, value in accuracy.items())
    if scores:
        yield f"validation: {scores}"
    trust = Trust.from_scores(report.scores)
    if trust is not None:
        yield f"attention: {headline(trust)}"
    yield from report.notes
    yield from _pull(report.pull)


def _score(report: ScoreReport) -> Iterator[str]:
    until = when(report.matured_to)
    yield f"{report.dataset}: scored {report.points} points that matured by {until}"
    for lead in report.leads:
        yield (
            f"steps {lead.lead}: mase {cell(lead.mase)}, "
            f"seasonal_naive {cell(lead.seasonal_naive_mase)}, wql {cell(lead.wql)}, "
            f"80 % interval covers {lead.coverage_80:.0%}"
        )
    yield from (f"{note}; scored with their own scales" for note in report.notes)


def _reconcile(report: ReconcileReport) -> Iterator[str]:
    if report.pull is None:
        yield f"{report.dataset}: nothing to reconcile"
        return
    yield f"{report.dataset}: reconciled from {when(report.pull.since)}, {_seconds(report.stages)}"
    yield from _pull(report.pull)


def _ingest(report: IngestReport) -> Iterator[str]:
    yield (
        f"{report.dataset}: {report.rows} rows read: {report.new} new, "
        f"{report.corrected} corrected, {report.unchanged} unchanged"
    )
    if report.first is not None and report.last is not None:
        yield f"from {when(report.first)} to {when(report.last)}"
    if report.duplicates or report.conflicting:
        yield (
            f"duplicates in the file: {report.duplicates} equal, {report.conflicting} "
            "conflicting (averaged)"
        )
    yield from _rejected(report)


def _pull(report: PullReport | None) -> Iterator[str]:
    if report is None:
        return
    yield (
        f"pulled {report.rows} rows: {report.new} new, {report.corrected} corrected, "
        f"{report.unchanged} unchanged"
    )
    yield from _rejected(report)


def _rejected(report: PullReport | IngestReport) -> Iterator[str]:
    from forecaster.ingestion.normalize import REMEDIES

    for reason, count in report.rejected.items():
        example = report.examples.get(reason)
        remedy = f"; {REMEDIES[reason]}" if reason in REMEDIES else ""
        yield f"rejected {count}: {reason}" + (f", such as {example}" if example else "") + remedy


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _seconds(stages: Mapping[str, float]) -> str:
    by_stage = ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())
    return f"{sum(stages.values()):.2f} s ({by_stage})"
