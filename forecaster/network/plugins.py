"""Plug-ins: user-defined scores and priors, imported and tested before they are used.

Importing a module runs its code, so only what local config names is ever passed to `load`.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from forecaster.config import score_names
from forecaster.config.score_names import SCORES
from forecaster.config.settings import ModelConfig
from forecaster.config.validators import nearest
from forecaster.errors import UnusablePlugin
from forecaster.network.attention import Plugins, among_states, built, temporal
from forecaster.network.masks import Places, lags
from forecaster.network.score_functions import Shape
from forecaster.network.spec import ModelSpec

WINDOWS = 3
PROBE = Shape(
    heads=2,
    key_size=5,
    inner_size=7,
    queries=4,
    past=6,
    sentinels=2,
    patch_length=24,
    season_length=168,
)
"""Sizes that all differ, so that a mixed-up axis shows."""

AMONG_STATES = replace(PROBE, queries=PROBE.past, sentinels=0)
"""The same for self-attention."""

SIZES = (1.0, 0.0, 100.0)
"""Of the queries and keys a score is tried with: a quotient by their length fails on zeros."""

GAPPY = (1.0, 0.5, 0.0, 1.0, 0.25, 0.0)
"""Observed shares of past patches that a prior is tried with, over and over."""

_INSTALL = "install it in the environment of Forecaster, or add its folder to PYTHONPATH"
_FIX = "fix it, or remove it from [datasets.NAME.model]"


def load(model: ModelConfig | ModelSpec) -> Plugins:
    """Return the plug-ins that `model` names, tried on a small example, or raise UnusablePlugin.

    Never to be called with the spec of a checkpoint, unless local config names the same.
    """
    plugins = {name: _imported(name) for name in sorted(model.plugins)}
    _try(model, plugins, PROBE, AMONG_STATES)
    return plugins


def try_on(spec: ModelSpec, plugins: Plugins) -> None:
    """Try `plugins` at the sizes of `spec`, on a few windows; raise UnusablePlugin."""
    _try(spec, plugins, temporal(spec, plugins), among_states(spec, plugins))


def _try(model: ModelConfig | ModelSpec, plugins: Plugins, across: Shape, among: Shape) -> None:
    trials: list[tuple[str, Callable[[Shape, Any], None], Shape]] = []
    if model.score not in SCORES:
        shapes = (across, among) if model.self_attention else (across,)
        trials += [(model.score, _try_score, shape) for shape in shapes]
    trials += [(name, _try_prior, across) for name in model.priors]
    for name, trial, shape in trials:
        with _reporting(name, shape), torch.random.fork_rng(devices=[]):
            trial(shape, plugins[name])


def _imported(name: str) -> Any:
    point = score_names.find(name)
    if point is None:
        known = [*SCORES, *score_names.installed()]
        raise UnusablePlugin(
            f"no score or prior is called {name!r}: a score must be one of {known}, a prior an "
            "installed one, or either a path such as 'package.module:Name'",
            hint=_INSTALL,
        )
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # anything that the user's module raises
        module = sys.modules.get(point.module)
        near = nearest(point.attr, vars(module)) if module else None
        meant = f"; did you mean {near!r}?" if near else ""
        missing = isinstance(error, ModuleNotFoundError)
        raise UnusablePlugin(
            f"cannot import plug-in {name!r}: {_shown(error)}{meant}",
            hint=_INSTALL if missing else _FIX,
        ) from error


@contextmanager
def _reporting(name: str, shape: Shape) -> Iterator[None]:
    """Turn whatever goes wrong inside into UnusablePlugin."""
    try:
        yield
    except _Invalid as error:
        raise UnusablePlugin(f"plug-in {name!r} must {error}", hint=_FIX) from None
    except Exception as error:  # anything that the user's code raises
        where = "on a small example" if shape in (PROBE, AMONG_STATES) else f"with {shape}"
        raise UnusablePlugin(
            f"plug-in {name!r} failed {where}: {_shown(error)}", hint=_FIX
        ) from error


class _Invalid(Exception):
    """What a plug-in must do, and what it does."""


def _require(holds: bool, rule: str, actual: object) -> None:
    if not holds:
        raise _Invalid(f"{rule}, found {actual}")


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _try_score(shape: Shape, part: Any) -> None:
    """Score small inputs: right shape, finite, differentiable, every window by itself."""
    score = _build(part, shape)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(WINDOWS, shape.heads, count, shape.key_size, generator=generator)
        for count in (shape.queries, shape.sources)
    ]
    for training, size in product((True, False), SIZES):
        _set_mode(score, training=training)
        _try_inputs(score, shape, size, [size * tensor for tensor in inputs])
    _require_alone(score(*inputs)[:1], score(*(tensor[:1] for tensor in inputs)))


def _try_inputs(score: Any, shape: Shape, size: float, inputs: list[Tensor]) -> None:
    expected = (WINDOWS, shape.heads, shape.queries, shape.sources)
    scores = _tensor(score(*(tensor.requires_grad_() for tensor in inputs)))
    _require(scores.shape == expected, f"return shape {expected}", tuple(scores.shape))
    _require_finite(scores, f"scores of inputs of size {size:g}")
    gradients = _gradients(scores, [*inputs, *_parameters(score)])
    flat = not any(bool(gradient.any()) for gradient in gradients)
    _require(size == 0 or not flat, "be differentiable", "no gradient, or one of 0 everywhere")


def _try_prior(shape: Shape, part: Any) -> None:
    """Ask for a prior where patches are missing: it fits, and is a number or -inf."""
    prior = _build(part, shape)
    gappy = torch.tensor(GAPPY).repeat(-(-shape.past // len(GAPPY)))[: shape.past]
    observed = torch.stack((gappy, torch.ones(shape.past), torch.zeros(shape.past)))
    together, alone = (
        Places(shape=shape, lags=lags(shape.queries, shape.past), observed=rows)
        for rows in (observed, observed[:1])
    )
    expected = (WINDOWS, shape.heads, shape.queries, shape.past)
    for training in (True, False):
        _set_mode(prior, training=training)
        added = _tensor(prior(together))
        rule = f"return a shape that broadcasts to {expected}"
        _require(_broadcasts(added.shape, expected), rule, tuple(added.shape))
        actual = "NaN or +infinity"
        _require(not bool((added.isnan() | (added == torch.inf)).any()), "stay below +inf", actual)
        if added.requires_grad:
            _gradients(torch.where(added.isfinite(), added, 0.0), _parameters(prior))
    _require_alone(added.expand(expected)[:1], prior(alone).expand(1, *expected[1:]))


def _set_mode(part: Any, *, training: bool) -> None:
    if isinstance(part, nn.Module):
        part.train(training)


def _build(part: Any, shape: Shape) -> Any:
    """Build the part, also where there is no memory, as before a checkpoint is read."""
    _require(callable(part), "be a class or a function", type(part).__name__)
    part_built = built(part, shape)
    _require(
        callable(part_built), "be callable when built", f"{type(part_built).__name__} that is not"
    )
    if isinstance(part_built, nn.Module):
        for name, tensor in part_built.state_dict().items():
            _require(tensor.is_floating_point(), f"keep {name} as floating point", tensor.dtype)
            _require_finite(tensor, f"values in {name}")
        with torch.device("meta"):
            built(part, shape)
    return part_built


def _tensor(result: object) -> Tensor:
    if not isinstance(result, Tensor) or not result.is_floating_point():
        kind = result.dtype if isinstance(result, Tensor) else type(result).__name__
        raise _Invalid(f"return a floating-point tensor, found {kind}")
    return result


def _parameters(part: Any) -> list[nn.Parameter]:
    return list(part.parameters()) if isinstance(part, nn.Module) else []


def _gradients(output: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of a weighted sum of `output`, all of them finite."""
    if not output.requires_grad or not inputs:
        return []
    weights = torch.linspace(0.5, 1.5, output.numel()).view_as(output)
    total = (weights * output).sum()
    gradients = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    for gradient in gradients:
        _require_finite(gradient, "gradients")
    return list(gradients)


def _require_finite(tensor: Tensor, what: str) -> None:
    _require(bool(tensor.isfinite().all()), f"have finite {what}", "NaN or infinity")


def _require_alone(together: Tensor, alone: Tensor) -> None:
    same = torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
    _require(
        same, "compute each window independently", "results that depend on the rest of the batch"
    )


def _broadcasts(shape: Sequence[int], expected: Sequence[int]) -> bool:
    try:
        return tuple(torch.broadcast_shapes(shape, expected)) == tuple(expected)
    except RuntimeError:
        return False
