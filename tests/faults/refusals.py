"""A database that refuses on command: with any SQLSTATE on PostgreSQL, for want of room on SQLite.

The server itself raises, so the error is the real one in every respect but its cause.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event, text

from forecaster.store.connection.engine import writing

DISK_FULL = "53100"
OUT_OF_MEMORY = "53200"
SERIALIZATION_FAILURE = "40001"
DEADLOCK = "40P01"

_ALWAYS = 1_000_000


@contextmanager
def refusing(engine: Engine, table: str, sqlstate: str, *, times: int = _ALWAYS) -> Iterator[None]:
    """Have PostgreSQL answer the next writes to `table` with an error, INSERT and COPY alike."""
    raising = (
        f"BEGIN IF nextval('refusals') <= {times} THEN RAISE EXCEPTION USING "
        f"ERRCODE = '{sqlstate}', MESSAGE = 'refused for a test'; END IF; RETURN NULL; END"
    )
    _run(
        engine,
        "CREATE SEQUENCE refusals",  # it counts on where a transaction is rolled back
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${raising}$$",
        f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
    )
    try:
        yield
    finally:
        _run(engine, "DROP FUNCTION refuse CASCADE", "DROP SEQUENCE refusals")


@contextmanager
def full(engine: Engine, table: str) -> Iterator[None]:
    """Leave no room for what is written to `table`, or on SQLite to anything."""
    if engine.dialect.name == "postgresql":
        with refusing(engine, table, DISK_FULL):
            yield
        return
    event.listen(engine, "begin", _no_more_pages)
    try:
        yield
    finally:
        event.remove(engine, "begin", _no_more_pages)
        engine.dispose()


def _no_more_pages(conn: Connection) -> None:
    conn.exec_driver_sql("PRAGMA max_page_count=1")  # SQLite takes it for as many as there are


def _run(engine: Engine, *statements: str) -> None:
    with writing(engine) as conn:
        for statement in statements:
            conn.execute(text(statement))
