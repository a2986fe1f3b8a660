"""What can be replayed, on which store, and what is refused."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from forecaster.errors import ConfigError, DataError, StoreError
from forecaster.store.forecasts import export
from forecaster.times.durations import Step
from jobs.backtest.inputs import Rows
from jobs.simulation import page
from jobs.simulation.comparison import prepare, replay, report
from jobs.simulation.faults import Shares
from jobs.simulation.inputs import Extent, of_dataset, of_rows
from jobs.simulation.script import Plan, usual_outage, write
from jobs.terminal.file_options import FileOptions
from tests.jobs.fitting import fit_once
from tests.jobs.simulation.simulations import (
    BIKES,
    FAULTS,
    faults,
    material,
    simulate,
    with_flat,
)
from tests.jobs.small import HOUR, LAST, World, hour, rows


def test_without_faults_both_runs_are_equal(tmp_path: Path) -> None:
    quiet = material(4)
    jittery = replace(quiet, dataset=replace(quiet.dataset, jitter=HOUR / 2))

    done = simulate(tmp_path, Plan(), jittery)

    found = report(done)

    clean, disturbed, _ = found.accuracy
    assert replace(disturbed, forecasts="clean") == clean
    assert found.ticks["clean"] == found.ticks["disturbed"]
    assert found.ticks["clean"].succeeded == 4
    assert set(faults(found).values()) == {(0, 0)}
    done.engine.dispose()


@pytest.mark.slow
def test_what_no_run_could_forecast_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing_comes = replace(material(30), dataset=replace(BIKES, prediction_length=2))
    shares = Shares(gaps=1.0)

    done = simulate(tmp_path, Plan(shares=shares), nothing_comes)

    found = report(done)
    ledger = found.ticks["disturbed"]
    assert ledger.silent > 0
    assert ledger.left_out["stale"] >= 2 * ledger.silent
    assert ledger.forecasts + ledger.left_out["stale"] == 2 * 30
    assert (found.ticks["clean"].silent, found.ticks["clean"].left_out) == (0, {})
    assert found.cutoffs < found.scored == 29
    page.finish(found, json=False)
    printed = capsys.readouterr().out
    assert re.search(rf"… without any forecast +0 +{ledger.silent}\n", printed)
    assert re.search(rf"… not made: stale +0 +{ledger.left_out['stale']}\n", printed)
    assert f"on the same {found.cutoffs} of 29 cutoffs" in printed
    done.engine.dispose()


def test_a_series_that_was_flat_before_is_in_no_mase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = simulate(tmp_path, Plan(), with_flat(material(6)))

    found = report(done)
    assert found.unscaled == 1
    assert all(line.mase is not None and line.mase < 10 for line in found.accuracy)
    page.finish(found, json=False)
    assert "mase excludes 1 series that were constant in training" in capsys.readouterr().out
    done.engine.dispose()


@pytest.mark.slow
def test_an_hour_that_comes_twice_is_taken_for_the_one_before(tmp_path: Path) -> None:
    clocks_back = datetime(2025, 10, 26, 1, tzinfo=UTC)

    done = simulate(tmp_path, Plan(zone="Europe/Oslo"), material(8, until=clocks_back + 4 * HOUR))

    found = report(done)
    assert faults(found)["repeated hour (DST)"] == (2, 2)
    assert faults(found)["unreadable"] == (0, 0)
    assert found.differing == 0
    assert found.problems == []
    done.engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_a_simulation_runs_on_postgresql_too(engine: Engine, tmp_path: Path) -> None:
    plan = Plan(shares=FAULTS.shares, outages=[("source", HOUR), ("service", HOUR)])

    found = report(replay(prepare(write(material(6), plan), engine, tmp_path, fit=fit_once)))

    assert found.problems == []
    assert found.differing == 0
    assert found.ticks["disturbed"].succeeded == 6


def test_a_file_is_replayed_with_the_settings_of_a_demo() -> None:
    kept = rows("a", 0, LAST)

    found = of_rows(
        Path("trips.csv"),
        Rows(name="trips.csv", observations=kept),
        Extent(),
        FileOptions(timezone="Europe/Oslo"),
        step=Step.parse("1h"),
        steps=24,
    )

    assert (found.dataset.name, found.dataset.prediction_length) == ("trips", 24)
    assert found.dataset.timezone == "Europe/Oslo"
    assert found.truth.equals(kept)
    assert len(found.ticks) == LAST // 4


def test_a_dataset_without_observations_has_nothing_to_replay(engine: Engine) -> None:
    with pytest.raises(DataError, match="has no observations"):
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


def test_outages_longer_than_the_replay_are_an_error() -> None:
    plan = Plan(outages=[("source", 20 * HOUR), ("service", 20 * HOUR)])

    with pytest.raises(ConfigError, match="shorter than the replay"):
        write(material(), plan)


def test_two_ticks_are_too_few() -> None:
    with pytest.raises(DataError, match="at least 3 ticks, found 2"):
        write(material(2), Plan())


def test_a_store_with_tables_is_refused(engine: Engine) -> None:
    with pytest.raises(StoreError, match="is not empty"):
        export.require_empty(engine)
