"""`forecaster backtest`: what cannot be tested is said, and what is sick stops nobody."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from forecaster.training import estimator
from tests.jobs.backtest.backtests import (
    SPLIT,
    START,
    file,
    rows,
    split,
)
from tests.jobs.terminal.terminal import configure, type_

pytestmark = pytest.mark.usefixtures("two_steps")


@pytest.mark.parametrize(
    ("lines", "horizon", "told"),
    [
        ([f"{row},valid" for row in rows(9)], "2h", "found 'valid' (9 rows)"),
        ([f"{row}," for row in rows(9)], "2h", "found 'nothing' (9 rows)"),
        ([f"{row},train" for row in rows(9)], "2h", "found no test"),
        ([*split(0, 50), *(f"{row},train" for row in rows(60)[50:])], "2h",
         "must come after the train rows"),
        (split(100, 10), "11h", "at most 10 steps, the longest test part, found 11 steps"),
    ],
    ids=["unknown", "missing", "no test", "test first", "long horizon"],
)  # fmt: skip
def test_a_split_that_makes_no_sense_is_an_error(
    folder: Path, lines: list[str], horizon: str, told: str
) -> None:
    answer = type_("backtest", file(lines, SPLIT), "--horizon", horizon)

    assert answer.status == 1
    assert told in answer.talk


def mixed() -> list[str]:
    return [*rows(100), *rows(100, name="bb", step=timedelta(minutes=5))]


@pytest.mark.parametrize(
    ("lines", "words", "status", "told"),
    [
        ([], ["--horizon", "2h"], 1, "has no usable values"),
        ([f"a,{20_000 + day},1" for day in range(99)], ["--horizon", "2d"], 1,
         "since 1970 it is 1970-01-01; as days since 1970 20049 is 2024-11-22"),
        (["a,2026-01-01T00:00:00Z,much"], ["--horizon", "2h"], 1, "unreadable_value"),
        (rows(99), [], 2, "--horizon is required for a file"),
        (rows(99), ["--horizon", "90m"], 2, "a whole number of steps of 1h"),
        (rows(99), ["--horizon", "0"], 2, "at least one step"),
        (rows(2), ["--horizon", "1h"], 2, "--step is required"),
        (rows(99), ["--horizon", "2h", "--value-column", "x"], 1, "found 'series_id', 'timestamp'"),
        (rows(99), ["--horizon", "2h", "--step", "1m"], 1, "most steps would be empty"),
        (rows(99), ["--horizon", "2h", "--baselines", "magic"], 2, "found magic"),
        (rows(9), ["--horizon", "12h"], 1, "more than 12 steps of history, found 9"),
        (rows(13), ["--horizon", "12h"], 1, "before the first window"),
        (mixed(), ["--horizon", "2h"], 1, "every 5m in 1 series (bb)"),
        (rows(99), ["--horizon", "2h", "--windows", "99"], 1, "99 windows of 2 steps need more"),
    ],
    ids=["empty", "days since 1970", "no numbers", "no horizon", "odd horizon", "no steps",
         "few rows", "columns", "sparse", "baseline", "short", "nothing before", "mixed steps",
         "many windows"],
)  # fmt: skip
def test_what_cannot_be_tested_is_an_error_that_says_what_was_found(
    folder: Path, lines: list[str], words: list[str], status: int, told: str
) -> None:
    answer = type_("backtest", file(lines), *words)

    assert answer.status == status, answer.talk
    assert told in answer.talk
    assert answer.data == ""


def test_a_given_step_averages_finer_rows_and_says_so(folder: Path) -> None:
    answer = type_("backtest", file(mixed()), "--horizon", "2h", "--step", "1h")

    assert answer.status == 0
    told = "step 1h, but the rows are every 5m in 1 series (bb): rows within a step are averaged"
    assert told in answer.talk


def test_rows_that_are_coarser_than_a_given_step_are_not_said_to_be_averaged(folder: Path) -> None:
    lines = [*rows(100), *rows(1200, name="bb", step=timedelta(minutes=5))]

    answer = type_("backtest", file(lines), "--horizon", "30m", "--step", "5m")

    assert answer.status == 0, answer.talk
    told = "step 5m, but the rows are every 1h in 1 series (a): most of their steps are empty"
    assert told in answer.talk
    assert "averaged" not in answer.talk


def irregular(minutes: Sequence[int]) -> list[str]:
    """Lines of a series whose rows come after so many minutes each, over and over."""
    every = [sum(minutes[:place]) for place in range(len(minutes))]
    days = [timedelta(minutes=place * sum(minutes)) for place in range(30)]
    stamps = [START + day + timedelta(minutes=minute) for day in days for minute in every]
    return [f"a,{stamp.isoformat()},{place % 7}" for place, stamp in enumerate(stamps)]


@pytest.mark.parametrize(
    ("minutes", "step"),
    [
        ([27, 31, 27, 35, 30, 33, 30, 24], "30m"),
        ([55, 66, 55, 71, 61, 58, 64, 47], "1h"),
        ([4, 6, 4, 7, 5, 3, 5, 8], "5m"),
        ([1300, 1440, 1500, 1450, 1300, 1600], "1d"),
    ],
)
def test_a_step_that_is_advised_is_one_that_people_choose(
    folder: Path, minutes: list[int], step: str
) -> None:
    answer = type_("backtest", file(irregular(minutes)), "--horizon", "4")

    assert answer.status == 2
    assert f"hint:  for example --step {step}\n" in answer.talk


def test_rejected_rows_are_told_once_and_counted_together_where_rows_are_split(
    folder: Path,
) -> None:
    lines = split(200, 24)
    for place in (7, 9, 210):
        lines[place] = lines[place].replace(lines[place].split(",")[2], "much")
    lines += [lines[3], lines[215]]

    answer = type_("backtest", file(lines, SPLIT), "--horizon", "12h")

    assert answer.status == 0, answer.talk
    assert answer.talk.count("cannot be used") == 1
    assert "3 of 226 rows cannot be used: unreadable_value" in answer.talk
    assert "duplicate rows: 2" in answer.talk
    assert answer.talk.count("duplicate rows") == 1


def test_marks_of_a_split_may_be_capitals(folder: Path) -> None:
    lines = [line.replace("train", "TRAIN").replace("test", "Test ") for line in split(200, 24)]

    assert type_("backtest", file(lines, SPLIT), "--horizon", "12h").status == 0


def test_neither_a_file_nor_a_dataset_is_an_error(folder: Path) -> None:
    without = type_("backtest", "rows.csv")
    configure(folder)
    with_one = type_("backtest", "rows.csv")

    assert (without.status, with_one.status) == (2, 2)
    assert "found no such file, and no configuration forecaster.toml" in without.talk
    assert "found no such file, and datasets bikes" in with_one.talk


def test_duplicates_and_sick_series_stop_nobody_and_are_told(folder: Path) -> None:
    lines = [*rows(200), rows(3)[2], "a,2026-01-01T01:00:00Z,9", "late,2026-01-09T00:00:00Z,1"]

    answer = type_("backtest", file(lines), "--horizon", "12h")

    assert answer.status == 0
    assert "duplicate rows: 1" in answer.talk
    assert "of the same series and timestamp, averaged: 1" in answer.talk
    assert "1 series that start after the first window: late" in answer.data


def test_ctrl_c_leaves_without_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(estimator, "plan", interrupted)

    answer = type_("backtest", file(rows(200)), "--horizon", "12h", "--out", "report.md")

    assert (answer.status, answer.data) == (130, "")
    assert "stopped; nothing was written" in answer.talk
    assert not (folder / "report.md").exists()


def test_without_statsforecast_its_methods_say_how_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    answer = type_("backtest", file(rows(200)), "--horizon", "12h", "--baselines", "auto_ets")

    assert answer.status == 2
    assert "hint:  pip install 'forecaster[statsforecast]'" in answer.talk
