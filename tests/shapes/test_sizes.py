"""One series of millions of rows, and a hundred thousand series."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.jobs.small import HORIZON, query
from tests.shapes import loads
from tests.shapes.loads import Load
from tests.shapes.places import Place

LEAST_MEMORY = 4 * 2**30
"""Bytes that are enough for any of these."""

MINUTE = timedelta(minutes=1)


def assert_long(place: Place, load: Load, rows: int) -> None:
    assert (load.ingested.rows, load.ingested.new) == (rows, rows)
    assert load.forecast.rows == finite_rows(place) == HORIZON
    assert load.forecast.panel["merged"] % 59 == 0
    assert load.forecast.stages["read"] + load.forecast.stages["predict"] < 5


def assert_many(place: Place, load: Load, series: int) -> None:
    assert (load.ingested.rows, load.ingested.new) == (30 * series, 30 * series)
    assert load.forecast.series == series
    assert load.forecast.rows == finite_rows(place) == HORIZON * series


def finite_rows(place: Place) -> int:
    """Forecasts between bounds that no value of these series is near."""
    [(count,)] = query(
        place.engine,
        f"SELECT count(*) FROM all_forecasts WHERE dataset = '{place.name}' "
        "AND q025 > -1e6 AND q975 < 1e6",
    )
    assert isinstance(count, int)
    return count


def url(place: Place) -> str:
    return place.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "large.parquet"


@pytest.mark.fault(14)
def test_a_long_series_is_forecast_from_its_end(file: Place, path: Path) -> None:
    loads.write(path, series=1, rows=50_000, every=MINUTE)

    load = loads.bear(url(file), file.world.dataset, path)

    assert_long(file, load, 50_000)


@pytest.mark.fault(14)
def test_many_series_are_all_forecast(file: Place, path: Path) -> None:
    loads.write(path, series=300, rows=30)

    load = loads.bear(url(file), file.world.dataset, path)

    assert_many(file, load, 300)


@pytest.mark.fault(14)
@pytest.mark.slow
def test_a_series_of_ten_million_rows_fits_in_memory(file: Place, path: Path) -> None:
    loads.write(path, series=1, rows=10_000_000, every=MINUTE)

    load = loads.bear_alone(url(file), file.world.dataset, path)

    assert_long(file, load, 10_000_000)
    assert load.peak < LEAST_MEMORY


@pytest.mark.fault(14)
@pytest.mark.slow
def test_a_hundred_thousand_series_fit_in_memory(file: Place, path: Path) -> None:
    loads.write(path, series=100_000, rows=30)

    load = loads.bear_alone(url(file), file.world.dataset, path)

    assert_many(file, load, 100_000)
    assert load.peak < LEAST_MEMORY
