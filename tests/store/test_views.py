from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, text

from forecaster.schemas import FORECASTS
from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from tests.store.samples import (
    HOUR,
    START,
    add_model,
    forecast,
    observed,
    patches,
    weights,
)
from tests.store.written import write_attention, write_forecasts

VIEWS = (
    "all_forecasts",
    "latest_forecasts",
    "forecast_attention",
    "forecast_parts",
    "forecast_vs_actual",
    "current_observations",
)


def select(engine: Engine, query: str) -> list[Any]:
    with reading(engine) as conn:
        return list(conn.execute(text(query)).all())


def write(conn: Connection, model_id: int, frame: pl.DataFrame, *, issued_at: datetime) -> None:
    write_forecasts(conn, "bikes", model_id, frame, issued_at=issued_at, origin="live")


def test_views_have_the_agreed_columns_and_text(
    engine: Engine, golden: Callable[[str, str], None]
) -> None:
    with writing(engine) as conn:
        landed = observed({"a": [1.0, 101.5, None], "b/c": [2.0]})
        observations.ingest(conn, "bikes", landed, recorded_at=START + HOUR)
        model_id = add_model(conn)
        write(conn, model_id, forecast("a"), issued_at=START + timedelta(milliseconds=1500))
        write_attention(conn, "bikes", model_id, weights("a"), patches())

    golden("views.txt", "\n".join(_described(engine, view) for view in VIEWS))


def _described(engine: Engine, view: str) -> str:
    with reading(engine) as conn:
        result = conn.execute(text(f"SELECT * FROM {view}"))
        header = ", ".join(result.keys())
        rows = sorted(", ".join(map(_shown, row)) for row in result)
    return "\n".join([f"{view}({header})", *(f"  {row}" for row in rows), ""])


def _shown(value: object) -> str:
    # SQLite's text must be what Python makes of PostgreSQL's timestamptz, and 0 of its false.
    if isinstance(value, bool):
        return str(int(value))
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


@pytest.mark.parametrize(
    "instant",
    [
        datetime(1900, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 11, 20, 9, 0, 0, 1, tzinfo=UTC),
        datetime(2199, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC),
    ],
)
def test_instants_read_as_iso_text_before_1970_and_below_a_second(
    engine: Engine, instant: datetime
) -> None:
    with writing(engine) as conn:
        observations.ingest(conn, "bikes", observed({"a": [1.0]}, start=instant), recorded_at=START)

    [(found,)] = select(engine, "SELECT timestamp FROM current_observations")

    assert _shown(found) == instant.isoformat()


def test_latest_is_the_greatest_cutoff_and_then_the_latest_issue(engine: Engine) -> None:
    with writing(engine) as conn:
        first, second = add_model(conn), add_model(conn)
        write(conn, first, forecast(steps=3, level=1.0), issued_at=START + 9 * HOUR)
        later = START + HOUR
        write(conn, second, forecast(cutoff=later, level=2.0), issued_at=START + 2 * HOUR)
        write(conn, first, forecast(cutoff=later, level=3.0), issued_at=START + 3 * HOUR)
        write(conn, first, forecast("other", level=7.0), issued_at=START)

    found = select(
        engine,
        "SELECT series_id, step, model_id, q50 FROM latest_forecasts ORDER BY series_id, timestamp",
    )

    assert [tuple(row) for row in found] == [
        ("a", 1, first, 2.0),
        ("a", 1, first, 4.0),
        ("a", 2, first, 5.0),
        ("other", 1, first, 8.0),
        ("other", 2, first, 9.0),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    said=st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.integers(0, 2),
            st.integers(0, 5),
            st.sampled_from([False, False, True]),
            st.integers(0, 2),
            st.integers(1, 5),
        ),
        unique_by=lambda vintage: vintage[:3],
        max_size=12,
    )
)
def test_latest_is_what_sorting_says_whatever_was_forecast(
    engine: Engine, said: list[tuple[str, int, int, bool, int, int]]
) -> None:
    greatest: dict[tuple[str, datetime], tuple[datetime, datetime, int]] = {}
    with writing(engine) as conn:
        conn.execute(delete(tables.forecasts))
        model_ids = [add_model(conn) for _ in range(3)]
        for series_id, model, hour, hindsight, late, steps in said:
            cutoff, model_id = START + hour * HOUR, model_ids[model]
            issued_at = cutoff + late * HOUR
            frame = forecast(series_id, cutoff=cutoff, steps=steps, hindsight=hindsight)
            write(conn, model_id, frame, issued_at=issued_at)
            for step in () if hindsight else range(1, steps + 1):
                place = (series_id, cutoff + step * HOUR)
                candidate = (cutoff, issued_at, model_id)
                greatest[place] = max(candidate, greatest.get(place, candidate))

    found = select(
        engine, "SELECT series_id, timestamp, cutoff, issued_at, model_id FROM latest_forecasts"
    )

    assert sorted((row[0], *map(_shown, row[1:])) for row in found) == sorted(
        (series_id, *map(_shown, (timestamp, *vintage)))
        for (series_id, timestamp), vintage in greatest.items()
    )


