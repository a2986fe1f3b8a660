"""Naive2 has its published score on the data it was published for."""

import numpy as np
import pytest

from benchmarks import protocols, scores
from forecaster.baselines.naive2 import naive2


@pytest.mark.usefixtures("real_data")
def test_naive2_has_its_published_score_on_m4_hourly() -> None:
    trial = protocols.Trial(protocols.M4)

    said = np.stack([naive2(trial.seen(row), 48, 24) for row in range(len(trial.panel))])

    found = trial.backtest({"naive2": trial.said(scores.point(said))}).of("naive2")
    assert found is not None
    assert (round(found["smape"], 3), round(found["mase"], 3)) == (18.383, 2.395)
