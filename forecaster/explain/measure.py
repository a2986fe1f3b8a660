"""How far the attention of a model can be trusted: figures that are measured, not claimed.

Shapes: B windows, L context steps = Lp past patches of P, Hp future patches, H steps ahead,
S = Lp + 2 sources (past patches from the oldest, the last value, the level).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import mean

import torch
from torch import Tensor

from forecaster.data.panel import Panel
from forecaster.data.windows import Windows, gather
from forecaster.explain.faithfulness import Deleter, ForecastFunction, naopc, removals
from forecaster.explain.report import Agreement, Shares, Trust
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.device import CPU, Runner
from forecaster.inference.eligibility import FORECAST, classify
from forecaster.network.ensemble import Network, disassemble
from forecaster.network.network import AttentionLSTM, NetworkOutput
from forecaster.network.output_heads import MEDIAN
from forecaster.network.scaling import scale_window
from forecaster.network.spec import ModelSpec
from forecaster.training.holdout import hold_out

MOST_WINDOWS = 128
FEWEST_WINDOWS = 32
WORK = 2048
"""Windows × past patches: each patch of each window is one forecast without it."""
TOP = 5
"""Most attended patches that two models are compared on."""


def forecast_function(network: Network) -> ForecastFunction:
    """Return `network` as something that forecasts windows, on the CPU."""
    run = Runner(network, CPU)
    return lambda windows: run(windows.context, windows.cutoffs)


def trust(model: TrainedModel, panel: Panel, *, seed: int = 0) -> Trust:
    """Measure the network of `model` on the last windows of `panel`, on the CPU: about a second.

    The members of an ensemble are compared. `seed` draws the patches that are removed at random.
    """
    spec, windows = model.spec, newest_windows(panel, model.spec)
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        figures = measure(forecast_function(model.network), windows, spec, generator)
        seeds = _among(disassemble(model.network), windows)
        return replace(figures, seeds=seeds, serves=model.fallback is None)


def _among(members: Sequence[AttentionLSTM], windows: Windows) -> Agreement | None:
    """Compare every network with the next; None where there is only one."""
    outputs = [forecast_function(member)(windows) for member in members]
    pairs = [agreement(first, second) for first, second in pairwise(outputs)]
    if not pairs:
        return None
    return Agreement(
        divergence=mean(pair.divergence for pair in pairs),
        overlap=mean(pair.overlap for pair in pairs),
    )


def measure(
    forecast: ForecastFunction, windows: Windows, spec: ModelSpec, generator: torch.Generator
) -> Trust:
    """Measure what forecasts `windows` as `forecast` does."""
    output = forecast(windows)
    deleter = Deleter(forecast, windows, spec.patch_length)
    observed = windows.context.isfinite().unflatten(1, (-1, spec.patch_length)).any(2)  # (B, Lp)
    last = torch.where(observed, torch.arange(observed.shape[1]), 0).amax(1)
    newest = torch.nn.functional.one_hot(
        last, observed.shape[1]
    ).bool()  # the first if none has any
    weights = patch_weights(output, newest, spec)
    older = observed & ~newest
    return Trust(
        windows=len(windows.rows),
        past_patches=spec.past_patches,
        reconstruction_error=reconstruction_error(output, windows.context, spec),
        shares=shares(output, spec),
        naopc=naopc(deleter, weights, observed),
        removals=removals(deleter, weights, observed, generator),
        older=removals(deleter, weights, older, generator),
    )


def newest_windows(panel: Panel, spec: ModelSpec) -> Windows:
    """Cut evenly spread windows that can be forecast out of the validation part of `panel`.

    As many as can be evaluated in about a second; their targets are what is known of them. A short
    history was learnt to its end after validation: its model has seen them.
    """
    length, holdout = spec.prediction_length, hold_out(panel, spec)
    pairs = replace(holdout, windows=max(1, holdout.windows)).pairs(panel)
    most = min(MOST_WINDOWS, max(FEWEST_WINDOWS, WORK // spec.past_patches))
    chosen = pairs[torch.linspace(0, len(pairs) - 1, min(most, len(pairs))).round().long()]
    windows = gather(panel, chosen[:, 0], chosen[:, 1], spec.context_length, length)
    kept = chosen[classify(windows, spec) == FORECAST]
    return gather(panel, kept[:, 0], kept[:, 1], spec.context_length, length)


def patch_weights(output: NetworkOutput, newest: Tensor, spec: ModelSpec) -> Tensor:
    """Return (B, Lp): how much each past patch is attended, as the mean over the H steps.

    The last value is one of the `newest` patch (B, Lp), so its weight counts there.
    """
    weights = _by_step(output, spec).mean(1)
    return weights[:, :-2] + weights[:, -2, None] * newest


def _by_step(output: NetworkOutput, spec: ModelSpec) -> Tensor:
    """Return the weights of every step (B, H, S)."""
    return output.weights[:, torch.arange(spec.prediction_length) // spec.patch_length]


def reconstruction_error(output: NetworkOutput, context: Tensor, spec: ModelSpec) -> float:
    """Return how far the parts are from the median at most, in spreads of each window.

    The past values and the last one are multiplied by the weights again here, in float64 and from
    the raw `context` (B, L); only what a level is comes from `forecaster.network.scaling`.
    """
    window = scale_window(context.double(), spec.patch_length, spec.season_patches)
    spread, level = window.spread[:, None], output.level.double()[:, None]
    mask = window.observed
    raw = torch.where(mask > 0, context.double().unflatten(1, (-1, spec.patch_length)), 0.0)
    levels = (window.centre[:, None] + spread * window.patch_levels)[..., None]  # (B, Lp, 1)
    weights, adjusted = output.weights.double(), output.adjusted_weights.double()
    copied = weights[..., :-2] @ ((raw - level[..., None]) * mask)
    copied += adjusted @ ((level[..., None] - levels) * mask)  # (B, Hp, P)
    last = (window.centre + window.spread * window.last)[:, None] - level
    copied += (weights[..., -2] * last)[..., None]
    parts = copied.flatten(1)[:, : spec.prediction_length] + output.residual.double()
    error = (output.deviations[..., MEDIAN].double() - parts).abs() / spread
    return float(error.max()) if error.numel() else 0.0


def shares(output: NetworkOutput, spec: ModelSpec) -> Shares:
    """Return where the forecasts come from, as the mean over windows and steps."""
    sizes = [
        float(part.abs().double().mean())
        for part in (output.copied, output.last_value, output.residual)
    ]
    copied, last_value, residual = (size / (sum(sizes) or 1.0) for size in sizes)
    weights = _by_step(output, spec).double()
    past = weights[..., :-2] / weights[..., :-2].sum(2, keepdim=True)
    entropy = -torch.special.xlogy(past, past).sum(2)
    return Shares(
        copied=copied,
        last_value=last_value,
        residual=residual,
        last_value_weight=float(weights[..., -2].mean()),
        level_weight=float(weights[..., -1].mean()),
        effective_patches=float(entropy.exp().nanmean()),
    )


def agreement(first: NetworkOutput, second: NetworkOutput) -> Agreement:
    """Compare what two models, such as two seeds, attend to; both (B, Hp, S)."""
    one, other = first.weights.double(), second.weights.double()
    mixed = (one + other) / 2
    divergence = (_divergence(one, mixed) + _divergence(other, mixed)) / 2
    top = min(TOP, one.shape[2] - 2)
    tops = [weights[..., :-2].topk(top).indices for weights in (one, other)]
    shared = (tops[0][..., None] == tops[1][..., None, :]).any(3)
    return Agreement(divergence=float(divergence.mean()), overlap=float(shared.double().mean()))


def _divergence(weights: Tensor, mixed: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence along the last axis, in bits; 0 log 0 is 0."""
    terms = torch.special.xlogy(weights, weights / mixed)
    return torch.where(weights > 0, terms, 0.0).sum(-1) / math.log(2)
