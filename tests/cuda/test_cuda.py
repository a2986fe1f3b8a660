"""One GPU: the same forecasts as the CPU, memory that runs out, and two processes side by side.

Skipped, and said so, where there is no NVIDIA device. cuDNN multiplies in TF32 by default (ten bits
of mantissa), so agreement with the CPU is to a hundredth of a window's spread, not to the bit.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from forecaster.config.settings import DatasetConfig, ModelConfig, TrainingConfig
from forecaster.data.panel import Panel
from forecaster.inference.checkpoint import TrainedModel, dumps, loads
from forecaster.inference.device import (
    CPU,
    LARGEST_BATCH,
    Runner,
    choose_device,
)
from forecaster.inference.predictor import predict
from forecaster.network.network import NetworkOutput
from forecaster.network.spec import ModelSpec
from forecaster.schemas import DEVIATION_COLUMNS
from forecaster.times.durations import Step
from forecaster.times.schedules import Every
from forecaster.training.estimator import fit
from forecaster.training.preparation import prepare
from jobs.training_process.parent import fit_in_child
from tests.data.observed import HOUR, MONDAY, observed
from tests.network.networks import contexts, small_network, small_spec
from tests.tolerance import assert_close

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA device"),
]

GPU = torch.device("cuda")
HOURS = 600
CUTOFF = MONDAY + (HOURS - 1) * HOUR
TRAINING = TrainingConfig(steps=200, batch_size=128, naive_guard=False)
TOLERANCE = 1e-2  # tolerance: TF32 on the device
"""Of the spread of a window."""

PARTS = [
    {},
    *({"encoder": name} for name in ("gru", "rnn")),
    *({"score": name} for name in ("dot", "general", "additive", "location", "local")),
    *({"normaliser": name} for name in ("sparsemax", "entmax15")),
    *({"head": name} for name in ("student_t", "gaussian_mixture")),
    {"self_attention": True},
    {"statistics": "causal"},
    {"calendar": True},
]


@pytest.fixture(autouse=True)
def _all_memory() -> Iterator[None]:
    """Give back what a test took, and lift the limit it set."""
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def season(number: int) -> list[float | None]:
    noise = np.random.default_rng(number).normal(0, 0.3, HOURS)
    return [10 + number + math.sin(math.tau * hour / 24) + noise[hour] for hour in range(HOURS)]


SERIES = observed({f"s{number}": season(number) for number in range(8)})


@pytest.fixture(scope="module")
def task() -> tuple[Panel, ModelSpec]:
    model = ModelConfig(statistics="window", calendar=False)
    config = DatasetConfig(
        name="small",
        step=Step.parse("1h"),
        prediction_length=24,
        forecast_schedule=Every(timedelta(hours=1)),
        retrain_schedule=Every(timedelta(days=1)),
        history=timedelta(days=365),
        late_data=timedelta(hours=2),
        model=model,
    )
    return prepare(SERIES, config)


@pytest.fixture(scope="module")
def trained(task: tuple[Panel, ModelSpec]) -> TrainedModel:
    """A model that was trained on the GPU."""
    result = fit(*task, replace(TRAINING, device="cuda"))
    assert result.device == "cuda"
    assert result.notes == ()
    return result.model


def limit_memory(size: int) -> None:
    """Let this process take so many bytes more of the device, through torch, than it holds."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + size) / total)


def quantiles(model: TrainedModel, device: str) -> np.ndarray:
    frame = predict(model, SERIES, [CUTOFF], device=device).forecasts
    values: np.ndarray = (
        frame["level"].to_numpy()[:, None] + frame.select(DEVIATION_COLUMNS).to_numpy()
    )
    return values


def cutoffs(context: Tensor) -> Tensor:
    return torch.arange(len(context))


