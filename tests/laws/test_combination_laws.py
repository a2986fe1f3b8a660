"""The laws of the model over encoders, scores, normalisers, heads and masks together.

Every two choices meet in some combination (pairwise testing: what breaks is usually one choice or
two of them); the names come from the registries, so that a new one is held to the laws.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from forecaster.config.settings import STATISTICS, ModelConfig
from forecaster.inference.checkpoint import TrainedModel, dumps, loads
from forecaster.network.network import ENCODERS, AttentionLSTM
from forecaster.network.normalizers import NORMALISERS
from forecaster.network.output_heads import HEADS
from forecaster.network.score_functions import SCORES
from forecaster.training import estimator, preparation
from tests.jobs.small import DATASET, rows
from tests.laws import laws
from tests.network.networks import contexts, small_network, small_spec

pytestmark = pytest.mark.numeric

CHOICES: Mapping[str, Sequence[object]] = {
    "encoder": tuple(ENCODERS),
    "score": tuple(SCORES),
    "normaliser": tuple(NORMALISERS),
    "head": tuple(HEADS),
    "self_attention": (False, True),
    "attention_window": (6, 2),
    "heads": (4, 1),
    "temperature": (1.0, 0.5),
    "statistics": STATISTICS,
    "calendar": (False, True),
}
Combination = dict[str, object]


def pairwise(choices: Mapping[str, Sequence[object]]) -> list[Combination]:
    """Few combinations in which any two choices meet: always the one that adds most pairs."""
    every = [dict(zip(choices, row, strict=True)) for row in product(*choices.values())]
    bits: defaultdict[object, int] = defaultdict(lambda: 1 << len(bits))
    pairs = [sum(bits[pair] for pair in combinations(row.items(), 2)) for row in every]
    missing = (1 << len(bits)) - 1
    rows = []
    while missing:
        best = max(range(len(every)), key=lambda row: (pairs[row] & missing).bit_count())
        missing &= ~pairs[best]
        rows.append(every[best])
    return rows


ROWS = pairwise(CHOICES)
NAMES = ["-".join(map(str, row.values())) for row in ROWS]
every_combination = pytest.mark.parametrize("combination", ROWS, ids=NAMES)


def gappy() -> Tensor:
    """Contexts (6, 24): whole, with holes, late, with little, with one value, and with nothing."""
    context = contexts(6, 24)
    context[1, 3:9], context[1, 12] = torch.nan, torch.nan
    context[2, 18:], context[3, :20] = torch.nan, torch.nan
    context[4, :10], context[4, 11:] = torch.nan, torch.nan
    context[5] = torch.nan
    return context


LAWS: Sequence[Callable[[AttentionLSTM, Tensor], None]] = (
    laws.the_copied_part_is_the_published_weights_times_the_raw_values,
    laws.the_last_value_part_is_its_weight_times_the_last_value,
    laws.the_parts_add_up_to_the_median,
    laws.weights_are_shares_and_nothing_comes_from_a_missing_patch,
    laws.quantiles_are_finite_and_never_cross,
    laws.batch_mates_do_not_matter,
)


@every_combination
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_law_holds(
    combination: Combination, law: Callable[[AttentionLSTM, Tensor], None]
) -> None:
    law(small_network(small_spec(**combination)), gappy())


@every_combination
@pytest.mark.parametrize(("shift", "factor"), [(50.0, 1.0), (0.0, 80.0), (-30.0, 0.6)])
def test_a_forecast_moves_and_stretches_with_its_window(
    combination: Combination, shift: float, factor: float
) -> None:
    network = small_network(small_spec(**combination))
    laws.a_forecast_moves_and_stretches_with_its_window(network, gappy(), shift, factor)


@every_combination
def test_only_the_newest_patches_are_published(combination: Combination) -> None:
    spec = small_spec(**combination)
    output = laws.forecast(small_network(spec), contexts(3, 24))
    assert output.weights[..., : 6 - spec.attention_window].abs().sum() == 0
    assert bool((output.weights[..., :-2] > 0).any())


@every_combination
def test_with_one_head_no_patch_is_adjusted_to_its_level(combination: Combination) -> None:
    output = laws.forecast(small_network(small_spec(**{**combination, "heads": 1})), gappy())
    assert output.adjusted_weights.abs().sum() == 0


@every_combination
def test_a_checkpoint_forecasts_the_same_bits(combination: Combination) -> None:
    spec = small_spec(**combination)
    model = TrainedModel(spec=spec, network=small_network(spec), series_scale={"a": 1.0})

    again = loads(dumps(model))

    for name, part in asdict(laws.forecast(model.network, gappy())).items():
        assert torch.equal(getattr(laws.forecast(again.network, gappy()), name), part)
    assert dumps(again) == dumps(model)


@every_combination
def test_the_same_seed_trains_the_same_bits(combination: Combination) -> None:
    model = ModelConfig(**{**asdict(DATASET.model), **combination})
    panel, spec = preparation.prepare(rows("a", 0, 200), replace(DATASET, model=model))
    config = replace(DATASET.training, steps=2, batch_size=4)

    first, second = (dumps(estimator.fit(panel, spec, config).model) for _ in range(2))

    assert first == second
    assert all(getattr(spec, name) == value for name, value in combination.items())


def test_any_two_choices_meet() -> None:
    met = {pair for row in ROWS for pair in combinations(row.items(), 2)}
    for (one, these), (other, those) in combinations(CHOICES.items(), 2):
        assert all(((one, a), (other, b)) in met for a, b in product(these, those))
    assert len(ROWS) < 40
