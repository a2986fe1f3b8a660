"""A replay with faults: every tick is done once, faults are counted, and the report cannot lie."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import typer
from sqlalchemy import text

from forecaster.store.connection.engine import open_engine
from jobs.simulation import page
from jobs.simulation.comparison import Simulation, report
from jobs.simulation.report import SimulationReport
from tests.jobs.simulation.simulations import (
    FAULTS,
    TICKS,
    faults,
    material,
    simulate,
)
from tests.jobs.small import LAST, hour, query

pytestmark = pytest.mark.slow  # a day with faults is simulated first


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    """A day with everything at once."""
    done = simulate(tmp_path_factory.mktemp("lived"), FAULTS, material())
    yield done
    done.engine.dispose()


@pytest.fixture
def planted(lived: Simulation, tmp_path: Path) -> Iterator[Simulation]:
    """The same with a copy of its store, to be tampered with."""
    copy = tmp_path / "copy.db"
    lived.engine.dispose()
    shutil.copyfile(str(lived.engine.url.database), copy)
    engine = open_engine(f"sqlite:///{copy}")
    yield replace(lived, engine=engine)
    engine.dispose()


def tamper(done: Simulation, statement: str) -> SimulationReport:
    with done.engine.begin() as conn:
        assert conn.execute(text(statement)).rowcount > 0
    return report(done)


def test_every_tick_is_done_once_whatever_goes_wrong(lived: Simulation) -> None:
    found = report(lived)

    clean, disturbed = found.ticks["clean"], found.ticks["disturbed"]
    assert (clean.expected, clean.succeeded, clean.caught_up) == (TICKS, TICKS, 0)
    assert (disturbed.expected, disturbed.succeeded) == (TICKS, TICKS)
    assert disturbed.caught_up == 7
    assert found.problems == []


def test_a_tick_that_is_late_because_of_an_outage_has_its_delay(lived: Simulation) -> None:
    clean, disturbed = report(lived).ticks.values()

    assert clean.latest_seconds == 0
    assert 3 * 3600 <= disturbed.latest_seconds <= 4 * 3600


@pytest.mark.parametrize("fault", ["correction", "gap", "source outage", "service outage"])
def test_each_fault_is_noticed(lived: Simulation, fault: str) -> None:
    injected, noticed = faults(report(lived))[fault]

    assert injected == noticed > 0


@pytest.mark.parametrize("fault", ["duplicate", "conflict"])
def test_what_comes_twice_is_counted_by_every_pull(lived: Simulation, fault: str) -> None:
    injected, noticed = faults(report(lived))[fault]

    assert 0 < injected <= noticed


def test_late_rows_are_noticed_unless_something_newer_came_no_earlier(lived: Simulation) -> None:
    injected, noticed = faults(report(lived))["late"]

    assert 0 < noticed <= injected


def test_in_the_end_the_store_equals_the_source(lived: Simulation) -> None:
    assert report(lived).differing == 0


def test_both_runs_forecast_with_the_same_model(lived: Simulation) -> None:
    models = query(lived.engine, "SELECT dataset_id, sha256, trained_to FROM models")

    assert len(models) == 2
    assert len({sha256 for _, sha256, _ in models}) == 1
    assert report(lived).trained_to == hour(LAST - TICKS + 1)


def test_both_are_scored_on_the_same_points(lived: Simulation) -> None:
    clean, disturbed, naive = report(lived).accuracy

    assert clean.mase != disturbed.mase
    assert naive.mase is not None
    assert naive.mase > 0
    assert disturbed.coverage_80 is not None
    assert 0 <= disturbed.coverage_80 <= 1


DISTURBED = "(SELECT id FROM datasets WHERE name = 'bikes_disturbed')"
FORECAST = f"job = 'forecast' AND dataset_id = {DISTURBED}"
SERIES = f"series_id IN (SELECT id FROM series WHERE dataset_id = {DISTURBED})"
COLUMNS = "series_id, cutoff, issued_at, origin, status, hindsight, steps, level, parts, deviations"
NEWEST = f"cutoff = (SELECT max(cutoff) FROM forecasts WHERE {SERIES})"


def test_forecasts_that_are_there_twice_are_a_doubled_tick(planted: Simulation) -> None:
    found = tamper(
        planted,
        f"INSERT INTO forecasts (model_id, {COLUMNS}) "
        f"SELECT model_id + 100, {COLUMNS} FROM forecasts WHERE {SERIES} AND {NEWEST}",
    )

    ledger = found.ticks["disturbed"]
    assert (ledger.doubled, ledger.skipped) == (1, 0)
    assert found.problems


def test_two_runs_that_say_they_wrote_the_same_are_a_doubled_tick(planted: Simulation) -> None:
    found = tamper(
        planted,
        "INSERT INTO runs (job, dataset_id, tick, state, attempt, started_at, finished_at, report) "
        "SELECT job, dataset_id, tick + 1, state, attempt, started_at, finished_at, report "
        f"FROM runs WHERE {FORECAST} ORDER BY tick DESC LIMIT 1",
    )

    ledger = found.ticks["disturbed"]
    assert (ledger.doubled, ledger.skipped) == (1, 0)
    assert found.problems


def test_a_tick_without_a_row_was_skipped_silently(planted: Simulation) -> None:
    found = tamper(
        planted,
        f"DELETE FROM runs WHERE {FORECAST} "
        f"AND tick = (SELECT max(tick) FROM runs WHERE {FORECAST})",
    )

    ledger = found.ticks["disturbed"]
    assert (ledger.doubled, ledger.skipped) == (0, 1)
    assert found.problems


def test_a_run_whose_forecasts_are_not_there_was_skipped_silently(planted: Simulation) -> None:
    found = tamper(planted, f"DELETE FROM forecasts WHERE {SERIES} AND {NEWEST}")

    ledger = found.ticks["disturbed"]
    assert (ledger.doubled, ledger.skipped) == (0, 1)
    assert found.problems


def lose(done: Simulation, tick: datetime, state: str) -> SimulationReport:
    """Take away what a tick wrote, and say something else of it."""
    at = round(tick.timestamp() * 1e6)
    tamper(done, f"DELETE FROM forecasts WHERE {SERIES} AND cutoff = {at}")
    return tamper(
        done,
        f"UPDATE runs SET state = '{state}', error = 'no such table: trips' "
        f"WHERE {FORECAST} AND tick = {at}",
    )


def test_a_tick_that_is_missed_in_an_outage_is_counted_and_no_fault(planted: Simulation) -> None:
    found = lose(planted, planted.script.excused[0], "missed")

    ledger = found.ticks["disturbed"]
    assert (ledger.missed, ledger.succeeded, ledger.skipped) == (1, TICKS - 1, 0)
    assert found.problems == []


def test_a_tick_that_is_missed_while_nobody_was_away_is_a_fault(planted: Simulation) -> None:
    found = lose(planted, planted.script.ticks[0], "missed")

    assert found.problems == ["the disturbed run: 1 ticks missed without an outage"]


@pytest.mark.parametrize("state", ["failed", "running"])
def test_a_tick_that_failed_in_the_end_is_a_fault(planted: Simulation, state: str) -> None:
    found = lose(planted, planted.script.ticks[0], state)

    assert found.ticks["disturbed"].failed == 1
    assert found.problems == [
        "the disturbed run: 1 ticks failed after all retries",
        "the disturbed run: forecast failed: no such table: trips",
    ]


def test_a_job_beside_the_forecasts_that_failed_last_is_a_fault(planted: Simulation) -> None:
    found = tamper(
        planted,
        "UPDATE runs SET state = 'failed', error = 'out of luck' "
        f"WHERE job = 'score' AND dataset_id = {DISTURBED}",
    )

    assert found.problems == ["the disturbed run: score failed: out of luck"]


def test_a_value_that_the_source_never_had_is_found(planted: Simulation) -> None:
    found = tamper(
        planted,
        f"UPDATE observations SET value = value + 1 WHERE {SERIES} "
        f"AND timestamp = (SELECT min(timestamp) FROM observations WHERE {SERIES})",
    )

    assert found.differing == 2


def test_a_report_that_is_not_sound_exits_1(
    planted: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tamper(planted, f"DELETE FROM runs WHERE {FORECAST} AND state = 'succeeded'")

    with pytest.raises(typer.Exit) as caught:
        page.finish(found, json=False)

    printed = capsys.readouterr()
    assert caught.value.exit_code == 1
    assert re.search(rf"silently skipped +0 +{TICKS}\n", printed.out)
    assert "error: every tick must run once" in printed.err
    assert f"found the disturbed run: {TICKS} ticks silently skipped" in printed.err


def test_a_small_loss_is_printed_without_an_exponent(
    lived: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(lived)
    small = tuple(replace(line, wql=4.4312e-10) for line in found.accuracy)

    page.finish(replace(found, accuracy=small), json=False)

    assert " 0.000000000443 " in capsys.readouterr().out
