from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import Connection, Engine, select

from forecaster.errors import AlreadyWritten, SchemaMismatch
from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.forecasts import (
    accuracy,
    attention,
    forecasts,
    history,
    matured,
)
from forecaster.store.forecasts.matured import LeadWindow
from forecaster.store.forecasts.slices import QUANTILES
from tests.store.samples import (
    HOUR,
    START,
    add_model,
    forecast,
    patches,
    scored,
    weights,
)
from tests.store.waiting import wait_for_a_waiter
from tests.store.written import read_accuracy, write_attention, write_forecasts


def write(conn: Connection, model_id: int, frame: pl.DataFrame) -> int:
    return write_forecasts(conn, "bikes", model_id, frame, issued_at=START, origin="live")


def due(engine: Engine, *, after: int | None = None, until: int = 99) -> pl.DataFrame:
    """Read the lead "2-3"; `after` and `until` are hours from START."""
    with reading(engine) as conn:
        window = LeadWindow(
            lead="2-3",
            step_from=2,
            step_to=3,
            nearest=3 * HOUR,
            farthest=3 * HOUR,
            after=None if after is None else START + after * HOUR,
            until=START + until * HOUR,
        )
        return matured.read(conn, "bikes", window)


@pytest.fixture
def model_id(engine: Engine) -> int:
    """A model with a forecast of four steps."""
    with writing(engine) as conn:
        found = add_model(conn)
        write(conn, found, forecast("a", steps=4))
    return found


def test_a_forecast_is_never_written_over(engine: Engine, model_id: int) -> None:
    with pytest.raises(AlreadyWritten), writing(engine) as conn:
        write(conn, model_id, forecast("a", steps=4, level=0.0))

    with reading(engine) as conn:
        assert set(conn.scalars(select(tables.forecasts.c.level))) == {100.0}


def test_forecasts_of_other_columns_are_refused(engine: Engine, model_id: int) -> None:
    with pytest.raises(SchemaMismatch, match="level"), writing(engine) as conn:
        write(conn, model_id, forecast("b").drop("level"))


def test_a_matured_lead_comes_with_its_quantiles(engine: Engine, model_id: int) -> None:
    found = due(engine)

    assert found.schema == QUANTILES
    assert found.select("series_id", "step", "q50", "model_id").rows() == [
        ("a", 2, 102.0, model_id),
        ("a", 3, 103.0, model_id),
    ]
    assert found["q975"].to_list() == [103.5, 104.5]
    assert found["timestamp"].to_list() == [START + 2 * HOUR, START + 3 * HOUR]


@pytest.mark.parametrize(
    ("after", "until", "rows"),
    [(None, 2, 0), (None, 3, 2), (2, 3, 2), (3, 4, 0), (-5, 99, 2)],
)
@pytest.mark.usefixtures("model_id")
def test_a_lead_matures_when_its_last_step_has_passed(
    engine: Engine, after: int | None, until: int, rows: int
) -> None:
    assert due(engine, after=after, until=until).height == rows


def test_the_series_forecast_at_a_cutoff_are_known(engine: Engine, model_id: int) -> None:
    with writing(engine) as conn:
        write(conn, model_id, forecast("B"))
        write(conn, model_id, forecast("c", cutoff=START + HOUR))

        found = forecasts.series_at(conn, "bikes", model_id, START)
        other = forecasts.series_at(conn, "cars", model_id, START)

    assert (found, other) == (["B", "a"], [])


def test_intervals_and_attention_are_read_back_as_written(engine: Engine, model_id: int) -> None:
    with writing(engine) as conn:
        rows = pl.concat([weights("b"), weights("a")])
        write_attention(conn, "bikes", model_id, rows, patches())

    with reading(engine) as conn:
        intervals = history.read_intervals(conn, "bikes", since=START, until=START)
        found = history.read_attention(conn, "bikes", START)
        places = history.read_patches(conn, "bikes", START)

    assert intervals.select("step", "q10", "q50", "q90").rows()[0] == (1, 100.0, 101.0, 102.0)
    assert intervals.height == 4
    assert_frame_equal(found, pl.concat([weights("a"), weights("b")]), check_exact=True)
    assert_frame_equal(places, patches(), check_exact=True)


def test_a_lead_is_scored_once(engine: Engine, model_id: int) -> None:
    with writing(engine) as conn:
        accuracy.write(conn, "bikes", model_id, scored(lead="1"), scored_at=START)
    other_lead = due(engine).height
    with writing(engine) as conn:
        accuracy.write(conn, "bikes", model_id, scored(lead="2-3"), scored_at=START)

    assert other_lead == 2
    assert due(engine).is_empty()


def test_hindsight_is_never_scored(engine: Engine, model_id: int) -> None:
    with writing(engine) as conn:
        write(conn, model_id, forecast("b", steps=4, hindsight=True))

    assert due(engine)["series_id"].unique().to_list() == ["a"]


