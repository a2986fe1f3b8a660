"""What became of the ticks of a replay, as the tables tell: runs and forecast rows, recounted."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Engine

from forecaster.store.connection.engine import reading
from forecaster.store.forecasts import export
from forecaster.store.state import run_history
from forecaster.store.state.run_history import Run

_ALL = 2**31 - 1
PULLING = ("forecast", "reconcile")
"""Jobs whose reports say what was pulled, once the first model is there."""
BESIDE = ("score", "reconcile")
"""Jobs that do the work of all ticks before: what counts is how their last run ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Ticks of `forecast` by what became of them."""

    expected: int
    succeeded: int
    caught_up: int
    """Of them: after their time."""
    silent: int
    """Of them: without any forecast of their cutoff, by this tick or another, though not closed."""
    missed: int
    """Not run, and a row says so."""
    unexcused: int
    """Of them: while the service ran and its source answered."""
    failed: int
    """Tried, and not made up for by the end."""
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
    errors: Mapping[str, str]
    """What jobs failed with in the end, by name."""

    @property
    def problems(self) -> list[str]:
        """What is wrong with a run, whatever was brought about in it."""
        counts = {
            "done twice": self.doubled,
            "silently skipped": self.skipped,
            "failed after all retries": self.failed,
            "missed without an outage": self.unexcused,
        }
        found = [f"{number} ticks {what}" for what, number in counts.items() if number]
        return found + [f"{job} failed: {error}" for job, error in self.errors.items()]


def read(
    engine: Engine, dataset: str, ticks: Sequence[datetime], away: Collection[datetime] = ()
) -> Ledger:
    """Recount the `ticks` of a dataset; runs of other ticks may only have written nothing.

    Those that came due while the source or the service was `away` may be missed.
    """
    with reading(engine) as conn:
        found = run_history.list_runs(conn, dataset, job="forecast", limit=_ALL)
        counted = export.by_cutoff(conn, dataset)
        ends = [run_history.list_runs(conn, dataset, job=job, limit=1) for job in BESIDE]
    done = [run for run in found if run.state == "succeeded"]
    odds, there = _odds(done, counted), set(counted["cutoff"])
    twice = [tick for tick, count in Counter(run.tick for run in done).items() if count > 1]
    late = [run for run in done if _lateness(run) > timedelta(0)]
    unnoted = set(ticks) - {run.tick for run in found}
    return Ledger(
        expected=len(ticks),
        succeeded=len({run.tick for run in done}.intersection(ticks)),
        caught_up=len(late),
        silent=sum(_cutoff(run) not in there and not _is_closed(run) for run in done),
        missed=sum(run.state == "missed" for run in found),
        unexcused=sum(run.state == "missed" and run.tick not in away for run in found),
        failed=len(_failed(found)),
        doubled=len(odds.doubled) + len(twice),
        skipped=max(len(unnoted), len(odds.unclaimed)) + len(odds.lacking),
        latest_seconds=max(map(_lateness, late), default=timedelta(0)).total_seconds(),
        retried=sum(run.attempt > 1 for run in found),
        unattended=sum(
            run.attempt == 0 or (run.attempt == 1 and _lateness(run) > timedelta(0))
            for run in found
        ),
        forecasts=sum(_report(run)["series"] for run in done),
        left_out=_left_out(done),
        errors=_errors([*_failed(found), *_failed(run for end in ends for run in end)]),
    )


def pulled(engine: Engine, dataset: str) -> Counter[str]:
    """Add up what the pulls of a dataset reported: late, corrected, rejected, duplicates …

    A row that is read by several pulls is rejected, or counted as a duplicate, by each of them.
    """
    total = Counter[str]()
    with reading(engine) as conn:
        reports = [
            report
            for job in PULLING
            for run in run_history.list_runs(conn, dataset, job=job, limit=_ALL)
            if (report := (run.report or {}).get("pull")) is not None
        ]
    for report in reports:
        names = ("late", "corrected", "duplicates", "conflicting")
        total.update({name: report[name] for name in names})
        total["rejected"] += sum(report["rejected"].values())
    return total


class _Mismatches(NamedTuple):
    """Cutoffs whose rows are not what runs reported."""

    doubled: set[datetime]
    lacking: set[datetime]
    """Of which rows are not there."""
    unclaimed: set[datetime]
    """Of which rows are there that no run reported."""


def _odds(done: Sequence[Run], counted: pl.DataFrame) -> _Mismatches:
    """Hold runs against rows.

    Two ticks may share a cutoff; then the second writes what the first left out, if anything.
    """
    rows = {cutoff: number for cutoff, number, _ in counted.iter_rows()}
    odds = _Mismatches(
        {cutoff for cutoff, _, repeated in counted.iter_rows() if repeated}, set(), set()
    )
    reported = defaultdict[datetime, list[int]](list)
    for run in done:
        said = _report(run)
        reported[_cutoff(run)] += [said["rows"]] * bool(said["rows"])
    for cutoff in rows.keys() | reported.keys():
        each, there = reported[cutoff], rows.get(cutoff, 0)
        if there and not each:
            odds.unclaimed.add(cutoff)
        elif there > sum(each) or (there < sum(each) and len(each) > 1):
            odds.doubled.add(cutoff)
        elif there < sum(each):
            odds.lacking.add(cutoff)
    return odds


def _failed(found: Iterable[Run]) -> list[Run]:
    return [run for run in found if run.state in ("failed", "running")]


def _errors(failed: Iterable[Run]) -> dict[str, str]:
    return {run.job: run.error or "it did not finish" for run in failed}


def _left_out(done: Iterable[Run]) -> dict[str, int]:
    total = Counter[str]()
    for run in done:
        total.update(_report(run)["skipped"])
    return dict(total.most_common())


def _is_closed(run: Run) -> bool:
    """Tell whether series were forecast, and all steps ahead are closed."""
    return bool(_report(run)["series"]) and not _report(run)["rows"]


def _cutoff(run: Run) -> datetime:
    return datetime.fromisoformat(_report(run)["cutoff"])


def _report(run: Run) -> Mapping[str, Any]:
    assert run.report is not None
    return run.report


def _lateness(run: Run) -> timedelta:
    return timedelta(0) if run.finished_at is None else run.finished_at - run.tick
