"""Rights: what a role lacks in our database, and what it has too much of in a source."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from forecaster.errors import DatabaseUnavailable
from forecaster.source.query import RowRange
from forecaster.source.read import read_shape
from forecaster.store.connection.engine import open_engine
from forecaster.store.maintenance import privileges
from tests.source.sources import (
    QUERY,
    SINCE,
    UNTIL,
    dataset,
)

WANTED = RowRange(since=SINCE, until=UNTIL)


@pytest.fixture
def visitor(postgres_url: str, migrate: Callable[[str], None]) -> str:
    """Our database as a role sees it that may do little."""
    migrate(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS visitor")
        conn.execute("CREATE ROLE visitor LOGIN")
        conn.execute("CREATE TABLE measured (key text, ts timestamptz, value float)")
        conn.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor")
    return postgres_url.replace("forecaster@", "visitor@")


def found(url: str) -> privileges.Privileges:
    engine = open_engine(url)
    try:
        return privileges.of_database(engine)
    finally:
        engine.dispose()


def test_the_owner_lacks_nothing(engine: Engine) -> None:
    seen = privileges.of_database(engine)

    assert seen.product.split()[0] == engine.dialect.name
    assert seen.may_create
    assert not seen.is_read_only
    assert seen.lacking == seen.not_owned == ()


def test_a_role_that_may_only_read_lacks_every_privilege_to_write(visitor: str) -> None:
    seen = found(visitor)

    assert seen.role == "visitor"
    assert {"INSERT ON runs", "UPDATE ON leases", "DELETE ON forecasts"} <= set(seen.lacking)
    assert not any(privilege.startswith("SELECT") for privilege in seen.lacking)
    assert seen.not_owned == ("accuracy", "attention", "forecasts")
    assert not seen.may_create


@pytest.mark.fault(31)
def test_a_database_that_takes_no_writes_is_seen(postgres_url: str) -> None:
    read_only = f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"

    assert found(read_only).is_read_only
    assert not found(postgres_url).is_read_only


def test_a_sqlite_file_that_is_locked_is_told(sqlite_url: str, tmp_path: Path) -> None:
    first, second = open_engine(sqlite_url), open_engine(f"{sqlite_url}?timeout=0.1")

    with first.begin(), pytest.raises(DatabaseUnavailable, match="database is locked"):
        privileges.of_database(second)

    for engine in (first, second):
        engine.dispose()


def test_a_source_role_that_may_write_is_told_by_its_tables(
    visitor: str, postgres_url: str
) -> None:
    owner = read_shape(dataset(QUERY), postgres_url, WANTED)
    reader = read_shape(dataset(QUERY), visitor, WANTED)

    assert owner is not None
    assert len(owner.writable) == 3
    assert owner.writable[0].startswith("public.")
    assert reader is not None
    assert reader.writable == ()
    assert dict(reader.types) == {
        "series_id": "text",
        "timestamp": "timestamptz",
        "value": "float8",
    }


def test_a_file_has_no_roles(sqlite_source: str) -> None:
    assert read_shape(dataset(QUERY), sqlite_source, WANTED) is None
