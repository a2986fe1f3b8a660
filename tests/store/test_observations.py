from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sqlalchemy import Engine, delete, func, select

from forecaster.errors import SchemaMismatch
from forecaster.schemas import OBSERVATIONS
from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.maintenance import expiry
from forecaster.store.observations import observations
from forecaster.store.state import datasets
from tests.store.samples import HOUR, START, observed

MICROSECOND = timedelta(microseconds=1)


def land(
    engine: Engine, frame: pl.DataFrame, *, at: datetime = START, dataset: str = "bikes"
) -> tuple[int, int, int]:
    """Land in a transaction of its own; return new, corrected, unchanged."""
    with writing(engine) as conn:
        counts = observations.ingest(conn, dataset, frame, recorded_at=at)
    return counts.new, counts.corrected, counts.unchanged


def read(engine: Engine, dataset: str = "bikes", *, as_of: datetime | None = None) -> pl.DataFrame:
    with reading(engine) as conn:
        return observations.read(conn, dataset, as_of=as_of)


def versions(engine: Engine) -> int:
    with reading(engine) as conn:
        return conn.scalar(select(func.count()).select_from(tables.observations)) or 0


def test_what_was_landed_is_read_back_sorted(engine: Engine) -> None:
    frame = observed({"b": [1.0, 2.0], "a": [3.0], "a/b": [4.0], "Z": [5.0], "é": [-0.5]})

    counts = land(engine, frame.sample(fraction=1.0, shuffle=True, seed=1))

    assert counts == (6, 0, 0)
    assert_frame_equal(read(engine), frame.sort("series_id", "timestamp"), check_exact=True)


@pytest.mark.fault(10)
def test_landing_twice_changes_nothing(engine: Engine) -> None:
    frame = observed({"a": [1.0, None, 3.0]})
    land(engine, frame)

    counts = land(engine, frame, at=START + HOUR)

    assert counts == (0, 0, 3)
    assert versions(engine) == 2


def test_a_correction_is_a_new_version_and_the_old_belief_stays(engine: Engine) -> None:
    land(engine, observed({"a": [1.0, 2.0]}), at=START)

    counts = land(engine, observed({"a": [1.0, 2.5, 3.0]}), at=START + HOUR)

    assert counts == (1, 1, 1)
    assert read(engine)["value"].to_list() == [1.0, 2.5, 3.0]
    assert read(engine, as_of=START)["value"].to_list() == [1.0, 2.0]
    assert read(engine, as_of=START + HOUR)["value"].to_list() == [1.0, 2.5, 3.0]
    assert read(engine, as_of=START - MICROSECOND).is_empty()


def test_a_null_takes_a_value_back_and_a_value_brings_it_back(engine: Engine) -> None:
    land(engine, observed({"a": [1.0, 2.0]}), at=START)

    taken = land(engine, observed({"a": [None, 2.0]}), at=START + HOUR)
    without = read(engine)["value"].to_list()
    brought = land(engine, observed({"a": [1.0, 2.0]}), at=START + 2 * HOUR)

    assert taken == brought == (0, 1, 1)
    assert without == [2.0]
    assert read(engine)["value"].to_list() == [1.0, 2.0]


def test_a_null_for_an_instant_never_seen_is_not_stored(engine: Engine) -> None:
    counts = land(engine, observed({"a": [None, None]}))

    assert counts == (0, 0, 2)
    assert versions(engine) == 0


@pytest.mark.fault(8)
@pytest.mark.parametrize("shift", [timedelta(0), -HOUR])
def test_a_correction_counts_even_when_the_clock_stood_still_or_went_back(
    engine: Engine, shift: timedelta
) -> None:
    land(engine, observed({"a": [1.0]}), at=START)

    land(engine, observed({"a": [2.0]}), at=START + shift)
    land(engine, observed({"a": [3.0]}), at=START + shift)

    assert read(engine)["value"].to_list() == [3.0]
    assert read(engine, as_of=START)["value"].to_list() == [1.0]
    assert versions(engine) == 3


def test_values_of_a_counter_near_1e10_are_told_apart(engine: Engine) -> None:
    land(engine, observed({"a": [8e9]}))

    counts = land(engine, observed({"a": [8e9 + 2**-20]}), at=START + HOUR)

    assert counts == (0, 1, 0)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, [1.0, 2.0, 3.0]),
        (START + HOUR, None, [2.0, 3.0]),
        (None, START + HOUR, [1.0, 2.0]),
        (START + HOUR, START + HOUR, [2.0]),
        (START + MICROSECOND, START + HOUR - MICROSECOND, []),
    ],
)
def test_both_ends_of_a_range_are_included(
    engine: Engine, since: datetime | None, until: datetime | None, expected: list[float]
) -> None:
    land(engine, observed({"a": [1.0, 2.0, 3.0]}))

    with reading(engine) as conn:
        found = observations.read(conn, "bikes", since=since, until=until)

    assert found["value"].to_list() == expected
    assert found.schema == OBSERVATIONS


