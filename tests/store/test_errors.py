"""What goes wrong in a database: what is worth another attempt, and what somebody has to mend."""

import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import Connection, Engine, insert, select, text, update

from forecaster.errors import AlreadyWritten, DatabaseUnavailable, StoreError
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.tables import datasets

RAISE = "DO $$ BEGIN RAISE EXCEPTION 'no way' USING ERRCODE = '{}'; END $$"
PASSING = ["40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08006", "53300", "25P03", "25006"]
BIG = "x" * 2_000_000


@pytest.fixture
def pg(postgres_url: str, migrate: Callable[[str], None]) -> Iterator[Engine]:
    """An engine on PostgreSQL with the schema at head."""
    migrate(postgres_url)
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def lite(sqlite_url: str, migrate: Callable[[str], None]) -> Iterator[Engine]:
    """An engine on SQLite with the schema at head."""
    migrate(sqlite_url)
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


def failure(engine: Engine, *statements: str) -> StoreError:
    """What comes of these statements, all in one transaction."""

    def run() -> None:
        with writing(engine) as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)

    with pytest.raises(StoreError) as caught:
        run()
    return caught.value


def add(engine: Engine, *names: str) -> None:
    with writing(engine) as conn:
        conn.execute(insert(datasets), [{"name": name} for name in names])


def names(engine: Engine) -> list[str]:
    with reading(engine) as conn:
        return sorted(conn.scalars(select(datasets.c.name)))


@pytest.mark.fault(2, 6)
def test_what_passes_by_itself_is_worth_another_attempt(pg: Engine) -> None:
    kinds = {state: type(failure(pg, RAISE.format(state))) for state in PASSING}

    assert kinds == dict.fromkeys(PASSING, DatabaseUnavailable)


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("state", "found", "hint"),
    [
        ("53100", "disk full", "free disk space"),
        ("53200", "out of memory", "more memory"),
        ("42501", "permission denied", "grant the privilege"),
        ("22012", "statement failed", ""),
    ],
)
def test_what_somebody_has_to_mend_is_said_with_a_hint(
    pg: Engine, state: str, found: str, hint: str
) -> None:
    error = failure(pg, RAISE.format(state))

    assert type(error) is StoreError
    assert found in error.message
    assert hint in (error.hint or "")


def test_a_row_that_somebody_else_wrote_first_is_told_from_other_failures(engine: Engine) -> None:
    twice = "INSERT INTO datasets (id, name) VALUES ({}, '{}')"

    found = [
        failure(engine, *rows)
        for rows in (
            (twice.format(1, "bikes"), twice.format(2, "bikes")),
            (twice.format(1, "bikes"), twice.format(1, "trams")),
            ("INSERT INTO datasets (id) VALUES (1)",),
        )
    ]

    assert [type(error) for error in found] == [AlreadyWritten, AlreadyWritten, StoreError]
    assert "duplicate key" in found[0].message


@pytest.mark.fault(5)
def test_a_sqlite_file_that_may_not_grow_keeps_what_it_had(lite: Engine) -> None:
    add(lite, "bikes")

    error = failure(
        lite, "PRAGMA max_page_count = 1", f"INSERT INTO datasets (name) VALUES ('{BIG}')"
    )

    assert "disk full" in error.message
    assert names(lite) == ["bikes"]


@pytest.mark.fault(5)
def test_a_limit_on_the_size_of_files_is_a_full_disk(lite: Engine) -> None:
    fill = (
        "import sys; from forecaster.store.connection.engine import *\n"
        "with writing(open_engine(sys.argv[1])) as conn:\n"
        "    conn.exec_driver_sql('INSERT INTO datasets (name) VALUES (?)', ('x' * 2_000_000,))"
    )

    done = subprocess.run(
        [sys.executable, "-c", fill, lite.url.render_as_string()],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "disk full: disk I/O error" in done.stderr
    assert names(lite) == []


def test_a_sqlite_file_that_may_not_be_written_says_so(lite: Engine) -> None:
    error = failure(lite, "PRAGMA query_only = ON", "INSERT INTO datasets (name) VALUES ('a')")

    assert "permission denied: attempt to write a readonly database" in error.message


@pytest.mark.fault(31)
def test_after_a_failover_a_server_that_only_reads_is_left(pg: Engine) -> None:
    add(pg, "before")
    setting = f'ALTER DATABASE "{pg.url.database}" SET default_transaction_read_only = '
    with psycopg.connect(pg.url.set(drivername="postgresql").render_as_string()) as admin:
        admin.autocommit = True
        admin.execute(setting + "on")
        pg.dispose()  # as if the sessions had moved to the standby
        error = failure(pg, "INSERT INTO datasets (name) VALUES ('lost')")
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(setting + "off")

    add(pg, "after")

    assert type(error) is DatabaseUnavailable
    assert "server is read-only" in error.message
    assert "target_session_attrs=read-write" in (error.hint or "")
    assert names(pg) == ["after", "before"]


@pytest.mark.fault(6)
def test_of_two_that_wait_for_one_another_one_is_told(pg: Engine) -> None:
    add(pg, "a", "b")
    both, told = threading.Barrier(2, timeout=10), []

    def touch(conn: Connection, name: str) -> None:
        conn.execute(update(datasets).where(datasets.c.name == name).values(name=name))

    def change(first: str, second: str) -> None:
        try:
            with writing(pg) as conn:
                conn.exec_driver_sql("SET LOCAL deadlock_timeout = '50ms'")
                touch(conn, first)
                both.wait()
                touch(conn, second)
        except DatabaseUnavailable as error:
            told.append(error.message)

    threads = [threading.Thread(target=change, args=order) for order in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(told) == 1
    assert "database is locked: deadlock detected" in told[0]


@pytest.mark.fault(6)
def test_a_state_that_cannot_be_serialised_is_worth_another_attempt(pg: Engine) -> None:
    add(pg, "a")
    rename = update(datasets).values(name="b")

    with pg.connect() as conn:
        conn.execution_options(isolation_level="REPEATABLE READ")
        conn.execute(text("SELECT 1 FROM datasets"))
        with writing(pg) as other:
            other.execute(rename)
        with pytest.raises(DatabaseUnavailable, match="could not serialize access"):
            conn.execute(rename)

    assert names(pg) == ["b"]
