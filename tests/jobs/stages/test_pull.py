"""Pulling lands what is new, late or corrected, and nothing twice."""

import time
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DatabaseUnavailable, DataError, StageTimedOut
from forecaster.schemas import OBSERVATIONS
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import Limit, guarded
from forecaster.store.observations import observations
from forecaster.store.observations.observations import IngestResult
from forecaster.store.state import datasets
from jobs.execution.reports import PullReport
from jobs.stages import pull, pull_progress, slices
from tests.jobs.small import DATASET, hour, rows
from tests.patience import not_hanging
from tests.tolerance import assert_same_rows

pytestmark = pytest.mark.quick_on("postgres")

PULLED = replace(
    DATASET,
    query="SELECT station AS series_id, hour AS timestamp, rentals AS value FROM trips",
    history=timedelta(hours=100),
    timezone="UTC",
)


@pytest.fixture
def source(engine: Engine) -> Engine:
    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE trips (station TEXT, hour TEXT, rentals REAL)"))
    return engine


def arrive(engine: Engine, frame: pl.DataFrame) -> None:
    found = frame.rename({"series_id": "station", "timestamp": "hour", "value": "rentals"})
    texts = found.with_columns(pl.col("hour").dt.to_string("%Y-%m-%d %H:%M:%S"))
    with writing(engine) as conn:
        conn.execute(text("INSERT INTO trips VALUES (:station, :hour, :rentals)"), texts.to_dicts())


def pulls(engine: Engine, number: int, dataset: DatasetConfig = PULLED) -> PullReport:
    """Pull at an hour and move the watermark, as the tick that makes use of the rows does."""
    report = pull.run(engine, dataset, now=hour(number))
    assert report is not None
    with writing(engine) as conn:
        pull_progress.advance(conn, dataset.name, report)
    return report


def landed(engine: Engine) -> pl.DataFrame:
    with reading(engine) as conn:
        return observations.read(conn, PULLED.name)


def test_a_dataset_without_a_query_is_not_pulled(engine: Engine) -> None:
    assert pull.run(engine, DATASET, now=hour(0)) is None


def test_a_first_pull_lands_the_history_and_calls_none_of_it_late(source: Engine) -> None:
    arrive(source, rows("a", 0, 200))

    report = pulls(source, 200)

    assert (report.new, report.late) == (101, 0)
    assert report.watermark == hour(200)
    assert_same_rows(landed(source), rows("a", 100, 200))


def test_a_second_pull_reads_only_the_overlap_and_lands_nothing_twice(source: Engine) -> None:
    arrive(source, rows("a", 0, 200))
    pulls(source, 200)

    report = pulls(source, 201)

    assert report.since == hour(200) - PULLED.delay - PULLED.late_data
    assert (report.new, report.corrected, report.unchanged) == (0, 0, 3)
    assert_same_rows(landed(source), rows("a", 100, 200))


def test_late_and_corrected_rows_are_found_in_the_overlap(source: Engine) -> None:
    arrive(source, rows("a", 190, 200))
    pulls(source, 200)
    arrive(source, rows("b", 199, 201))
    with writing(source) as conn:
        conn.execute(
            text("UPDATE trips SET rentals = 5 WHERE station = 'a' AND hour = :hour"),
            {"hour": hour(200).strftime("%Y-%m-%d %H:%M:%S")},
        )

    report = pulls(source, 201)

    assert (report.new, report.late, report.corrected) == (3, 2, 1)
    assert landed(source).filter(series_id="a")["value"][-1] == 5


def test_rows_within_the_delay_of_another_series_are_not_lost(source: Engine) -> None:
    slow = replace(PULLED, delay=timedelta(hours=5))
    arrive(source, rows("a", 190, 200))
    pulls(source, 200, slow)
    arrive(source, rows("b", 194, 201))

    report = pulls(source, 201, slow)

    assert report.since == hour(200) - slow.delay - slow.late_data
    assert_same_rows(landed(source).filter(series_id="b"), rows("b", 194, 201))


def test_a_whole_pull_finds_what_was_older_than_the_overlap(source: Engine) -> None:
    arrive(source, rows("a", 190, 200))
    pulls(source, 200)
    arrive(source, rows("new", 150, 200))
    pulls(source, 201)

    report = pull.run(source, PULLED, now=hour(202), all_history=True)

    assert report is not None
    assert report.since == hour(202) - PULLED.history
    assert report.whole == "reconciliation"
    assert_same_rows(landed(source).filter(series_id="new"), rows("new", 150, 200))


def test_a_source_that_stood_still_is_read_from_where_it_stopped(source: Engine) -> None:
    arrive(source, rows("a", 190, 200))
    pulls(source, 200)
    pulls(source, 230)
    arrive(source, rows("a", 201, 231))

    pulls(source, 231)

    assert_same_rows(landed(source), rows("a", 190, 231))


