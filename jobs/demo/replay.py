"""Replay the past tick by tick through the jobs of the service, and score it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

import polars as pl
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.data.panel import Panel, build
from forecaster.errors import DataError
from forecaster.store.connection.engine import reading
from forecaster.store.forecasts import history
from forecaster.store.observations import observations
from forecaster.times.durations import MICROSECOND, format_duration
from forecaster.times.schedules import Schedule
from jobs.demo import charts
from jobs.demo.scoreboard import Scoreboard, yardsticks
from jobs.execution.job import Job
from jobs.execution.reports import ForecastReport, RetrainReport
from jobs.execution.runner import Observe, Outcome, run_job
from jobs.stages.champions import Champion, Champions
from jobs.terminal.sparklines import Picture, Screen, TickView


class SimulatedClock:
    """A simulated clock: starts at a past instant and advances with `passing`."""

    def __init__(self, at: datetime, passing: Callable[[], float] = monotonic) -> None:
        self._passing = passing
        self.set(at)

    def set(self, at: datetime) -> None:
        """Go on from `at`."""
        self._at, self._since = at, self._passing()

    def __call__(self) -> datetime:
        return self._at + timedelta(seconds=self._passing() - self._since)


def last_ticks(
    engine: Engine, archive: str, *, schedule: Schedule, replay: timedelta
) -> list[datetime]:
    """Return the ticks of the last `replay` of what was observed.

    DataError when nothing would be left to train on.
    """
    with reading(engine) as conn:
        span = observations.span(conn, archive)
    if span is None:
        raise DataError("the file has no observations")
    return ticks_within(span, schedule=schedule, replay=replay)


def ticks_within(
    span: tuple[datetime, datetime], *, schedule: Schedule, replay: timedelta
) -> list[datetime]:
    """Return the ticks of the last `replay` of a span; DataError when nothing lies before them."""
    first, last = span
    newest = schedule.floor(last)
    before = schedule.floor(newest - MICROSECOND)
    ticks = schedule.between(min(newest - replay, before - MICROSECOND), newest)
    if ticks[0] <= first:
        raise DataError(
            f"--replay must be shorter than the history of {format_duration(last - first)}, "
            f"found {format_duration(replay)}",
            hint="pass a shorter --replay",
        )
    return ticks


class ReplayAccuracy:
    """How good the forecasts of a replay are up to a cutoff, and what the newest looks like."""

    def __init__(
        self, engine: Engine, dataset: DatasetConfig, truth: pl.DataFrame, champion: Champion,
        ticks: Sequence[datetime],
    ) -> None:  # fmt: skip
        """Score the cutoffs of `ticks` against `truth`, OBSERVATIONS up to their end."""
        spec = champion.model.spec
        cutoffs = [champion.cutoff(tick - dataset.delay) for tick in ticks]
        before = truth.filter(pl.col("timestamp") <= cutoffs[0])
        known = build(before, spec.grid(), season_length=spec.season_length)
        scales = dict(zip(known.series_ids, known.scale.tolist(), strict=True))
        self._panel: Panel = build(truth, spec.grid(), scales=scales)
        self._board = Scoreboard(yardsticks(self._panel, spec, cutoffs))
        self._engine, self._dataset = engine, dataset
        self._read_from = cutoffs[0]
        self._open = pl.DataFrame(schema=history.INTERVALS)

    def follow(self, cutoff: datetime) -> None:
        """Count the forecasts that matured up to `cutoff`; read those that are new."""
        with reading(self._engine) as conn:
            said = history.read_intervals(
                conn, self._dataset.name, since=self._read_from, until=cutoff
            )
        self._read_from = cutoff + timedelta(microseconds=1)
        pending = pl.concat([self._open, said])
        is_known = pl.col("timestamp") <= cutoff
        self._board.add(pending.filter(is_known))
        self._open = pending.filter(~is_known)

    @property
    def series_ids(self) -> tuple[str, ...]:
        """The series, sorted."""
        return self._panel.series_ids

    def mase(self) -> dict[str, float]:
        """Return the MASE of the model and of the naive forecasts so far."""
        return self._board.mase()

    def coverage_80(self) -> float | None:
        """Return the coverage of the 80 % interval so far."""
        return self._board.coverage_80()

    def picture(self, cutoff: datetime) -> Picture | None:
        """Return the newest forecast as something to look at."""
        with reading(self._engine) as conn:
            return charts.of_first_series(conn, self._dataset, self._panel, cutoff)


@dataclass(slots=True, kw_only=True)
class Replay:
    """One replay of `ticks`; what an earlier one did is counted, not repeated."""

    engine: Engine
    dataset: DatasetConfig
    archive: str
    ticks: Sequence[datetime]
    jobs: Mapping[str, Job]
    champions: Champions
    clock: SimulatedClock
    screen: Screen
    observe: Observe
    already_done: int = 0
    trained: list[RetrainReport] = field(default_factory=list)
    tick_seconds: list[float] = field(default_factory=list)
    standing: ReplayAccuracy | None = None

    def run(self) -> None:
        """Run every tick: retrain at the first one and half-way, then forecast and score."""
        for number, tick in enumerate(self.ticks, start=1):
            self.clock.set(tick)
            if number in (1, len(self.ticks) // 2 + 1):
                self._retrain(tick)
            forecast, score = self._run("forecast", tick), self._run("score", tick)
            if isinstance(forecast.report, ForecastReport):
                self._show(number, forecast.report, score)
            else:
                self._skip(tick, forecast)
        self._stand().follow(self.clock())

    def _retrain(self, tick: datetime) -> None:
        outcome = self._run("retrain", tick)
        if isinstance(outcome.report, RetrainReport):
            self.trained.append(outcome.report)
            self.screen.say(_trained(outcome.report))

    def _run(self, name: str, tick: datetime) -> Outcome:
        outcome = run_job(
            self.jobs[name],
            self.engine,
            self.dataset,
            tick=tick,
            clock=self.clock,
            observe=self.observe,
        )
        if outcome.result in ("failed", "crashed"):
            assert outcome.error is not None
            raise outcome.error
        return outcome

    def _skip(self, tick: datetime, outcome: Outcome) -> None:
        """Count a tick that was done before; name the first and the last one."""
        self.already_done += 1
        if self.already_done == 1 or tick == self.ticks[-1]:
            self.screen.say(str(outcome.error))

    def _show(self, number: int, report: ForecastReport, score: Outcome) -> None:
        if self.already_done and not self.tick_seconds:
            self.screen.say(f"continuing at tick {number} of {len(self.ticks)}")
        standing = self._stand()
        standing.follow(report.cutoff)
        stages = {**report.stages, "score": score.seconds}
        self.tick_seconds.append(sum(stages.values()))
        self.screen.tick(
            TickView(
                number=number,
                total=len(self.ticks),
                cutoff=charts.local(report.cutoff, self.dataset),
                mase=standing.mase(),
                coverage_80=standing.coverage_80(),
                stages=stages,
                picture=standing.picture(report.cutoff),
            )
        )

    def _stand(self) -> ReplayAccuracy:
        if self.standing is None:
            champion = self.champions.serving(self.engine, self.dataset, now=self.ticks[-1])
            with reading(self.engine) as conn:
                truth = observations.read(conn, self.archive, until=self.ticks[-1])
            self.standing = ReplayAccuracy(self.engine, self.dataset, truth, champion, self.ticks)
        return self.standing


def _trained(report: RetrainReport) -> str:
    season = f"season of {report.season_length} steps" if report.season_length > 1 else "no season"
    return (
        f"trained model {report.model_id} on {report.trained_from:%Y-%m-%d} … "
        f"{report.trained_to:%Y-%m-%d} ({season}) in {report.train_seconds:.0f} s, "
        f"{report.windows_per_second:,.0f} windows/s"
    )
