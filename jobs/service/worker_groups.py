"""The worker groups of one configuration: what its timers run, in how many threads.

Five groups, so that nothing long delays a forecast: `forecast` runs forecast and score of a dataset
one after the other; `retrain` trains in a child process, `first` those that have no model yet, as
all of their forecasts wait; `reconcile` reads histories again; `prune` may wait for partitions in
use. Nothing is done for a dataset that another replica works on.
Forecasts of a dataset wait for its first model: no run is recorded until there is one, and its
arrival fires their timer.

A database that does not answer does not end the service: it stays alive, is not ready, and tries
again at every timer. One whose schema is not the newest is refused.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Engine

from forecaster.config import diff
from forecaster.config.settings import Config, DatasetConfig, TrainingConfig
from forecaster.data.panel import Panel
from forecaster.errors import DatabaseUnavailable, ForecasterError, RunError, StageTimedOut
from forecaster.network.spec import ModelSpec
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import Fence, bounded, guarded
from forecaster.store.maintenance import migrations
from forecaster.store.state import datasets, models
from forecaster.times.schedules import Schedule
from forecaster.training.estimator import Progress
from jobs import catalog
from jobs.execution.clock import delay
from jobs.execution.job import Job
from jobs.retrain import Fitted, Watch, unwatched
from jobs.scheduling.catch_up import CatchUp
from jobs.scheduling.due_ticks import LOOK_WITHIN
from jobs.scheduling.idle import IdleTracker
from jobs.scheduling.timer import Scheduler, Timer
from jobs.service.context import Context
from jobs.stages import pull_progress
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache
from jobs.telemetry import record
from jobs.training_process.parent import fit_in_child

FEWEST, MOST = 4, 10
"""Datasets forecast at once: one that waits for its source does not block the others."""
RETRY_AFTER = 2.0
"""Seconds until a database that did not answer is tried again."""
WORKER_GROUPS = ("first", "retrain", "forecast", "reconcile", "prune")

Action = Callable[[DatasetConfig, Engine], None]
"""What a worker group does for a dataset, with an engine that is guarded by its lease."""

log = logging.getLogger("forecaster")


class WorkerGroups:
    """Runs all jobs of one configuration on schedule: `start`, then `stop`."""

    def __init__(self, config: Config, context: Context) -> None:
        self._config, self._context = config, context
        self._documents = diff.documents(config)
        self._backlog = CatchUp(
            engine=context.engine,
            clock=context.clock,
            is_over=self._is_over,
            observe=partial(record.outcome, context.telemetry),
            on_missed=partial(record.missed, context.telemetry),
            wake=self._wake,
            job_states=context.job_states,
        )
        self._jobs = catalog.jobs(
            config,
            champions=Champions(partial(record.damage, context.telemetry)),
            panels=PanelCache(),
            fit=self._fit,
        )
        self._scheduler = Scheduler(
            list(self._timers()), threads=threads(config), clock=context.clock
        )
        self._idleness = IdleTracker(context.counters, context.job_states)
        self._recorded: set[str] = set()
        self._recording = threading.Lock()
        self._is_retired = False
        self._logged: dict[str, str] = {}

    def start(self) -> None:
        """Fire every timer at once, then on schedule."""
        self._scheduler.start()

    def check_clock(self) -> None:
        """Keep the timers right when the wall clock is not; call about once a second."""
        self._scheduler.check_clock()

    def silent_for(self) -> float:
        """Return the seconds since the last heartbeat of the scheduler."""
        return self._scheduler.silent_for()

    def wake(self, dataset: str) -> None:
        """Fire the timers of a dataset now, as after its lease was acquired."""
        for group in WORKER_GROUPS:
            self._scheduler.wake(f"{group}:{dataset}")

    def stop(self) -> None:
        """Start nothing more; running jobs continue."""
        self._is_retired = True
        self._scheduler.stop()

    def _timers(self) -> Iterator[Timer]:
        for dataset in self._config.datasets.values():
            for group, schedule, action in (
                ("first", dataset.retrain_schedule, partial(self._train, first=True)),
                ("retrain", dataset.retrain_schedule, partial(self._train, first=False)),
                ("forecast", dataset.forecast_schedule, self._forecast),
                ("reconcile", dataset.reconcile_schedule, self._reconcile),
                ("prune", self._config.prune_schedule, partial(self._catch_up, "prune")),
            ):
                yield Timer(
                    name=f"{group}:{dataset.name}",
                    group=group,
                    schedule=schedule,
                    delay=delay(group, dataset),
                    action=partial(self._run_timer, group, schedule, action, dataset),
                )

    def _forecast(self, dataset: DatasetConfig, engine: Engine) -> None:
        if not _has_champion(engine, dataset):
            return
        for name in ("forecast", "score"):
            self._catch_up(name, dataset, engine)

    def _train(self, dataset: DatasetConfig, engine: Engine, *, first: bool) -> None:
        has_none = not _has_champion(engine, dataset)
        if has_none != first:
            return
        with self._context.busy.doing(f"train:{dataset.name}") as is_free:
            if not is_free:  # its model came or went while the other group trains
                return
            outcomes = self._backlog.catch_up(
                self._jobs["retrain"], dataset, engine, even_if_done=has_none
            )
        if any(outcome.result == "succeeded" for outcome in outcomes):
            self._idleness.forget(dataset.name, ["forecast"])
            self._scheduler.wake(f"forecast:{dataset.name}")

    def _reconcile(self, dataset: DatasetConfig, engine: Engine) -> None:
        with _brief_reading(engine) as conn:
            is_pulled = pull_progress.last_full_read(conn, dataset.name) is not None
        if is_pulled:  # the first training reads all of the history anyway
            self._catch_up("reconcile", dataset, engine)

    def _catch_up(self, name: str, dataset: DatasetConfig, engine: Engine) -> None:
        self._backlog.catch_up(self._jobs[name], dataset, engine)

    def _run_timer(
        self, group: str, schedule: Schedule, action: Action, dataset: DatasetConfig
    ) -> None:
        """Run the action of a timer if this replica holds the lease; log once what prevents it."""
        context, name = self._context, f"{group}:{dataset.name}"
        with context.busy.doing(name) as is_first, context.using(dataset.name) as fence:
            if is_first and fence is None:
                context.job_states.forget_checks(dataset.name)
                self._idleness.forget(dataset.name)
            if not is_first or fence is None or self._is_over():
                return
            look = self._idleness.begin(
                group, dataset.name, fence.token, self._last_ticks(group, schedule, dataset)
            )
            if not self._idleness.is_idle(look) and self._do(name, action, dataset, fence):
                self._idleness.end(look)

    def _do(self, name: str, action: Action, dataset: DatasetConfig, fence: Fence) -> bool:
        """Run the action; False after an error."""
        engine = guarded(self._context.engine, fence=fence)
        try:
            self._prepare(dataset, engine)
            action(dataset, engine)
        except ForecasterError as error:
            self._log_once(dataset.name, error)
            if isinstance(error, DatabaseUnavailable | StageTimedOut):
                self._scheduler.wake(name, after=RETRY_AFTER)
            return False
        self._logged.pop(dataset.name, None)
        return True

    def _last_ticks(self, group: str, schedule: Schedule, dataset: DatasetConfig) -> list[datetime]:
        """Return the last ticks that matter to a group: a first training waits for no schedule."""
        now = self._context.clock() - delay(group, dataset)
        schedules = [schedule, dataset.forecast_schedule] if group == "first" else [schedule]
        return [tick_schedule.floor(now) for tick_schedule in schedules]

    def _is_over(self) -> bool:
        return self._is_retired or self._context.stopping.is_set()

    def _prepare(self, dataset: DatasetConfig, engine: Engine) -> None:
        """Check the schema, which may be upgraded meanwhile; once for each dataset, restore
        telemetry and record the settings."""
        with bounded(engine, "look", LOOK_WITHIN) as brief:
            migrations.require_head(brief)
            if not self._is_first_to_record(dataset.name):
                return
            try:
                with reading(brief) as conn:
                    record.restore(self._context.telemetry, conn, dataset.name)
                with writing(brief) as conn:
                    datasets.store_settings(conn, dataset.name, self._documents[dataset.name])
            except BaseException:
                self._recorded.discard(dataset.name)
                raise

    def _is_first_to_record(self, name: str) -> bool:
        """Return whether the caller is to record the settings: once, so that it is not repeated
        when others are in force."""
        with self._recording:
            is_first = name not in self._recorded
            self._recorded.add(name)
            return is_first

    def _wake(self, job: Job, dataset: DatasetConfig, seconds: float) -> None:
        for group in ("first", "retrain") if job.name == "retrain" else (job.group,):
            self._scheduler.wake(f"{group}:{dataset.name}", after=seconds)

    def _fit(
        self, panel: Panel, spec: ModelSpec, config: TrainingConfig, *, watch: Watch = unwatched
    ) -> Fitted:
        def watch_both(progress: Progress | None) -> None:
            if self._context.stopping.is_set():
                raise RunError("training cancelled by shutdown", hint="retried at the next start")
            watch(progress)

        return fit_in_child(panel, spec, config, watch=watch_both)

    def _log_once(self, dataset: str, error: ForecasterError) -> None:
        if error.message != self._logged.get(dataset):
            self._logged[dataset] = error.message
            log.error("dataset %s: %s; hint: %s", dataset, error.message, error.hint or "none")


def threads(config: Config) -> dict[str, int]:
    """Return how many datasets each group serves at once."""
    forecasts = min(MOST, max(FEWEST, len(config.datasets)))
    return {**dict.fromkeys(WORKER_GROUPS, 1), "forecast": forecasts}


def _has_champion(engine: Engine, dataset: DatasetConfig) -> bool:
    with _brief_reading(engine) as conn:
        return models.has_champion(conn, dataset.name)


@contextmanager
def _brief_reading(engine: Engine) -> Iterator[Connection]:
    with bounded(engine, "look", LOOK_WITHIN) as brief, reading(brief) as conn:
        yield conn