def test_accuracy_is_read_back_as_written(engine: Engine, model_id: int) -> None:
    frame = pl.concat([scored("a"), scored("b"), scored("a", cutoff=START + HOUR)])
    with writing(engine) as conn:
        accuracy.write(conn, "bikes", model_id, frame, scored_at=START + 9 * HOUR)

    with reading(engine) as conn:
        found = read_accuracy(conn, "bikes")
        later = read_accuracy(conn, "bikes", since=START + HOUR, model_id=model_id)
        other_model = read_accuracy(conn, "bikes", model_id=model_id + 1)

    assert_frame_equal(
        found.drop("model_id", "scored_at"), frame.sort("series_id", "cutoff"), check_exact=True
    )
    assert found["scored_at"].unique().to_list() == [START + 9 * HOUR]
    assert later["series_id"].to_list() == ["a"]
    assert other_model.is_empty()


def test_patches_of_a_cutoff_are_kept_once(engine: Engine, model_id: int) -> None:
    frame = pl.concat([patches(), patches(cutoff=START + HOUR)])

    with writing(engine) as conn:
        counts = [
            attention.write_patches(conn, "bikes", model_id, rows)
            for rows in (patches(), frame, frame, frame.clear())
        ]

    assert counts == [2, 2, 0, 0]


def test_a_lead_that_has_accuracy_is_not_scored_over(engine: Engine, model_id: int) -> None:
    first = pl.concat(scored(name, cutoff=START + HOUR) for name in "ab")
    keys = [(name, hour, lead) for name in "bac" for hour in (2, 0, 1) for lead in ("2-3", "1")]
    every = pl.concat(
        scored(key, cutoff=START + hour * HOUR, lead=lead) for key, hour, lead in keys
    )
    with writing(engine) as conn:
        other_model = add_model(conn)
        accuracy.write(conn, "bikes", model_id, first, scored_at=START)

    with writing(engine) as conn:
        written, again, empty = (
            accuracy.write(conn, "bikes", model_id, frame, scored_at=START + HOUR)
            for frame in (every, every, every.clear())
        )
        others = accuracy.write(conn, "bikes", other_model, every, scored_at=START + HOUR)

    left_out = pl.col("series_id").is_in(["a", "b"]) & (pl.col("cutoff") == START + HOUR)
    assert_frame_equal(
        written, every.filter(~(left_out & (pl.col("lead") == "1"))), check_exact=True
    )
    assert_frame_equal(others, every, check_exact=True)
    assert again.is_empty()
    assert empty.is_empty()
    with reading(engine) as conn:
        kept = read_accuracy(conn, "bikes", model_id=model_id)
    assert kept.height == every.height
    assert kept.filter(pl.col("scored_at") == START).height == 2


@pytest.mark.fault(33)
@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_what_two_score_at_the_same_time_is_kept_once(engine: Engine, model_id: int) -> None:
    both = pl.concat([scored("a"), scored("b")])

    def score() -> int:
        with writing(engine) as conn:
            return accuracy.write(conn, "bikes", model_id, both, scored_at=START).height

    with ThreadPoolExecutor() as pool:
        with writing(engine) as conn:
            accuracy.write(conn, "bikes", model_id, scored("a"), scored_at=START)
            late = pool.submit(score)
            wait_for_a_waiter(conn, "transactionid")
        with pytest.raises(AlreadyWritten):
            late.result()

    assert score() == 1


@pytest.mark.parametrize(("steps", "first", "last"), [(1, 1, 1), (720, 349, 720)])
def test_leads_of_any_horizon_are_read(engine: Engine, steps: int, first: int, last: int) -> None:
    frame = forecast("a", steps=steps)
    window = LeadWindow(
        lead="x",
        step_from=first,
        step_to=last,
        nearest=last * HOUR,
        farthest=last * HOUR,
        after=None,
        until=START + last * HOUR,
    )
    with writing(engine) as conn:
        write(conn, add_model(conn), frame)
        read = matured.read(conn, "bikes", window)

    assert read["step"].to_list() == list(range(first, last + 1))
    assert read["q50"].to_list() == [100.0 + step for step in range(first, last + 1)]
    assert read["timestamp"].to_list() == frame["timestamp"].to_list()[first - 1 :]


def test_the_forecasts_of_a_dataset_are_counted_up_to_a_limit(
    engine: Engine, model_id: int
) -> None:
    with writing(engine) as conn:
        for hour in (1, 2, 3):
            write(conn, model_id, forecast("a", cutoff=START + hour * HOUR))

    with reading(engine) as conn:
        found = [forecasts.count(conn, "bikes", at_most=most) for most in (2, 4, 1000)]
        others = forecasts.count(conn, "trams", at_most=2)

    assert found == [3, 4, 4]
    assert others == 0
