"""Replay the past tick by tick through the jobs of the service, and score it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

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
from jobs.demo.scoreboard import Scoreboard
from jobs.demo.screens import Screen, TickView
from jobs.execution.job import Job
from jobs.execution.reports import ForecastReport, RetrainReport
from jobs.execution.runner import Observe, Outcome, run_job
from jobs.stages.champions import Champions


class SimulatedClock:
    """A simulated clock: starts at a past instant and advances with `passing`."""

    def __init__(self, at: datetime, passing: Callable[[], float] = monotonic) -> None:
        self._passing = passing
        self.set(at)

    def set(self, at: datetime) -> None:
        """Continue from `at`."""
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


@dataclass(slots=True, kw_only=True)
class Replay:
    """One replay of `ticks`; those of an earlier one are counted, not repeated."""

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
    tick_seconds: list[float] = field(default_factory=list)
    panel: Panel = field(init=False)
    """All values up to the last tick, scaled by what was known at the first cutoff."""
    scores: Scoreboard = field(init=False)
    _read_until: datetime = field(init=False)

    def run(self) -> None:
        """Run every tick: retrain at the first one and half-way, then forecast and score."""
        for number, tick in enumerate(self.ticks, start=1):
            self.clock.set(tick)
            if number in (1, len(self.ticks) // 2 + 1):
                trained = self._run("retrain", tick).report
                if isinstance(trained, RetrainReport):
                    self.screen.say(_trained(trained))
            if number == 1:
                self._prepare_scores()
            forecast, score = self._run("forecast", tick), self._run("score", tick)
            if isinstance(forecast.report, ForecastReport):
                self._show(number, forecast.report, score)
            else:
                self._skip(tick, forecast)
        self._score(self.clock())

    def _run(self, name: str, tick: datetime) -> Outcome:
        job, clock = self.jobs[name], self.clock
        outcome = run_job(
            job, self.engine, self.dataset, tick=tick, clock=clock, observe=self.observe
        )
        if outcome.result in ("failed", "crashed"):
            assert outcome.error is not None
            raise outcome.error
        return outcome

    def _skip(self, tick: datetime, outcome: Outcome) -> None:
        """Count a tick that was done before; report the first and the last one."""
        self.already_done += 1
        if self.already_done == 1 or tick == self.ticks[-1]:
            self.screen.say(str(outcome.error))

    def _show(self, number: int, report: ForecastReport, score: Outcome) -> None:
        if self.already_done and not self.tick_seconds:
            self.screen.say(f"continuing at tick {number} of {len(self.ticks)}")
        self._score(report.cutoff)
        stages = {**report.stages, "score": score.seconds}
        self.tick_seconds.append(sum(stages.values()))
        with reading(self.engine) as conn:
            picture = charts.of_first_series(conn, self.dataset, self.panel, report.cutoff)
        self.screen.tick(
            TickView(
                number=number,
                total=len(self.ticks),
                cutoff=charts.local(report.cutoff, self.dataset),
                mase=self.scores.mase(),
                coverage_80=self.scores.coverage_80(),
                stages=stages,
                picture=picture,
            )
        )

    def _prepare_scores(self) -> None:
        champion = self.champions.serving(self.engine, self.dataset, now=self.ticks[-1])
        spec = champion.model.spec
        cutoffs = [champion.cutoff(tick - self.dataset.delay) for tick in self.ticks]
        with reading(self.engine) as conn:
            truth = observations.read(conn, self.archive, until=self.ticks[-1])
        known = truth.filter(truth["timestamp"] <= cutoffs[0])
        past = build(known, spec.grid(), season_length=spec.season_length)
        scales = dict(zip(past.series_ids, past.scale.tolist(), strict=True))
        self.panel = build(truth, spec.grid(), scales=scales)
        self.scores = Scoreboard(self.panel, spec, cutoffs)
        self._read_until = cutoffs[0] - MICROSECOND

    def _score(self, cutoff: datetime) -> None:
        """Read the forecasts up to `cutoff` that are new, and score what matured until then."""
        since, self._read_until = self._read_until + MICROSECOND, cutoff
        with reading(self.engine) as conn:
            forecasts = history.read_intervals(conn, self.dataset.name, since=since, until=cutoff)
        self.scores.add(forecasts, cutoff)


def _trained(report: RetrainReport) -> str:
    season = f"season of {report.season_length} steps" if report.season_length > 1 else "no season"
    return (
        f"trained model {report.model_id} on {report.trained_from:%Y-%m-%d} … "
        f"{report.trained_to:%Y-%m-%d} ({season}) in {report.train_seconds:.0f} s, "
        f"{report.windows_per_second:,.0f} windows/s"
    )
