"""All shapes in one dataset: what a training and a forecast make of them together."""

import math
from random import Random

import pytest

from jobs.execution.reports import RetrainReport
from tests.jobs.small import HORIZON, LAST, hour
from tests.shapes.places import HEALTHY, Place, Row, is_finite, series

RANDOM = Random(11)
WAVE = [50 + 10 * math.sin(math.tau * place / 24) for place in range(300)]
SHAPES: dict[str, list[float | None]] = {
    "constant": [5e8] * 300,
    "zeros": [0.0] * 300,
    "huge": [1e300 * value for value in WAVE],
    "spiky": [1e300 if place % 50 == 7 else value for place, value in enumerate(WAVE)],
    "largest": [1.7e308 * (-1) ** place for place in range(300)],
    "tiny": [5e-324 * round(value) for value in WAVE],
    "counter": [1e10 + place for place in range(300)],
    "reset": [1e10 + place if place < 200 else float(place) for place in range(300)],
    "bursts": [RANDOM.choice([0.0] * 20 + [30.0]) for _ in range(300)],
    "holes": [value if RANDOM.random() < 0.4 else None for value in WAVE],
    "gap": [None if 50 < place < 250 else value for place, value in enumerate(WAVE)],
    "young": [*WAVE[:30]],
    "single": [1.0],
    "empty": [None] * 300,
    "steps": [float(place // 100) for place in range(300)],
}


def shapes() -> list[Row]:
    rows = [row for key, values in SHAPES.items() for row in series(key, values)]
    silent = series("silent", WAVE, last=LAST - 90)
    odd = [("sick", hour(LAST - place), math.inf) for place in range(50)]
    return [*rows, *silent, *odd, (None, hour(LAST), 1.0), ("lost", None, 1.0)]


@pytest.mark.fault(11, 12, 13)
def test_a_training_on_all_shapes_at_once_is_finite(file: Place) -> None:
    account = file.bring(shapes())
    assert account.lost == 0

    trained = file.world.tick("retrain", hour(LAST)).report

    assert isinstance(trained, RetrainReport), file.world.outcomes[-1]
    assert math.isfinite(trained.train_loss)
    assert all(map(math.isfinite, trained.scores.values()))
    report = file.forecast()
    said = file.forecasts()
    assert is_finite(said)
    assert {HEALTHY, *SHAPES} - {"empty"} <= set(said) | set(report.skipped_series)
    sick = {"single", "young", "huge", "largest", "empty", "silent", "sick"}
    assert set(SHAPES) - sick <= set(said)
    assert all(len(steps) == HORIZON for steps in said.values())
