"""Tokens: what of a window they hold, and that causal ones know nothing of what comes later."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forecaster.network.patch_embedding import Tokens
from forecaster.network.scaling import scale_window
from forecaster.network.spec import ModelSpec
from tests.network.networks import contexts, gappy_contexts, small_spec
from tests.tolerance import assert_close

pytestmark = pytest.mark.numeric

WINDOW, CAUSAL = small_spec(), small_spec(statistics="causal")
LENGTH, PATCH, PATCHES = 24, 4, 6
BOTH = pytest.mark.parametrize("spec", [WINDOW, CAUSAL], ids=["window", "causal"])
NO_FLOOR = 4.0
SCALE = 100 / NO_FLOOR
"""How many of their spreads windows are moved by; as many ulp are lost."""
"""Far above the smallest spread, and above what a patch of a random walk loses by chance."""


def embedding(spec: ModelSpec) -> Tokens:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tokens(spec).eval()


def tokens(spec: ModelSpec, context: Tensor, hidden: Tensor | None = None) -> Tensor:
    window = scale_window(context, spec.patch_length, spec.season_patches)
    with torch.inference_mode():
        found: Tensor = embedding(spec)(window, hidden, None)
    return found


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert_close(found, expected, scale=SCALE)


@BOTH
def test_every_past_patch_is_a_token(spec: ModelSpec) -> None:
    assert tokens(spec, contexts(3, LENGTH)).shape == (3, PATCHES, spec.hidden_size)


@settings(max_examples=50)
@given(
    context=gappy_contexts(LENGTH),
    later=gappy_contexts(LENGTH),
    patch=st.integers(1, PATCHES - 1),
    shift=st.sampled_from([0.0, 30.0, 3000.0]),
)
def test_later_patches_never_change_earlier_causal_tokens(
    context: Tensor, later: Tensor, patch: int, shift: float
) -> None:
    known = PATCH * patch
    changed = torch.cat((context[:, :known], later[:, known:] + shift), 1)

    assert_same(tokens(CAUSAL, changed)[:, :patch], tokens(CAUSAL, context)[:, :patch])


def test_later_patches_change_earlier_tokens_with_window_statistics() -> None:
    context = contexts(3, LENGTH)
    changed = context.clone()
    changed[:, -PATCH:] += 30

    difference = tokens(WINDOW, changed)[:, 0] - tokens(WINDOW, context)[:, 0]
    assert bool((difference.abs().amax(1) > 0.01).all())


@st.composite
def hidden_values(draw: st.DrawFn) -> Tensor:
    """Some values, and whole patches, that are not to be seen."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    values = torch.rand(3, LENGTH, generator=generator) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    patches = torch.rand(3, PATCHES, generator=generator) < 0.3
    return values | patches.repeat_interleave(PATCH, 1)


@settings(max_examples=50)
@given(context=gappy_contexts(LENGTH), other=gappy_contexts(LENGTH), hidden=hidden_values())
def test_hidden_values_do_not_reach_causal_tokens_in_any_way(
    context: Tensor, other: Tensor, hidden: Tensor
) -> None:
    exchanged = torch.where(hidden & context.isfinite(), 50 + other.nan_to_num(), context)

    assert_same(tokens(CAUSAL, exchanged, hidden), tokens(CAUSAL, context, hidden))


@given(context=gappy_contexts(LENGTH), hidden=hidden_values())
def test_hidden_values_are_missing_ones_to_causal_tokens(context: Tensor, hidden: Tensor) -> None:
    missing = context.masked_fill(hidden, torch.nan)

    assert_same(tokens(CAUSAL, context, hidden), tokens(CAUSAL, missing))


def test_hidden_values_are_not_in_tokens_with_window_statistics() -> None:
    context, hidden = contexts(3, LENGTH), torch.zeros(3, LENGTH, dtype=torch.bool)
    hidden[:, 5:7] = True
    exchanged = context.clone()
    exchanged[:, [5, 6]] = context[:, [6, 5]]  # mean and spread stay

    assert_same(tokens(WINDOW, exchanged, hidden), tokens(WINDOW, context, hidden))


@BOTH
@given(
    context=gappy_contexts(LENGTH), shift=st.floats(-100, 100), factor=st.sampled_from([1.5, 40.0])
)
def test_tokens_stay_when_a_window_moves_and_stretches(
    spec: ModelSpec, context: Tensor, shift: float, factor: float
) -> None:
    context = context.clone()
    context[:, :PATCH] = NO_FLOOR * torch.tensor([-1.0, 1.0, -1.0, 1.0])

    assert_same(tokens(spec, context * factor + shift), tokens(spec, context))


def test_a_window_that_stands_still_does_not_blow_up_its_noise() -> None:
    still = torch.full((2, LENGTH), 5.0)
    nearly = still + 1e-4 * torch.randn(2, LENGTH, generator=torch.Generator().manual_seed(0))

    assert float((tokens(CAUSAL, nearly) - tokens(CAUSAL, still)).abs().max()) < 0.02


@BOTH
@pytest.mark.parametrize("value", [torch.nan, 0.0, 1e14, -1e14])
def test_windows_with_nothing_in_them_have_finite_tokens(spec: ModelSpec, value: float) -> None:
    context = torch.full((2, LENGTH), torch.nan)
    context[1, 9] = value

    assert bool(tokens(spec, context).isfinite().all())
    everything = torch.ones(2, LENGTH, dtype=torch.bool)
    assert bool(tokens(spec, context, everything).isfinite().all())


def test_a_causal_token_says_how_its_units_moved() -> None:
    walk = torch.cat((torch.tensor([-1.0, 1.0, -1.0, 1.0]), torch.full((LENGTH - PATCH,), 3.0)))
    embed = embedding(CAUSAL)
    captured: list[Tensor] = []
    embed.embed.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))

    embed(scale_window(walk[None], PATCH, 2), None, None)

    values, observed, move, growth = captured[0][0].split((PATCH, PATCH, 1, 1), 1)
    seen = [walk[: PATCH * (patch + 1)].double() for patch in range(PATCHES)]
    centres = torch.stack([part.mean() for part in seen])
    spreads = torch.stack([part.std(correction=0) for part in seen])
    expected = (walk.double().view(PATCHES, PATCH) - centres[:, None]) / spreads[:, None]
    assert_close(values, expected)
    assert bool((observed == 1).all())
    assert float(move[0]) == float(growth[0]) == 0
    assert_close(move[1:, 0], centres.diff() / spreads[1:])
    assert_close(growth[1:, 0], spreads.log().diff())
