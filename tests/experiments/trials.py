"""Two waves, and trials on their last windows."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import torch
from hypothesis import strategies as st

from forecaster.config.settings import DatasetConfig
from forecaster.data.anchor import detect_grid
from forecaster.data.grid import Grid
from forecaster.evaluation import cutoffs
from forecaster.evaluation.cutoffs import BacktestWindows, Rolling
from forecaster.experiments import experiment, rivals
from forecaster.experiments.experiment import Experiment, TrainingPlan
from forecaster.experiments.stage import Listener
from forecaster.times.durations import Step
from tests.config.configs import small_dataset
from tests.data.observed import observed

HORIZON, HOURS = 12, 300
GRID = Grid(step=Step.parse("1h"), anchor=0, timezone="UTC")
DATASET = replace(
    small_dataset(prediction_length=HORIZON),
    training=replace(small_dataset().training, steps=2, batch_size=8, device="cpu"),
)


def waves(seed: int = 0, length: int = HOURS) -> list[float | None]:
    noise = torch.randn(length, generator=torch.Generator().manual_seed(seed))
    hours = torch.arange(length)
    return (50 + 10 * torch.sin(hours * torch.pi / 12) + noise).tolist()


ROWS = observed({"a": waves(), "b": waves(1)})


def run(
    rows: pl.DataFrame,
    names: Sequence[str] = rivals.USUAL,
    dataset: DatasetConfig = DATASET,
    *,
    windows: int = 3,
    refit: bool = False,
    watch: Listener | None = None,
) -> Experiment:
    origins = chosen(rows, windows)
    return experiment.run(
        rows, origins, dataset, names, plan=TrainingPlan(refit=refit), listener=watch
    )


def chosen(rows: pl.DataFrame, windows: int = 3) -> BacktestWindows:
    rolling = Rolling(prediction_length=HORIZON, stride=HORIZON, windows=windows)
    return cutoffs.at_the_end(rows, detect_grid(rows, DATASET.step, "UTC"), rolling)


poison = st.sampled_from([0.0, -1e30, 1e9, 3.0])
