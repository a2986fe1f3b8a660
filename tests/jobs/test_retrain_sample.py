"""Retraining on a sample: every series keeps its scale, nothing unknown is seen, and it is said."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.inference import checkpoint
from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from forecaster.store.state import models, runs
from forecaster.times.durations import Step
from forecaster.training import history_sample, preparation
from forecaster.training.sample_extent import Extent
from jobs import retrain
from jobs.backfill.plan import BackfillRequest
from jobs.backfill.run import Work, run
from jobs.execution.attempt import Attempt
from jobs.execution.reports import ForecastReport, RetrainReport
from jobs.explain.page import model_page
from tests.jobs.fitting import fit_once
from tests.jobs.small import DATASET, LAST, World, fixed, hour, land, rows
from tests.tolerance import assert_close

SERIES = [f"series {number}" for number in range(6)]
SOME = replace(DATASET, training=replace(DATASET.training, max_points=3 * (LAST + 1)))


@pytest.fixture
def history(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(history_sample, "_LEAST_SERIES", 3)
    land(engine, *(rows(name, 0, LAST) for name in SERIES))
    return engine


def challenger(engine: Engine, dataset: DatasetConfig) -> retrain.Challenger:
    """Train for the tick at LAST without putting the model in service."""
    claim = runs.RunClaim(run_id=0, attempt=1)
    attempt = Attempt(tick=hour(LAST), claim=claim, clock=fixed(hour(LAST)))
    prepared = retrain.prepare(engine, dataset, attempt)
    return prepared.trained(fit_once(prepared.panel, prepared.spec, dataset.training))


def scales(trained: retrain.Challenger) -> dict[str, float]:
    return dict(checkpoint.scoring_scale(trained.fitted.checkpoint).series_scale)


def test_what_fits_is_trained_on_as_one_frame_of_everything(history: Engine) -> None:
    fitting = replace(DATASET, training=replace(DATASET.training, max_points=6 * (LAST + 1)))
    trained = challenger(history, fitting)

    with reading(history) as conn:
        frame = observations.read(conn, "bikes")
        recent_versions = retrain.read_versions(conn, fitting, hour(LAST))
    panel, spec = preparation.prepare(frame, fitting, known=hour(LAST), versions=recent_versions)
    alone = fit_once(panel, spec, fitting.training)
    assert trained.fitted.checkpoint == alone.checkpoint
    assert trained.fitted.scores.keys() == alone.scores.keys()


def test_a_series_outside_of_the_sample_keeps_its_scale(history: Engine) -> None:
    some, everything = (challenger(history, dataset) for dataset in (SOME, DATASET))

    assert len(some.panel) == 3
    assert scales(some).keys() == scales(everything).keys() == set(SERIES)
    assert_close([scales(some)[name] for name in SERIES], everything.panel.scale)


def test_a_sample_is_declared_and_no_series_is_a_cold_start(history: Engine) -> None:
    world = World(engine=history, dataset=SOME)
    report = world.tick("retrain", hour(LAST)).report
    forecast = world.tick("forecast", hour(LAST)).report

    assert isinstance(report, RetrainReport)
    assert report.notes[0] == "trained on a sample: 3 of 6 series"
    with reading(history) as conn:
        model = models.champion(conn, "bikes")
    assert {name: n for name, n in model.scores.items() if name.startswith("sample_")} == {
        "sample_series": 3, "sample_all_series": 6,
        "sample_steps": LAST + 1, "sample_all_steps": LAST + 1,
    }  # fmt: skip
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(model_page(model))
    assert "a sample: 3 of 6 series" in console.export_text()
    assert isinstance(forecast, ForecastReport)
    assert forecast.statuses == {"ok": len(SERIES)}


def test_the_same_seed_trains_the_same_model(history: Engine) -> None:
    first, second = (challenger(history, SOME) for _ in range(2))
    other = replace(SOME, training=replace(SOME.training, seed=1))

    assert first.fitted.checkpoint == second.fitted.checkpoint
    assert first.panel.series_ids != challenger(history, other).panel.series_ids


def test_nothing_that_was_unknown_at_the_tick_reaches_a_model_of_a_sample(
    history: Engine,
) -> None:
    before = challenger(history, SOME)
    land(history, *(rows(name, LAST + 1, LAST + 50) for name in SERIES))
    after = challenger(history, SOME)

    assert after.fitted.checkpoint == before.fitted.checkpoint


def test_series_that_are_too_long_are_trained_on_their_newest_steps(history: Engine) -> None:
    trained = challenger(
        history, replace(DATASET, training=replace(DATASET.training, max_points=900))
    )

    assert trained.fitted.notes[0] == (
        "trained on a sample: 3 of 6 series, the newest 300 of 401 steps"
    )
    assert trained.trained_from == hour(LAST - 299)
    assert scales(trained).keys() == set(SERIES)


def test_a_backfill_trains_on_the_sample_that_retraining_draws(history: Engine) -> None:
    retrained = challenger(history, SOME)
    work = Work(
        engine=history,
        dataset=SOME,
        retention=RetentionConfig(),
        fit=fit_once,
        clock=fixed(hour(LAST)),
    )
    request = BackfillRequest(
        since=hour(LAST), until=hour(LAST), retrain_every=Step.parse("1h"), reprocess="all"
    )
    (model_id,) = run(work, request).trained

    with reading(history) as conn:
        model = models.get(conn, "bikes", model_id)
    assert Extent.from_scores(model.scores) == Extent.from_scores(retrained.fitted.scores)
    assert len(checkpoint.scoring_scale(model.weights).series_scale) == len(SERIES)
