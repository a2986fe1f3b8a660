"""Opening hours: what is closed is no gap."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest
import torch

from forecaster.baselines.naive import drift, seasonal_naive, seasonal_naive_drift
from forecaster.config.settings import CalendarConfig
from forecaster.data.anchor import detect_grid
from forecaster.data.grid import Grid
from forecaster.data.open_cells import is_open
from forecaster.data.opening_detection import detect_hours
from forecaster.data.panel import build
from forecaster.data.seasonality import Seasons, detect_seasons
from forecaster.data.windows import gather
from forecaster.errors import SkipReason
from forecaster.inference import predictor
from forecaster.inference.eligibility import REASONS, classify
from forecaster.times.durations import Step
from forecaster.times.opening_hours import OpeningHours
from forecaster.training import estimator, preparation
from tests.config.configs import small_dataset
from tests.data.opening import Parking

NAN = float("nan")
NONE = Seasons(season_length=1, long_season=1)


def seasons(observations: pl.DataFrame, step: str, timezone: str = "UTC") -> Seasons:
    parsed = Step.parse(step)
    return detect_seasons(build(observations, detect_grid(observations, parsed, timezone)), parsed)


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize(
    ("step", "opens", "days", "weeks", "zone", "found"),
    [
        ("30m", (480, 1200), 7, 6, "UTC", (48, 336)),  # 8:00-20:00
        ("30m", (480, 1230), 7, 6, "UTC", (48, 336)),  # 8:00-20:30
        ("30m", (450, 990), 7, 6, "UTC", (48, 336)),  # 7:30-16:30
        ("30m", (480, 1200), 6, 8, "UTC", (48, 336)),  # closed on Sundays
        ("1h", (540, 1020), 5, 26, "Europe/Berlin", (24, 168)),  # office hours, clocks change
        ("15m", (1080, 1560), 7, 6, "UTC", (96, 672)),  # over midnight
        ("10m", (600, 720), 7, 8, "UTC", (144, 1008)),  # two hours a day
        ("30m", (480, 1200), 7, 2, "UTC", (48, 48)),  # two weeks
    ],
)
def test_a_day_of_few_open_hours_is_a_season(
    step: str, opens: tuple[int, int], days: int, weeks: int, zone: str, found: tuple[int, int]
) -> None:
    minutes = int(Step.parse(step).approximate / timedelta(minutes=1))
    rows = Parking(opens=opens, step=minutes, days=days, weeks=weeks, zone=zone, outages=2).rows()
    assert seasons(rows, step, zone) == Seasons(season_length=found[0], long_season=found[1])


def test_noise_within_opening_hours_has_no_season() -> None:
    random = np.random.default_rng(3)
    found = []
    for seed in range(20):
        rows = Parking(series=1, seed=seed).rows()
        noise = pl.Series("value", random.normal(size=len(rows)))
        found.append(seasons(rows.with_columns(noise), "30m"))
    assert found.count(NONE) >= 18


def test_a_random_walk_within_opening_hours_has_no_season() -> None:
    random = np.random.default_rng(5)
    rows = Parking(series=3, weeks=8).rows()
    walk = pl.Series("value", random.normal(size=len(rows)).cumsum())
    assert seasons(rows.with_columns(walk), "30m") == NONE


def test_drift_over_gaps_is_the_line_through_first_and_last() -> None:
    opening = row(1, 5, NAN, NAN, 2, 6, NAN, NAN, 3, 7)  # rises while open, falls unseen
    assert seasonal_naive_drift(opening, 2, 1).tolist() == drift(opening, 2).tolist()


def test_drift_counts_changes_over_several_seasons() -> None:
    assert seasonal_naive_drift(row(0, 10, NAN, NAN, 4, 14), 2, 2).tolist() == [[6, 16]]


def test_few_pairs_a_season_apart_are_no_drift() -> None:
    context = row(1, NAN, NAN, NAN, 9, 2, 3, 4)
    assert seasonal_naive_drift(context, 4, 4).tolist() == seasonal_naive(context, 4, 4).tolist()


def hours(observations: pl.DataFrame, step: str, timezone: str = "UTC") -> str:
    parsed = Step.parse(step)
    found = detect_hours(build(observations, detect_grid(observations, parsed, timezone)))
    return "always" if found is None else str(found)


@pytest.mark.parametrize(
    ("step", "parking", "found"),
    [
        ("30m", Parking(), "mon-sun 08:00-20:30"),
        ("30m", Parking(opens=(450, 990), outages=2), "mon-sun 07:30-17:00"),
        ("30m", Parking(weeks=3), "mon-sun 08:00-20:30"),
        ("30m", Parking(days=6, weeks=8), "mon-sat 08:00-20:30"),
        ("1h", Parking(opens=(540, 1020), step=60, days=5, weeks=12), "mon-fri 09:00-18:00"),
        ("15m", Parking(opens=(1080, 1560), step=15), "mon-sun 18:00-02:15"),
        ("1h", Parking(opens=(240, 1560), step=60), "mon-sun 04:00-03:00"),  # maintenance at night
        ("1d", Parking(opens=(0, 0), step=1440, days=5, weeks=30, outages=5), "mon-fri"),
        ("1m", Parking(step=1, weeks=4), "mon-sun 08:00-20:01"),
        ("30m", Parking(opens=(0, 1410)), "always"),
        ("30m", Parking(weeks=1), "always"),  # too little to tell
        ("15m", Parking(weeks=8), "always"),  # the step is too fine
        ("1h", Parking(opens=(360, 360), step=60, weeks=12), "always"),  # a row a day
    ],
)
def test_opening_hours_are_detected(step: str, parking: Parking, found: str) -> None:
    assert hours(parking.rows(), step) == found


def test_opening_hours_follow_the_clock_of_the_dataset() -> None:
    office = Parking(opens=(540, 1020), step=60, days=5, weeks=30, zone="Europe/Berlin").rows()
    assert hours(office, "1h", "Europe/Berlin") == "mon-fri 09:00-18:00"
    assert hours(office, "1h", "UTC") == "mon-fri 07:00-17:00"  # open in summer or in winter


def test_an_outage_closes_nothing() -> None:
    rows = Parking(weeks=8).rows()
    first = rows["timestamp"].min()
    assert isinstance(first, datetime)
    weeks = (rows["timestamp"] - first).dt.total_hours() // 168
    afternoon = rows["timestamp"].dt.hour() >= 14
    for kept in (weeks < 5, ~weeks.is_in([2, 3]), ~(afternoon & weeks.is_in([5, 6, 7]))):
        assert hours(rows.filter(kept), "30m") == "mon-sun 08:00-20:30"


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8])
def test_sparse_series_are_always_open(share: float) -> None:
    random = np.random.default_rng(0)
    rows = Parking(series=1, opens=(0, 1380), step=60, weeks=9).rows()
    assert hours(rows.filter(pl.Series(random.random(len(rows)) < share)), "1h") == "always"


def test_what_one_series_has_open_is_open_for_all() -> None:
    others, longer = Parking().rows(), Parking(series=1, opens=(0, 1410), name="q").rows()
    assert hours(pl.concat([others, longer]), "30m") == "always"


@pytest.mark.parametrize("count", [1, 7, 400])
@pytest.mark.parametrize(
    ("step", "rules", "opened"),
    [
        ("1h", "mon-fri 09:00-17:00", [(9, 17)]),
        ("30m", "mon-fri 09:10-09:20", [(9, 9.5)]),
        ("1h", "mon 22:00-02:00", [(22, 24)]),
        ("10s", "mon 09:00-09:01", [(9, 9 + 1 / 60)]),
    ],
)
def test_a_cell_is_open_where_any_minute_of_it_is(
    step: str, rules: str, opened: list[tuple[float, float]], count: int
) -> None:
    grid = Grid(Step.parse(step), 0, "Europe/Berlin", hours=OpeningHours.parse(rules))
    midnight = grid.index_at(datetime(2024, 7, 7, 22, tzinfo=UTC))  # a Monday in Berlin
    cells = np.arange(midnight, midnight + int(timedelta(days=1) / grid.step.approximate))
    share = 24 * (cells - midnight) / len(cells)
    expected = np.logical_or.reduce([(first <= share) & (share < end) for first, end in opened])
    assert is_open(grid, cells[::count]).tolist() == expected[::count].tolist()


def test_a_day_is_open_where_any_hour_of_it_is() -> None:
    grid = Grid(
        Step.parse("1d"), 0, "America/New_York", hours=OpeningHours.parse("sat 09:00-13:00")
    )
    monday = grid.index_at(datetime(2024, 3, 4, 12, tzinfo=UTC))
    found = is_open(grid, np.arange(monday, monday + 14))  # clocks go forward on the Sunday
    assert found.tolist() == 2 * [False, False, False, False, False, True, False]


@cache
def prepared(open_: str = "auto", prediction_length: int = 4):  # type: ignore[no-untyped-def]
    config = replace(small_dataset("30m", prediction_length), calendar=CalendarConfig(open=open_))
    longer = Parking(weeks=5, name="l", opens=(480, 1200)).rows()
    shorter = Parking(weeks=5, name="s", opens=(480, 1020), days=5, seed=1).rows()
    return (*preparation.prepare(pl.concat([longer, shorter]), config), config)


def outcomes(at: datetime) -> dict[str, str]:
    panel, spec, _ = prepared()
    cutoff = torch.full((len(panel),), panel.grid.index_at(at))
    windows = gather(panel, torch.arange(len(panel)), cutoff, spec.context_length)
    found = classify(windows, spec).tolist()
    names = [reason.value for reason in REASONS] + ["forecast"]
    return {name[0]: names[each] for name, each in zip(panel.series_ids, found, strict=True)}


@pytest.mark.parametrize(
    "at",
    [
        datetime(2024, 1, 30, 8, tzinfo=UTC),  # the morning after a closed night
        datetime(2024, 1, 30, 20, tzinfo=UTC),  # some close earlier than others
        datetime(2024, 1, 29, 7, 30, tzinfo=UTC),  # and at the weekend
        datetime(2024, 1, 28, 15, tzinfo=UTC),
        datetime(2024, 1, 31, 3, tzinfo=UTC),
    ],
)
def test_closed_time_is_no_silence(at: datetime) -> None:
    assert prepared()[1].max_lag <= 8
    assert outcomes(at) == {"l": "forecast", "s": "forecast"}


def test_silence_while_it_is_open_is_silence() -> None:
    panel, spec, _ = prepared()
    at = panel.grid.index_at(datetime(2024, 1, 30, 14, tzinfo=UTC))
    silent = panel.deviations.clone()
    silent[:, at - panel.start - 11 :] = torch.nan
    rows = torch.arange(len(panel))
    windows = gather(
        replace(panel, deviations=silent), rows, torch.full_like(rows, at), spec.context_length
    )
    assert {REASONS[each] for each in classify(windows, spec).tolist()} == {SkipReason.STALE}


def test_gaps_are_counted_while_it_is_open() -> None:
    rows = Parking(series=1).rows()
    kept = rows.filter(pl.int_range(len(rows)) % 50 != 10)
    config = small_dataset("30m", 4)
    panel, spec = preparation.prepare(kept, config)
    assert spec.opening_hours == "mon-sun 08:00-20:30"
    assert panel.counts.gaps == len(rows) - len(kept)
    closed = replace(config, calendar=CalendarConfig(open="always"))
    assert preparation.prepare(kept, closed)[0].counts.gaps > len(rows) / 2


def test_open_steps_are_forecast_and_closed_ones_are_not() -> None:
    panel, spec, config = prepared(prediction_length=48)
    made = estimator.fit(panel, spec, replace(config.training, steps=4))
    longer = Parking(weeks=5, name="l", opens=(480, 1200)).rows()
    said = predictor.predict(made.model, longer, [datetime(2024, 1, 30, 17, tzinfo=UTC)])
    stamps = said.forecasts.filter(series_id="l00")["timestamp"]
    assert len(stamps) == 25
    assert stamps.dt.hour().is_between(8, 20).all()
    assert said.forecasts["step"].to_list()[:8] == [1, 2, 3, 4, 5, 6, 30, 31]
    patches = said.attention.filter(series_id="l00")
    assert (patches["step_from"] <= 48).all()
    night = predictor.predict(made.model, longer, [datetime(2024, 1, 30, 21, tzinfo=UTC)])
    assert night.forecasts.filter(series_id="l00")["step"][0] == 22


def test_declared_hours_come_first_and_are_noted_where_rows_lie_outside() -> None:
    panel, spec, config = prepared("mon-fri 08:00-12:00")
    assert spec.opening_hours == "mon-fri 08:00-12:00"
    made = estimator.fit(panel, spec, replace(config.training, steps=1))
    assert "values lie outside the opening hours mon-fri 08:00-12:00" in made.notes[0]


def test_timestamps_that_mark_the_end_of_a_cell_are_open_with_the_time_before() -> None:
    grid = Grid(Step.parse("30m"), 0, marks="end", hours=OpeningHours.parse("08:00-20:00"))
    first = grid.index_at(datetime(2024, 7, 1, 8, tzinfo=UTC))
    assert is_open(grid, np.arange(first, first + 26)).tolist() == [False, *[True] * 24, False]
