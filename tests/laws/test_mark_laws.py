"""What timestamps mark: which rows a cell has, and from when on it is complete."""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.config.diff import reasons_to_retrain
from forecaster.config.settings import DatasetConfig
from forecaster.data.grid import Grid
from forecaster.data.running_totals import are_sums
from forecaster.data.timestamp_marks import grid_of
from forecaster.errors import InsufficientHistory
from forecaster.network.spec import stored_grid
from forecaster.schemas import INSTANT, VERSIONS
from forecaster.times.durations import Step
from forecaster.training.preparation import prepare
from tests.config.configs import (
    dataset,
    parsed,
    problems_of,
    small_dataset,
)
from tests.data.observed import HOUR, MONDAY, observed
from tests.data.test_grid import grids, instants
from tests.network.networks import small_spec

MINUTE = timedelta(minutes=1)
STEP = Step.parse("1h")


def marked(grid: Grid, marks: str, spread: int = 0) -> Grid:
    return replace(grid, marks=marks, spread=spread)


@given(grids, st.lists(instants, min_size=1, max_size=5))
def test_a_cell_that_ends_holds_what_comes_after_the_timestamp_before(
    grid: Grid, timestamps: list[datetime]
) -> None:
    ends, at = marked(grid, "end"), pl.Series(timestamps, dtype=INSTANT)

    cells = ends.index_of(at)

    assert (ends.timestamps_of(cells - 1) < at).all()
    assert (at <= ends.timestamps_of(cells)).all()
    assert ends.index_of(ends.timestamps_of(cells)).to_list() == cells.to_list()


@given(grids, instants, st.sampled_from(["instant", "start", "end"]), st.integers(0, 10**10))
def test_rows_that_may_be_used_are_those_of_cells_that_are_complete(
    grid: Grid, known: datetime, marks: str, spread: int
) -> None:
    grid = marked(grid, marks, spread if marks == "instant" else 0)

    last = grid.complete_at([known])[0]

    assert grid.index_at(grid.known(known)) <= last
    assert grid.known(known) <= known
    # A cell that is shorter than the spread is over as the next one begins.
    spread_out = grid.timestamp_at(last) + timedelta(microseconds=grid.spread)
    over = {"instant": min(spread_out, grid.timestamp_at(last + 1)),
            "start": grid.last_of(last), "end": grid.last_of(last)}[marks]  # fmt: skip
    assert over <= known
    assert known - grid.timestamp_at(last) <= grid.lag + 2 * grid.step.approximate * 1.2


def test_one_row_a_step_is_an_instant() -> None:
    grid = grid_of(observed({"a": [1.0] * 50}), STEP, "UTC")

    assert (grid.marks, grid.spread) == ("instant", 0)
    assert grid.known(MONDAY + 3 * HOUR) == MONDAY + 3 * HOUR


@pytest.mark.parametrize("minutes", [5, 30])
def test_rows_finer_than_the_step_mark_its_start(minutes: int) -> None:
    grid = grid_of(observed({"a": [1.0] * 200}, every=minutes * MINUTE), STEP, "UTC")

    assert grid.marks == "start"
    assert grid.complete_at([MONDAY + 9 * HOUR])[0] == grid.index_at(MONDAY + 8 * HOUR)
    assert grid.known(MONDAY + 9 * HOUR) < MONDAY + 9 * HOUR


