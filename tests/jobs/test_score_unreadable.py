"""Forecasts are scored whatever became of the checkpoint that made them, and the report says so."""

import pytest

from jobs.reports import ScoreReport
from tests.jobs.damages import DAMAGES, harm, keep
from tests.jobs.small import HORIZON, LAST, World, hour, land, query, rows

COUNT = "SELECT key, sum(points) FROM accuracy JOIN series ON id = series_id GROUP BY key"


@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_forecasts_of_a_model_that_cannot_be_read_are_scored(
    trained: World, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    trained.tick("forecast", hour(LAST))
    land(trained.engine, rows("a", LAST, LAST + 20), rows("b/c", LAST, LAST + 20))
    if damage == "gone":
        keep(trained.engine, 1, None)
    else:
        harm(trained.engine, 1, DAMAGES[damage])

    report = trained.tick("score", hour(LAST + 20)).report

    assert isinstance(report, ScoreReport)
    assert report.points == 2 * HORIZON
    assert sorted(query(trained.engine, COUNT)) == [("a", HORIZON), ("b/c", HORIZON)]
    assert all("model 1" in note for note in report.notes)
    assert "scored by scales of their own" in caplog.text
