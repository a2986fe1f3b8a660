"""The databases of earlier versions go to the newest schema, and serve there."""

import sqlite3
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy import Engine

from forecaster.errors import SchemaOutOfDate
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.maintenance import migrations
from tests.jobs.damages import harm, records, repacked
from tests.jobs.small import LAST, World, hour, query
from tests.migrations.test_populated import contents
from tests.releases.make import BIKES, TICKS, measure

HERE = Path(__file__).parent
NEXT = LAST + TICKS + 3
"""The first tick that no earlier version ran."""
NEWEST = """SELECT DISTINCT model_id, status FROM forecasts
WHERE cutoff = (SELECT max(cutoff) FROM forecasts)"""


@pytest.fixture(params=sorted(path.parent.name for path in HERE.glob("*/databases.tar.xz")))
def released(request: pytest.FixtureRequest, database_url: str) -> Iterator[Engine]:
    """The database of an earlier version as it was left."""
    with tarfile.open(HERE / request.param / "databases.tar.xz") as archive:
        store = "sqlite" if database_url.startswith("sqlite") else "postgres"
        file = archive.extractfile(f"{store}.sql")
        assert file is not None
        text = file.read().decode()
    if store == "sqlite":
        conn = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        conn.executescript(text)
        conn.close()
    else:
        with psycopg.connect(database_url) as connection:
            connection.execute(text.encode())
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def world(released: Engine, tmp_path: Path) -> World:
    """The database at the newest schema, and a source that has gone on."""
    migrations.upgrade(released)
    source = tmp_path / "source.db"
    for number in range(LAST, NEXT + 1):
        measure(source, number)
    return World(engine=released, dataset=replace(BIKES, source_url=f"sqlite:///{source}"))


@pytest.mark.fault(17)
def test_no_row_is_lost_on_the_way_up_and_back(released: Engine) -> None:
    revision, before = migrations.revision(released), contents(released)
    with pytest.raises(SchemaOutOfDate, match="schema revision is") as refused:
        migrations.require_head(released)

    migrations.upgrade(released)
    above = contents(released)
    with writing(released) as conn:
        command.downgrade(migrations.alembic_config(conn), str(revision))
    below = contents(released)

    assert refused.value.hint == "run `forecaster db upgrade`"
    assert [name for name, rows in before.items() if not rows] == []
    assert above == before
    assert below == before


@pytest.mark.fault(17)
def test_the_next_tick_forecasts_with_the_old_checkpoint(world: World) -> None:
    outcome = world.tick("forecast", hour(NEXT))
    scored = world.tick("score", hour(NEXT))

    assert (outcome.error, scored.error) == (None, None)
    assert query(world.engine, NEWEST) == [(3, "ok")]


@pytest.mark.fault(17, 21)
def test_a_checkpoint_of_another_format_is_refused_and_the_one_before_it_serves(
    world: World,
) -> None:
    harm(world.engine, 3, lambda data: repacked(data, format_version=99), signed=True)

    outcome = world.tick("forecast", hour(NEXT))

    assert outcome.error is None
    assert query(world.engine, NEWEST) == [(2, "fallback_champion")]
    assert records(world.engine)[3].damaged_at is None


@pytest.mark.fault(17)
def test_the_next_training_succeeds_the_old_model(world: World) -> None:
    outcome = world.tick("retrain", hour(NEXT))

    assert outcome.error is None
    assert records(world.engine)[4].parent_id == 3
