"""Variants: what is left to validation, and that it is settled by what pays."""

import math
from dataclasses import replace
from datetime import timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest

from forecaster.config.settings import DatasetConfig, TrainingConfig
from forecaster.inference.checkpoint import dumps, loads
from forecaster.network.spec import ModelSpec
from forecaster.training.estimator import (
    COMPARISON,
    FEWEST_COMPARISON_STEPS,
    Progress,
    TrainingResult,
    fit,
)
from forecaster.training.hyperparameters import MANY_SERIES, variants
from forecaster.training.preparation import prepare
from tests.config.configs import small_dataset
from tests.data.observed import observed
from tests.network.networks import small_spec

HOURS = 600
LEARNING = TrainingConfig(
    steps=120, batch_size=32, learning_rate=2e-2, device="cpu", naive_guard=False
)


undecided = partial(small_dataset, settled=False)


def days(
    count: int = 4, hours: int = HOURS, *, every: timedelta = timedelta(hours=1)
) -> pl.DataFrame:
    """Noise around a day: four hours say little of what the next twelve will be, the clock all."""
    noise = np.random.default_rng(0).normal(0, 1, (count, hours))
    day = 3 * np.sin(math.tau * np.arange(hours) / 24)
    series = {f"s{row}": (10 + day + noise[row]).tolist() for row in range(count)}
    return observed(series, every=every)


def short_sighted() -> DatasetConfig:
    return undecided(patch_length=4, context_length=4)


@pytest.fixture(scope="module")
def learnt() -> tuple[TrainingResult, list[Progress]]:
    """What becomes of series that the clock explains, and what was told on the way."""
    told: list[Progress] = []
    return fit(*prepare(days(), short_sighted()), LEARNING, told.append), told


def test_a_calendar_that_pays_is_chosen(learnt: tuple[TrainingResult, list[Progress]]) -> None:
    _, spec = prepare(days(), short_sighted())

    result, told = learnt

    assert spec.undecided == ("statistics", "calendar")
    assert result.model.spec == replace(spec, calendar=True, undecided=())
    assert loads(dumps(result.model)).spec == result.model.spec
    assert result.steps == told[-1].step == told[-1].steps == 3 * 30 + 120


def test_what_is_chosen_is_what_would_have_been_trained_alone(
    learnt: tuple[TrainingResult, list[Progress]],
) -> None:
    panel, spec = prepare(days(), short_sighted())

    alone = fit(panel, replace(spec, calendar=True, undecided=()), LEARNING)

    assert dumps(learnt[0].model) == dumps(alone.model)


def test_too_few_steps_to_tell_variants_apart_take_the_first() -> None:
    panel, spec = prepare(days(), short_sighted())
    few = round(FEWEST_COMPARISON_STEPS / COMPARISON) - 4

    result = fit(panel, spec, replace(LEARNING, steps=few))

    assert result.steps == few
    assert result.model.spec == replace(spec, undecided=())


def test_without_validation_windows_the_first_variant_is_taken() -> None:
    panel, spec = prepare(days(hours=14), short_sighted())

    result = fit(panel, spec, LEARNING)

    assert result.validation is None
    assert (result.steps, result.model.spec) == (120, replace(spec, undecided=()))


@pytest.mark.parametrize("statistics", ["window", "causal"])
@pytest.mark.parametrize("calendar", [False, True])
def test_settings_leave_nothing_undecided(statistics: str, calendar: bool) -> None:
    _, spec = prepare(days(), undecided(statistics=statistics, calendar=calendar))

    assert (spec.statistics, spec.calendar, spec.undecided) == (statistics, calendar, ())
    assert variants(spec) == (spec,)


def test_one_setting_leaves_the_other_undecided() -> None:
    _, told = prepare(days(), undecided(calendar=True))
    _, scaled = prepare(days(), undecided(statistics="causal"))

    assert told.undecided == ("statistics",)
    assert shapes(told) == [("window", True), ("causal", True)]
    assert scaled.undecided == ("calendar",)
    assert shapes(scaled) == [("causal", False), ("causal", True)]


@pytest.mark.parametrize(
    ("step", "every", "expected"),
    [
        ("15m", timedelta(minutes=15), ("statistics", "calendar")),
        ("1d", timedelta(days=1), ("statistics", "calendar")),
        ("6d", timedelta(days=6), ("statistics", "calendar")),
        ("1w", timedelta(days=7), ("statistics",)),
        ("1mo", timedelta(days=31), ("statistics",)),
    ],
)
def test_steps_of_a_week_or_more_never_try_a_calendar(
    step: str, every: timedelta, expected: tuple[str, ...]
) -> None:
    _, spec = prepare(days(2, 120, every=every), undecided(step))

    assert spec.undecided == expected
    assert all(not each.calendar for each in variants(spec)) == ("calendar" not in expected)


def test_many_series_try_nothing() -> None:
    few, many = (
        prepare(days(count, 60), undecided())[1] for count in (MANY_SERIES - 1, MANY_SERIES)
    )

    assert few.undecided == ("statistics", "calendar")
    assert many.undecided == ()
    assert shapes(many) == [("window", False)]


def test_every_way_to_settle_a_spec_changes_one_thing() -> None:
    spec = small_spec(undecided=("statistics", "calendar"))

    assert shapes(spec) == [("window", False), ("causal", False), ("window", True)]
    assert all(each.undecided == () for each in variants(spec))


def shapes(spec: ModelSpec) -> list[tuple[str, bool]]:
    return [(each.statistics, each.calendar) for each in variants(spec)]
