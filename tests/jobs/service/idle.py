"""A service in which nothing is due, without threads: its parts are called as its threads do.

Time goes by only when told to. The leases live by the clock of the database, as ever.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

from sqlalchemy import Engine

from forecaster.config.settings import Config
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.state import leases, models, runs
from jobs.replicas.hooks import Hooks
from jobs.replicas.lease_keeper import Replica
from jobs.service.activity_poll import ActivityPoll
from jobs.service.context import Context
from jobs.service.service import POLL_EVERY
from jobs.service.worker_groups import WorkerGroups
from jobs.telemetry.metrics import Telemetry
from tests.jobs.small import DATASET, LAST, hour
from tests.statements import Statements
from tests.store.samples import add_model

ALARM_EVERY = 15
"""Seconds between two wake-ups by a timer at most (`jobs.scheduling.timer.LONGEST_SLEEP`)."""


def settle(engine: Engine, config: Config) -> None:
    """Give every dataset a model, and a run of every job for its newest tick."""
    with writing(engine) as conn:
        for name, dataset in config.datasets.items():
            model = add_model(conn, name)
            models.promote(conn, name, model, now=hour(LAST), reason="test")
            schedules = {
                "forecast": dataset.forecast_schedule,
                "score": dataset.forecast_schedule,
                "retrain": dataset.retrain_schedule,
                "reconcile": dataset.reconcile_schedule,
                "prune": config.prune_schedule,
            }
            for job, schedule in schedules.items():
                claim = runs.claim(conn, job, name, schedule.floor(hour(LAST)), hour(LAST), 1)
                runs.finish(conn, claim, now=hour(LAST), report={})


class Idle:
    """The parts of a service; `pass_time` lets seconds go by."""

    def __init__(self, engine: Engine, config: Config, url: str) -> None:
        self.seconds = 0.0
        self.config = config
        self.engine = engine
        session = leases.session_name("us")
        self.keeper = open_engine(url, application_name=session)
        telemetry = Telemetry(config.datasets)
        self.replica = Replica(
            self.keeper,
            tuple(config.datasets),
            holder="us",
            ttl=config.lease_ttl,
            hooks=Hooks(clock=self.clock, uptime=self.uptime),
        )
        self.around = Context(
            engine=engine,
            telemetry=telemetry,
            clock=self.clock,
            stopping=threading.Event(),
            using=self.replica.using,
        )
        self.around.counters.now = self.uptime
        self.groups = WorkerGroups(config, self.around)
        self.outlook = ActivityPoll(engine, telemetry, self.around.counters, self.clock)
        self.timers = {timer.name: timer.action for timer in self.groups._timers()}
        self.news: list[set[str]] = []

    def uptime(self) -> float:
        return self.seconds

    def clock(self):  # type: ignore[no-untyped-def]
        return hour(LAST) + timedelta(minutes=5, seconds=self.seconds)

    def pass_time(self, seconds: int) -> None:
        """Do what the threads of a service do in so many seconds; timers fire as seldom as may
        be, and for news."""
        for _ in range(seconds):
            self.seconds += 1
            self.replica._poll()
            if self.seconds % POLL_EVERY == 0:
                changed = self.outlook.poll(self.config.datasets)
                self.news += [changed] * bool(changed)
                self.fire({name for name in self.timers if name.partition(":")[2] in changed})
            if self.seconds % ALARM_EVERY == 0:
                self.fire(self.timers)

    def fire(self, names) -> None:  # type: ignore[no-untyped-def]
        for name in names:
            self.timers[name]()


def configuration(count: int) -> Config:
    names = [f"dataset-{number}" for number in range(count)]
    datasets = {name: replace(DATASET, name=name) for name in names}
    return Config(database_url="", datasets=datasets)


@contextmanager
def idling(engine: Engine, url: str, count: int) -> Iterator[tuple[Idle, Statements]]:
    """An idle service of `count` datasets which has looked at everything once."""
    config = configuration(count)
    settle(engine, config)
    idle = Idle(engine, config, url)
    with Statements(engine, idle.keeper) as counted:
        idle.pass_time(2 * ALARM_EVERY)
        idle.news.clear()
        yield idle, counted


def statements(counted: Statements, act: partial[None]) -> int:
    """Return how many statements something takes."""
    before = counted.count()
    act()
    return counted.count() - before
