"""Reconciling finds what came later than late data may; a long history lands in slices."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from jobs.execution.reports import ReconcileReport, RetrainReport
from jobs.stages import pull, pull_progress, slices
from tests.jobs.small import DATASET, LAST, World, hour, rows
from tests.tolerance import assert_same_rows

pytestmark = pytest.mark.quick_on("sqlite")

PULLED = replace(
    DATASET,
    query="SELECT series_id, timestamp, value FROM trips",
    history=timedelta(hours=100),
    timezone="UTC",
)


@pytest.fixture
def world(engine: Engine) -> World:
    """A source, and a program that has pulled nothing yet."""
    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE trips (series_id TEXT, timestamp TEXT, value REAL)"))
    return World(engine=engine, dataset=PULLED)


def arrive(world: World, frame: pl.DataFrame) -> None:
    texts = frame.with_columns(pl.col("timestamp").dt.to_string("%Y-%m-%d %H:%M:%S"))
    with writing(world.engine) as conn:
        conn.execute(
            text("INSERT INTO trips VALUES (:series_id, :timestamp, :value)"), texts.to_dicts()
        )


def pulled(world: World, number: int) -> None:
    report = pull.run(world.engine, world.dataset, now=hour(number))
    with writing(world.engine) as conn:
        pull_progress.advance(conn, PULLED.name, report)


def reconciled(world: World, number: int) -> ReconcileReport:
    report = world.tick("reconcile", hour(number)).report
    assert isinstance(report, ReconcileReport)
    return report


def landed(world: World) -> pl.DataFrame:
    with reading(world.engine) as conn:
        return observations.read(conn, PULLED.name)


def test_it_finds_what_is_older_than_the_overlap(world: World) -> None:
    arrive(world, rows("a", 190, 200))
    pulled(world, 200)
    arrive(world, rows("new", 150, 200))
    pulled(world, 201)

    report = reconciled(world, 202)

    assert report.pull is not None
    assert report.pull.whole == "reconciliation"
    assert report.pull.late == 48
    assert_same_rows(landed(world).filter(series_id="new"), rows("new", 150, 200))


def test_it_reads_nothing_that_was_all_read_since_its_tick(world: World) -> None:
    arrive(world, rows("a", 190, 200))
    pulled(world, 200)

    assert reconciled(world, 199).pull is None
    assert reconciled(world, 201).pull is not None


def test_a_dataset_without_a_query_has_nothing_to_reconcile(engine: Engine) -> None:
    assert reconciled(World(engine=engine), 200).pull is None


def test_a_history_of_many_slices_lands_as_one_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "WANTED_ROWS", 40)
    monkeypatch.setattr(slices, "MOST_ROWS", 60)
    arrive(world, rows("a", 100, 200))
    with writing(world.engine) as conn:
        conn.execute(text("INSERT INTO trips VALUES ('a', NULL, 1), (NULL, NULL, 2)"))

    report = pull.run(world.engine, PULLED, now=hour(200))

    assert report is not None
    assert (report.new, report.late, report.watermark) == (101, 0, hour(200))
    assert report.rejected == {"missing_series_id": 1, "missing_timestamp": 1}
    accounted = report.new + report.unchanged + report.corrected + report.outside
    assert report.rows == accounted + report.duplicates + 2
    assert_same_rows(landed(world), rows("a", 100, 200))


def test_retraining_at_an_earlier_tick_reads_the_history_of_that_tick(world: World) -> None:
    world.dataset = replace(PULLED, history=timedelta(hours=LAST))
    arrive(world, rows("a", 0, 3 * LAST))
    pulled(world, 3 * LAST)

    report = world.tick("retrain", hour(LAST), now=hour(3 * LAST)).report

    assert isinstance(report, RetrainReport)
    assert (report.trained_from, report.trained_to) == (hour(0), hour(LAST))
