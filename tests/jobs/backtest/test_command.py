"""`forecaster backtest`: a file or a dataset, tested in one command, and what can be wrong."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from jobs.terminal import progress
from tests.jobs.backtest.backtests import (
    NAIVE,
    SPLIT,
    file,
    predictors,
    report_of,
    rows,
    section,
    split,
)
from tests.jobs.terminal.terminal import configure, trips, type_

pytestmark = pytest.mark.usefixtures("two_steps")


# A file


def test_a_file_is_tested_without_any_configuration(folder: Path) -> None:
    answer = type_("backtest", file([*rows(300), *rows(300, name="bb")]), "--horizon", "12h")

    assert answer.status == 0
    assert "step 1h, detected from the rows" in answer.talk
    assert [line.split()[0] for line in section(answer, "accuracy")[1:4]] == NAIVE
    assert "2 series, 600 rows" in answer.data
    assert "288 points, the same for every" not in answer.data  # six windows are a quarter
    assert "the last 6 windows of every series, every 12 steps; more would" in answer.data
    assert "seed 0" in answer.data
    assert "windows forecast: 0 of 12\n" in answer.talk
    assert "windows forecast: 12 of 12\n" in answer.talk
    assert list(folder.iterdir()) == [folder / "rows.csv"]


def test_counting_says_every_tenth_part_however_many_come_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.counting() as count:
        for done in (0, 7, 250, 257, 999, 1000):
            count("windows", done, 1000)

    said = capsys.readouterr().err.splitlines()
    assert said == [f"windows: {done} of 1000" for done in (0, 250, 999, 1000)]


def test_windows_stride_seed_and_baselines_are_as_asked(folder: Path) -> None:
    found = report_of(
        file(rows(300)), "--horizon", "12", "--windows", "3", "--stride", "6h", "--seed", "7",
        "--baselines", "drift,naive2", "--baselines", "markov_chain",
    )  # fmt: skip

    assert (found["windows"], found["stride"], found["seed"]) == (3, 6, 7)
    assert predictors(found) == [*NAIVE, "drift", "naive2", "markov_chain"]
    assert "owa" in found["overall"][0]


def test_columns_zone_and_step_are_mapped_as_by_ingest(folder: Path) -> None:
    plain = [row.replace("+00:00", "") for row in rows(300)]

    found = report_of(
        file(plain, "shop,hour,sold"), "--series-column", "shop", "--timestamp-column", "hour",
        "--value-column", "sold", "--timezone", "America/New_York", "--step", "2h",
        "--horizon", "1d",
    )  # fmt: skip

    assert (found["step"], found["prediction_length"]) == ("2h", 12)
    assert found["first"] == "2026-01-01T05:00:00+00:00"


@pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
def test_other_formats_say_the_same_as_csv(folder: Path, suffix: str) -> None:
    name = file(rows(200))
    frame = pl.read_csv(name)
    getattr(frame, f"write_{suffix}")(f"rows.{suffix}")

    one, other = (report_of(each, "--horizon", "12h") for each in (name, f"rows.{suffix}"))

    assert one["overall"] == other["overall"]


def test_a_file_of_timestamps_and_values_is_one_series(folder: Path) -> None:
    found = report_of(file([row[2:] for row in rows(200)], "timestamp,load"), "--horizon", "12h")

    assert found["by_series"][0]["series_id"] == "rows"


def test_rows_come_from_stdin_too(folder: Path) -> None:
    text = "\n".join(["series_id,timestamp,value", *rows(200)])

    answer = type_("backtest", "-", "--format", "csv", "--horizon", "12h", stdin=text)

    assert answer.status == 0
    assert "1 series, 200 rows" in answer.data


# A split


def test_a_split_is_honoured_series_by_series_and_has_an_owa(folder: Path) -> None:
    lines = [*split(200, 24), *split(150, 12, "bb")]

    found = report_of(file(lines, SPLIT), "--horizon", "12h")

    assert (found["split"], found["windows"]) == ("official split", 3)
    assert predictors(found) == [*NAIVE, "naive2"]
    owa = {row["predictor"]: row["owa"] for row in found["overall"]}
    assert owa["naive2"] == pytest.approx(1)
    (made,) = found["trainings"]
    assert made["observations"] == 350


@pytest.mark.parametrize(
    ("windows", "told"),
    [
        ("1", "official split: the latest window in the test rows of every series"),
        ("2", "official split: the latest windows in the test rows of every series, up to 2"),
    ],
)
def test_windows_asked_for_are_the_newest_of_the_test_rows(
    folder: Path, windows: str, told: str
) -> None:
    name = file(split(200, 48), SPLIT)

    answer = type_("backtest", name, "--horizon", "12h", "--windows", windows)

    assert told in " ".join(answer.data.split())


def test_series_without_a_window_are_counted_and_listed(folder: Path) -> None:
    lines = [*split(200, 12), *split(200, 0, "bb"), *split(200, 5, "ccc"), *split(0, 20, "dddd")]

    answer = type_("backtest", file(lines, SPLIT), "--horizon", "12h")

    assert answer.status == 0
    for told in (
        "1 series without test rows: bb",
        "1 series whose test part is shorter than the horizon: ccc",
        "1 series without train rows: dddd",
    ):
        assert told in answer.data


@pytest.mark.slow
def test_the_official_split_of_m4_has_the_published_scores(shared_data: Path) -> None:
    found = report_of(
        str(shared_data / "m4_hourly.parquet"), "--timestamp-column", "ts", "--timezone", "UTC",
        "--step", "1h", "--horizon", "48h",
    )  # fmt: skip

    assert (found["split"], found["series"], found["windows"]) == ("official split", 414, 414)
    scores = {
        row["predictor"]: (round(row["smape"], 3), round(row["mase"], 3))
        for row in found["overall"]
    }
    assert scores["naive"] == (43.003, 11.608)
    assert scores["seasonal_naive"] == (13.912, 1.193)
    assert scores["naive2"] == (18.383, 2.395)


def test_refitting_tells_of_all_its_trainings(folder: Path) -> None:
    found = report_of(file(rows(200)), "--horizon", "12h", "--windows", "2", "--refit")

    assert [made["turn"] for made in found["trainings"]] == [1, 2]


# A dataset


def test_a_dataset_is_tested_on_what_was_landed_and_nothing_is_written(folder: Path) -> None:
    configure(folder)
    (folder / "trips.csv").write_text(trips())
    type_("ingest", "trips.csv")
    before = dump(folder)

    found = report_of("bikes")

    assert (found["name"], found["prediction_length"], found["series"]) == ("bikes", 6, 2)
    assert found["context_length"] == 48
    assert found["trainings"][0]["steps"] == 4
    assert dump(folder) == before


def dump(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "forecaster.db")) as conn:
        return list(conn.iterdump())


def test_a_dataset_without_rows_or_a_database_says_how_to_get_some(folder: Path) -> None:
    configure(folder)

    answer = type_("backtest", "bikes")

    assert answer.status == 1
    assert "forecaster ingest" in answer.talk
    assert not (folder / "forecaster.db").exists()


def test_options_of_files_are_refused_for_a_dataset(folder: Path) -> None:
    configure(folder)

    answer = type_("backtest", "bikes", "--step", "1h", "--timezone", "UTC")

    assert answer.status == 2
    assert "--step is only for files" in answer.talk
    assert "--timezone is only for files" in answer.talk


def test_a_file_wins_over_a_dataset_of_its_name_and_that_is_said(folder: Path) -> None:
    configure(folder, '[datasets."rows.csv"]\nstep = "1h"\nhorizon = "6h"\n')

    answer = type_("backtest", file(rows(200)), "--horizon", "12h")

    assert answer.status == 0
    assert "rows.csv is read as a file" in answer.talk


@pytest.mark.parametrize("marks", [None, "end"])
def test_a_file_of_hour_endings_is_read_where_clocks_change(
    folder: Path, marks: str | None
) -> None:
    """The hour after 01:00 ends at 02:00, which clocks skip, on 30 March in Berlin."""
    begin = datetime(2026, 3, 27, tzinfo=UTC)
    wall = [
        (begin + hour * timedelta(hours=1))
        .astimezone(ZoneInfo("Europe/Berlin"))
        .replace(tzinfo=None)
        + timedelta(hours=1)
        for hour in range(150)
    ]
    lines = [f"a,{at.isoformat()},{at.hour}" for at in wall]

    words = ["--horizon", "3h", "--timezone", "Europe/Berlin"]
    answer = type_(
        "backtest", file(lines), *words, *(["--timestamp-marks", marks] if marks else [])
    )

    assert answer.status == 0, answer.talk
    assert ("nonexistent_local_time" in answer.talk) == (marks is None)
    assert ("--timestamp-marks end" in answer.talk) == (marks is None)
