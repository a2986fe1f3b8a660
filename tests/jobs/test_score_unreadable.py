"""Forecasts are scored whatever became of the checkpoint that made them, and the report says so."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine, update

from forecaster.store.connection.engine import writing
from forecaster.store.tables import models as table
from jobs.execution.reports import ScoreReport
from tests.jobs.damages import DAMAGES, harm, keep
from tests.jobs.small import HORIZON, LAST, World, hour, land, query, rows

pytestmark = pytest.mark.quick_on("sqlite")

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
    assert "scaled by their own history" in caplog.text


SPECS: dict[str, dict[str, Any]] = {
    "unknown key": {"later_field": 1},
    "no anchor": {"anchor": None},
}


def describe(engine: Engine, model_id: int, **changes: Any) -> None:
    """Change the stored spec of a model; None removes a key."""
    (config,) = query(engine, f"SELECT config FROM models WHERE id = {model_id}")[0]
    spec = json.loads(config) if isinstance(config, str) else config
    assert isinstance(spec, dict)
    changed = {key: value for key, value in (spec | changes).items() if value is not None}
    with writing(engine) as conn:
        conn.execute(update(table).where(table.c.id == model_id).values(config=changed))


@pytest.mark.parametrize("changes", SPECS.values(), ids=SPECS.keys())
def test_a_model_whose_spec_cannot_be_read_does_not_keep_others_from_being_scored(
    trained: World, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    trained.tick("forecast", hour(LAST))
    land(trained.engine, rows("a", LAST, LAST + 1), rows("b/c", LAST, LAST + 1))
    trained.tick("retrain", hour(LAST + 1))
    trained.tick("forecast", hour(LAST + 1))
    land(trained.engine, rows("a", LAST, LAST + 20), rows("b/c", LAST, LAST + 20))
    harm(trained.engine, 1, DAMAGES["truncated"])
    describe(trained.engine, 1, **changes)

    outcome = trained.tick("score", hour(LAST + 20))

    assert isinstance(outcome.report, ScoreReport), outcome.error
    assert query(trained.engine, "SELECT DISTINCT model_id FROM accuracy") == [(2,)]
    (note,) = outcome.report.notes
    assert "cannot score forecasts of model 1: its spec cannot be read" in note
    assert note in caplog.text


def test_a_dataset_without_a_spec_that_can_be_read_is_scored_without_a_crash(
    trained: World, caplog: pytest.LogCaptureFixture
) -> None:
    trained.tick("forecast", hour(LAST))
    land(trained.engine, rows("a", LAST, LAST + 20), rows("b/c", LAST, LAST + 20))
    harm(trained.engine, 1, DAMAGES["truncated"])
    describe(trained.engine, 1, anchor=None)

    assert trained.tick("score", hour(LAST + 20)).result == "succeeded"
    assert caplog.text.count("cannot read the grid of model 1") == 1

    caplog.clear()
    assert trained.tick("score", hour(LAST + 21)).result == "succeeded"
    assert caplog.text.count("cannot read the grid of model 1") == 1
