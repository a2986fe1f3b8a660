"""`forecaster backtest`: what is said before it trains, and the options that change it."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.jobs.backtest.backtests import (
    SPLIT,
    file,
    predictors,
    report_of,
    rows,
    section,
    split,
)
from tests.jobs.terminal.terminal import configure, trips, type_
from tests.tolerance import assert_close

pytestmark = pytest.mark.usefixtures("two_steps")


def before_training(talk: str) -> str:
    """What was said before the first step of a training."""
    return talk[: talk.index("training on")]


def ended() -> list[str]:
    """Lines of two series that go on, and of three that end before any window."""
    return [
        line
        for name, hours in (("on", 300), ("too", 300), ("gone", 150), ("left", 120), ("old", 90))
        for line in rows(hours, name=name)
    ]


# Before the training


def test_series_that_end_before_the_windows_are_told_before_the_training(folder: Path) -> None:
    answer = type_("backtest", file(ended()), "--horizon", "12h")

    assert answer.status == 0, answer.talk
    told = before_training(answer.talk)
    assert "left out:    3 series that end before the windows: gone, left, old\n" in told
    assert "3 of 5 series end before the windows, trained on but not tested" in told
    assert "--windows-at series-end" in told


def test_what_was_read_and_what_will_be_done_is_told_before_the_training(folder: Path) -> None:
    still = [f"{row.rpartition(',')[0]},7" for row in rows(300, name="flag")]
    late = rows(300, name="late")[290:]
    lines = [*rows(300), *still, *late, "a,yesterday,1"]

    answer = type_("backtest", file(lines), "--horizon", "12h")

    told = before_training(answer.talk)
    for part in (
        "1 of 611 rows cannot be used: unreadable_timestamp",
        "step 1h, detected from the rows",
        "data:        3 series, 610 rows, 2026-01-01 00:00Z … 2026-01-13 11:00Z, step 1h",
        "windows:     the last 6 windows of every series, every 12 steps; more would",
        "each 12 steps ahead, from 2026-01-10 11:00Z to 2026-01-13 11:00Z",
        "season:      24 steps; context length",
        "trained on:  2 series, 456 observations until 2026-01-10 11:00Z",
        "left out:    1 series that start after the first window: late",
        "1 series constant before the windows has no MASE and no skill: flag",
        "to set it, pass --season 168",
    ):
        assert part in told, part


def test_series_left_out_of_a_split_are_told_before_the_training(folder: Path) -> None:
    lines = [*split(200, 12), *split(200, 0, "bb"), *split(200, 5, "ccc"), *split(0, 20, "dddd")]

    told = before_training(type_("backtest", file(lines, SPLIT), "--horizon", "12h").talk)

    assert "1 series without test rows: bb" in told
    assert "1 series whose test part is shorter than the horizon: ccc" in told
    assert "1 series without train rows: dddd" in told


@pytest.mark.parametrize(
    ("lines", "words", "told"),
    [
        (["x,2026-03-01T00:00:00Z,1", *rows(200)], [], "--windows-at series-end"),
        (rows(200), ["--season", "500"], "--season must be shorter than the history"),
        (rows(200), ["--lower-bound", "nan"], "--lower-bound must be a finite number"),
        (rows(200), ["--lower-bound", "9", "--upper-bound", "9"], "must be below the upper bound"),
        (split(200, 24), ["--windows-at", "series-end"], "cannot be used with a split column"),
        (
            rows(200),
            ["--no-naive2", "--baselines", "naive2"],
            "--no-naive2 and --baselines naive2 are mutually exclusive",
        ),
        (rows(10), ["--windows-at", "series-end"], "needs a series of more than 12 steps"),
    ],
    ids=["nothing left", "season", "bound", "bounds", "split", "naive2", "short"],
)
def test_what_is_impossible_is_refused_before_the_training(
    folder: Path, lines: list[str], words: list[str], told: str
) -> None:
    header = SPLIT if lines[0].count(",") == 3 else "series_id,timestamp,value"

    answer = type_("backtest", file(lines, header), "--step", "1h", "--horizon", "12h", *words)

    assert answer.status in {1, 2}
    assert told in answer.talk
    assert "training on" not in answer.talk


# Options


def test_windows_at_the_end_of_each_series_test_those_that_ended_too(folder: Path) -> None:
    found = report_of(
        file(ended()), "--horizon", "12h", "--windows", "2", "--windows-at", "series-end"
    )

    assert (found["left_out"], found["windows"]) == ({}, 10)
    assert {row["series_id"] for row in found["by_series"]} == {"on", "too", "gone", "left", "old"}
    assert found["trainings"][0]["observations"] == 300 + 300 + 150 + 120 + 90 - 5 * 24
    assert found["windows_at"] == "series-end"


def test_a_season_is_as_given(folder: Path) -> None:
    found = report_of(file(rows(300)), "--horizon", "12h", "--season", "12")

    assert found["season_length"] == 12


def test_bounds_hold_for_every_forecast(folder: Path) -> None:
    words = (file(rows(200)), "--horizon", "12h", "--lower-bound", "18", "--upper-bound", "22")

    answer = type_("backtest", *words, "--forecasts", "all.parquet")

    assert answer.status == 0, answer.talk
    assert "observed values are outside the bounds of forecasts" in before_training(answer.talk)
    found = pl.read_parquet("all.parquet")
    assert_close([found["q025"].min(), found["q975"].max()], [18.0, 22.0])


def test_settings_of_a_dataset_are_changed_by_options(folder: Path) -> None:
    configure(folder)
    (folder / "trips.csv").write_text(trips())
    type_("ingest", "trips.csv")

    found = report_of("bikes", "--season", "12", "--lower-bound", "0", "--windows-at", "series-end")

    assert (found["season_length"], found["lower_bound"]) == (12, 0)


def test_naive2_of_a_split_can_be_left_out(folder: Path) -> None:
    found = report_of(file(split(200, 24), SPLIT), "--horizon", "12h", "--no-naive2")

    assert predictors(found) == ["model", "naive", "seasonal_naive"]
    assert "owa" not in found["overall"][0]


def test_several_seeds_give_the_mean_and_the_spread(folder: Path) -> None:
    name, words = file(split(200, 24), SPLIT), ("--horizon", "12h")

    answer = type_("backtest", name, *words, "--seeds", "3", "--seed", "5", "--out", "all.json")

    assert answer.status == 0, answer.talk
    found = json.loads(Path("all.json").read_text())
    assert [row["seed"] for row in found["seeds"]] == [5, 6, 7]
    assert [made["seed"] for made in found["trainings"]] == [5, 6, 7]
    assert predictors(found) == ["model", "naive", "seasonal_naive", "naive2"]
    for column in ("mase", "owa", "smape"):
        each = [row[column] for row in found["seeds"]]
        assert found["overall"][0][column] == pytest.approx(sum(each) / 3)
        assert len(set(each)) > 1
    assert "seeds 5, 6, 7" in answer.data
    assert " ± " in answer.data
    assert section(answer, "accuracy")[1].split()[0] == "model"
    alone = report_of(name, *words, "--seed", "6")
    assert alone["overall"][0]["mase"] == pytest.approx(found["seeds"][1]["mase"])


# What is said


def test_rejected_rows_are_in_the_report_with_an_example(folder: Path) -> None:
    lines = [*rows(200), "a,2026-01-02T00:00:00Z,much", rows(3)[1]]

    found = report_of(file(lines), "--horizon", "12h")

    (reason,) = found["rejected"]
    assert reason == "unreadable_value"
    assert found["rejected"][reason]["rows"] == 1
    assert "value=much" in found["rejected"][reason]["example"]
    assert (found["duplicates"], found["conflicting"]) == (1, 0)


def test_the_variant_and_its_validation_score_are_in_the_report(folder: Path) -> None:
    found = report_of(file(rows(300)), "--horizon", "12h")

    (made,) = found["trainings"]
    assert made["variant"]["statistics"] in {"window", "causal"}
    assert isinstance(made["variant"]["calendar"], bool)
    assert made["validation"]["mase"] > 0
    assert made["planned_steps"] >= made["steps"]


def test_accuracy_is_told_by_series_and_lead(folder: Path) -> None:
    found = report_of(file([*rows(200), *rows(200, name="bb")]), "--horizon", "12h")

    leads = [row["lead"] for row in found["by_lead"] if row["predictor"] == "model"]
    ours = [row for row in found["by_series_and_lead"] if row["predictor"] == "model"]
    assert [(row["series_id"], row["lead"]) for row in ours] == [
        (name, lead) for name in ("a", "bb") for lead in leads
    ]
    points = sum(row["points"] for row in ours)
    assert points == found["overall"][0]["points"]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson"])
def test_every_forecast_can_be_kept(folder: Path, suffix: str) -> None:
    name = f"all.{suffix}"

    answer = type_(
        "backtest", file(rows(200)), "--horizon", "12h", "--windows", "2", "--forecasts", name
    )

    assert answer.status == 0, answer.talk
    assert f"wrote {name}" in answer.talk
    found = getattr(pl, f"read_{suffix}")(name)
    assert len(found) == 3 * 2 * 12
    assert found["predictor"].unique(maintain_order=True).to_list() == [
        "model", "naive", "seasonal_naive",
    ]  # fmt: skip
    assert found.columns[:6] == [
        "predictor", "series_id", "cutoff", "step", "timestamp", "actual",
    ]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == sorted([name, "rows.csv"])


@pytest.mark.parametrize("path", ["all.pdf", "nowhere/all.csv", "rows.csv"])
def test_forecasts_that_cannot_be_kept_are_an_error_before_any_work(
    folder: Path, path: str
) -> None:
    answer = type_("backtest", file(rows(200)), "--horizon", "12h", "--forecasts", path)

    assert answer.status == 2
    assert "--forecasts must" in answer.talk
    assert "note:" not in answer.talk