def test_rows_finer_than_the_step_that_are_called_instants_are_waited_for() -> None:
    fine = observed({"a": [1.0] * 200}, every=5 * MINUTE)

    grid = grid_of(fine, STEP, "UTC", marks="instant")

    assert (grid.marks, grid.spread) == ("instant", 55 * MINUTE // timedelta(microseconds=1))
    assert grid.complete_at([MONDAY + 9 * HOUR])[0] == grid.index_at(MONDAY + 8 * HOUR)


def test_a_few_repetitions_are_no_finer_step() -> None:
    rows = observed({"a": [1.0] * 100})
    again = rows[40:42].with_columns(pl.col("timestamp") + 10 * MINUTE)

    assert grid_of(pl.concat([rows, again]), STEP, "UTC").marks == "instant"


def test_what_matters_is_how_rows_come_now() -> None:
    fine = observed({"a": [1.0] * 4000}, every=15 * MINUTE)
    since = observed({"a": [1.0] * 600}, first=MONDAY + 1000 * HOUR)

    assert grid_of(pl.concat([fine, since]), STEP, "UTC").marks == "instant"
    assert grid_of(fine, STEP, "UTC").marks == "start"


def test_rows_that_lie_behind_the_grid_are_waited_for() -> None:
    late = observed({"a": [1.0] * 60, "b": [1.0] * 60}).with_columns(
        pl.col("timestamp")
        + pl.when(pl.col("series_id") == "b").then(7 * MINUTE).otherwise(0 * HOUR)
    )

    grid = grid_of(late, STEP, "UTC")

    assert grid.spread == 7 * MINUTE // timedelta(microseconds=1)
    nine = MONDAY + 9 * HOUR
    assert grid.complete_at([nine + 6 * MINUTE])[0] == grid.index_at(nine - HOUR)
    assert grid.complete_at([nine + 7 * MINUTE])[0] == grid.index_at(nine)


def test_sums_mark_the_start_unless_it_is_said_otherwise() -> None:
    rows = observed({"a": [1.0] * 50})

    assert grid_of(rows, STEP, "UTC", are_sums=True).marks == "start"
    assert grid_of(rows, STEP, "UTC", marks="instant", are_sums=True).marks == "instant"


@pytest.mark.parametrize(
    ("query", "groups"),
    [
        ("SELECT 1 GROUP BY 2", True),
        ("select x\ngroup\t by y", True),
        ("SELECT group_by FROM x", False),
        (None, False),
    ],
)
def test_a_query_with_group_by_gives_sums(query: str | None, groups: bool) -> None:
    assert replace(small_dataset(), query=query).groups is groups


def fine_dataset() -> DatasetConfig:
    return small_dataset(season_length=24)


def test_a_training_leaves_out_the_cell_that_is_not_over() -> None:
    rows = observed({"a": [float(k % 24) for k in range(12 * 400)]}, every=5 * MINUTE)
    until = MONDAY + 399 * HOUR

    panel, spec = prepare(rows.filter(pl.col("timestamp") <= until), fine_dataset(), known=until)

    assert panel.grid.timestamp_at(panel.end) == until - HOUR
    assert (spec.timestamp_marks, spec.grid()) == ("start", panel.grid)
    whole, _ = prepare(rows, fine_dataset(), known=until)
    assert whole.deviations.equal(panel.deviations)


@pytest.mark.parametrize(
    ("rows", "marks"), [(10, "auto"), (10, "start"), (1, "start"), (1, "end"), (1, "groups")]
)
def test_a_history_of_the_current_step_alone_is_too_little(rows: int, marks: str) -> None:
    first = MONDAY + 5 * MINUTE if marks == "end" else MONDAY
    current = observed({"a": [1.0] * rows}, every=5 * MINUTE, first=first)
    config = small_dataset()
    if marks == "groups":
        config = replace(config, query="SELECT count(*) FROM t GROUP BY 1")
    elif marks != "auto":
        config = replace(config, timestamp_marks=marks)

    with pytest.raises(
        InsufficientHistory, match=r"no step is complete|no series has more than"
    ) as caught:
        prepare(current, config, known=MONDAY + 50 * MINUTE)

    assert caught.value.hint == InsufficientHistory.TOO_LITTLE


def test_the_setting_is_kept_in_the_model() -> None:
    rows = observed({"a": [float(k % 24) for k in range(400)]})

    _, spec = prepare(rows, replace(small_dataset(), timestamp_marks="end"))

    assert spec.timestamp_marks == "end"


def test_a_spec_of_before_serves_as_it_did() -> None:
    spec = small_spec()
    stored = {"step": "1h", "anchor": 0, "timezone": "UTC"}

    assert (spec.timestamp_marks, spec.spread) == ("instant", 0)
    assert stored_grid(stored) == Grid(STEP, 0)


def test_a_changed_setting_means_a_retrain() -> None:
    stored = {"step": "1h", "prediction_length": 48}
    for marks, changes in (("start", ["timestamp_marks"]), ("instant", [])):
        wanted = parsed(dataset(f'timestamp_marks = "{marks}"')).datasets["x"]
        reasons = [each.setting for each in reasons_to_retrain(stored, wanted)]
        assert [name for name in reasons if name == "timestamp_marks"] == changes
    assert "timestamp_marks" not in {
        each.setting for each in reasons_to_retrain(stored, parsed(dataset("")).datasets["x"])
    }


def test_marks_are_one_of_three() -> None:
    assert parsed(dataset('timestamp_marks = "end"')).datasets["x"].timestamp_marks == "end"
    (problem,) = problems_of(dataset('timestamp_marks = "begin"'))
    assert "timestamp_marks" in problem


@pytest.mark.parametrize("is_finer", [True, False])
def test_one_irregular_series_of_many_delays_no_other(is_finer: bool) -> None:
    plain = observed({f"a{number:02}": [1.0] * 60 for number in range(19)})
    odd = observed({"odd": [1.0] * 240}, every=15 * MINUTE)
    late = observed({"odd": [1.0] * 60}, first=MONDAY + 55 * MINUTE)

    grid = grid_of(pl.concat([plain, odd if is_finer else late]), STEP, "UTC")

    assert (grid.marks, grid.spread) == ("instant", 0)


def test_no_version_at_all_tells_nothing_of_sums() -> None:
    assert are_sums(pl.DataFrame(schema=VERSIONS), STEP) is None
