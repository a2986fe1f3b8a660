"""Laws of intake: every row is accounted for, in whatever order and company it comes."""

from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from forecaster.ingestion.normalize import (
    Columns,
    NormalizedRows,
    RejectReason,
    normalize,
)

pytestmark = pytest.mark.quick_on("postgres")

ZONE = "America/New_York"
TIMES = ["2024-01-01", "2024-01-01T05:00:00Z", "2024-03-10 02:30:00", "x", None, "1704085200",
         "2024-01-01 00:00:00.5", "9999-01-01", "2024-01-01 00:00:00+00"]  # fmt: skip
VALUES = ["1", "2", "0", "-0.0", "", None, "nan", "x", "1e308", "1.7e308", "0.1", "0.3"]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "", None]), st.sampled_from(TIMES), st.sampled_from(VALUES)
    ),
    max_size=40,
)


def _rows(rows: list[tuple[str | None, str | None, str | None]]) -> NormalizedRows:
    schema = dict.fromkeys(("series_id", "timestamp", "value"), pl.String())
    return normalize(pl.DataFrame(rows, schema=schema, orient="row"), Columns(), timezone=ZONE)


@pytest.mark.fault(11, 13)
@given(ROWS)
def test_every_row_is_accounted_for(rows: list[tuple[str | None, str | None, str | None]]) -> None:
    intake = _rows(rows)

    accounted = len(intake.observations) + intake.duplicates + intake.conflicting
    assert accounted + sum(intake.rejected.values()) == len(rows)
    assert intake.rejected.keys() <= set(RejectReason)
    assert not intake.observations.select("series_id", "timestamp").is_duplicated().any()


@pytest.mark.fault(10)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    rows: list[tuple[str | None, str | None, str | None]], random: Random
) -> None:
    shuffled = random.sample(rows, len(rows))

    first, second = _rows(rows), _rows(shuffled)

    assert_frame_equal(first.observations, second.observations, check_exact=True)
    assert (first.rejected, first.examples) == (second.rejected, second.examples)
    assert (first.duplicates, first.conflicting) == (second.duplicates, second.conflicting)


@given(ROWS)
def test_series_may_be_read_apart(rows: list[tuple[str | None, str | None, str | None]]) -> None:
    parts = [_rows([row for row in rows if (row[0] == "a") is chosen]) for chosen in (True, False)]

    whole = _rows(rows)

    apart = pl.concat([part.observations for part in parts]).sort("series_id", "timestamp")
    assert_frame_equal(whole.observations, apart, check_exact=True)
    assert whole.duplicates == sum(part.duplicates for part in parts)
    assert whole.conflicting == sum(part.conflicting for part in parts)


@given(ROWS)
def test_observations_read_again_stay_what_they_are(
    rows: list[tuple[str | None, str | None, str | None]],
) -> None:
    observations = _rows(rows).observations

    again = normalize(observations, Columns(), timezone=None)

    assert_frame_equal(again.observations, observations, check_exact=True)
    assert again.rejected == {}


@given(st.lists(st.sampled_from(TIMES), min_size=1, max_size=5))
def test_text_that_repeats_is_read_as_if_it_stood_alone(times: list[str | None]) -> None:
    alone = _rows([("a", time, "1") for time in times])

    many = _rows([(f"{number}", time, "1") for number in range(20) for time in times])

    assert many.rejected == {reason: 20 * rows for reason, rows in alone.rejected.items()}
    assert many.duplicates == 20 * alone.duplicates
    for (_,), series in many.observations.group_by("series_id"):
        found, expected = (each.drop("series_id") for each in (series, alone.observations))
        assert_frame_equal(found, expected, check_exact=True)


@given(ROWS)
def test_sorted_rows_and_clean_ones_take_the_same_way(
    rows: list[tuple[str | None, str | None, str | None]],
) -> None:
    clean = _rows(rows).observations.with_columns(pl.col("value").fill_null(1.0))
    sick = pl.DataFrame([("c", None, 1.0)], schema=clean.schema, orient="row")

    backwards = normalize(pl.concat([sick, clean.reverse()]), Columns(), timezone=None)

    assert_frame_equal(backwards.observations, clean, check_exact=True)
    assert backwards.rejected == {"missing_timestamp": 1}
