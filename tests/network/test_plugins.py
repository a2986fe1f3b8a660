"""Plug-ins: what is loaded and when, what is refused, and that nobody else can have one loaded."""

import sys
from dataclasses import replace

import pytest
import torch

from forecaster.config import score_names
from forecaster.config.settings import ModelConfig
from forecaster.errors import IncompatibleCheckpoint, UnusablePlugin
from forecaster.inference.checkpoint import TrainedModel, dumps, loads
from forecaster.network import plugins
from forecaster.network.attention import TemporalAttention
from forecaster.network.network import AttentionLSTM
from forecaster.network.score_functions import Dot
from forecaster.network.spec import ModelSpec
from forecaster.training import estimator, preparation
from tests.config.configs import dataset, parsed, problems_of
from tests.jobs.small import DATASET, rows
from tests.network.networks import contexts, small_spec
from tests.tolerance import assert_close, within

COSINE = "own_attention.scores:Cosine"
DECAY = "own_attention.priors:Decay"


def own_model(**changes: object) -> TrainedModel:
    spec = small_spec(**changes)
    torch.manual_seed(0)
    network = AttentionLSTM(spec, plugins.load(spec)).eval()
    return TrainedModel(spec=spec, network=network, series_scale={})


def is_imported(package: str) -> bool:
    return any(name.partition(".")[0] == package for name in sys.modules)


@pytest.mark.usefixtures("own_attention")
@pytest.mark.parametrize("self_attention", [False, True])
@pytest.mark.parametrize(
    "score",
    [COSINE, "cosine", "own_attention.scores:negative_distance", "own_attention.scores:Raw"],
)
@pytest.mark.parametrize("priors", [(), (DECAY, "whole_weeks")])
def test_a_plugin_takes_part_in_a_network_and_its_checkpoint(
    score: str, self_attention: bool, priors: tuple[str, ...]
) -> None:
    model = own_model(score=score, self_attention=self_attention, priors=priors)
    context = contexts(3, 24)
    context[0, 4:9], context[1] = torch.nan, torch.nan

    again = loads(dumps(model), enabled=[score, *priors])

    before, after = model.network(context), again.network(context)
    assert torch.equal(before.deviations, after.deviations)
    assert bool(before.deviations.isfinite().all())
    assert_close(before.weights.sum(2), torch.ones(3, 3))


@pytest.mark.usefixtures("own_attention")
def test_the_parameters_of_a_plugin_are_trained() -> None:
    model = replace(DATASET.model, score=COSINE, priors=(DECAY,), self_attention=True)
    panel, spec = preparation.prepare(rows("a", 0, 300), replace(DATASET, model=model))

    trained = estimator.fit(panel, spec, DATASET.training).model.network.state_dict()

    rates = [weight for name, weight in trained.items() if name.endswith(("rate", "sharpness"))]
    assert len(rates) == 3
    assert all(bool(((rate - 0.1).abs() > within(0.1)).all()) for rate in rates)
    assert all(bool(((rate - 5).abs() > within(5)).all()) for rate in rates)


@pytest.mark.usefixtures("own_attention")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nan", "must have finite scores of inputs of size 1"),
        ("divided_by_zero", "must have finite scores of inputs of size 0"),
        ("transposed", r"must return shape \(3, 2, 4, 8\), found \(3, 2, 8, 4\)"),
        ("detached", "must be differentiable"),
        ("rounded", "must be differentiable"),
        ("over_the_batch", "must compute each window independently"),
        ("listed", "must return a floating-point tensor, found list"),
        ("failing", "failed on a small example: KeyError: 'lost'"),
        ("Counted", r"must keep calls as floating point, found torch.int64"),
        ("Uncallable", "must be callable when built, found Uncallable"),
        ("Untrainable", "failed on a small example: NotImplementedError: no training yet"),
        ("NUMBER", "must be a class or a function, found int"),
        ("Cosin", "AttributeError: .*; did you mean 'Cosine'"),
    ],
)
def test_a_score_that_breaks_its_protocol_is_refused(name: str, problem: str) -> None:
    path = f"own_attention.scores:{name}"
    with pytest.raises(UnusablePlugin, match=f"plug-in '{path}':? {problem}") as caught:
        plugins.load(ModelConfig(score=path))
    assert caught.value.hint is not None
    assert "[datasets.NAME.model]" in caught.value.hint


@pytest.mark.usefixtures("own_attention")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("relative", r"stay below \+inf, found NaN"),
        ("unlimited", r"stay below \+inf"),
        ("boolean", "return a floating-point tensor, found torch.bool"),
        ("with_sentinels", r"broadcasts to \(3, 2, 4, 6\), found \(4, 8\)"),
    ],
)
def test_a_prior_that_breaks_its_protocol_is_refused(name: str, problem: str) -> None:
    with pytest.raises(UnusablePlugin, match=problem):
        plugins.load(ModelConfig(priors=(f"own_attention.priors:{name}",)))


