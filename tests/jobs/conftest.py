"""What jobs work on: a directory as a person at a terminal has it, and a program without one."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from forecaster.training import estimator
from tests.jobs.execution.errands import Errand, Wall
from tests.jobs.replicas.replicas import start
from tests.jobs.service.serving import serve
from tests.jobs.small import LAST, World, hour, land, rows
from tests.jobs.terminal.terminal import configure, trips, type_

__all__ = ["serve", "start"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of their own, where they are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of two steps, for what is about everything else."""
    monkeypatch.setattr(estimator, "FEWEST_STEPS", 2)
    monkeypatch.setattr(estimator, "MOST_REPEATS", 0)


@pytest.fixture
def configured(folder: Path) -> Path:
    """The same with a configuration and ten days of data."""
    configure(folder)
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0
    return folder


@pytest.fixture
def world(engine: Engine) -> World:
    """Two series that are known until LAST, and no model yet."""
    land(engine, rows("a", 0, LAST), rows("b/c", 0, LAST))
    return World(engine=engine)


@pytest.fixture
def errand(engine: Engine) -> Errand:
    """A job that notes its ticks."""
    return Errand(engine)


@pytest.fixture
def wall() -> Wall:
    """A clock that shows five past ten."""
    return Wall(hour(10) + timedelta(minutes=5))


@pytest.fixture
def trained(world: World) -> World:
    """The same with a model."""
    world.tick("retrain", hour(LAST))
    return world
