"""Scores: each against the equation of its paper, written as loops."""

import math

import pytest
import torch
from torch import Tensor, nn

from forecaster.config import score_names, settings
from forecaster.network.attention import TemporalAttention
from forecaster.network.normalizers import NORMALISERS
from forecaster.network.score_functions import SCORES, Local, Shape
from tests.network.networks import small_spec
from tests.tolerance import assert_close

pytestmark = pytest.mark.numeric

SHAPE = Shape(
    heads=2,
    key_size=3,
    inner_size=4,
    queries=5,
    past=6,
    sentinels=2,
    patch_length=4,
    season_length=8,
)
WINDOWS = 2


def tried(name: str) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A score with its queries, keys and what it makes of them."""
    torch.manual_seed(0)
    score = SCORES[name](SHAPE)
    queries = torch.randn(WINDOWS, SHAPE.heads, SHAPE.queries, SHAPE.key_size)
    keys = torch.randn(WINDOWS, SHAPE.heads, SHAPE.sources, SHAPE.key_size)
    return score, queries, keys, score(queries, keys)


def expect(scores: Tensor, found: list[list[list[list[float]]]]) -> None:
    assert_close(scores, torch.tensor(found))


def loops(score: object, queries: Tensor, keys: Tensor) -> list[list[list[list[float]]]]:
    """Call `score` with every single query and key, as lists of numbers, and their places."""
    assert callable(score)
    return [
        [
            [
                [
                    score(k, queries[b, k, q].tolist(), keys[b, k, s].tolist(), s)
                    for s in range(SHAPE.sources)
                ]
                for q in range(SHAPE.queries)
            ]
            for k in range(SHAPE.heads)
        ]
        for b in range(WINDOWS)
    ]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def through(vector: list[float], matrix: Tensor) -> list[float]:
    """The vector times a matrix (inputs, outputs)."""
    return [dot(vector, column.tolist()) for column in matrix.T]


def test_the_settings_know_every_score_and_normaliser() -> None:
    assert set(score_names.SCORES) == set(SCORES)
    assert set(settings.NORMALISERS) == set(NORMALISERS)
    assert settings.ModelConfig().score == "scaled_dot"


def test_dot_is_the_sum_of_products() -> None:
    _, queries, keys, scores = tried("dot")
    expect(scores, loops(lambda _k, q, key, _s: dot(q, key), queries, keys))


def test_scaled_dot_is_the_dot_over_the_root_of_the_key_size() -> None:
    _, queries, keys, scores = tried("scaled_dot")
    expect(scores, loops(lambda _k, q, key, _s: dot(q, key) / math.sqrt(3), queries, keys))


def test_general_puts_a_matrix_between_query_and_key() -> None:
    score, queries, keys, scores = tried("general")

    def general(k: int, query: list[float], key: list[float], _: int) -> float:
        return dot(through(query, score.get_parameter("between")[k]), key)

    expect(scores, loops(general, queries, keys))


def test_additive_is_a_hidden_layer_over_query_and_key() -> None:
    score, queries, keys, scores = tried("additive")

    def additive(k: int, query: list[float], key: list[float], _: int) -> float:
        sums = zip(
            through(query, score.get_parameter("of_query")[k]),
            through(key, score.get_parameter("of_key")[k]),
            strict=True,
        )
        return dot(
            [math.tanh(a + b) for a, b in sums], score.get_parameter("of_sum")[k, :, 0].tolist()
        )

    expect(scores, loops(additive, queries, keys))


def test_location_sees_the_query_and_the_place_but_no_key() -> None:
    score, queries, keys, scores = tried("location")

    def location(k: int, query: list[float], _: list[float], place: int) -> float:
        return through(query, score.get_parameter("of_query")[k])[place]

    expect(scores, loops(location, queries, keys))
    assert torch.equal(score(queries, torch.randn_like(keys)), scores)


def test_local_adds_the_logarithm_of_a_gaussian_to_general() -> None:
    score, queries, keys, scores = tried("local")
    half_window = SHAPE.past / 4

    def local(k: int, query: list[float], key: list[float], place: int) -> float:
        content = dot(through(query, score.get_parameter("content.between")[k]), key)
        inner = [math.tanh(value) for value in through(query, score.get_parameter("inner")[k])]
        centre = SHAPE.past / (
            1 + math.exp(-dot(inner, score.get_parameter("centre")[k, :, 0].tolist()))
        )
        gaussian = math.exp(-((place - centre) ** 2) / (2 * (half_window / 2) ** 2))
        return content + (math.log(gaussian) if place < SHAPE.past else 0.0)

    expect(scores, loops(local, queries, keys))


def test_the_gaussian_of_local_multiplies_the_weights() -> None:
    """A log-prior before the softmax is a factor after it, up to the sum."""
    score, queries, keys, scores = tried("local")
    assert isinstance(score, Local)
    content = score.content(queries, keys)[..., : SHAPE.past].exp()
    product = content * score.log_gaussian(queries).exp()
    weights = scores[..., : SHAPE.past].softmax(3)
    assert_close(weights, product / product.sum(3, keepdim=True))


@pytest.mark.parametrize("name", ["dot", "general", "additive", "location", "local"])
def test_what_no_paper_projects_is_the_state_itself(name: str) -> None:
    attention = TemporalAttention(small_spec(score=name))
    seen: dict[str, Tensor] = {}
    attention.score.register_forward_hook(
        lambda _module, inputs, _output: seen.update(queries=inputs[0], keys=inputs[1])
    )
    with torch.no_grad():
        attention.patch_queries.zero_()
    states = torch.randn(2, 6, 8)
    attention(states, torch.ones(2, 6))
    assert torch.equal(seen["keys"][:, :, :6], states[:, None].expand(-1, 4, -1, -1))
    assert torch.equal(seen["queries"], states[:, None, -1:].expand(-1, 4, 3, -1))


def test_heads_of_scaled_dot_see_projections_of_the_states() -> None:
    attention = TemporalAttention(small_spec())
    assert {name for name, _ in attention.named_parameters()} == {
        "query.weight", "query.bias", "key.weight", "key.bias",
        "patch_queries", "sentinel_keys", "lag_bias", "sentinel_bias",
    }  # fmt: skip
