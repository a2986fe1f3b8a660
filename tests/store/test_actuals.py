"""`forecast_vs_actual`: beside a forecast is the mean of its cell, wherever rows are stamped."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.config.settings import RetentionConfig
from forecaster.schemas import FORECASTS, OBSERVATIONS
from forecaster.store.connection.engine import reading, writing
from forecaster.store.maintenance import partitions
from forecaster.store.observations import observations
from forecaster.store.state import models
from tests.store.samples import HOUR, START, forecast, new_model
from tests.store.written import write_forecasts

MINUTE = timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")


def compared(
    engine: Engine,
    cutoff: datetime,
    steps: Sequence[datetime],
    rows: Sequence[tuple[datetime, float]],
    **config: Any,
) -> list[tuple[int, float]]:
    """Return steps and actuals: of forecasts for instants, when `rows` of (timestamp, value) are
    known."""
    frame = forecast(cutoff=cutoff, steps=len(steps)).with_columns(
        pl.Series("timestamp", steps, dtype=FORECASTS["timestamp"])
    )
    seen = pl.DataFrame([("a", at, value) for at, value in rows], schema=OBSERVATIONS, orient="row")
    partitions.ensure(engine, RetentionConfig(), ("forecasts",), [cutoff])
    with writing(engine) as conn:
        model = new_model()
        model_id = models.add(conn, "bikes", replace(model, config={**model.config, **config}))
        observations.ingest(conn, "bikes", seen, recorded_at=START)
        write_forecasts(conn, "bikes", model_id, frame, issued_at=START, origin="live")
    with reading(engine) as conn:
        query = "SELECT step, actual FROM forecast_vs_actual ORDER BY step"
        return [tuple(row) for row in conn.execute(text(query))]


def hours(*numbers: float) -> list[datetime]:
    return [START + number * HOUR for number in numbers]


def stamped(values: Mapping[float, float]) -> list[tuple[datetime, float]]:
    """Rows by the hour, counted from START, at which they are stamped."""
    return [(START + hour * HOUR, value) for hour, value in values.items()]


def test_a_series_off_the_phase_of_the_grid_is_compared(engine: Engine) -> None:
    rows = stamped({0.25: 5.0, 1.25: 6.0, 2.25: 7.0})

    assert compared(engine, START, hours(1, 2), rows) == [(1, 6.0), (2, 7.0)]


def test_rows_finer_than_the_step_are_compared_as_their_mean(engine: Engine) -> None:
    rows = stamped({1: 1.0, 1.25: 2.0, 1.75: 6.0, 2: 10.0, 2.5: 20.0})

    found = compared(engine, START, hours(1, 2), rows, spread=45 * 60 * 1_000_000)

    assert found == [(1, 3.0), (2, 15.0)]


def test_a_cell_that_is_not_over_has_no_actual(engine: Engine) -> None:
    rows = stamped({1: 1.0, 1.5: 3.0, 2: 10.0, 2.5: 20.0})

    found = compared(engine, START, hours(1, 2), rows, timestamp_marks="start")

    assert found == [(1, 2.0)]


def test_rows_stamped_at_the_end_belong_to_the_cell_that_ends_there(engine: Engine) -> None:
    rows = stamped({0: 9.0, 0.5: 1.0, 1: 3.0, 1.5: 10.0, 2: 20.0})

    found = compared(engine, START, hours(1, 2), rows, timestamp_marks="end")

    assert found == [(1, 2.0), (2, 15.0)]


def test_the_cell_of_a_forecast_off_the_full_hour_is_an_hour_long(engine: Engine) -> None:
    cutoff, *steps = (at + 10 * MINUTE for at in hours(0, 1, 2))

    found = compared(engine, cutoff, steps, stamped({1: 1.0, 2: 2.0, 3: 3.0}))

    assert found == [(1, 2.0), (2, 3.0)]


@pytest.mark.parametrize("last", [30, 31])
def test_months_end_where_the_next_one_begins(engine: Engine, last: int) -> None:
    october, november, december, january = (
        datetime(2026 + number // 12, number % 12 + 1, 1, tzinfo=BERLIN) for number in range(9, 13)
    )
    rows = [
        (datetime(2026, 11, 30, 12, tzinfo=BERLIN), 1.0),
        (datetime(2026, 12, last, 12, tzinfo=BERLIN), 2.0),
        (january, 50.0),
    ]

    found = compared(
        engine, october, [november, december], rows, step="1mo", timezone="Europe/Berlin"
    )

    assert found == [(1, 1.0), (2, 2.0)]


def test_days_are_as_long_as_the_clock_makes_them(engine: Engine) -> None:
    """Berlin's clock was set back on 2026-10-25, which lasted 25 hours."""
    cutoff, *steps = (datetime(2026, 10, day, tzinfo=BERLIN) for day in (24, 25, 26))
    rows = [(at.astimezone(UTC) + 24.5 * HOUR, 2.0) for at in steps]
    rows.append((steps[1].astimezone(UTC), 4.0))

    found = compared(engine, cutoff, steps, rows, step="1d", timezone="Europe/Berlin")

    assert found == [(1, 2.0), (2, 4.0)]
