"""A sample of the history: bounded, drawn by the seed alone, and everything where that fits."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.config.settings import TrainingConfig
from forecaster.schemas import VERSIONS
from forecaster.training.history_sample import Sample, draw, newest_steps
from forecaster.training.sample_extent import Extent

START = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = 10


def cells(series: int, rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "series_id": [series] * rows,
            "timestamp": [START + number * timedelta(hours=1) for number in range(rows)],
            "value": [float(series)] * rows,
        },
        schema={name: VERSIONS[name] for name in ("series_id", "timestamp", "value")},
    )


def drawn(
    rows: Sequence[int],
    max_points: int,
    *,
    seed: int = 0,
    order: Sequence[int] = (),
    at_once: int = 1,
) -> Sample:
    """Draw from series 0, 1, … with so many rows each, read in some order, some at a time."""
    ids = list(order or range(len(rows)))
    keys = pl.DataFrame(
        {"id": range(len(rows)), "key": [f"series {number}" for number in range(len(rows))]},
        schema={"id": pl.Int32(), "key": pl.String()},
    )
    blocks = [
        pl.concat([cells(number, rows[number]) for number in ids[first : first + at_once]])
        for first in range(0, len(ids), at_once)
    ]
    config = TrainingConfig(seed=seed, max_points=max_points)
    return draw(blocks, keys, steps=STEPS, config=config)


def points(sample: Sample) -> int:
    """How many points a panel of the sample has, or the rows of it where these are more."""
    rows = sample.cells.group_by("series_id").len()["len"]
    return int(rows.clip(STEPS).sum())


def test_everything_is_kept_where_it_fits() -> None:
    sample = drawn([10, 3, 10], max_points=30)

    assert sample.cells.equals(pl.concat([cells(0, 10), cells(1, 3), cells(2, 10)]))
    assert sorted(sample.kept) == [0, 1, 2]
    assert sample.all_series == 3


@given(
    rows=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    max_points=st.integers(1, 200),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_a_sample_is_bounded_and_depends_on_nothing_but_the_seed_and_the_series(
    rows: list[int], max_points: int, seed: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    at_once = data.draw(st.integers(1, len(rows)))

    sample = drawn(rows, max_points, seed=seed)
    again = drawn(rows, max_points, seed=seed, order=order, at_once=at_once)

    assert points(sample) <= max_points or len(sample.kept) == 1
    assert sorted(sample.kept) == sorted(again.kept) == sorted(sample.cells["series_id"].unique())
    one, other = (each.cells.sort("series_id", "timestamp") for each in (sample, again))
    assert one.equals(other)
    assert sample.all_series == again.all_series == len(rows)


def test_another_seed_draws_other_series_and_more_room_keeps_those_there_were() -> None:
    some = set(drawn([10] * 40, 100).kept)

    assert len(some) == 10
    assert some != set(drawn([10] * 40, 100, seed=1).kept)
    assert some < set(drawn([10] * 40, 200).kept)


def test_a_dataset_without_rows_is_an_empty_sample() -> None:
    sample = drawn([], 100)

    assert sample.cells.is_empty()
    assert sample.all_series == len(sample.kept) == 0


@pytest.mark.parametrize(
    ("steps", "series", "max_points", "expected"),
    [
        (2_000, 100_000, 20_000_000, 2_000),
        (2_000, 100, 200_000, 2_000),
        (2_000, 100, 100_000, 1_000),
        (50_000, 100_000, 20_000_000, 10_000),
        (5_000_000, 1, 1_000_000, 1_000_000),
        (10, 0, 1_000, 10),
        (10, 100, 1, 1),
    ],
)
def test_all_steps_are_kept_where_thousands_of_series_have_room(
    steps: int, series: int, max_points: int, expected: int
) -> None:
    assert newest_steps(steps, series, max_points) == expected


def test_an_extent_is_kept_with_the_model_unless_it_is_whole() -> None:
    part = Extent(series=10, all_series=1_400, steps=90, all_steps=5_000)

    assert Extent.from_scores({"mase": 0.5, **part.to_scores()}) == part
    assert str(part) == "a sample: 10 of 1,400 series, the newest 90 of 5,000 steps"
    assert str(replace(part, steps=5_000)) == "a sample: 10 of 1,400 series"
    assert replace(part, series=1_400, steps=5_000).to_scores() == {}
    assert Extent.from_scores({"mase": 0.5}) is None
