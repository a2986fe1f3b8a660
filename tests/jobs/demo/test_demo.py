"""The demo: rows through the whole program, tick by tick, and carried on by a second run."""

import math
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from forecaster.config.settings import Config, ModelConfig, TrainingConfig
from forecaster.errors import ConfigError, DataError
from forecaster.store.connection.engine import open_engine
from forecaster.store.maintenance import migrations
from forecaster.times.schedules import Every
from jobs.demo.demo import (
    Demo,
    DemoData,
    co2,
    of_file,
    settings,
)
from jobs.demo.replay import last_ticks
from jobs.demo.screens import LiveScreen, PlainScreen, milliseconds
from jobs.terminal.file_options import FileOptions
from jobs.terminal.sparklines import blocks
from tests.jobs.terminal.terminal import type_

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
TICKS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which a replay of a small file was shown twice."""
    return tmp_path_factory.mktemp("demo")


def write_file(folder: Path, hours: int = 240) -> Path:
    """Hourly rows of two series in local time, under other names."""
    file = folder / "my trips.csv"
    rows = [
        {"where": where, "when": START + hour * HOUR, "much": 9 + math.sin(hour / 24 * math.tau)}
        for where in ("a", "b")
        for hour in range(hours)
    ]
    pl.DataFrame(rows).with_columns(pl.col("when").dt.replace_time_zone(None)).write_csv(file)
    return file


def material(file: Path, hours: int = TICKS) -> DemoData:
    options = FileOptions(
        series_column=["where"],
        timestamp_column="when",
        value_column="much",
        timezone="Europe/Oslo",
    )
    found = of_file(file, options, step="1h", horizon="3h")
    return replace(found, replay=hours * HOUR)


def small(found: DemoData) -> Config:
    """The settings of a demo, with a model that is trained in a moment."""
    config = settings(found, "sqlite:///demo.db")
    dataset = replace(
        config.datasets[found.name],
        model=ModelConfig(hidden_size=8, layers=1, heads=2),
        training=TrainingConfig(steps=4, batch_size=8, device="cpu", naive_guard=False),
    )
    return replace(config, datasets={found.name: dataset})


def replay(folder: Path, file: Path) -> str:
    """Show a replay and return what was printed."""
    shown = StringIO()
    engine = open_engine(f"sqlite:///{folder / 'demo.db'}")
    migrations.upgrade(engine)
    screen = PlainScreen(Console(file=shown, width=200))
    demo = Demo(material(file), small(material(file)), engine, screen)
    demo.replay()
    demo.service.stop()
    engine.dispose()
    return shown.getvalue()


@pytest.fixture(scope="module")
def printed(folder: Path) -> tuple[str, str]:
    """What a first and a second run printed."""
    file = write_file(folder)
    return replay(folder, file), replay(folder, file)


def query(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "demo.db") as connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


@pytest.mark.slow  # a replay is shown twice first
def test_every_cutoff_is_forecast_once_and_the_views_hold_it(
    printed: tuple[str, str], folder: Path
) -> None:
    first, _ = printed

    cutoffs = query(
        folder,
        "SELECT cutoff, count(*) FROM all_forecasts WHERE dataset = 'my_trips' GROUP BY cutoff",
    )
    states = query(folder, "SELECT job, state, count(*) FROM runs GROUP BY 1, 2 ORDER BY 1")

    assert [count for _, count in cutoffs] == [2 * 3] * TICKS
    assert states == [
        ("forecast", "succeeded", TICKS),
        ("retrain", "succeeded", 2),
        ("score", "succeeded", TICKS),
    ]
    assert f"tick {TICKS}/{TICKS}" in first
    assert "ingested 480 rows, 480 new" in first
    assert "mase  model" in first


@pytest.mark.slow  # a replay is shown twice first
def test_a_second_run_repeats_nothing_and_reports_where_it_is(
    printed: tuple[str, str], folder: Path
) -> None:
    first, second = printed

    assert "already done, nothing written" in second
    assert f"{TICKS} done before" in second
    assert "trained model" not in second
    assert scores(second) == scores(first)


def scores(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith(("mase  ", "the 80 %"))]


@pytest.mark.slow  # a replay is shown twice first
def test_the_score_is_that_of_the_accuracy_table(printed: tuple[str, str], folder: Path) -> None:
    rows = query(
        folder,
        "SELECT f.series_id, avg(abs(f.q50 - f.actual)) FROM forecast_vs_actual f "
        "WHERE f.dataset = 'my_trips' AND f.actual IS NOT NULL GROUP BY 1",
    )

    assert len(rows) == 2
    (line,) = [line for line in scores(printed[0]) if line.startswith("mase")]
    assert float(line.split()[2]) > 0


@pytest.mark.slow  # a replay is shown twice first
def test_a_replay_as_long_as_the_history_is_an_error(
    folder: Path, printed: tuple[str, str]
) -> None:
    engine = open_engine(f"sqlite:///{folder / 'demo.db'}")

    with pytest.raises(DataError, match="replay must be shorter than the history"):
        last_ticks(engine, "my_trips_archive", schedule=Every(HOUR), replay=timedelta(days=20))

    engine.dispose()


def test_a_file_needs_a_step_and_a_horizon(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        of_file(tmp_path / "x.csv", FileOptions(), step=None, horizon=None)

    assert len(caught.value.problems) == 2


def test_options_about_a_file_need_the_file(tmp_path: Path) -> None:
    answer = type_("demo", "--once", "--step", "1h", "--database", str(tmp_path / "x.db"))

    assert answer.status == 2
    assert "--step requires --file" in answer.talk


def test_a_wrong_step_is_reported_once(tmp_path: Path) -> None:
    wrong = of_file(tmp_path / "x.csv", FileOptions(), step="1x", horizon="2d")

    with pytest.raises(ConfigError) as caught:
        settings(wrong, "sqlite:///x.db")

    assert len(caught.value.problems) == 1


def test_the_carbon_dioxide_record_comes_with_its_gaps() -> None:
    pytest.importorskip("statsmodels")

    rows = pl.read_parquet(co2().source)

    assert (rows.height, rows["value"].null_count()) == (2284, 59)
    assert rows["timestamp"].dt.weekday().unique().to_list() == [6]


@pytest.mark.slow
def test_a_terminal_shows_a_table_the_forecast_and_what_it_looked_at(tmp_path: Path) -> None:
    shown = StringIO()
    engine = open_engine(f"sqlite:///{tmp_path / 'demo.db'}")
    migrations.upgrade(engine)
    console = Console(file=shown, width=130, force_terminal=True, color_system=None)
    screen = LiveScreen(console, "trips")

    shown_rows = material(write_file(tmp_path), hours=2)
    demo = Demo(shown_rows, small(shown_rows), engine, screen)
    demo.replay()
    demo.service.stop()
    screen.close()
    engine.dispose()

    text = shown.getvalue()
    for expected in ("trips", "mase model", "cover 80", "predict", "attention of steps", "█", "│"):
        assert expected in text


def test_blocks_rise_with_the_values_and_leave_gaps_open() -> None:
    assert blocks([0.0, 0.5, 1.0, float("nan")], 0.0, 1.0) == "▁▅█ "
    assert blocks([3.0, 3.0], 3.0, 3.0) == "▁▁"


def test_times_are_short() -> None:
    assert (milliseconds(0.0123), milliseconds(2.34)) == ("12 ms", "2.3 s")
