"""A replay with faults: every tick is done once, faults are counted, and the report cannot lie."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import typer
from sqlalchemy import Engine, text

from forecaster.errors import ConfigError, DataError, StoreError
from forecaster.intake import Columns
from forecaster.store import schema, written
from forecaster.store.engine import open_engine
from jobs.commands import simulated
from jobs.retrain import fit_here
from jobs.simulation.faults import Shares
from jobs.simulation.material import Extent, Material, of_dataset, of_file
from jobs.simulation.reports import SimulationReport
from jobs.simulation.script import Plan, usual_outage
from jobs.simulation.simulation import Simulation, live, prepare, report
from tests.jobs.small import DATASET, HOUR, LAST, World, hour, query, rows

TICKS = 20
BIKES = replace(DATASET, late_data=8 * HOUR)
FAULTS = Plan(
    shares=Shares(late=0.1, corrections=0.1, gaps=0.1, duplicates=0.1),
    away=[("source", 3 * HOUR), ("service", 4 * HOUR)],
    seed=0,
)


def material(ticks: int = TICKS, *, until: datetime | None = None) -> Material:
    """Two series, the last hour of which is that of the last tick."""
    shift = timedelta(0) if until is None else until - hour(LAST)
    truth = pl.concat([rows("a", 0, LAST), rows("b/c", 0, LAST)])
    return Material(
        dataset=BIKES,
        truth=truth.with_columns(pl.col("timestamp") + shift),
        ticks=[hour(LAST - back) + shift for back in reversed(range(ticks))],
    )


def simulate(folder: Path, plan: Plan, of: Material) -> Simulation:
    engine = open_engine(f"sqlite:///{folder / 'scratch.db'}")
    schema.upgrade(engine)
    return live(prepare(of, plan, engine, folder, fit=fit_here))


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


def faults(found: SimulationReport) -> dict[str, tuple[int, int]]:
    return {line.fault: (line.injected, line.noticed) for line in found.faults}


def test_every_tick_is_done_once_whatever_goes_wrong(lived: Simulation) -> None:
    found = report(lived)

    clean, disturbed = found.ticks["clean"], found.ticks["disturbed"]
    assert (clean.expected, clean.succeeded, clean.caught_up) == (TICKS, TICKS, 0)
    assert (disturbed.expected, disturbed.succeeded) == (TICKS, TICKS)
    assert disturbed.caught_up == 7
    assert found.is_sound


def test_what_was_late_because_of_an_outage_says_by_how_much(lived: Simulation) -> None:
    clean, disturbed = report(lived).ticks.values()

    assert clean.latest_seconds == 0
    assert 3 * 3600 <= disturbed.latest_seconds <= 4 * 3600


@pytest.mark.parametrize("fault", ["correction", "gap", "source away", "service down"])
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


def test_in_the_end_the_store_knows_what_the_source_says(lived: Simulation) -> None:
    assert report(lived).differing == 0


def test_both_runs_forecast_with_the_same_model(lived: Simulation) -> None:
    models = query(lived.engine, "SELECT dataset_id, sha256, trained_to FROM models")

    assert len(models) == 2
    assert len({sha256 for _, sha256, _ in models}) == 1
    assert report(lived).trained_to == hour(LAST - TICKS + 1)


def test_both_are_judged_on_the_same_points(lived: Simulation) -> None:
    clean, disturbed, naive = report(lived).accuracy

    assert clean.mase != disturbed.mase
    assert naive.mase > 0
    assert disturbed.coverage_80 is not None
    assert 0 <= disturbed.coverage_80 <= 1


def test_without_faults_both_runs_say_the_same(tmp_path: Path) -> None:
    done = simulate(tmp_path, Plan(), material(4))

    found = report(done)

    clean, disturbed, _ = found.accuracy
    assert replace(disturbed, forecasts="clean") == clean
    assert found.ticks["clean"] == found.ticks["disturbed"]
    assert set(faults(found).values()) == {(0, 0)}
    done.engine.dispose()


def test_an_hour_that_comes_twice_is_taken_for_the_one_before(tmp_path: Path) -> None:
    clocks_back = datetime(2025, 10, 26, 1, tzinfo=UTC)

    done = simulate(tmp_path, Plan(zone="Europe/Oslo"), material(8, until=clocks_back + 4 * HOUR))

    found = report(done)
    assert faults(found)["hour that came twice"] == (2, 2)
    assert faults(found)["unreadable"] == (0, 0)
    assert found.differing == 0
    assert found.is_sound
    done.engine.dispose()


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_a_simulation_runs_on_postgresql_too(engine: Engine, tmp_path: Path) -> None:
    plan = Plan(shares=FAULTS.shares, away=[("source", HOUR), ("service", HOUR)])

    found = report(live(prepare(material(6), plan, engine, tmp_path, fit=fit_here)))

    assert found.is_sound
    assert found.differing == 0
    assert found.ticks["disturbed"].succeeded == 6


DISTURBED = "(SELECT id FROM datasets WHERE name = 'bikes_disturbed')"
FORECAST = f"job = 'forecast' AND dataset_id = {DISTURBED}"
SERIES = f"series_id IN (SELECT id FROM series WHERE dataset_id = {DISTURBED})"
COLUMNS = (
    "series_id, cutoff, step, timestamp, issued_at, origin, status, level, copied, last_value, "
    "residual, adjustment, d025, d05, d10, d20, d30, d40, d50, d60, d70, d80, d90, d95, d975"
)
NEWEST = f"cutoff = (SELECT max(cutoff) FROM forecasts WHERE {SERIES})"


def test_forecasts_that_are_there_twice_are_a_doubled_tick(planted: Simulation) -> None:
    found = tamper(
        planted,
        f"INSERT INTO forecasts (model_id, {COLUMNS}) "
        f"SELECT model_id + 100, {COLUMNS} FROM forecasts WHERE {SERIES} AND {NEWEST}",
    )

    ledger = found.ticks["disturbed"]
    assert (ledger.doubled, ledger.skipped) == (1, 0)
    assert not found.is_sound


def test_two_runs_that_say_they_wrote_the_same_are_a_doubled_tick(planted: Simulation) -> None:
    found = tamper(
        planted,
        "INSERT INTO runs (job, dataset_id, tick, state, attempt, started_at, finished_at, report) "
        "SELECT job, dataset_id, tick + 1, state, attempt, started_at, finished_at, report "
        f"FROM runs WHERE {FORECAST} ORDER BY tick DESC LIMIT 1",
    )

    ledger = found.ticks["disturbed"]
    assert (ledger.doubled, ledger.skipped) == (1, 0)
    assert not found.is_sound


def test_a_tick_without_a_row_was_skipped_silently(planted: Simulation) -> None:
    found = tamper(
        planted,
        f"DELETE FROM runs WHERE {FORECAST} "
        f"AND tick = (SELECT max(tick) FROM runs WHERE {FORECAST})",
    )

    ledger = found.ticks["disturbed"]
    assert (ledger.doubled, ledger.skipped) == (0, 1)
    assert not found.is_sound


def test_a_run_whose_forecasts_are_not_there_was_skipped_silently(planted: Simulation) -> None:
    found = tamper(planted, f"DELETE FROM forecasts WHERE {SERIES} AND {NEWEST}")

    ledger = found.ticks["disturbed"]
    assert (ledger.doubled, ledger.skipped) == (0, 1)
    assert not found.is_sound


def test_a_missed_tick_is_told_and_no_fault(planted: Simulation) -> None:
    tamper(planted, f"DELETE FROM forecasts WHERE {SERIES} AND {NEWEST.replace('max', 'min')}")

    found = tamper(
        planted,
        f"UPDATE runs SET state = 'missed', attempt = 0 WHERE {FORECAST} "
        f"AND tick = (SELECT min(tick) FROM runs WHERE {FORECAST})",
    )

    ledger = found.ticks["disturbed"]
    assert (ledger.missed, ledger.succeeded, ledger.skipped) == (1, TICKS - 1, 0)


def test_a_value_that_the_source_never_said_is_found(planted: Simulation) -> None:
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
        simulated.finish(found, json=False)

    told = capsys.readouterr()
    assert caught.value.exit_code == 1
    assert re.search(rf"skipped silently +0 +{TICKS}\n", told.out)
    assert "error: a tick must be done once" in told.err


def test_a_file_is_replayed_with_the_settings_of_a_demo(tmp_path: Path) -> None:
    rows("a", 0, LAST).rename({"timestamp": "ts"}).write_parquet(tmp_path / "trips.parquet")

    found = of_file(
        tmp_path / "trips.parquet",
        Extent(),
        step="1h",
        horizon="6h",
        timezone=None,
        columns=Columns(timestamp="ts"),
    )

    assert (found.dataset.name, found.dataset.prediction_length) == ("trips", 6)
    assert found.truth.equals(rows("a", 0, LAST))
    assert len(found.ticks) == LAST // 4


def test_a_dataset_without_observations_has_nothing_to_replay(engine: Engine) -> None:
    with pytest.raises(DataError, match="must have observations, found none"):
        of_dataset(engine, BIKES, Extent())


@pytest.mark.parametrize(
    ("extent", "ticks"),
    [(Extent(ticks=9), 9), (Extent(replay=9 * HOUR), 9), (Extent(), 100)],
)
def test_the_last_ticks_are_replayed(world: World, extent: Extent, ticks: int) -> None:
    found = of_dataset(world.engine, BIKES, extent)

    assert found.ticks == [hour(LAST - back) for back in reversed(range(ticks))]
    assert found.truth.height == 2 * (LAST + 1)


def test_an_outage_lasts_six_ticks_or_an_eighth_of_few() -> None:
    assert usual_outage(material(200)) == 6 * HOUR
    assert usual_outage(material(24)) == 3 * HOUR


def test_outages_longer_than_the_replay_are_an_error(tmp_path: Path, engine: Engine) -> None:
    plan = Plan(away=[("source", 20 * HOUR), ("service", 20 * HOUR)])

    with pytest.raises(ConfigError, match="shorter than the replay"):
        prepare(material(), plan, engine, tmp_path, fit=fit_here)


def test_two_ticks_are_too_few(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError, match="3 ticks or more, found 2"):
        prepare(material(2), Plan(), engine, tmp_path, fit=fit_here)


def test_a_store_with_tables_is_refused(engine: Engine) -> None:
    with pytest.raises(StoreError, match="must be an empty database"):
        written.require_empty(engine)
