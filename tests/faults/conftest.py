"""What faults are brought about on: a small world with a model, as jobs have it."""

import pytest
from sqlalchemy import Engine

from tests.jobs.small import LAST, World, hour, land, rows


@pytest.fixture
def trained(engine: Engine) -> World:
    """Two series that are known until LAST, and a model trained on them."""
    land(engine, rows("a", 0, LAST), rows("b/c", 0, LAST))
    world = World(engine=engine)
    world.tick("retrain", hour(LAST))
    return world
