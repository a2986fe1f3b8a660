"""What a stored forecast is made of: every number must be found again, on both stores."""

import io
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console
from sqlalchemy import text

from forecaster.config.settings import TrainingConfig
from forecaster.errors import DataError
from forecaster.explain.report import Trust
from forecaster.schemas import PART_COLUMNS
from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import models
from forecaster.times.durations import Step
from jobs.explain import audit, read
from jobs.explain.page import Page, words
from jobs.explain.read import Explanation, StepRange
from tests.jobs.fitting import fit_once
from tests.jobs.small import HORIZON, HOUR, LAST, SCALE, World, hour, land, rows
from tests.tolerance import RELATIVE, within

pytestmark = pytest.mark.quick_on("sqlite")


@pytest.fixture
def forecast(trained: World) -> World:
    trained.tick("forecast", hour(LAST))
    return trained


def explained(world: World, series_id: str = "a", at: int | None = None) -> Explanation:
    with reading(world.engine) as conn:
        until = None if at is None else hour(at)
        return read.explain(conn, "bikes", series_id, until=until)


def total(step_range: StepRange) -> float:
    parts = (step_range.copied, step_range.last_value, step_range.residual, step_range.adjustment)
    return step_range.level + sum(parts)


@pytest.mark.numeric
def test_the_parts_of_every_stretch_add_up_to_its_median(forecast: World) -> None:
    found = explained(forecast, "b/c")

    assert (found.status, found.cutoff, found.model_id) == ("ok", hour(LAST), 1)
    assert found.forecast.height == HORIZON
    covered = [(step_range.step_from, step_range.step_to) for step_range in found.step_ranges]
    assert (covered[0][0], covered[-1][1]) == (1, HORIZON)
    for step_range in found.step_ranges:
        assert total(step_range) == pytest.approx(step_range.median, abs=within(SCALE))
        assert step_range.low <= step_range.median <= step_range.high


def test_the_weights_of_a_stretch_are_shares_the_heaviest_first(forecast: World) -> None:
    for step_range in explained(forecast).step_ranges:
        weights = [source.weight for source in step_range.sources]
        assert sum(weights) == pytest.approx(1, rel=RELATIVE)
        assert weights == sorted(weights, reverse=True)


@pytest.mark.numeric
def test_what_the_past_adds_is_its_weight_times_the_values_that_lie_there(
    forecast: World,
) -> None:
    values = dict(rows("a", 0, LAST).select("timestamp", "value").iter_rows())

    for step_range in explained(forecast).step_ranges:
        assert step_range.lift is not None
        past = [source for source in step_range.sources if source.source == "past"]
        for source in past:
            assert source.context_from is not None
            assert source.steps_before is not None
            assert source.context_from == step_range.starts - source.steps_before * HOUR
            steps = range(step_range.step_to - step_range.step_from + 1)
            above = [values[source.context_from + step * HOUR] - step_range.level for step in steps]
            assert source.adds == pytest.approx(
                source.weight * sum(above) / len(above), abs=within(SCALE)
            )
        adds = sum(source.adds or 0.0 for source in past)
        assert adds + step_range.lift == pytest.approx(step_range.copied, abs=within(SCALE))


@pytest.mark.numeric
def test_without_level_adjusted_heads_nothing_is_lifted(world: World) -> None:
    model = replace(world.dataset.model, heads=1)  # the only head copies values as they are
    world.dataset = replace(world.dataset, model=model)
    world.tick("retrain", hour(LAST))
    world.tick("forecast", hour(LAST))

    for step_range in explained(world).step_ranges:
        assert step_range.lift == pytest.approx(0, abs=within(SCALE))


def test_values_are_those_known_when_the_forecast_was_made(forecast: World) -> None:
    before = explained(forecast)
    corrected = rows("a", LAST - 5, LAST).with_columns(value=rows("b/c", 0, 5)["value"] + 1000)
    land(forecast.engine, corrected, rows("a", LAST + 1, LAST + 1))

    assert explained(forecast).step_ranges == before.step_ranges


def test_an_earlier_forecast_can_be_asked_for(forecast: World) -> None:
    land(forecast.engine, rows("a", LAST + 1, LAST + 1), rows("b/c", LAST + 1, LAST + 1))
    forecast.tick("forecast", hour(LAST + 1))

    assert explained(forecast).cutoff == hour(LAST + 1)
    assert explained(forecast, at=LAST).cutoff == hour(LAST)


def test_values_that_retention_deleted_leave_what_they_add_unknown(forecast: World) -> None:
    with writing(forecast.engine) as conn:
        conn.execute(text("DELETE FROM observations"))

    found = explained(forecast)

    assert all(value != value for value in found.recent)
    for step_range in found.step_ranges:
        assert step_range.lift is None
        assert total(step_range) == pytest.approx(step_range.median, abs=within(SCALE))


def test_a_forecast_without_attention_has_one_stretch_and_no_sources(forecast: World) -> None:
    with writing(forecast.engine) as conn:
        conn.execute(text("DELETE FROM attention"))
        conn.execute(text("UPDATE forecasts SET status = 'fallback_naive'"))

    found = explained(forecast)

    (step_range,) = found.step_ranges
    assert (step_range.step_from, step_range.step_to, step_range.sources) == (1, HORIZON, ())
    assert found.status == "fallback_naive"


