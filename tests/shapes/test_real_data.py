"""Irregularities of published series, by their counts: the README of the shared data lists them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from forecaster.data.anchor import detect_grid
from forecaster.data.panel import Panel, build
from forecaster.schemas import OBSERVATIONS
from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from forecaster.times.durations import Step
from jobs import ingest
from jobs.execution.reports import ForecastReport, IngestReport
from tests.jobs.small import HORIZON, HOUR
from tests.shapes.places import Place, is_finite, utc

CLOUD, KNOWN = "nab_aws_cloudwatch", "nab_known_cause"


def take(
    place: Place, path: Path, series: Iterable[str] = ("",), zone: str = "UTC"
) -> IngestReport:
    """Ingest the series of a file whose name ends so."""
    ends = pl.any_horizontal(pl.col("series_id").str.ends_with(end) for end in series)
    content = BytesIO()
    pl.read_parquet(path).filter(ends).select("series_id", "ts", "value").write_parquet(content)
    place.declare(timezone=zone, timestamp_column="ts")
    content.seek(0)
    dataset = place.world.dataset
    return ingest.run(place.engine, dataset, content, file_format="parquet", now=place.now)


def panel_of(place: Place, step: str) -> Panel:
    with reading(place.engine) as conn:
        found = observations.read(conn, place.name)
    return build(found, detect_grid(found, Step.parse(step), "UTC"))


def runs_of_gaps(panel: Panel, row: int = 0) -> list[int]:
    """How many cells each gap of a series is long."""
    seen = panel.deviations[row].isfinite().nonzero()[:, 0].tolist()
    return [later - earlier - 1 for earlier, later in pairwise(seen) if later > earlier + 1]


def forecast(place: Place, tick: datetime) -> ForecastReport:
    report = place.world.tick("forecast", tick, now=place.now).report
    assert isinstance(report, ForecastReport), place.world.outcomes[-1]
    assert is_finite(place.forecasts())
    return report


@pytest.mark.parametrize(
    ("source", "series", "duplicates", "conflicting"),
    [
        (CLOUD, "ec2_disk_write_bytes_1ef3de", 11, 0),
        (CLOUD, "ec2_network_in_5abac7", 6, 5),
        (KNOWN, "ec2_request_latency_system_failure", 0, 11),
    ],
)
def test_an_hour_stamped_as_one_instant_is_one_observation(
    file: Place, shared_data: Path, source: str, series: str, duplicates: int, conflicting: int
) -> None:
    report = take(file, shared_data / f"{source}.parquet", [series])

    assert (report.duplicates, report.conflicting) == (duplicates, conflicting)
    assert report.new == report.rows - 11
    assert report.rejected == {}
    panel = panel_of(file, "5m")
    assert panel.counts.merged == 0
    assert 11 <= max(runs_of_gaps(panel)) <= 12
    assert forecast(file, utc(2014, 3, 10)).hindsight == 1


def test_an_hour_that_was_recorded_twice_is_averaged(file: Place, shared_data: Path) -> None:
    report = take(file, shared_data / f"{KNOWN}.parquet", ["machine_temperature_system_failure"])

    assert (report.rows, report.duplicates, report.conflicting) == (22695, 0, 12)
    assert report.new == 22695 - 12
    with reading(file.engine) as conn:
        at = utc(2014, 1, 7, 2)
        found = observations.read(conn, file.name, since=at, until=at)["value"].item()
    assert found == pytest.approx((94.423406 + 94.139723) / 2)
    assert forecast(file, utc(2014, 1, 7, 12)).rows == HORIZON


def test_gaps_are_as_many_and_as_long_as_they_were(file: Place, shared_data: Path) -> None:
    report = take(file, shared_data / f"{KNOWN}.parquet", ["rogue_agent_key_hold"])

    panel = panel_of(file, "5m")

    assert (report.rows, report.new, panel.counts.merged) == (1882, 1882, 0)
    gaps = runs_of_gaps(panel)
    assert len(gaps) == 91
    assert timedelta(minutes=5) * (max(gaps) + 1) == timedelta(days=1, hours=21, minutes=35)
    assert panel.counts.gaps == sum(gaps)
    assert forecast(file, utc(2014, 7, 25, 8)).rows == HORIZON


def test_days_filled_with_one_value_are_observations_like_others(
    file: Place, shared_data: Path
) -> None:
    report = take(file, shared_data / "etth1.parquet", ["OT", "LULL"])

    panel = panel_of(file, "1h")

    assert (report.rows, report.new, panel.counts.gaps) == (2 * 17420, 2 * 17420, 0)
    with reading(file.engine) as conn:
        frozen = observations.read(
            conn, file.name, since=utc(2017, 10, 31), until=utc(2017, 10, 31, 23)
        )
    assert frozen.group_by("series_id").agg(pl.col("value").n_unique())["value"].to_list() == [1, 1]
    assert forecast(file, utc(2017, 10, 31, 23)).series == 2
    assert forecast(file, utc(2017, 7, 29, 16)).series == 2  # five days of LULL stood still


def test_hours_without_a_row_are_gaps_in_local_time_too(file: Place, shared_data: Path) -> None:
    report = take(file, shared_data / "bike_sharing.parquet", ["total"], "America/New_York")

    panel = panel_of(file, "1h")

    assert (report.rows, report.new, report.rejected) == (17379, 17379, {})
    # Twice clocks skip an hour that was not missing after all, and twice one of two hours is.
    assert panel.counts.gaps == 165 - 2 + 2
    assert max(runs_of_gaps(panel)) == 36
    assert forecast(file, utc(2012, 10, 30, 12)).skipped["stale"] == 1
    assert forecast(file, utc(2012, 10, 31, 12)).series == 1


def test_series_of_many_phases_keep_every_observation(file: Place, shared_data: Path) -> None:
    report = take(file, shared_data / f"{CLOUD}.parquet", ["825cc2", "5f5533", "77c1ca", "e47b3b"])

    panel = panel_of(file, "5m")

    assert report.new == report.rows == 4 * 4032
    assert (panel.counts.merged, int(panel.deviations.isfinite().sum())) == (0, 4 * 4032)
    assert panel.counts.off_grid in (4032, 2 * 4032, 3 * 4032)
    forecast(file, utc(2014, 4, 16, 15) - HOUR)


def test_a_published_file_that_comes_again_changes_nothing(file: Place, shared_data: Path) -> None:
    path, series = shared_data / f"{KNOWN}.parquet", ["ec2_request_latency_system_failure"]
    take(file, path, series)

    again = take(file, path, series)

    assert (again.new, again.corrected, again.unchanged) == (0, 0, 4032 - 11)
    with reading(file.engine) as conn:
        assert observations.read(conn, file.name).schema == OBSERVATIONS
