"""A training that comes to nothing leaves the champion in service."""

from dataclasses import replace

import pytest

from forecaster.errors import TrainingDiverged
from tests.jobs.small import DATASET, LAST, World, hour, land, query, rows


@pytest.mark.fault(22)
def test_a_training_that_diverges_is_not_promoted_and_forecasts_go_on(trained: World) -> None:
    before = query(trained.engine, "SELECT id, promoted_at, retired_at FROM models")
    wild = replace(DATASET.training, learning_rate=1e30, steps=60)
    land(trained.engine, rows("a", LAST + 1, LAST + 24), rows("b/c", LAST + 1, LAST + 24))
    trained.dataset = replace(DATASET, training=wild)

    outcome = trained.tick("retrain", hour(LAST + 24))
    forecast = trained.tick("forecast", hour(LAST + 24))

    assert outcome.result == "failed"
    assert isinstance(outcome.error, TrainingDiverged)
    assert query(trained.engine, "SELECT id, promoted_at, retired_at FROM models") == before
    assert forecast.result == "succeeded"
