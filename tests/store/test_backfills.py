"""What a backfill may replace: rows of its own kind, however many cutoffs they have."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine

from forecaster.store.connection.engine import reading, writing
from forecaster.store.forecasts import backfills
from tests.jobs.small import query
from tests.store.samples import HOUR, START, add_model, forecast
from tests.store.written import write_forecasts

SAID = "SELECT hindsight, count(*) FROM forecasts GROUP BY 1 ORDER BY 1"


def say(conn: Connection, model_id: int, cutoff: datetime, *, hindsight: bool = False) -> None:
    rows = forecast(cutoff=cutoff, hindsight=hindsight)
    write_forecasts(conn, "bikes", model_id, rows, issued_at=cutoff, origin="backfill")


def fill(engine: Engine) -> int:
    """Say something at two cutoffs, at the second one in hindsight."""
    with writing(engine) as conn:
        model_id = add_model(conn)
        say(conn, model_id, START)
        say(conn, model_id, START + HOUR, hindsight=True)
    return model_id


@pytest.mark.slow
def test_rows_of_very_many_cutoffs_are_withdrawn(engine: Engine) -> None:
    model_id = fill(engine)
    cutoffs = [START + timedelta(minutes=minute) for minute in range(40_000)]

    with writing(engine) as conn:
        rows = backfills.delete_forecasts(conn, "bikes", {model_id}, cutoffs, hindsight=False)

    assert rows == 1
    assert query(engine, SAID) == [(True, 1)]


def test_rows_in_hindsight_are_withdrawn_alone(engine: Engine) -> None:
    model_id = fill(engine)

    with writing(engine) as conn:
        rows = backfills.delete_forecasts(
            conn, "bikes", [model_id], [START, START + HOUR], hindsight=True
        )

    assert rows == 1
    assert query(engine, SAID) == [(False, 1)]


def test_what_was_said_in_hindsight_hides_nothing_that_was_said_without(engine: Engine) -> None:
    model_id = fill(engine)

    with writing(engine) as conn:
        at_others = backfills.delete_hindsight(conn, "bikes", model_id, [START])
        at_its_own = backfills.delete_hindsight(conn, "bikes", model_id, [START, START + HOUR])

    with reading(engine) as conn:
        said = backfills.forecast_keys(conn, "bikes", model_id, since=START, until=START + HOUR)
    assert (at_others, at_its_own) == (0, 1)
    assert said["cutoff"].to_list() == [START]
