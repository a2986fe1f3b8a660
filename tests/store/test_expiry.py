"""Old rows go in small transactions, and a file shrinks behind them."""

import pytest
from sqlalchemy import Connection, Engine, func, select, text

from forecaster.store import tables
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.forecasts import accuracy, attention
from forecaster.store.maintenance import expiry
from forecaster.store.observations import observations
from tests.store.samples import (
    HOUR,
    START,
    add_model,
    forecast,
    observed,
    patches,
    scored,
    weights,
)
from tests.store.written import write_attention, write_forecasts

LATER = START + HOUR


def counted(engine: Engine, *names: str) -> dict[str, int]:
    with reading(engine) as conn:
        return {
            name: conn.scalar(select(func.count()).select_from(tables.metadata.tables[name])) or 0
            for name in names
        }


def say(conn: Connection) -> None:
    """One forecast with all that belongs to it at each of two cutoffs."""
    model_id = add_model(conn)
    for cutoff in (START, LATER):
        rows = forecast(cutoff=cutoff)
        write_forecasts(conn, "bikes", model_id, rows, issued_at=cutoff, origin="live")
        write_attention(conn, "bikes", model_id, weights(cutoff=cutoff), patches(cutoff=cutoff))
        accuracy.write(conn, "bikes", model_id, scored(cutoff=cutoff), scored_at=LATER)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_older_than_its_retention_goes(engine: Engine) -> None:
    with writing(engine) as conn:
        say(conn)

    names = ("forecasts", "attention", "accuracy")
    other = [expiry.delete_before(engine, "cars", name, LATER) for name in names]
    deleted = [expiry.delete_before(engine, "bikes", name, LATER) for name in names]

    assert other == [0, 0, 0]
    assert deleted == [1, 1, 1]
    assert counted(engine, *names) == {"forecasts": 1, "attention": 1, "accuracy": 1}


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_rows_in_partitions_are_left_to_their_partitions(engine: Engine) -> None:
    with writing(engine) as conn:
        say(conn)

    deleted = expiry.delete_before(engine, "bikes", "forecasts", LATER + HOUR)

    assert deleted == 0
    assert counted(engine, "forecasts") == {"forecasts": 2}


def test_patches_go_with_the_attention_that_points_at_them(engine: Engine) -> None:
    with writing(engine) as conn:
        say(conn)
        deleted = attention.delete_patches_before(conn, "bikes", LATER)

    assert deleted == 2
    assert counted(engine, "attention_patches") == {"attention_patches": 2}


def test_more_rows_and_series_go_than_fit_into_one_transaction(engine: Engine) -> None:
    many = {f"s{number}": [1.0] for number in range(1100)}
    with writing(engine) as conn:
        observations.ingest(conn, "bikes", observed(many), recorded_at=START)
        long = observed({"long": [1.0] * 60_000})
        observations.ingest(conn, "bikes", long, recorded_at=START)

    deleted = expiry.delete_before(engine, "bikes", "observations", START + 59_999 * HOUR)

    assert deleted == 1100 + 59_999
    assert counted(engine, "observations") == {"observations": 1}


def test_a_file_shrinks_when_much_of_it_is_free(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE much (b BLOB)"))
        conn.execute(text("INSERT INTO much VALUES (zeroblob(9000000))"))
        before = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.execute(text("DELETE FROM much"))

    given_back = expiry.shrink(engine)

    with reading(engine) as conn:
        after = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        free = conn.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    engine.dispose()
    assert before - after == given_back > 1000
    assert 0 < free < before / 8


def test_a_database_that_has_no_spare_pages_stays_as_it_is(engine: Engine) -> None:
    assert expiry.shrink(engine) == 0
