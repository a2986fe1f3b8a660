"""Live ticks beside somebody who writes the same, as a backfill does: each thing is said once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import polars as pl
import pytest
from sqlalchemy import Connection, select

from forecaster.data.rolling_panel import RollingPanel
from forecaster.store.connection.engine import reading, writing
from forecaster.store.forecasts import accuracy
from forecaster.store.maintenance import partitions
from forecaster.store.state import datasets
from forecaster.store.tables import models
from jobs.execution.reports import ForecastReport, ScoreReport
from jobs.stages.panel_cache import PanelCache
from tests.jobs.small import HORIZON, LAST, World, hour, land, query, rows
from tests.store.samples import forecast, patches, scored, weights
from tests.store.waiting import wait_for_a_waiter
from tests.store.written import write_attention, write_forecasts

pytestmark = pytest.mark.fault(33)

ORIGINS = (
    "SELECT key, origin, count(*) FROM forecast_steps JOIN series ON id = series_id GROUP BY 1, 2"
)


class Meddled(PanelCache):
    """PanelCache that let somebody else do something once all was read that a tick needs."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__()
        self._meddle = meddle

    def names(self, conn: Connection, dataset: str, panel: RollingPanel) -> dict[int, str]:
        found = super().names(conn, dataset, panel)
        self._meddle()
        return found


class GaveUpError(Exception):
    """Somebody else does not come to an end."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def say(conn: Connection, *series: str) -> None:
    """Write what a backfill would for the tick of LAST."""
    at, model_id = hour(LAST), conn.scalars(select(models.c.id)).one()
    for name in series:
        frame = forecast(name, cutoff=at, steps=HORIZON)
        write_forecasts(conn, "bikes", model_id, frame, issued_at=at, origin="backfill")
        write_attention(conn, "bikes", model_id, weights(name, cutoff=at), patches(cutoff=at))


def make_room(world: World) -> None:
    partitions.ensure(world.engine, world.retention, partitions.PARTITIONED, [hour(LAST)])


@pytest.mark.parametrize("series", [("a",), ("b/c",), ("a", "b/c")], ids=len)
def test_what_another_session_said_since_a_tick_has_read_is_left_out(
    trained: World, series: tuple[str, ...]
) -> None:
    def say_all() -> None:
        with writing(trained.engine) as conn:
            say(conn, *series)

    make_room(trained)
    trained.panels = Meddled(say_all)

    report = trained.tick("forecast", hour(LAST)).report

    assert isinstance(report, ForecastReport)
    live = {"a", "b/c"} - {*series}
    assert (report.series, report.rows) == (len(live), len(live) * HORIZON)
    assert sum(report.statuses.values()) == len(live)
    origins = {(name, "live", HORIZON) for name in live}
    origins |= {(name, "backfill", HORIZON) for name in series}
    assert set(query(trained.engine, ORIGINS)) == origins
    ((explained,),) = query(trained.engine, "SELECT count(*) FROM attention")
    assert explained == report.attention_rows + len(series)


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("commits", [True, False])
def test_what_another_session_says_at_the_same_time_is_said_once(
    trained: World, pool: ThreadPoolExecutor, commits: bool
) -> None:
    is_said, others = threading.Event(), list[Future[None]]()

    def say_slowly() -> None:
        with writing(trained.engine) as conn:
            say(conn, "a")
            is_said.set()
            wait_for_a_waiter(conn, "transactionid")
            if not commits:
                raise GaveUpError

    def begin() -> None:
        others.append(pool.submit(say_slowly))
        assert is_said.wait(10)

    make_room(trained)
    trained.panels = Meddled(begin)

    outcome = trained.tick("forecast", hour(LAST))

    assert isinstance(others[0].exception(), type(None) if commits else GaveUpError)
    assert isinstance(outcome.report, ForecastReport)
    assert (outcome.retries, outcome.report.series) == ((1, 1) if commits else (0, 2))
    origin = "backfill" if commits else "live"
    assert sorted(query(trained.engine, ORIGINS)) == [
        ("a", origin, HORIZON), ("b/c", "live", HORIZON)
    ]  # fmt: skip


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_what_another_session_scores_at_the_same_time_is_scored_once(
    trained: World, pool: ThreadPoolExecutor
) -> None:
    make_room(trained)
    trained.tick("forecast", hour(LAST))
    land(trained.engine, rows("a", LAST + 1, LAST + 1), rows("b/c", LAST + 1, LAST + 1))
    is_scored = threading.Event()

    def score_slowly() -> None:
        with writing(trained.engine) as conn:
            model_id = conn.scalars(select(models.c.id)).one()
            found = scored("a", cutoff=hour(LAST))
            accuracy.write(conn, "bikes", model_id, found, scored_at=hour(LAST + 2))
            is_scored.set()
            wait_for_a_waiter(conn, "transactionid")

    other = pool.submit(score_slowly)
    assert is_scored.wait(10)

    outcome = trained.tick("score", hour(LAST + 3))

    other.result()
    assert isinstance(outcome.report, ScoreReport)
    assert (outcome.retries, outcome.report.rows, outcome.report.points) == (1, 1, 1)
    lines = "SELECT key, points FROM accuracy JOIN series ON id = series_id ORDER BY 1"
    assert query(trained.engine, lines) == [("a", 2), ("b/c", 1)]


def test_a_report_says_up_to_which_landing_everything_was_known(trained: World) -> None:
    corrected = rows("a", LAST, LAST).with_columns(value=pl.lit(0.0))
    trained.panels = Meddled(lambda: land(trained.engine, corrected))

    first, second = (trained.tick("forecast", hour(LAST + at)).report for at in range(2))

    with reading(trained.engine) as conn:
        landed_at = datasets.ingest_state(conn, "bikes").landed_at
    assert isinstance(first, ForecastReport)
    assert isinstance(second, ForecastReport)
    assert first.known_to == hour(LAST)
    assert second.known_to == landed_at
    assert landed_at is not None
    assert landed_at > hour(LAST)
