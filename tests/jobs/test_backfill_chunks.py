"""A chunk of a backfill takes no more of a database than one transaction should."""

from datetime import datetime, timedelta

from sqlalchemy import Engine

from forecaster.config import RetentionConfig
from forecaster.store import partitions
from forecaster.store.engine import reading
from jobs.backfill.plan import Wanted
from jobs.backfill.reporting import BackfillReport
from jobs.backfill.run import Work, run
from jobs.retrain import fit_here
from tests.jobs.small import HOUR, LAST, START, World, fixed, hour

DAY = timedelta(days=1)


def fill(world: World, wanted: Wanted) -> BackfillReport:
    work = Work(
        engine=world.engine,
        dataset=world.dataset,
        retention=RetentionConfig(),
        fit=fit_here,
        clock=fixed(hour(LAST) + HOUR),
    )
    return run(work, wanted)


def oldest_partition(engine: Engine) -> datetime:
    with reading(engine) as conn:
        found = partitions.read(conn, "forecasts") if conn.dialect.name == "postgresql" else []
    return (found and found[0].lower) or START


def test_years_without_an_observation_need_no_partitions(trained: World) -> None:
    """Locks on so many are more than a server has."""
    since = START - timedelta(days=4 * 365)

    report = fill(trained, Wanted(since=since, until=hour(LAST), every=DAY, model="1"))

    assert (report.ticks, report.failures) == (report.asked, ())
    assert report.forecasts > 0
    assert oldest_partition(trained.engine) >= START
