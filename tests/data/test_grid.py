"""The grid: laws over many zones and steps, clock changes by hand, and anchors from the data."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.anchor import detect_grid
from forecaster.data.grid import EPOCH, Grid
from forecaster.schemas import INSTANT, OBSERVATIONS, empty
from forecaster.times.durations import Step
from forecaster.times.local_time import DAY_MICROSECONDS, instant_of

ZONES = [
    "UTC", "America/New_York", "Europe/Berlin", "America/Sao_Paulo", "Africa/Cairo",
    "Asia/Beirut", "Africa/Casablanca", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Tehran",
    "America/St_Johns", "Antarctica/Troll", "Europe/Dublin", "America/Havana",
]  # fmt: skip
STEPS = ["500ms", "5m", "1h", "6h", "12h", "36h", "1d", "3d", "1w", "1mo", "3mo", "1y"]

zones = st.sampled_from(ZONES)
steps = st.sampled_from(STEPS).map(Step.parse)
anchors = st.integers(-400 * DAY_MICROSECONDS, 400 * DAY_MICROSECONDS)
hourly_anchors = st.integers(-9000, 9000).map(lambda hours: hours * 1_800_000_000)
grids = st.builds(Grid, steps, anchors | hourly_anchors, zones)
instants = st.integers(-2_208_902_400, 7_258_032_000).map(
    lambda seconds: EPOCH + timedelta(seconds=seconds, microseconds=seconds % 999_983)
)


@given(grids, st.lists(instants, min_size=1, max_size=5))
def test_an_instant_lies_between_its_cell_and_the_next(
    grid: Grid, timestamps: list[datetime]
) -> None:
    at = pl.Series(timestamps, dtype=INSTANT)

    cells = grid.index_of(at)

    assert (grid.timestamps_of(cells) <= at).all()
    assert (at < grid.timestamps_of(cells + 1)).all()


@given(grids, st.lists(instants, min_size=1, max_size=5))
def test_a_cell_begins_in_itself(grid: Grid, timestamps: list[datetime]) -> None:
    cells = grid.index_of(pl.Series(timestamps, dtype=INSTANT))

    assert grid.index_of(grid.timestamps_of(cells)).to_list() == cells.to_list()


@given(grids, instants)
def test_one_instant_agrees_with_a_column_of_them(grid: Grid, timestamp: datetime) -> None:
    index = grid.index_at(timestamp)

    assert grid.index_of(pl.Series([timestamp], dtype=INSTANT)).to_list() == [index]
    assert grid.timestamp_at(index) <= timestamp < grid.timestamp_at(index + 1)


@pytest.mark.parametrize("step", STEPS)
def test_nulls_and_nothing_pass_through(step: str) -> None:
    grid = Grid(Step.parse(step), 0, "Europe/Berlin")
    timestamps = pl.Series([None, datetime(2024, 1, 1, tzinfo=UTC), None], dtype=INSTANT)

    assert grid.index_of(timestamps).is_null().to_list() == [True, False, True]
    assert grid.index_of(timestamps.clear()).dtype == pl.Int64
    assert grid.timestamps_of(grid.index_of(timestamps)).dtype == INSTANT


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", datetime(2024, 3, 10, tzinfo=UTC), 23),
        ("America/New_York", datetime(2024, 11, 3, tzinfo=UTC), 25),
        ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC), 23),
        ("Asia/Beirut", datetime(2021, 3, 28, tzinfo=UTC), 23),
        ("Africa/Cairo", datetime(2014, 5, 16, tzinfo=UTC), 23),
        ("America/Havana", datetime(2023, 11, 5, tzinfo=UTC), 25),
        ("UTC", datetime(2024, 3, 10, tzinfo=UTC), 24),
    ],
)
def test_days_last_as_long_as_the_clocks_say(zone: str, day: datetime, hours: int) -> None:
    grid = Grid(Step.parse("1d"), 0, zone)
    index = (day - EPOCH).days

    lasted = grid.timestamp_at(index + 1) - grid.timestamp_at(index)

    assert lasted == timedelta(hours=hours)


@given(grids, st.integers(0, 40 * DAY_MICROSECONDS), instants)
def test_a_cell_is_complete_when_the_next_begins_whatever_the_spread(
    grid: Grid, spread: int, known: datetime
) -> None:
    (complete,) = replace(grid, spread=spread).complete_at([known])

    assert grid.index_at(known) - 1 <= complete <= grid.index_at(known)
    assert grid.timestamp_at(complete + 2) > known


def test_a_midnight_that_does_not_exist_moves_to_the_first_instant_of_the_day() -> None:
    grid = Grid(Step.parse("1d"), 0, "America/Sao_Paulo")

    begin = grid.timestamp_at((datetime(2018, 11, 4, tzinfo=UTC) - EPOCH).days)

    assert begin == datetime(2018, 11, 4, 3, tzinfo=UTC)


def test_a_day_that_was_skipped_keeps_its_index_and_no_time() -> None:
    grid = Grid(Step.parse("1d"), 0, "Pacific/Apia")
    skipped = (datetime(2011, 12, 30, tzinfo=UTC) - EPOCH).days

    assert grid.timestamp_at(skipped) == grid.timestamp_at(skipped + 1)
    assert grid.index_at(grid.timestamp_at(skipped)) == skipped + 1


def test_months_anchored_on_the_31st_end_on_their_last_day() -> None:
    grid = Grid(Step.parse("1mo"), 30 * DAY_MICROSECONDS)

    ends = grid.timestamps_of(pl.Series([-1, 0, 1, 2, 3, 25]))

    assert ends.dt.date().cast(pl.String).to_list() == [
        "1969-12-31", "1970-01-31", "1970-02-28", "1970-03-31", "1970-04-30", "1972-02-29",
    ]  # fmt: skip


def test_instants_before_1970_are_floored_downwards() -> None:
    grid = Grid(Step.parse("1h"), 0)

    assert grid.index_at(datetime(1969, 12, 31, 23, 59, tzinfo=UTC)) == -1


def _observed(timestamps: pl.Series, series_id: str = "a") -> pl.DataFrame:
    frame = pl.DataFrame({"timestamp": timestamps.cast(INSTANT)})
    return frame.select(
        pl.lit(series_id).alias("series_id"), "timestamp", pl.lit(1.0).alias("value")
    )


def _local(zone: str, every: str, start: datetime, end: datetime) -> pl.Series:
    wall = pl.datetime_range(start, end, every, eager=True, time_unit="us")
    return instant_of(wall.to_physical(), zone)


START, END = datetime(2021, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["America/New_York", "America/Sao_Paulo", "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("stamped", ["America/New_York", "Europe/Berlin", "UTC", "Asia/Beirut"])
@pytest.mark.parametrize("hour", [0, 6, 23])
def test_daily_rows_keep_a_day_each_whatever_zone_stamped_them(
    zone: str, stamped: str, hour: int
) -> None:
    timestamps = _local(stamped, "1d", START.replace(hour=hour), END)

    grid = detect_grid(_observed(timestamps), Step.parse("1d"), zone)

    assert (grid.index_of(timestamps).diff().drop_nulls() == 1).all()


@pytest.mark.parametrize("stamped", ["America/New_York", "UTC"])
@pytest.mark.parametrize("every", ["1d", "1w", "1mo", "3mo", "1y"])
def test_rows_stamped_in_the_zone_or_in_utc_lie_on_the_grid(stamped: str, every: str) -> None:
    timestamps = _local(stamped, every, START, END)

    grid = detect_grid(_observed(timestamps), Step.parse(every), "America/New_York")

    assert grid.timezone == stamped
    assert grid.timestamps_of(grid.index_of(timestamps)).to_list() == timestamps.to_list()
    assert (grid.index_of(timestamps).diff().drop_nulls() == 1).all()


def test_a_summer_of_utc_midnights_is_read_as_utc_before_the_clocks_change() -> None:
    summer = _local("UTC", "1d", datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 8, 1, tzinfo=UTC))

    grid = detect_grid(_observed(summer), Step.parse("1d"), "America/New_York")

    assert grid == Grid(Step.parse("1d"), 0, "UTC")


@pytest.mark.parametrize("weekday", range(7))
def test_weeks_begin_on_the_weekday_of_the_data(weekday: int) -> None:
    saturday = START + timedelta(days=weekday)
    timestamps = _local("America/New_York", "1w", saturday, END)

    grid = detect_grid(_observed(timestamps), Step.parse("1w"), "America/New_York")

    assert grid.timestamps_of(grid.index_of(timestamps)).to_list() == timestamps.to_list()


def test_weeks_without_a_common_hour_begin_at_midnight_of_the_common_weekday() -> None:
    saturdays = _local(
        "UTC", "1w", datetime(2024, 1, 6, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
    )
    scattered = saturdays + pl.int_range(len(saturdays), eager=True) * timedelta(minutes=37)

    grid = detect_grid(_observed(scattered), Step.parse("1w"), "UTC")

    assert grid.timestamp_at(grid.index_at(saturdays[3])) == saturdays[3]


@pytest.mark.parametrize(("month", "every"), [(1, "1mo"), (1, "3mo"), (2, "1y"), (3, "3mo")])
def test_ends_of_months_stay_ends_of_months(month: int, every: str) -> None:
    begins = pl.datetime_range(
        datetime(2001, month, 1, tzinfo=UTC),
        datetime(2024, 12, 1, tzinfo=UTC),
        every,
        eager=True,
        time_unit="us",
    )
    ends = begins.dt.month_end().dt.replace_time_zone("UTC")

    grid = detect_grid(_observed(ends), Step.parse(every), "UTC")

    assert grid.timestamps_of(grid.index_of(ends)).to_list() == ends.to_list()


@pytest.mark.parametrize("every", ["6h", "12h"])
def test_part_days_stamped_on_a_local_clock_keep_a_cell_each(every: str) -> None:
    timestamps = _local("Europe/Berlin", every, START, END)

    grid = detect_grid(_observed(timestamps), Step.parse(every), "Europe/Berlin")

    assert (grid.index_of(timestamps).diff().drop_nulls() == 1).all()


def test_the_phase_that_most_series_share_is_the_anchor() -> None:
    at_two = _local(
        "UTC", "5m", datetime(1969, 12, 30, 0, 2, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)
    )
    at_four = at_two[:20] + timedelta(minutes=2)
    rows = [_observed(at_two, "a"), _observed(at_two, "b"), _observed(at_four, "c")]

    grid = detect_grid(pl.concat(rows), Step.parse("5m"), "UTC")

    assert grid.anchor == timedelta(minutes=2) // timedelta(microseconds=1)


def test_without_a_majority_the_grid_is_aligned_with_the_epoch() -> None:
    base = _local("UTC", "5m", datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC))
    rows = [_observed(base + timedelta(minutes=k), str(k)) for k in (1, 2, 3)]

    assert detect_grid(pl.concat(rows), Step.parse("5m"), "UTC").anchor == 0


@pytest.mark.parametrize("step", STEPS)
def test_an_empty_frame_gives_the_default_grid(step: str) -> None:
    grid = detect_grid(empty(OBSERVATIONS), Step.parse(step), "Europe/Berlin")

    assert grid.timezone == "Europe/Berlin"
    assert grid.anchor == (4 * DAY_MICROSECONDS if step == "1w" else 0)


@given(steps, zones, st.lists(instants, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_detection_always_answers_and_does_not_depend_on_the_order(
    step: Step, zone: str, timestamps: list[datetime], random: object
) -> None:
    frame = _observed(pl.Series(timestamps, dtype=INSTANT))

    grid = detect_grid(frame, step, zone)

    assert detect_grid(frame.reverse(), step, zone) == grid
    assert grid.index_of(frame["timestamp"]).null_count() == 0
