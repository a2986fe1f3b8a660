"""Queries that aggregate between `:since` and `:until`: no bucket is ever cut."""

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from forecaster.times.durations import Step
from jobs.execution.reports import PullReport
from jobs.stages import pull, pull_progress, slices
from tests.jobs.small import DATASET, hour

pytestmark = pytest.mark.quick_on("postgres")

NOW = hour(2400) + timedelta(minutes=37, microseconds=11)
ZONE = "Asia/Tokyo"
BUCKETS = {
    "1h": {"sqlite": "strftime('%Y-%m-%d %H:00', at)", "postgresql": "date_trunc('hour', at)"},
    "1d": {"sqlite": "date(at)", "postgresql": "date_trunc('day', at)"},
    "1w": {
        "sqlite": "date(at, 'weekday 0', '-6 days')",
        "postgresql": "date_trunc('week', at)",
    },
    "1mo": {"sqlite": "date(at, 'start of month')", "postgresql": "date_trunc('month', at)"},
}


def bucketed(engine: Engine, step: str) -> DatasetConfig:
    bucket = BUCKETS[step][engine.dialect.name]
    query = (
        f"SELECT 'a' AS series_id, {bucket} AS timestamp, count(*) AS value FROM events "
        "WHERE at >= :since AND at < :until GROUP BY 2"
    )
    history = timedelta(days={"1h": 3, "1d": 20}.get(step, 90))
    return replace(
        DATASET,
        query=query,
        history=history,
        timezone=ZONE,
        step=Step.parse(step),
        delay=history / 2,
    )


@pytest.fixture
def events(engine: Engine) -> Engine:
    """An event in every hour, on the wall clock, until long after NOW."""
    stamps = [hour(count) for count in range(-60 * 24, 180 * 24)]
    kind = "timestamp" if engine.dialect.name == "postgresql" else "text"
    with writing(engine) as conn:
        conn.execute(text(f"CREATE TABLE events (at {kind})"))
        conn.execute(
            text("INSERT INTO events VALUES (:at)"),
            [{"at": f"{stamp:%Y-%m-%d %H:%M}"} for stamp in stamps],
        )
    return engine


def counted(bucket: datetime, step: str) -> int:
    start = bucket.astimezone(ZoneInfo(ZONE))
    hours = {"1h": 1, "1d": 24, "1w": 168}
    days = (start.replace(day=28) + timedelta(days=4)).replace(day=1) - start.replace(day=1)
    return hours[step] if step in hours else days // timedelta(hours=1)


def pulled(engine: Engine, dataset: DatasetConfig, now: datetime, *, whole: bool) -> PullReport:
    report = pull.run(engine, dataset, now=now, all_history=whole)
    assert report is not None
    with writing(engine) as conn:
        pull_progress.advance(conn, dataset.name, report)
    return report


@pytest.mark.parametrize("step", BUCKETS)
def test_every_bucket_is_landed_whole_in_whatever_slices(
    events: Engine, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "WANTED_ROWS", 5)
    monkeypatch.setattr(slices, "MOST_ROWS", 7)
    dataset = bucketed(events, step)

    pulled(events, dataset, NOW, whole=False)
    again = pulled(events, dataset, NOW + timedelta(minutes=50), whole=True)
    overlap = pulled(events, dataset, NOW + timedelta(minutes=90), whole=False)

    assert (again.corrected, overlap.corrected) == (0, 0)
    with reading(events) as conn:
        found = observations.read(conn, dataset.name)
    expected = [counted(bucket, step) for bucket in found["timestamp"]]
    assert found["value"].to_list() == expected
    assert found.height >= dataset.history / dataset.step.approximate - 1
    assert found["timestamp"].is_between(NOW - dataset.history, NOW + timedelta(minutes=90)).all()