def test_a_retrain_keeps_how_far_its_model_can_be_trusted(forecast: World) -> None:
    trust = explained(forecast).trust

    assert trust is not None
    assert trust.windows > 0
    assert trust.reconstruction_error < within(1)
    assert trust.removals


@pytest.mark.parametrize(
    ("series_id", "said", "hint"),
    [("bc", "did you mean 'b/c'?", "it has 2 series"), ("zz", "unknown series 'zz'", "such as a")],
)
def test_an_unknown_series_gets_a_suggestion(
    forecast: World, series_id: str, said: str, hint: str
) -> None:
    with pytest.raises(DataError) as caught:
        explained(forecast, series_id)

    assert said in caught.value.message
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_a_series_without_a_forecast_says_what_to_run(trained: World) -> None:
    with pytest.raises(DataError, match="has no forecast") as caught:
        explained(trained)

    assert "forecaster forecast" in str(caught.value.hint)


def test_an_audit_adds_its_figures_to_those_of_the_model(
    trained: World,
) -> None:
    found = audit.run(
        trained.engine,
        "bikes",
        training=TrainingConfig(steps=4, batch_size=8, device="cpu"),
        plugins=(),
        fit=fit_once,
        planted_steps=2,
    )

    with reading(trained.engine) as conn:
        scores = models.champion(conn, "bikes").scores
    assert "mase" in scores
    assert Trust.from_scores(scores) == found
    assert found.seeds is not None
    assert 0 < found.seeds.divergence < 1
    assert found.planted_mass is not None


def page(found: Explanation) -> str:
    """What a person reads, 110 columns wide."""
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(Page(found).render())
    return console.export_text()


def test_the_page_says_where_it_looked_and_how_far_to_trust_that(forecast: World) -> None:
    found = explained(forecast)

    told = page(found)

    assert "bikes / a  forecast at Sat 2026-01-17 16:00 by model 1" in told
    assert "12 hours ahead, Sun 2026-01-18 04:00: " in told
    assert told.count("step ") == len(found.step_ranges)
    for step_range in found.step_ranges:
        heaviest = step_range.sources[0]
        assert f"{100 * heaviest.weight:.0f} %  " in told
        assert f"{step_range.median:.2f}" in told
    assert "the parts add up to the forecast" in told
    assert "removing the most attended patch changes the forecast" in told


def test_the_page_of_a_fallback_says_that_no_attention_stands_behind_it(forecast: World) -> None:
    with_drift = json.dumps([[float(name == "residual") for name in PART_COLUMNS]] * HORIZON)
    if forecast.engine.dialect.name == "postgresql":
        with_drift = with_drift.replace("[", "{").replace("]", "}")
    fallback = "UPDATE forecasts SET status = 'fallback_naive', hindsight = true, parts = :parts"
    with writing(forecast.engine) as conn:
        conn.execute(text("DELETE FROM attention"))
        conn.execute(text(fallback), {"parts": with_drift})

    told = page(explained(forecast))

    assert "fallback_naive: a naive fallback" in told
    assert "hindsight: the model has seen data after the cutoff" in told
    assert "repeats the latest season with drift; no attention is involved" in told
    assert "not measured for this forecast" in told


def test_the_page_says_where_values_are_gone(forecast: World) -> None:
    with writing(forecast.engine) as conn:
        conn.execute(text("DELETE FROM observations"))

    assert "  gone " in page(explained(forecast))


def test_many_stretches_show_fewer_sources_each(forecast: World) -> None:
    found = explained(forecast)

    many = replace(found, step_ranges=found.step_ranges[:1] * 4)

    assert page(many).count(" before  ") < 4 * page(
        replace(many, step_ranges=many.step_ranges[:1])
    ).count(" before  ")


@pytest.mark.parametrize(
    ("steps", "step", "expected"),
    [
        (168, "1h", "7 days"),
        (1, "1h", "1 hour"),
        (25, "1h", "1 day 1 hour"),
        (3, "30m", "1 hour 30 minutes"),
        (52, "1w", "52 weeks"),
        (7, "1d", "7 days"),
        (12, "1mo", "1 year"),
        (7, "1mo", "7 months"),
        (90, "1s", "1 minute 30 seconds"),
        (1, "250ms", "250000 microseconds"),
    ],
)
def test_lengths_are_told_in_words(steps: int, step: str, expected: str) -> None:
    assert words(steps, Step.parse(step)) == expected


def test_a_length_of_days_is_told_in_days() -> None:
    assert words(int(timedelta(days=2) / timedelta(minutes=5)), Step.parse("5m")) == "2 days"


def test_the_page_says_where_attention_is_gone(forecast: World) -> None:
    with writing(forecast.engine) as conn:
        conn.execute(text("DELETE FROM attention"))

    told = page(explained(forecast))

    assert "the attention of this forecast is not stored, or was pruned" in told
    assert "repeats" not in told
    assert "not measured for this forecast" in told