def test_a_forecast_made_in_hindsight_is_never_latest_nor_compared(engine: Engine) -> None:
    with writing(engine) as conn:
        observations.ingest(conn, "bikes", observed({"a": [0.0] * 9}), recorded_at=START)
        model_id = add_model(conn)
        write(conn, model_id, forecast(steps=1), issued_at=START)
        hindsight = forecast(cutoff=START + HOUR, steps=1, hindsight=True)
        write(conn, model_id, hindsight, issued_at=START)

    found = {
        view: select(engine, f"SELECT cutoff FROM {view}")
        for view in ("latest_forecasts", "forecast_vs_actual", "forecast_parts")
    }
    everything = select(engine, "SELECT status, hindsight FROM all_forecasts ORDER BY cutoff")

    assert {view: len(rows) for view, rows in found.items()} == dict.fromkeys(found, 1)
    assert everything == [("ok", False), ("ok", True)]


def test_hindsight_is_true_or_false_or_a_number_where_there_is_no_boolean(engine: Engine) -> None:
    kind = "typeof" if engine.dialect.name == "sqlite" else "pg_typeof"
    with writing(engine) as conn:
        model_id = add_model(conn)
        write(conn, model_id, forecast(steps=1), issued_at=START)
        write(conn, model_id, forecast("b", steps=1, hindsight=True), issued_at=START)

    in_time = select(engine, "SELECT series_id FROM all_forecasts WHERE NOT hindsight")
    late = select(engine, "SELECT series_id FROM all_forecasts WHERE hindsight")
    kinds = select(engine, f"SELECT DISTINCT {kind}(hindsight) AS kind FROM all_forecasts")

    assert (in_time, late) == ([("a",)], [("b",)])
    assert [str(row.kind) for row in kinds] == [
        "integer" if engine.dialect.name == "sqlite" else "boolean"
    ]


def test_weights_of_a_future_patch_sum_to_one_over_its_sources(engine: Engine) -> None:
    with writing(engine) as conn:
        model_id = add_model(conn)
        for series_id in ("a", "b"):
            rows = weights(series_id)
            write_attention(conn, "bikes", model_id, rows, patches() if series_id == "a" else
                            patches().clear())  # fmt: skip

    sums = select(
        engine, "SELECT series_id, sum(weight) AS total FROM forecast_attention GROUP BY series_id"
    )
    sources = select(
        engine,
        "SELECT source, count(*) AS rows, count(context_from) AS contexts"
        " FROM forecast_attention GROUP BY source ORDER BY source",
    )

    assert {row.series_id: row.total for row in sums} == {"a": 1.0, "b": 1.0}
    assert [tuple(row) for row in sources] == [("last", 2, 0), ("level", 2, 0), ("past", 4, 4)]


def test_parts_add_up_to_the_median_where_there_are_parts(engine: Engine) -> None:
    with writing(engine) as conn:
        model_id = add_model(conn)
        write(conn, model_id, forecast(steps=4), issued_at=START)
        fallback = forecast("b", status="fallback_naive")
        write(conn, model_id, fallback, issued_at=START)

    found = select(
        engine,
        "SELECT p.series_id, level + copied + last_value + residual + adjustment AS total, q50"
        " FROM forecast_parts p JOIN all_forecasts f"
        " ON f.series_id = p.series_id AND f.cutoff = p.cutoff AND f.step = p.step",
    )

    assert [row.series_id for row in found] == ["a"] * 4
    assert [row.total for row in found] == [row.q50 for row in found]


def test_small_changes_of_a_huge_counter_survive(engine: Engine) -> None:
    with writing(engine) as conn:
        write(conn, add_model(conn), forecast(level=8e9 + 0.125), issued_at=START)

    found = select(engine, "SELECT q40, q50, q60 FROM all_forecasts WHERE step = 1")

    assert tuple(found[0]) == (8e9 + 0.875, 8e9 + 1.125, 8e9 + 1.375)


def test_actuals_are_the_newest_version_and_never_missing(engine: Engine) -> None:
    with writing(engine) as conn:
        write(conn, add_model(conn), forecast(steps=3), issued_at=START)
        for hours, values in ((5, [1.0, 1.0, 1.0]), (6, [2.0, None, 1.0])):
            landed = observed({"a": values}, start=START + HOUR)
            observations.ingest(conn, "bikes", landed, recorded_at=START + hours * HOUR)

    compared = select(engine, "SELECT step, q50, actual FROM forecast_vs_actual ORDER BY step")
    current = select(engine, "SELECT value FROM current_observations ORDER BY timestamp")

    assert [tuple(row) for row in compared] == [(1, 101.0, 2.0), (3, 103.0, 1.0)]
    assert [row.value for row in current] == [2.0, None, 1.0]


def test_views_keep_datasets_apart(engine: Engine) -> None:
    with writing(engine) as conn:
        for dataset in ("bikes", "cars"):
            observations.ingest(conn, dataset, observed({"a": [1.0]}), recorded_at=START)
            model_id = add_model(conn, dataset)
            rows = forecast(steps=1)
            write_forecasts(conn, dataset, model_id, rows, issued_at=START, origin="backfill")
            write_attention(conn, dataset, model_id, weights(), patches())

    for view in VIEWS:
        found = select(engine, f"SELECT dataset, count(*) FROM {view} GROUP BY dataset ORDER BY 1")
        if view != "forecast_vs_actual":
            assert [row.dataset for row in found] == ["bikes", "cars"], view
            assert found[0][1] == found[1][1], view


def test_an_empty_frame_of_forecasts_is_written_as_nothing(engine: Engine) -> None:
    with writing(engine) as conn:
        empty = pl.DataFrame(schema=FORECASTS)
        rows = write_forecasts(
            conn, "bikes", add_model(conn), empty, issued_at=START, origin="live"
        )

    assert rows == 0
