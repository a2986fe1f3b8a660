"""Our own database behind a network that swallows everything, is late or drips."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import polars as pl
import psycopg
import pytest
from sqlalchemy import Engine, insert, select, text

from forecaster.errors import DatabaseUnavailable, StageTimedOut
from forecaster.store.connection import bulk
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.connection.limits import Limit, guarded
from forecaster.store.connection.postgres import postgres_arguments
from forecaster.store.tables import datasets
from tests.faults.proxy import Proxy
from tests.patience import not_hanging
from tests.postgres import Cluster

SHORT = timedelta(seconds=0.3)


def add(engine: Engine, name: str = "bikes") -> None:
    with writing(engine) as conn:
        conn.execute(insert(datasets).values(name=name))


def names(engine: Engine) -> list[str]:
    with reading(engine) as conn:
        return list(conn.scalars(select(datasets.c.name)))


@pytest.fixture
def proxy(postgres: Cluster) -> Iterator[Proxy]:
    with Proxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: Proxy, postgres_url: str, migrate: Callable[[str], None]) -> Iterator[Engine]:
    """An engine on a PostgreSQL database at the other end of the proxy."""
    migrate(postgres_url)
    there = urlsplit(postgres_url)
    netloc = there.netloc.replace(f":{there.port}", f":{proxy.port}")
    engine = open_engine(urlunsplit(there._replace(netloc=netloc)))
    yield engine
    engine.dispose()


@pytest.mark.fault(4)
def test_a_black_hole_costs_no_more_than_the_stage(proxy: Proxy, behind: Engine) -> None:
    limit = Limit()

    def vanish() -> None:
        with writing(guarded(behind, limit=limit)) as conn:
            proxy.mode = "blackhole"
            conn.execute(insert(datasets).values(name="bikes"))

    with not_hanging(least=0.3), pytest.raises(StageTimedOut), limit.stage("write", SHORT):
        vanish()

    proxy.mode = "pass"
    assert names(behind) == []


@pytest.mark.fault(4)
@pytest.mark.slow
def test_a_black_hole_cuts_copy_and_commit_too(proxy: Proxy, behind: Engine) -> None:
    limit = Limit()
    rows = pl.DataFrame({"id": [1], "name": ["bikes"]}, {"id": pl.Int32(), "name": pl.String()})

    def vanish_in_copy() -> None:
        with writing(guarded(behind, limit=limit)) as conn:
            proxy.mode = "blackhole"
            bulk.insert_frame(conn, datasets, rows)

    def vanish_at_commit() -> None:
        with writing(guarded(behind, limit=limit)) as conn:
            bulk.insert_frame(conn, datasets, rows)
            proxy.mode = "blackhole"

    for vanish in (vanish_in_copy, vanish_at_commit):
        with not_hanging(least=0.3), pytest.raises(StageTimedOut), limit.stage("write", SHORT):
            vanish()
        proxy.mode = "pass"

    assert names(behind) == []


@pytest.mark.fault(4)
@pytest.mark.slow
def test_a_pooled_connection_that_leads_nowhere_is_given_up(proxy: Proxy, behind: Engine) -> None:
    names(behind)
    proxy.mode = "blackhole"

    with not_hanging(least=2), pytest.raises(DatabaseUnavailable):
        names(behind)

    proxy.mode = "pass"
    assert names(behind) == []


@pytest.mark.fault(4)
@pytest.mark.slow
def test_a_black_hole_right_after_connecting_is_given_up(proxy: Proxy, behind: Engine) -> None:
    arguments = postgres_arguments(behind.url, {"TimeZone": "UTC"})
    arguments |= {"host": "127.0.0.1", "port": proxy.port, "dbname": behind.url.database}
    psycopg.connect(user="forecaster", **arguments).close()
    proxy.swallow_after = 2 * proxy.forwarded  # all that a server says until it waits for us

    with not_hanging(least=10), pytest.raises(DatabaseUnavailable):
        names(behind)


@pytest.mark.fault(4)
@pytest.mark.slow
def test_a_server_that_answers_after_ten_seconds_is_given_up(proxy: Proxy, behind: Engine) -> None:
    proxy.mode = "late"

    with not_hanging(least=2), pytest.raises(DatabaseUnavailable):
        names(behind)


@pytest.mark.fault(4)
@pytest.mark.slow
def test_a_slow_network_does_what_fits_into_the_stage(proxy: Proxy, behind: Engine) -> None:
    limit = Limit()
    proxy.mode = "slow"
    add(guarded(behind, limit=limit))

    with (
        not_hanging(least=0.3),
        pytest.raises(StageTimedOut),
        limit.stage("read", SHORT),
        reading(guarded(behind, limit=limit)) as conn,
    ):
        conn.scalar(text("SELECT repeat('x', 1000000)"))

    assert names(behind) == ["bikes"]
