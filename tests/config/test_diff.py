"""What changed settings mean: what is trained anew, read otherwise, or different at once."""

import json
import math
from dataclasses import asdict
from typing import Any

import pytest

from forecaster.config.diff import (
    documents,
    effects,
    missing_plugins,
    reasons_to_retrain,
)
from forecaster.config.settings import DatasetConfig
from forecaster.training.preparation import prepare
from tests.config.configs import BIKES, WAREHOUSE, parsed
from tests.data.observed import observed

BEFORE = 'database_url = "sqlite:///f.db"\n[datasets.x]\nstep = "1h"\nhorizon = "1d"\n'
ROWS = observed({"a": [10 + math.sin(math.tau * hour / 24) + hour % 7 / 50 for hour in range(500)]})


def dataset(settings: str = "", horizon: str = "1d") -> DatasetConfig:
    return parsed(BEFORE.replace("1d", horizon) + settings).datasets["x"]


def document(settings: str = "") -> dict[str, Any]:
    return documents(parsed(BEFORE + settings))["x"]


def spec_of(trained: DatasetConfig) -> dict[str, Any]:
    """The spec of a model that was trained so, as it comes out of the database."""
    _, spec = prepare(ROWS, trained)
    found: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return found


SETTINGS = [
    "",
    'model.score = "additive"\nmodel.normaliser = "sparsemax"\nmodel.temperature = 2',
    "model.context_length = 50\nmodel.patch_length = 6\nmodel.attention_window = 100",
    "model.season_length = 12\nmodel.statistics = 'causal'\nmodel.calendar = true",
    'model.encoder = "gru"\nmodel.hidden_size = 16\nmodel.layers = 1\nmodel.dropout = 0',
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_model_is_reused_for_the_settings_that_it_was_trained_with(settings: str) -> None:
    trained = dataset(settings)

    assert reasons_to_retrain(spec_of(trained), trained) == ()


@pytest.mark.parametrize("settings", SETTINGS[1:])
def test_other_settings_of_a_model_are_reasons_to_retrain(settings: str) -> None:
    reasons = reasons_to_retrain(spec_of(dataset()), dataset(settings))

    wanted = {line.removeprefix("model.").split()[0] for line in settings.splitlines()}
    assert {reason.setting for reason in reasons} >= wanted - {"attention_window"}


def test_what_is_left_to_the_data_is_no_reason_to_retrain() -> None:
    trained = dataset("model.season_length = 12\nmodel.context_length = 48")

    assert reasons_to_retrain(spec_of(trained), dataset()) == ()


def test_another_horizon_is_told_before_and_after() -> None:
    [reason] = reasons_to_retrain(spec_of(dataset()), dataset(horizon="2d"))

    assert str(reason) == "prediction_length 24 -> 48"


def test_a_plug_in_that_no_setting_names_any_more_is_missing() -> None:
    spec = {**spec_of(dataset()), "score": "mine:Score", "priors": ["mine:Prior"]}

    assert missing_plugins(spec, dataset()) == ("mine:Prior", "mine:Score")
    assert missing_plugins(spec_of(dataset()), dataset()) == ()


def test_changes_are_sorted_by_what_follows_from_them() -> None:
    found = effects(
        document(),
        document('query = "SELECT 1"\nhistory = "20d"\ntraining.seed = 3\ndelay = "5m"'),
    )

    assert [str(change) for change in found.read] == ["query default -> SELECT 1"]
    assert {change.setting for change in found.learnt} == {"history", "training.seed"}
    assert [str(change) for change in found.at_once] == ["delay 0s -> 5m"]


def test_the_same_settings_change_nothing() -> None:
    found = effects(document(), json.loads(json.dumps(document())))

    assert found == effects({}, {})


@pytest.mark.fault(20)
def test_what_the_service_notes_of_itself_has_no_password() -> None:
    noted = json.dumps(documents(parsed(BIKES, WAREHOUSE)))

    assert "reader:***@warehouse" in noted
    assert "hunter2" not in noted


def test_a_long_query_is_cut_in_a_change() -> None:
    found = effects(document(), document(f'query = "SELECT {"x" * 100}\\n FROM t"'))

    assert len(str(found.read[0])) < 90


OPEN = '[datasets.x.calendar]\nopen = "{}"\n'


def test_declared_hours_are_a_reason_to_retrain_and_detected_ones_are_none() -> None:
    declared = dataset(OPEN.format("mon-fri 8:00-20:00"))
    before = spec_of(dataset())
    without = {name: value for name, value in before.items() if name != "opening_hours"}

    for earlier in (before, without):  # of a version that knew no hours
        (reason,) = reasons_to_retrain(earlier, declared)
        assert str(reason) == 'opening_hours "" -> mon-fri 08:00-20:00'
        assert reasons_to_retrain(earlier, dataset(OPEN.format("always"))) == ()
    assert reasons_to_retrain(spec_of(declared), declared) == ()
    assert reasons_to_retrain(spec_of(declared), dataset()) == ()
    assert reasons_to_retrain(spec_of(declared), dataset(OPEN.format("mon-sun"))) != ()


def test_changed_hours_take_effect_at_the_next_training() -> None:
    found = effects(document(), document(OPEN.format("mon-fri")))
    assert [change.setting for change in found.learnt] == ["calendar.open"]
