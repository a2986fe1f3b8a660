import json
import math
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sqlalchemy import Engine, delete, func, select

from forecaster.errors import DataError, StoreError
from forecaster.schemas import INSTANT
from forecaster.store import tables
from forecaster.store.connection import bulk
from forecaster.store.connection.bulk import insert_frame, read_frame
from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import datasets
from forecaster.store.state.datasets import series_ids
from tests.store.samples import START, add_model, forecast
from tests.store.written import write_forecasts

OBSERVED = {
    "series_id": pl.Int32(),
    "timestamp": INSTANT,
    "recorded_at": INSTANT,
    "value": pl.Float64(),
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 (hypothesis wants naive ends)


@pytest.mark.parametrize("most", [1, 12, 999])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    rows=st.dictionaries(
        INSTANTS, st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=20
    )
)
def test_what_is_written_is_read_back_bit_by_bit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, most: int, rows: dict[datetime, float | None]
) -> None:
    monkeypatch.setattr(bulk, "_MOST_PARAMETERS", most)
    with writing(engine) as conn:
        conn.execute(delete(tables.observations))
        series_id = series_ids(conn, "bikes", ["a"])["a"]
        frame = pl.DataFrame(
            [(series_id, instant, START, value) for instant, value in rows.items()],
            schema=OBSERVED,
            orient="row",
        )

        written = insert_frame(conn, tables.observations, frame)
        found = read_frame(conn, select(tables.observations), OBSERVED)

    assert written == len(rows)
    assert_frame_equal(found.sort("timestamp"), frame.sort("timestamp"), check_exact=True)


@pytest.mark.fault(19, 35)
@pytest.mark.parametrize("at_once", [2, 20_000])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(keys=st.sets(TEXTS, max_size=10))
def test_keys_of_any_spelling_come_back_as_they_were(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, at_once: int, keys: set[str]
) -> None:
    monkeypatch.setattr(datasets, "_KEYS_AT_ONCE", at_once)
    with writing(engine) as conn:
        ids = series_ids(conn, "bikes", keys)
        again = series_ids(conn, "bikes", keys)

    assert set(ids) == keys
    assert ids == again
    assert len(set(ids.values())) == len(keys)


@pytest.mark.fault(11)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(engine: Engine, number: float) -> None:
    frame = pl.DataFrame([(1, START, START, number)], schema=OBSERVED, orient="row")

    with (
        pytest.raises(DataError, match=r"observations must be finite, .*: 1 in value"),
        writing(engine) as conn,
    ):
        insert_frame(conn, tables.observations, frame)


def test_weights_that_are_not_finite_are_refused(engine: Engine) -> None:
    frame = pl.DataFrame({"weights": [[0.5, math.nan]]})

    with pytest.raises(DataError, match="1 in weights"), writing(engine) as conn:
        insert_frame(conn, tables.attention, frame)


def test_arrays_keep_their_order(engine: Engine) -> None:
    weights = pl.Series([[0.1, 1e-9, 0.9], []], dtype=pl.List(pl.Float32()))
    with writing(engine) as conn:
        frame = pl.DataFrame(
            {
                "series_id": [series_ids(conn, "bikes", ["a"])["a"]] * 2,
                "cutoff": pl.Series([START] * 2, dtype=INSTANT),
                "model_id": [add_model(conn)] * 2,
                "step_from": [1, 3],
                "step_to": [2, 4],
                "weights": weights,
            },
            schema_overrides=dict.fromkeys(
                ("series_id", "model_id", "step_from", "step_to"), pl.Int32()
            ),
        )
        insert_frame(conn, tables.attention, frame)
        rows = conn.scalars(
            select(tables.attention.c.weights).order_by(tables.attention.c.step_from)
        ).all()

    found = [json.loads(row) if isinstance(row, str) else row for row in rows]
    assert found == [pytest.approx(row) for row in weights]


def test_a_key_that_exists_is_an_error_and_nothing_is_written(engine: Engine) -> None:
    with writing(engine) as conn:
        series_id = series_ids(conn, "bikes", ["a"])["a"]
        rows = [(series_id, START, START, 1.0)]
        insert_frame(conn, tables.observations, pl.DataFrame(rows, schema=OBSERVED, orient="row"))
    again = pl.DataFrame(
        [(series_id, START.replace(hour=8), START, 2.0), *rows], schema=OBSERVED, orient="row"
    )

    with pytest.raises(StoreError), writing(engine) as conn:
        insert_frame(conn, tables.observations, again)

    with reading(engine) as conn:
        assert conn.scalars(select(tables.observations.c.value)).all() == [1.0]


@pytest.mark.fault(14)
def test_a_hundred_thousand_forecasts_are_written_at_once(engine: Engine) -> None:
    keys = pl.DataFrame({"series_id": [f"series-{number:05}" for number in range(5_000)]})
    frame = forecast(steps=20).drop("series_id").join(keys, how="cross")
    frame = frame.select("series_id", pl.exclude("series_id"))

    with writing(engine) as conn:
        rows = write_forecasts(
            conn, "bikes", add_model(conn), frame, issued_at=START, origin="live"
        )

    with reading(engine) as conn:
        assert rows == 5_000
        steps = conn.scalar(select(func.count()).select_from(tables.forecast_steps))
        assert steps == 100_000


def test_nothing_is_read_as_a_frame_of_the_declared_columns(engine: Engine) -> None:
    with reading(engine) as conn:
        found = read_frame(conn, select(tables.observations), OBSERVED)

    assert found.schema == pl.Schema(OBSERVED)
    assert found.is_empty()


def test_a_list_may_be_among_the_parameters(engine: Engine) -> None:
    with writing(engine) as conn:
        rows = [(series_id, START, START, 1.0) for series_id in (1, 2, 3)]
        insert_frame(conn, tables.observations, pl.DataFrame(rows, schema=OBSERVED, orient="row"))
        some = tables.observations.c.series_id.in_([1, 3])

        found = read_frame(conn, select(tables.observations).where(some), OBSERVED)

    assert found["series_id"].sort().to_list() == [1, 3]


def test_rows_of_many_widths_go_out_together(engine: Engine) -> None:
    frame = pl.concat(
        forecast(series_id, steps=2, status=status)
        for series_id, status in zip(
            "abcd", ("ok", "cold_start", "fallback_naive", "ok"), strict=True
        )
    )
    with writing(engine) as conn:
        write_forecasts(conn, "bikes", add_model(conn), frame, issued_at=START, origin="live")
        rows = conn.execute(
            select(tables.forecast_steps.c.step, tables.forecast_steps.c.status)
        ).all()

    assert sorted(rows) == sorted(
        (step, status) for step, status in frame.select("step", "status").rows()
    )