@pytest.mark.usefixtures("own_attention")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("own_attentoin.scores:Cosine", "ModuleNotFoundError: No module named 'own_attentoin'"),
        ("own_attention.broken:Cosine", "RuntimeError: no licence"),
        ("cosin", "'cosin': .* one of .*'dot'.*'cosine'"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_refused(name: str, problem: str) -> None:
    with pytest.raises(UnusablePlugin, match=problem) as caught:
        plugins.load(ModelConfig(score=name))
    assert caught.value.hint


@pytest.mark.usefixtures("own_attention")
@pytest.mark.parametrize("name", ["nan", "PerSeason"])
def test_a_bad_plugin_is_refused_before_training(name: str) -> None:
    model = replace(DATASET.model, score=f"own_attention.scores:{name}", season_length=1)
    panel, spec = preparation.prepare(rows("a", 0, 300), replace(DATASET, model=model))
    steps: list[estimator.Progress] = []

    with pytest.raises(UnusablePlugin):
        estimator.fit(panel, spec, DATASET.training, steps.append)

    assert steps == []


@pytest.mark.usefixtures("own_attention")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"score": "own_attention.scores:Paired"}, r"failed with Shape\(.*queries=3.*must be even"),
        (
            {"score": "own_attention.scores:PerSeason", "season_length": 1},
            "failed with Shape.*season_length=1.*ZeroDivisionError",
        ),
        (
            {"priors": ("own_attention.priors:second_half",), "context_length": 20},
            r"broadcasts to \(3, 4, 3, 5\), found \(6,\)",
        ),
    ],
)
def test_a_plugin_is_tried_at_the_sizes_that_it_is_trained_with(
    changes: dict[str, object], problem: str
) -> None:
    spec = small_spec(attention_window=5, **changes)
    parts = plugins.load(spec)

    with pytest.raises(UnusablePlugin, match=problem):
        plugins.try_on(spec, parts)


@pytest.mark.usefixtures("own_attention")
def test_a_score_that_cannot_compare_past_patches_is_refused_only_where_it_has_to() -> None:
    changes = {"score": "own_attention.scores:Paired", "prediction_length": 8, "context_length": 20}
    alone, among = (small_spec(self_attention=either, **changes) for either in (False, True))

    plugins.try_on(alone, plugins.load(alone))

    with pytest.raises(UnusablePlugin, match="queries=5"):
        plugins.try_on(among, plugins.load(among))


def test_trying_a_plugin_leaves_the_global_random_state_alone(own_attention: str) -> None:
    before = torch.random.get_rng_state()
    plugins.load(ModelConfig(score=f"{own_attention}.scores:Cosine"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("enabled", [(), ("cosine", DECAY, "own_attention.scores:Raw")])
@pytest.mark.parametrize("changes", [{"score": COSINE}, {"priors": [COSINE]}, {"priors": ["dot"]}])
def test_a_checkpoint_has_nothing_imported_that_config_does_not_name(
    own_attention: str, changes: dict[str, object], enabled: tuple[str, ...]
) -> None:
    data = dumps(replace(own_model(), spec=renamed(**changes)))

    with pytest.raises(IncompatibleCheckpoint, match="a plug-in listed in the config") as caught:
        loads(data, enabled=enabled)

    assert caught.value.hint is not None
    assert "[datasets.NAME.model]" in caught.value.hint
    assert not is_imported(own_attention)


def renamed(**changes: object) -> ModelSpec:
    values = {name: getattr(small_spec(), name) for name in ModelSpec.__slots__} | changes
    values["priors"] = tuple(values["priors"])
    return ModelSpec(**values)


def test_the_settings_take_a_path_or_an_installed_name_and_import_nothing(
    own_attention: str,
) -> None:
    line = f'model = {{score = "cosine", priors = ["{DECAY}", "whole_weeks"]}}'
    model = parsed(dataset(line)).datasets["x"].model

    assert (model.score, model.priors) == ("cosine", (DECAY, "whole_weeks"))
    assert model.plugins == {"cosine", DECAY, "whole_weeks"}
    assert parsed(dataset(f'model.score = "{COSINE}"')).datasets["x"].model.score == COSINE
    assert not is_imported(own_attention)


@pytest.mark.usefixtures("own_attention")
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('score = "cosin"', "found 'cosin'; did you mean 'cosine'?"),
        ('score = "concatt"', "found 'concatt'; did you mean 'concat'?"),
        ('score = "own_attention.scores.Cosine"', "'package.module:Name'"),
        ('score = "../scores:Cosine"', "'package.module:Name'"),
        ("score = 3", "must be text"),
        ('priors = "whole_week"', "did you mean 'whole_weeks'?"),
        ("priors = [3]", "must be the path of a plug-in"),
        ("temperature = 0", "must be from 0.001 to below 1000"),
        ("attention_window = 0", "must be a whole number from 1"),
        ("self_attention = 1", "must be true or false"),
        ('normaliser = "sparse_max"', "did you mean 'sparsemax'?"),
    ],
)
def test_a_setting_of_attention_that_does_not_exist_is_named(line: str, problem: str) -> None:
    [found] = problems_of(dataset(f"model.{line}"))
    assert found.startswith(f"datasets.x.model.{line.partition(' ')[0]}: ")
    assert problem in found


def test_concat_is_another_name_for_additive() -> None:
    assert parsed(dataset('model.score = "concat"')).datasets["x"].model.score == "additive"


def test_without_plugins_nothing_is_offered() -> None:
    assert score_names.find("cosine") is None
    assert plugins.load(small_spec()) == {}


def test_a_plugin_cannot_stand_in_for_a_score_that_is_built_in() -> None:
    attention = TemporalAttention(small_spec(score="dot"), {"dot": lambda queries, keys: None})

    assert isinstance(attention.score, Dot)