def test_a_gpu_is_what_auto_means() -> None:
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize("changes", PARTS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_both_devices_forecast_the_same(changes: dict[str, object]) -> None:
    spec = small_spec(**changes)
    context = contexts(64, spec.context_length)
    context[::3, 5:9] = torch.nan
    here, there = (
        Runner(small_network(spec), device)(context, cutoffs(context)) for device in (CPU, GPU)
    )

    assert there.level.device == CPU  # outputs are where the contexts are
    for field in fields(NetworkOutput):
        ours, theirs = getattr(here, field.name), getattr(there, field.name)
        unit = here.spread.view(-1, *[1] * (ours.dim() - 1))
        is_share = field.name in ("weights", "adjusted_weights")
        assert float(((ours - theirs).abs() / (1 if is_share else unit)).max()) < TOLERANCE


@pytest.mark.fault(23)
def test_a_batch_too_large_for_the_memory_is_halved() -> None:
    spec = small_spec(hidden_size=64, context_length=20 * 4, heads=6)
    context = contexts(LARGEST_BATCH, spec.context_length).to(GPU)
    run = Runner(small_network(spec), GPU)
    whole = run(context, cutoffs(context))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    run(context, cutoffs(context))
    needed = torch.cuda.max_memory_reserved() - before
    assert run.batch_size == LARGEST_BATCH

    limit_memory(needed // 2)
    halved = run(context, cutoffs(context))

    assert run.batch_size < LARGEST_BATCH
    assert run.device == GPU
    torch.testing.assert_close(
        halved.deviations,
        whole.deviations,
        rtol=1e-2,
        atol=1e-2,  # tolerance: TF32 on the device
    )


@pytest.mark.fault(23)
def test_a_training_batch_too_large_for_the_memory_is_halved(
    task: tuple[Panel, ModelSpec],
) -> None:
    panel, spec = task
    config = replace(TRAINING, steps=5, batch_size=8192, device="cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    fit(panel, spec, config)
    needed = torch.cuda.max_memory_reserved() - before

    limit_memory(needed // 2)
    result = fit(panel, spec, config)

    assert result.device == "cuda"
    assert any(note.startswith("out of memory: batches of") for note in result.notes)
    assert math.isfinite(result.train_loss)


@pytest.mark.fault(23)
def test_a_gpu_without_any_room_leaves_training_and_forecasts_to_the_cpu(
    task: tuple[Panel, ModelSpec], trained: TrainedModel
) -> None:
    expected = quantiles(trained, "cpu")
    trained.network.cpu()
    limit_memory(0)

    result = fit(*task, replace(TRAINING, steps=2, device="cuda"))

    assert result.device == "cpu"
    assert result.notes[0] == "out of memory on cuda: trained on cpu"
    assert_close(quantiles(trained, "cpu"), expected)


def test_training_is_as_good_on_both_devices(task: tuple[Panel, ModelSpec]) -> None:
    scores = [fit(*task, replace(TRAINING, device=device)).validation for device in ("cpu", "cuda")]

    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[1].mase == pytest.approx(scores[0].mase, rel=0.15)


def test_a_model_goes_from_device_to_device(trained: TrainedModel) -> None:
    data = dumps(trained)

    again = loads(data)

    assert {weight.device for weight in again.network.parameters()} == {CPU}
    there, here = quantiles(again, "cuda"), quantiles(again, "cpu")
    np.testing.assert_allclose(there, here, rtol=0, atol=TOLERANCE)  # tolerance: TF32 on the device
    quantiles(again, "cuda")
    assert dumps(again) == data  # wherever its weights are


def test_an_ensemble_runs_on_the_gpu(task: tuple[Panel, ModelSpec]) -> None:
    model = fit(*task, replace(TRAINING, steps=5, ensemble=2, device="cuda")).model

    there, here = quantiles(model, "cuda"), quantiles(model, "cpu")
    np.testing.assert_allclose(there, here, rtol=0, atol=TOLERANCE)  # tolerance: TF32 on the device


def test_a_child_trains_while_its_parent_forecasts_on_the_same_card(
    task: tuple[Panel, ModelSpec], trained: TrainedModel
) -> None:
    expected, done = quantiles(trained, "cuda"), threading.Event()
    answers = []

    def train() -> None:
        try:
            answers.append(fit_in_child(*task, replace(TRAINING, device="cuda")))
        finally:
            done.set()

    child = threading.Thread(target=train)
    child.start()
    forecasts = [quantiles(trained, "cuda")]
    while not done.is_set():
        forecasts.append(quantiles(trained, "cuda"))
    child.join()

    (fitted,) = answers
    assert fitted.device == "cuda"
    assert isinstance(loads(fitted.checkpoint), TrainedModel)
    for found in forecasts:
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=TOLERANCE
        )  # tolerance: TF32 on the device


def test_forecasts_say_the_same_about_every_series_whatever_the_device(
    trained: TrainedModel,
) -> None:
    frames = [predict(trained, SERIES, [CUTOFF], device=name) for name in ("cpu", "cuda")]

    keys = ["series_id", "cutoff", "step", "timestamp", "status"]
    assert frames[0].forecasts.select(keys).equals(frames[1].forecasts.select(keys))
    sums = frames[1].attention.select(pl.col("weights").list.sum())["weights"]
    assert sums.to_list() == pytest.approx([1] * len(sums), rel=1e-4)
