"""The ticks of a replay by outcome: rows of `runs`, compared with the rows of `forecasts`."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import polars as pl
from sqlalchemy import Engine

from forecaster.schemas import INSTANT
from forecaster.store.connection.engine import reading
from forecaster.store.forecasts import export
from forecaster.store.state import run_history
from forecaster.store.state.run_history import Run

_ALL = 2**31 - 1
CUMULATIVE = ("score", "reconcile")
"""Jobs that cover all ticks before: only the outcome of their last run counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Ticks of `forecast` by outcome."""

    expected: int
    succeeded: int
    caught_up: int
    """Of them: after their time."""
    silent: int
    """Of them: without any forecast of their cutoff, by this tick or another, though not closed."""
    missed: int = 0
    """Not run, with a row that records it."""
    unexcused: int = 0
    """Of them: while the service ran and its source answered."""
    failed: int
    """Tried, and not succeeded by the end."""
    doubled: int
    """Written by two runs, or with more rows than its run reported."""
    skipped: int
    """Without a row, or without the rows that their run reported."""
    latest_seconds: float
    """The longest from a tick to its forecasts."""
    retried: int
    """Tried more than once."""
    unattended: int
    """Not tried at all before they were late, or missed."""
    forecasts: int
    """Of one series at one tick each."""
    left_out: Mapping[str, int]
    """Forecasts of one series that no tick made, by the reason that runs reported."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Errors of the jobs that failed in the end, by name."""

    @property
    def problems(self) -> list[str]:
        """What is wrong with a run, whatever faults were injected."""
        counts = {
            "done twice": self.doubled,
            "silently skipped": self.skipped,
            "failed after all retries": self.failed,
            "missed without an outage": self.unexcused,
        }
        ticks = [f"{number} ticks {what}" for what, number in counts.items() if number]
        return ticks + [f"{job} failed: {error}" for job, error in self.errors.items()]


def read(
    engine: Engine, dataset: str, ticks: Sequence[datetime], excused: Collection[datetime] = ()
) -> Ledger:
    """Count the `ticks` of a dataset by outcome; runs of other ticks must not write anything.

    Ticks that are `excused`, those that came due in an outage, may be missed.
    """
    with reading(engine) as conn:
        runs = run_history.list_runs(conn, dataset, job="forecast", limit=_ALL)
        stored = export.by_cutoff(conn, dataset)
        last = [run_history.list_runs(conn, dataset, job=job, limit=1) for job in CUMULATIVE]
    ends = [run for run in (*runs, *chain(*last)) if run.state in ("failed", "running")]
    errors = {run.job: run.error or "it did not finish" for run in ends}
    missed = [run.tick for run in runs if run.state == "missed"]
    unexcused = sum(tick not in excused for tick in missed)
    counted = _count(runs, stored, ticks)
    return replace(counted, missed=len(missed), unexcused=unexcused, errors=errors)


def _count(runs: Sequence[Run], stored: pl.DataFrame, ticks: Sequence[datetime]) -> Ledger:
    done = [run for run in runs if run.state == "succeeded"]
    delays = [delay for run in done if (delay := _delay(run))]
    without_row = set(ticks) - {run.tick for run in runs}
    compared, cutoffs = _compare(done, stored), set(stored["cutoff"])
    return Ledger(
        expected=len(ticks),
        succeeded=len({run.tick for run in done}.intersection(ticks)),
        caught_up=len(delays),
        silent=sum(_cutoff(run) not in cutoffs for run in done),
        failed=sum(run.state in ("failed", "running") for run in runs),
        doubled=compared["doubled"],
        skipped=max(len(without_row), compared["unreported"]) + compared["incomplete"],
        latest_seconds=max(delays, default=timedelta(0)).total_seconds(),
        retried=sum(run.attempt > 1 for run in runs),
        unattended=sum(
            run.attempt == 0 or (run.attempt == 1 and bool(_delay(run))) for run in runs
        ),
        forecasts=sum(_report(run)["series"] for run in done),
        left_out=_left_out(done),
    )


def pulled(engine: Engine, dataset: str) -> Counter[str]:
    """Return the sums of what the pulls of a dataset reported: late, corrected, rejected …

    A row that several pulls read is rejected, or counted as a duplicate, by each of them.
    """
    total = Counter[str]()
    with reading(engine) as conn:
        runs = run_history.list_runs(conn, dataset, limit=_ALL)
    for run in runs:
        if pull := (run.report or {}).get("pull"):
            names = ("late", "corrected", "duplicates", "conflicting")
            total.update({name: pull[name] for name in names})
            total["rejected"] += sum(pull["rejected"].values())
    return total


def _compare(done: Sequence[Run], stored: pl.DataFrame) -> dict[str, int]:
    """Count the cutoffs whose stored forecasts are not what runs reported.

    Two ticks may share a cutoff; then the second writes what the first left out, if anything.
    """
    reported = pl.DataFrame(
        [(_cutoff(run), _report(run)["series"]) for run in done if _report(run)["series"]],
        schema={"cutoff": INSTANT, "reported": pl.Int64()},
        orient="row",
    )
    per_cutoff = reported.group_by("cutoff").agg(pl.len().alias("runs"), pl.col("reported").sum())
    both = stored.join(per_cutoff, on="cutoff", how="full", coalesce=True).fill_null(0)
    forecasts, runs, total = pl.col("forecasts"), pl.col("runs"), pl.col("reported")
    is_doubled = (runs > 0) & (forecasts > total) | (runs > 1) & (forecasts < total)
    counts = both.select(
        doubled=(is_doubled | (pl.col("repeated") > 0)).sum(),
        incomplete=((runs == 1) & (forecasts < total)).sum(),
        unreported=((runs == 0) & (forecasts > 0)).sum(),
    )
    return counts.row(0, named=True)


def _left_out(done: Sequence[Run]) -> dict[str, int]:
    total = Counter[str]()
    for run in done:
        total.update(_report(run)["skipped"])
    return dict(total.most_common())


def _cutoff(run: Run) -> datetime:
    return datetime.fromisoformat(_report(run)["cutoff"])


def _report(run: Run) -> Mapping[str, Any]:
    assert run.report is not None
    return run.report


def _delay(run: Run) -> timedelta:
    return timedelta(0) if run.finished_at is None else run.finished_at - run.tick
