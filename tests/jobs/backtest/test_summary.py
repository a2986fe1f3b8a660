"""`forecaster backtest`: which figures are told, on a page and in a report."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from jobs.backtest.notes import verdict
from tests.jobs.backtest.backtests import (
    NAIVE,
    file,
    predictors,
    report_of,
    rows,
    section,
)
from tests.jobs.terminal.terminal import type_

pytestmark = pytest.mark.usefixtures("two_steps")


def test_the_best_of_each_column_has_a_star(folder: Path) -> None:
    exact = [row.rpartition(",")[0] + f",{hour % 24}" for hour, row in enumerate(rows(300))]

    answer = type_("backtest", file(exact), "--horizon", "24", "--baselines", "naive2")

    (line,) = [line for line in section(answer, "accuracy")[:4] if line.startswith("seasonal")]
    assert line.split()[1:6] == ["0.000*", "0.000*", "–", "0.0000*", "0*"]


def still(name: str, value: float, later: float, hours: int = 300) -> list[str]:
    """Lines of a series that stands still, and at `later` in the last twenty hours."""
    parts = (row.rpartition(",")[0] for row in rows(hours, name=name))
    return [f"{part},{value if hour < hours - 20 else later}" for hour, part in enumerate(parts)]


def test_series_that_never_moved_are_left_out_of_what_is_told_in_units_of_their_past(
    folder: Path,
) -> None:
    lines = [*rows(300), *still("flag", 7, 8), *still("zero", 0, 0)]

    found = report_of(file(lines), "--horizon", "12h", "--baselines", "naive2")

    alone = report_of(file(rows(300)), "--horizon", "12h", "--baselines", "naive2")
    assert [row["series"] for row in found["overall"]] == [3] * 4
    rivals, theirs = found["overall"][1:], alone["overall"][1:]
    for column in ("mase", "owa", "skill"):
        assert [row[column] for row in rivals] == pytest.approx([row[column] for row in theirs])
    assert found["series_without_scale"] == ["flag", "zero"]
    (flag,) = [row for row in found["by_series"]
               if (row["series_id"], row["predictor"]) == ("flag", "model")]  # fmt: skip
    assert (flag["mase"], flag["skill"]) == (None, None)
    assert 0 < flag["mae"] < 1
    assert flag["coverage_80"] is not None


def test_series_that_never_moved_are_counted_and_named(folder: Path) -> None:
    answer = type_("backtest", file([*rows(300), *still("flag", 7, 8)]), "--horizon", "12h")

    told = "1 series constant before the windows has no MASE and no skill: flag"
    assert told in " ".join(answer.data.split())


def test_where_no_series_ever_moved_nobody_is_better_by_mase(folder: Path) -> None:
    answer = type_("backtest", file(still("flag", 7, 8)), "--horizon", "12h", "--out", "report.md")

    assert answer.status == 0, answer.talk
    assert "no MASE: all series were constant before the windows" in answer.data


def test_a_series_that_outweighs_all_others_keeps_small_losses_readable(folder: Path) -> None:
    huge = [f"{row.rpartition(',')[0]},{1e10 + hour * 5 + hour % 3}" for hour, row in
            enumerate(rows(300, name="counter"))]  # fmt: skip

    answer = type_("backtest", file([*rows(300), *huge]), "--horizon", "12h")

    said = " ".join(answer.data.split())
    assert "counter makes up more than 99% of the weight of WQL" in said
    losses = [line.split()[3] for line in section(answer, "accuracy")[1:4]]
    assert all("e-" in loss for loss in losses)
    assert sum(loss.endswith("*") for loss in losses) == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (0.7, 1.0, "MASE 30% lower than naive, the best baseline"),
        (1.5, 1.0, "MASE 50% higher than naive, the best baseline"),
        (3.0, 1.0, "MASE 3.0 times that of naive, the best baseline"),
        (1.00001, 1.0, "same MASE as naive, the best baseline"),
        (3.0, 0.0, "MASE higher than naive, whose MASE is 0"),
    ],
)
def test_the_result_is_a_sentence(ours: float, theirs: float, told: str) -> None:
    assert verdict({"model": ours, "drift": 9.0, "naive": theirs}) == told


# Reports


def test_reports_come_as_a_page_as_json_and_as_a_long_table(folder: Path) -> None:
    words = (file([*rows(200), *rows(200, name="b|b")]), "--horizon", "12h")

    talks = [type_("backtest", *words, "--out", f"report.{end}").talk for end in
             ("md", "json", "csv")]  # fmt: skip

    assert all("wrote report." in talk for talk in talks)
    page = Path("report.md").read_text()
    assert page.startswith("# Backtest of rows.csv\n")
    assert "| b\\|b |" in page
    assert predictors(json.loads(Path("report.json").read_text())) == NAIVE
    table = pl.read_csv("report.csv")
    assert table.filter(pl.col("series_id").is_null() & pl.col("lead").is_null()).height == 3
    of_series = table.filter(pl.col("series_id").is_not_null())
    assert of_series.filter(pl.col("lead").is_null()).height == 6
    assert of_series.filter(pl.col("lead").is_not_null()).height == 6 * 4


@pytest.mark.parametrize("path", ["report.pdf", "report", "nowhere/report.md"])
def test_a_report_that_cannot_be_written_is_an_error_before_any_work(
    folder: Path, path: str
) -> None:
    answer = type_("backtest", "nothing.csv", "--horizon", "12h", "--out", path)

    assert answer.status == 2
    assert "--out must" in answer.talk


@pytest.mark.parametrize("name", ["rows.csv", "./rows.csv", "ROWS/../rows.csv", "linked.csv"])
def test_a_report_never_takes_the_place_of_a_file_that_is_there(folder: Path, name: str) -> None:
    target = file(rows(200))
    (folder / "ROWS").mkdir()
    (folder / "linked.csv").symlink_to(folder / "rows.csv")
    before = Path(target).read_bytes()

    answer = type_("backtest", target, "--horizon", "12h", "--out", name)

    assert (answer.status, answer.data) == (2, "")
    assert f"--out must be a new file, found the existing {Path(name)}" in answer.talk
    assert "hint:" in answer.talk
    assert Path(target).read_bytes() == before


@pytest.mark.parametrize("other", ["a.csv", "./a.csv", "ROWS/../a.csv"])
def test_a_report_and_forecasts_are_different_files(folder: Path, other: str) -> None:
    target = file(rows(200))
    (folder / "ROWS").mkdir()

    answer = type_(
        "backtest", target, "--horizon", "12h", "--out", "a.csv", "--forecasts", other
    )  # fmt: skip

    assert (answer.status, answer.data) == (2, "")
    assert "--out and --forecasts must be different files" in answer.talk


def test_a_report_does_not_replace_a_file_that_came_while_it_was_made(folder: Path) -> None:
    (folder / "report.md").symlink_to(folder / "later.md")  # nothing is there yet

    answer = type_("backtest", file(rows(200)), "--horizon", "12h", "--out", "report.md")

    assert answer.status == 1
    assert "report.md: File exists" in answer.talk
    assert not (folder / "later.md").exists()


@pytest.mark.parametrize(("more", "rows_read"), [(0, 1200), (1, 1200), (2, 1200), (4, 1204)])
def test_the_newest_step_is_left_out_until_it_is_over(
    folder: Path, more: int, rows_read: int
) -> None:
    """Four rows an hour: the last hour of the file has `more` of them."""
    name = file(rows(1200 + more, step=timedelta(minutes=15)))

    found = report_of(name, "--horizon", "3h", "--step", "1h", "--windows", "1")

    assert found["rows"] == rows_read