def test_datasets_do_not_see_each_other(engine: Engine) -> None:
    land(engine, observed({"a": [1.0]}), dataset="bikes")

    counts = land(engine, observed({"a": [2.0]}), dataset="cars")

    assert counts == (1, 0, 0)
    assert read(engine, "bikes")["value"].to_list() == [1.0]
    assert read(engine, "cars")["value"].to_list() == [2.0]


def test_a_dataset_nobody_named_is_empty(engine: Engine) -> None:
    with reading(engine) as conn:
        assert observations.span(conn, "nothing") is None
        assert observations.read(conn, "nothing").is_empty()


def test_the_span_reaches_over_all_series(engine: Engine) -> None:
    land(engine, observed({"a": [1.0, 2.0]}))
    land(engine, observed({"b": [1.0, 2.0]}, start=START + 5 * HOUR))

    with reading(engine) as conn:
        assert observations.span(conn, "bikes") == (START, START + 6 * HOUR)


def test_rows_of_the_same_series_and_instant_are_refused(engine: Engine) -> None:
    frame = observed({"a": [1.0]})

    with pytest.raises(SchemaMismatch, match="unique by series_id and timestamp, found 1 repeated"):
        land(engine, pl.concat([frame, frame]))


def test_a_frame_of_other_columns_is_refused(engine: Engine) -> None:
    with pytest.raises(SchemaMismatch, match="value: expected Float64, found Int64"):
        land(engine, observed({"a": [1.0]}).cast({"value": pl.Int64()}))


def test_old_observations_are_deleted_with_all_versions(engine: Engine) -> None:
    land(engine, observed({"a": [1.0, 2.0]}))
    land(engine, observed({"a": [1.5, 2.5]}), at=START + HOUR)
    land(engine, observed({"a": [9.0]}), dataset="cars")

    deleted = expiry.delete_before(engine, "bikes", "observations", START + HOUR)

    assert deleted == 2
    assert read(engine)["value"].to_list() == [2.5]
    assert read(engine, "cars")["value"].to_list() == [9.0]


@pytest.mark.fault(10)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=st.data())
def test_any_order_and_split_of_the_rows_leads_to_the_same_state(
    engine: Engine, data: st.DataObject
) -> None:
    values = data.draw(
        st.dictionaries(
            st.tuples(st.sampled_from("abc"), st.integers(0, 9)), st.integers(-5, 5), min_size=1
        )
    )
    whole = pl.DataFrame(
        [(key, START + hour * HOUR, float(value)) for (key, hour), value in values.items()],
        schema=OBSERVATIONS,
        orient="row",
    )
    order = data.draw(st.lists(st.integers(0, whole.height - 1), max_size=20))
    size = data.draw(st.integers(1, 5))
    batches = [sorted(set(order[i : i + size])) for i in range(0, len(order), size)]
    rest = [sorted(set(range(whole.height)) - set(order))]
    with writing(engine) as conn:
        conn.execute(delete(tables.observations))

    landed = [land(engine, whole[batch], at=START + i * HOUR) for i, batch in
              enumerate(data.draw(st.permutations(batches + rest)))]  # fmt: skip

    assert_frame_equal(read(engine), whole.sort("series_id", "timestamp"), check_exact=True)
    assert sum(new for new, _, _ in landed) == versions(engine) == whole.height


def test_a_landing_says_what_changed_and_what_it_follows(engine: Engine) -> None:
    with writing(engine) as conn:
        first = observations.ingest(conn, "bikes", observed({"a": [1.0, 2.0]}), recorded_at=START)
    with writing(engine) as conn:
        again = observations.ingest(
            conn, "bikes", observed({"a": [1.0, 5.0, 3.0]}), recorded_at=START - HOUR
        )

    assert (first.before, first.recorded_at) == (None, START)
    assert (again.before, again.recorded_at) == (START, START + MICROSECOND)
    assert first.changes["value"].to_list() == [1.0, 2.0]
    assert again.changes["value"].to_list() == [5.0, 3.0]


def test_a_landing_without_changes_leaves_the_landing_clock(engine: Engine) -> None:
    frame = observed({"a": [1.0]})
    land(engine, frame, at=START)

    with writing(engine) as conn:
        again = observations.ingest(conn, "bikes", frame, recorded_at=START + HOUR)
        reached = datasets.ingest_state(conn, "bikes")

    assert again.recorded_at == reached.landed_at == START
    assert reached.newest_observation == START


def test_an_early_row_among_known_ones_is_found_to_be_new(engine: Engine) -> None:
    land(engine, observed({"a": [1.0, 2.0], "b": [3.0]}))

    counts = land(engine, observed({"a": [0.5], "b": [0.25]}, start=START - 400 * 24 * HOUR))

    assert counts == (2, 0, 0)
    assert read(engine).height == 5
