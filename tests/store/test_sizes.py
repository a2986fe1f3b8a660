from sqlalchemy import Engine, text

from forecaster.store import observations, schema
from forecaster.store.engine import open_engine, reading, writing
from forecaster.store.sizes import sizes
from tests.store.samples import START, observed


def test_rows_are_counted_by_table(engine: Engine) -> None:
    with writing(engine) as conn:
        frame = observed({"a": [1.0, 2.0], "b": [3.0]})
        observations.land(conn, "bikes", frame, recorded_at=START)

    with reading(engine) as conn:
        found = sizes(conn)

    assert found.bytes > 10_000
    assert {name: rows for name, rows in found.rows.items() if rows} == {
        "datasets": 1,
        "series": 2,
        "observations": 3,
    }


def test_large_tables_of_postgresql_are_estimated(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    schema.upgrade(engine)
    with writing(engine) as conn:
        conn.execute(text("UPDATE pg_class SET reltuples = 5000000 WHERE relname = 'observations'"))

    with reading(engine) as conn:
        assert sizes(conn).rows["observations"] == 5_000_000
    engine.dispose()
