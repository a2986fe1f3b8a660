"""The service: alarms, lanes, telemetry and the HTTP server, from start to stop.

Four lanes, so that nothing long delays a forecast: `forecast` runs forecast and score of a dataset
one after the other; `retrain` trains in a child process; `reconcile` reads histories again; `prune`
may wait for partitions in use.
Forecasts of a dataset wait for its first model: no run is recorded until there is one, and its
arrival rings their alarm.

A database that does not answer does not end the service: it stays alive, is not ready, and tries
again at every alarm. One whose schema is not the newest is refused.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy import Engine

from forecaster.config import Config, DatasetConfig
from forecaster.errors import ForecasterError, RunError
from forecaster.schedules import Every
from forecaster.store import models, schema
from forecaster.store.engine import reading
from forecaster.training import Progress
from jobs import catalog, observe, probes, pull, server
from jobs.backlog import Backlog
from jobs.champions import Champions
from jobs.panels import Panels
from jobs.scheduler import LONGEST_SLEEP, Alarm, Scheduler
from jobs.telemetry import Telemetry
from jobs.ticks import Clock, delay
from jobs.trainer import fit_in_child

LOOK_EVERY = 1.0
FINISH_SECONDS = 15.0
"""How long a stop waits for the ticks under way; what is not done by then runs at next start."""
THREADS = {"forecast": 4, "retrain": 1, "reconcile": 1, "prune": 1, "readiness": 1}
"""How many datasets each lane serves at once."""
SCHEDULED = ("forecast", "score")

log = logging.getLogger("forecaster")


class Service:
    """Everything that serves: `listen`, `start`, `wait`, `stop`, in this order."""

    def __init__(
        self, config: Config, engine: Engine, telemetry: Telemetry, *, clock: Clock
    ) -> None:
        self.stopping = threading.Event()
        self._config, self._engine, self._telemetry = config, engine, telemetry
        self._backlog = Backlog(
            engine=engine,
            clock=clock,
            stopping=self.stopping,
            observe=partial(observe.outcome, telemetry),
            missed=partial(observe.missed, telemetry),
            wake=lambda job, dataset, seconds: self._scheduler.ring(
                f"{job.lane}:{dataset.name}", after=seconds
            ),
        )
        fit = partial(fit_in_child, watch=self._watch)
        self._jobs = catalog.jobs(config, champions=Champions(), panels=Panels(), fit=fit)
        self._scheduler = Scheduler(list(self._alarms()), threads=THREADS, clock=clock)
        self._ready = probes.Ready(engine=engine, datasets=tuple(config.datasets))
        self._prepared = False
        self._idle = threading.Condition()
        self._working = 0
        self._complaint = ""
        self._server: server.Server | None = None

    @property
    def url(self) -> str:
        """Where the HTTP server listens."""
        assert self._server is not None
        return self._server.url

    def listen(self) -> None:
        """Serve HTTP; ConfigError when the address is taken."""
        pages = server.Pages(
            telemetry=self._telemetry,
            live=lambda: probes.live(self._scheduler.silent_for),
            ready=self._ready,
        )
        self._server = server.start(pages, self._config.server)

    def start(self) -> None:
        """Ring every alarm, and from then on in time."""
        self._scheduler.start()

    def wait(self) -> None:
        """Watch over the alarm clock until `stopping` is set."""
        while not self.stopping.wait(LOOK_EVERY):
            self._scheduler.watch()
            self._telemetry.heartbeat.set(time.time() - self._scheduler.silent_for())

    def stop(self) -> bool:
        """Stop, kill a training, wait for ticks under way; False when one had to be abandoned."""
        self.stopping.set()
        self._scheduler.stop()
        with self._idle:
            done = self._idle.wait_for(lambda: self._working == 0, FINISH_SECONDS)
        if self._server is not None:
            self._server.stop()
        return done

    def _watch(self, _: Progress | None) -> None:
        if self.stopping.is_set():
            raise RunError("training was stopped", hint="it runs again at the next start")

    def _alarms(self) -> Iterator[Alarm]:
        yield Alarm(
            name="readiness",
            lane="readiness",
            schedule=Every(LONGEST_SLEEP),
            action=self._show_readiness,
        )
        for dataset in self._config.datasets.values():
            for lane, schedule, action in (
                ("retrain", dataset.retrain_schedule, self._retraining),
                ("forecast", dataset.forecast_schedule, self._forecasting),
                ("reconcile", dataset.reconcile_schedule, self._reconciling),
                ("prune", self._config.prune_schedule, self._pruning),
            ):
                yield Alarm(
                    name=f"{lane}:{dataset.name}",
                    lane=lane,
                    schedule=schedule,
                    delay=delay(lane, dataset),
                    action=partial(self._at_work, partial(action, dataset)),
                )

    def _show_readiness(self) -> None:
        """Keep the gauge true where nobody asks /readyz."""
        self._telemetry.ready.set(0 if self._ready() else 1)

    def _forecasting(self, dataset: DatasetConfig) -> None:
        with reading(self._engine) as conn:
            served = models.has_champion(conn, dataset.name)
        for name in SCHEDULED if served else ():
            self._backlog.catch_up(self._jobs[name], dataset)

    def _retraining(self, dataset: DatasetConfig) -> None:
        outcomes = self._backlog.catch_up(self._jobs["retrain"], dataset)
        if any(outcome.result == "succeeded" for outcome in outcomes):
            self._scheduler.ring(f"forecast:{dataset.name}")

    def _reconciling(self, dataset: DatasetConfig) -> None:
        with reading(self._engine) as conn:
            is_pulled = pull.last_whole(conn, dataset.name) is not None
        if is_pulled:  # the first training reads all of the history anyway
            self._backlog.catch_up(self._jobs["reconcile"], dataset)

    def _pruning(self, dataset: DatasetConfig) -> None:
        self._backlog.catch_up(self._jobs["prune"], dataset)

    def _at_work(self, action: Callable[[], None]) -> None:
        """Run what an alarm rings for; what is wrong with the database is logged once."""
        with self._counted():
            if self.stopping.is_set():
                return
            try:
                self._prepare()
                action()
            except ForecasterError as error:
                self._complain(error)
            else:
                self._complaint = ""

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._idle:
            self._working += 1
        try:
            yield
        finally:
            with self._idle:
                self._working -= 1
                self._idle.notify_all()

    def _prepare(self) -> None:
        """Check the schema and restore telemetry, the first time that the database answers."""
        if self._prepared:
            return
        schema.require_head(self._engine)
        with reading(self._engine) as conn:
            for dataset in self._config.datasets:
                observe.restore(self._telemetry, conn, dataset)
        self._prepared = True

    def _complain(self, error: ForecasterError) -> None:
        if error.message != self._complaint:
            self._complaint = error.message
            log.error("%s; hint: %s", error.message, error.hint or "none")
