"""A disk that is full fails a run and spoils nothing: with room again, the same tick succeeds."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine

from forecaster.store.connection.engine import open_engine
from tests.faults.refusals import full
from tests.jobs.small import LAST, World, hour, land, query, rows

pytestmark = pytest.mark.fault(5)

NEXT = hour(LAST + 1)
TABLES = ("forecasts", "attention", "attention_patches", "observations", "models", "watermarks")


@pytest.fixture
def wide(trained: World) -> World:
    """So many series that a tick needs new pages."""
    land(trained.engine, *(rows(f"c{number}", LAST - 100, LAST) for number in range(20)))
    return trained


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as a quota or a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    return {table: query(engine, f"SELECT count(*) FROM {table}") for table in TABLES}


def require_second_success(world: World, job: str) -> None:
    """Assert that the file is sound, and that the tick succeeds when tried again."""
    if world.engine.dialect.name == "sqlite":
        assert query(world.engine, "PRAGMA integrity_check") == [("ok",)]
    assert world.tick(job, NEXT).result == "succeeded"
    states = query(world.engine, f"SELECT state FROM runs WHERE job = '{job}' ORDER BY tick DESC")
    assert states[0] == ("succeeded",)


@pytest.mark.parametrize(("job", "table"), [("forecast", "attention"), ("retrain", "models")])
def test_a_job_without_room_fails_and_writes_nothing(wide: World, job: str, table: str) -> None:
    before = contents(wide.engine)

    with full(wide.engine, table):
        refused = wide.tick(job, NEXT)

    assert refused.result == "failed"
    assert "disk full" in str(refused.error)
    assert contents(wide.engine) == before
    require_second_success(wide, job)


def test_a_database_without_room_for_anything_is_an_outcome_like_any_other(
    sqlite_url: str, migrate: object
) -> None:
    assert callable(migrate)
    migrate(sqlite_url)
    engine = open_engine(sqlite_url)
    land(engine, rows("a", 0, LAST), rows("b/c", 0, LAST))
    world = World(engine=engine)
    world.tick("retrain", hour(LAST))
    before = contents(engine)

    with no_file_longer_than(1000):
        refused = world.tick("forecast", NEXT)

    assert refused.result == "failed"
    assert "disk full" in str(refused.error)
    assert contents(engine) == before
    require_second_success(world, "forecast")
    engine.dispose()
