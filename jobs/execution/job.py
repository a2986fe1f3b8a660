"""A job as data: what runs, when, and in which worker group."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.times.schedules import Schedule
from jobs.execution.attempt import Attempt
from jobs.execution.reports import JobReport

Run = Callable[[Engine, DatasetConfig, Attempt], JobReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A unit of scheduled work; every dataset has ticks of its own."""

    name: str
    schedule: Callable[[DatasetConfig], Schedule]
    run: Run
    group: str
    """The worker group whose threads it shares."""
    cumulative: bool = False
    """A run does the work of all ticks before it: only the newest one is due."""
