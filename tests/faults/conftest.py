"""What faults are brought about on: a world with a model, and the service as a process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from forecaster.store.connection.engine import open_engine
from tests.jobs.conftest import folder, trained, world
from tests.jobs.service.serving import serve

__all__ = ["folder", "serve", "trained", "world"]


@pytest.fixture
def other_engine(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    database_url: str,
    migrate: Callable[[str], None],
) -> Iterator[Engine]:
    """An engine on a second empty database of the same kind."""
    if database_url.startswith("sqlite"):
        url = f"sqlite:///{tmp_path / 'twin.db'}"
    else:
        cluster = request.getfixturevalue("postgres")
        url = cluster.create_database(database_url.rsplit("/", 1)[1] + "_twin")
    migrate(url)
    engine = open_engine(url)
    yield engine
    engine.dispose()
    if not database_url.startswith("sqlite"):
        cluster.drop_database(url)
