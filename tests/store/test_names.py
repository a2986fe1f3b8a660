"""SQL inside a name is a name: whichever setting it stands in, nothing of it is ever run."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from forecaster.errors import DataError
from forecaster.source.query import RowRange
from forecaster.source.read import read_rows, read_state
from tests.config.configs import problems_of
from tests.postgres import Cluster
from tests.source.sources import (
    SINCE,
    UNTIL,
    dataset,
    fill_postgres,
    hours,
)

PAYLOADS = (
    'x"; DROP TABLE measured; --',
    "x'; DROP TABLE measured; --",
    "value FROM measured; DROP TABLE measured; --",
    'value" FROM (SELECT pg_sleep(9)) AS "source',
    "%s; DROP TABLE measured",
    ":since; $$ DROP TABLE measured $$",
    "value\\",
)
WANTED = RowRange(since=SINCE, until=UNTIL)

pytestmark = pytest.mark.fault(19)


@pytest.fixture(scope="module")
def table(postgres: Cluster) -> Iterator[str]:
    """A source with a table that every payload would like to drop."""
    url = postgres.create_database("test_names")
    fill_postgres(url, "timestamptz", [("a", instant, 1.5) for instant in hours()])
    yield url
    postgres.drop_database(url)


def height(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM measured").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.postgres
@pytest.mark.parametrize("payload", PAYLOADS)
def test_columns_of_such_names_are_read_and_missing_ones_are_named(
    table: str, payload: str
) -> None:
    key, at, value = f"{payload}1", f"{payload}2", f"{payload}3"
    columns: dict[str, Any] = {
        "series_columns": (key,), "timestamp_column": at, "value_column": value,
    }  # fmt: skip
    quoted = payload.replace('"', '""')
    query = f'SELECT key AS "{quoted}1", ts AS "{quoted}2", value AS "{quoted}3" FROM measured'

    found = read_rows(dataset(query, **columns), table, WANTED)
    with pytest.raises(DataError, match="does not return"):
        read_rows(dataset(**columns), table, WANTED)

    assert found.columns == [key, at, value]
    assert found.height == 7
    assert height(table) == len(hours())


@pytest.mark.postgres
@pytest.mark.parametrize("payload", PAYLOADS)
def test_an_ingest_column_of_such_a_name_is_only_missing(table: str, payload: str) -> None:
    with pytest.raises(DataError, match="does not return"):
        read_state(dataset(ingest_column=payload), table, WANTED, patient=False)

    assert height(table) == len(hours())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_dataset_of_such_a_name_is_refused(payload: str) -> None:
    name = payload.replace("\\", "\\\\").replace('"', '\\"')
    [problem] = problems_of(
        f'database_url = "sqlite:///f"\n[datasets."{name}"]\nstep = "1h"\nhorizon = "2h"\n'
    )

    assert "dataset names must be up to 100 letters" in problem
