"""Small untrained networks, and windows to look at, for the tests of the model."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from forecaster.inference.checkpoint import TrainedModel
from forecaster.network.network import AttentionLSTM, NetworkOutput
from forecaster.network.spec import ModelSpec

MISSING = torch.nan


def small_spec(**changes: object) -> ModelSpec:
    """A spec with a season of two patches; `changes` replace what is given."""
    values: dict[str, object] = {
        "step": "1h",
        "anchor": 0,
        "timezone": "UTC",
        "season_length": 8,
        "long_season": 16,
        "patch_length": 4,
        "context_length": 24,
        "prediction_length": 10,
        "max_lag": 8,
        "min_observed": 8,
        "score": "scaled_dot",
        "normaliser": "softmax",
        "temperature": 1.0,
        "attention_window": 6,
        "self_attention": False,
        "priors": (),
        "statistics": "window",
        "calendar": False,
        "undecided": (),
        "encoder": "lstm",
        "head": "quantile",
        "hidden_size": 8,
        "layers": 2,
        "heads": 4,
        "key_size": 4,
        "mlp_size": 16,
        "dropout": 0.1,
    }
    return ModelSpec(**(values | changes))  # type: ignore[arg-type]


def small_network(spec: ModelSpec, seed: int = 0) -> AttentionLSTM:
    """An untrained network whose weights are large enough to tell its parts apart."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AttentionLSTM(spec).eval()
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight) * 0.3)
    return network


def small_model(series_scale: dict[str, float] | None = None, **changes: object) -> TrainedModel:
    spec = small_spec(**changes)
    return TrainedModel(spec=spec, network=small_network(spec), series_scale=series_scale or {})


def scale_of(output: NetworkOutput) -> Tensor:
    """(B, 1) how large the numbers of each window are that a forecast is made of."""
    return (output.level.abs() + output.spread)[:, None]


def contexts(batch: int, length: int, seed: int = 0) -> Tensor:
    """Random walks (B, L) around different levels."""
    generator = torch.Generator().manual_seed(seed)
    walks = torch.randn(batch, length, generator=generator).cumsum(1)
    return walks + 10 * torch.randn(batch, 1, generator=generator)


@st.composite
def gappy_contexts(draw: st.DrawFn, length: int, batch: int = 3) -> Tensor:
    """Contexts (B, L) with single gaps, holes and trailing gaps; a row may be all missing."""
    context = contexts(batch, length, draw(st.integers(0, 1000)))
    for row in context:
        holes = draw(st.lists(st.tuples(st.integers(0, length), st.integers(0, 9)), max_size=5))
        for start, size in holes:
            row[start : start + size] = MISSING
        row[length - draw(st.integers(0, length)) :] = MISSING
    return context
