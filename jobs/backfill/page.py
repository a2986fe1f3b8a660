"""Backfills as text: what would be done, and what was done."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.times.durations import format_duration
from jobs.terminal.output import when

if TYPE_CHECKING:
    from jobs.backfill.plan import Plan, TickRange
    from jobs.backfill.report import BackfillReport

MOST_RANGES = 12
"""Tick ranges of one model that are listed; of more, the first and the last few."""

FAILED_BEFORE = "failed before (retry with --reprocess failed)"


def report_text(report: "BackfillReport") -> str:
    """Return the report of a backfill; the first line is the summary."""
    return "\n  ".join(_lines(report))


def _lines(report: "BackfillReport") -> Iterator[str]:
    seconds = report.seconds - report.training_seconds
    rate = report.rows / seconds if seconds else 0.0
    yield (
        f"{report.dataset}: backfilled {report.ticks:,} of {report.asked:,} ticks, "
        f"{when(report.since)} … {when(report.until)}"
    )
    yield from _others(
        {
            "done by the service": report.in_service,
            "done before": report.done_before,
            FAILED_BEFORE: report.failed_before,
            "failed": sum(failure.ticks for failure in report.failures),
            "not run": report.left,
        }
    )
    if report.ticks:
        yield (
            f"{report.forecasts:,} forecasts, {report.rows:,} rows, {report.attention_rows:,} of "
            f"attention, {report.accuracy_rows:,} of accuracy, in {seconds:,.1f} s "
            f"({rate:,.0f} rows/s)"
        )
    if report.statuses:
        yield "status: " + _counts(report.statuses)
    if report.skipped:
        yield "could not be forecast: " + _counts(report.skipped)
    if report.models:
        used = [f"model {model} at {_ticks(ticks)}" for model, ticks in report.models.items()]
        yield ", ".join(_listed(used))
    if report.trained:
        models = ", ".join(_listed([f"model {model}" for model in report.trained]))
        yield f"trained in {report.training_seconds:,.1f} s: {models}"
    yield from _caveats(report)
    for failure in report.failures:
        yield (
            f"failed: {_ticks(failure.ticks)}, {when(failure.first)} … {when(failure.last)}: "
            f"{failure.error}" + (f"; hint: {failure.hint}" if failure.hint else "")
        )


def _caveats(report: "BackfillReport") -> Iterator[str]:
    if report.assumed:
        yield (
            f"{report.assumed:.0%} of the values were ingested long after their timestamp; they "
            f"count as known "
            f"{report.known_after} after it (--known-after)"
        )
    if report.hindsight:
        yield f"{report.hindsight:,} forecasts in hindsight: not scored, never the latest forecast"


def plan_text(dataset: DatasetConfig, plan: "Plan", series: int) -> str:
    """Return what a backfill would do."""
    return "\n  ".join(_plan_lines(dataset, plan, series))


def _plan_lines(dataset: DatasetConfig, plan: "Plan", series: int) -> Iterator[str]:
    ticks = plan.ticks
    yield f"{dataset.name}: would backfill {ticks:,} of {plan.asked:,} ticks"
    yield from _others(
        {
            "done by the service": plan.in_service,
            "done before": plan.done_before,
            FAILED_BEFORE: plan.failed_before,
        }
    )
    rows = ticks * series * dataset.prediction_length
    yield f"at most {rows:,} forecast rows: {series:,} series, {dataset.prediction_length} steps"
    yield from _listed([_tick_range(tick_range) for tick_range in plan.ranges])


def _others(ticks: Mapping[str, int]) -> Iterator[str]:
    if any(ticks.values()):
        yield "other ticks: " + _counts(ticks)


def _listed(lines: list[str]) -> Iterator[str]:
    if len(lines) <= MOST_RANGES:
        yield from lines
        return
    half = MOST_RANGES // 2
    yield from lines[:half]
    yield f"… and {len(lines) - 2 * half} others …"
    yield from lines[-half:]


def _tick_range(tick_range: "TickRange") -> str:
    if tick_range.train_at is not None:
        model = f"a model to be trained on the data known at {when(tick_range.train_at)}"
    else:
        model = f"model {tick_range.model_id}" + (" (hindsight)" if tick_range.hindsight else "")
    first, last = when(tick_range.ticks[0]), when(tick_range.ticks[-1])
    return f"{first} … {last}: {_ticks(len(tick_range.ticks))}, {model}"


def plan_document(dataset: DatasetConfig, plan: "Plan", series: int) -> dict[str, Any]:
    """Return the same as a document."""
    return {
        "dataset": dataset.name,
        "asked": plan.asked,
        "ticks": plan.ticks,
        "in_service": plan.in_service,
        "done_before": plan.done_before,
        "failed_before": plan.failed_before,
        "series": series,
        "prediction_length": dataset.prediction_length,
        "ranges": [
            {
                "first": tick_range.ticks[0],
                "last": tick_range.ticks[-1],
                "ticks": len(tick_range.ticks),
                "model_id": tick_range.model_id,
                "train_at": tick_range.train_at,
                "hindsight": tick_range.hindsight,
            }
            for tick_range in plan.ranges
        ],
    }


def pruned(
    retention: RetentionConfig, dataset: DatasetConfig, since: datetime, now: datetime
) -> Iterator[str]:
    """Warn of rows that the next prune will delete: they age from when they can be scored."""
    horizon = dataset.prediction_length * dataset.step.approximate
    scorable = now - dataset.delay - dataset.late_data - horizon
    for table, verb in (("forecasts", "are"), ("attention", "is"), ("accuracy", "is")):
        length: timedelta | None = getattr(retention, table)
        if length is not None and since - dataset.delay < scorable - length:
            yield (
                f"note:  {table} {verb} kept for {format_duration(length)}: rows before "
                f"{when(scorable - length)} will be deleted by `prune`; "
                f'to keep them, set {table} = "forever" under [retention]'
            )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _ticks(number: int) -> str:
    return f"{number:,} tick" + ("" if number == 1 else "s")