def test_only_what_was_never_read_is_read_from_before_history(source: Engine) -> None:
    slow = replace(PULLED, delay=timedelta(hours=500))
    arrive(source, rows("a", 90, 200))
    pulls(source, 200, slow)
    arrive(source, rows("a", 201, 220))

    assert pulls(source, 201, slow).since == hour(101)
    assert pulls(source, 400, slow).new == 19
    ended = pulls(source, 401, slow)

    assert ended.since == hour(220) + timedelta(microseconds=1)
    assert (ended.new, ended.unchanged) == (0, 0)


def test_many_rows_are_landed_in_several_transactions(
    source: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    landings: list[IngestResult] = []

    def take(dataset: str, landing: IngestResult) -> None:
        with writing(source) as conn:  # nobody holds the lock meanwhile
            datasets.lock(conn, dataset)
        landings.append(landing)

    arrive(source, pl.concat([rows("a", 150, 180), rows("b", 150, 180)]))
    pulls(source, 180)
    arrive(source, pl.concat([rows("a", 181, 200), rows("b", 178, 200), rows("c", 160, 200)]))
    monkeypatch.setattr(pull, "ROWS_AT_ONCE", 10)

    report = pull.run(source, PULLED, now=hour(200), all_history=True, on_ingest=take)

    assert report is not None
    assert (report.new, report.corrected, report.unchanged) == (81, 0, 62)
    assert (report.rows, report.duplicates, report.late) == (146, 3, 21)
    assert sum(landing.new for landing in landings) == 81
    assert max(landing.new + landing.unchanged for landing in landings) == 10
    assert_same_rows(landed(source).filter(series_id="c"), rows("c", 160, 200))


def test_rows_from_the_future_wait_for_their_time(source: Engine) -> None:
    arrive(source, rows("a", 190, 210))

    early = pulls(source, 200)
    later = pulls(source, 205)

    assert early.watermark == hour(200)
    assert later.new == 5
    assert_same_rows(landed(source), rows("a", 190, 205))


def test_a_pull_whose_tick_was_lost_is_read_again(source: Engine) -> None:
    arrive(source, rows("a", 190, 200))
    pull.run(source, PULLED, now=hour(200))

    report = pulls(source, 200)

    assert (report.new, report.unchanged) == (0, 11)


def test_rows_that_cannot_be_used_are_counted_and_the_others_land(source: Engine) -> None:
    arrive(source, rows("a", 199, 200))
    with writing(source) as conn:
        conn.execute(
            text("INSERT INTO trips VALUES (NULL, :hour, 1)"),
            {"hour": hour(200).strftime("%Y-%m-%d %H:%M:%S")},
        )

    report = pulls(source, 200)

    assert (report.new, report.rejected) == (2, {"missing_series_id": 1})


def test_an_empty_source_is_no_failure(source: Engine) -> None:
    report = pulls(source, 200)

    assert (report.rows, report.new, report.watermark) == (0, 0, None)
    assert_same_rows(landed(source), pl.DataFrame(schema=OBSERVATIONS))


def test_naive_timestamps_need_a_declared_zone(source: Engine) -> None:
    arrive(source, rows("a", 199, 200))

    with pytest.raises(DataError, match="zone") as caught:
        pull.run(source, replace(PULLED, timezone=None), now=hour(200))

    assert "timezone" in str(caught.value.hint)


SLOW = """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)
SELECT 'a' AS series_id, '2026-01-08' AS timestamp, max(i) AS value, 1 AS seen FROM n"""


@pytest.mark.fault(7)
@pytest.mark.parametrize("column", [None, "seen"])
def test_a_source_that_is_too_slow_for_the_stage_is_cut(source: Engine, column: str | None) -> None:
    limit = Limit(dataset="bikes")
    slow = replace(PULLED, query=SLOW, ingest_column=column)

    with (
        not_hanging(least=1),
        pytest.raises(StageTimedOut, match=r'stage "pull" timed out after 1 s'),
        limit.stage("pull", timedelta(seconds=1)),
    ):
        pull.run(guarded(source, limit=limit), slow, now=hour(200))


def test_a_source_that_is_too_slow_for_its_own_limit_says_so(source: Engine) -> None:
    limit = Limit(dataset="bikes")
    slow = replace(PULLED, query=SLOW, read_timeout=timedelta(seconds=0.5))

    with (
        pytest.raises(DatabaseUnavailable, match=r"timed out after 0\.5 s"),
        limit.stage("pull", timedelta(minutes=1)),
    ):
        pull.run(guarded(source, limit=limit), slow, now=hour(200))


def test_each_slice_of_a_long_history_has_the_whole_time(
    source: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MOST_ROWS", 40)
    monkeypatch.setattr(slices, "WANTED_ROWS", 30)
    arrive(source, rows("a", 0, 200))
    limit = Limit(dataset="bikes")
    left: list[float] = []

    def take_long(_: str, __: IngestResult) -> None:
        left.append(limit.remaining())
        time.sleep(0.3)

    with limit.stage("pull", timedelta(seconds=5)):
        pull.run(guarded(source, limit=limit), PULLED, now=hour(200), on_ingest=take_long)

    assert len(left) > 2
    assert left[-1] > left[0] - 0.3
