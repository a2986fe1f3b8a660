"""Thirty car parks of several hours: trained, forecast and judged while they are open."""

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
import torch

from forecaster.baselines.naive import seasonal_naive
from forecaster.evaluation.rolling_origin import backtest, points
from forecaster.inference import predictor
from forecaster.inference.device import Runner
from forecaster.training import estimator, preparation, validation
from forecaster.training.holdout import hold_out
from tests.config.configs import small_dataset
from tests.data.opening import Parking

torch.set_num_threads(1)


@pytest.mark.slow  # a training of thirty series
@pytest.mark.parametrize("prediction_length", [4, 48])
def test_car_parks_of_several_hours_are_forecast_while_they_are_open(
    prediction_length: int,
) -> None:
    parks = [
        Parking(series=10, weeks=8, outages=3, seed=1, name="a"),
        Parking(series=10, weeks=8, opens=(480, 1230), outages=2, seed=2, name="b"),
        Parking(series=10, weeks=8, opens=(450, 990), seed=3, name="c"),
    ]
    rows = pl.concat([park.rows() for park in parks])
    late = datetime(2024, 2, 5, tzinfo=UTC)
    rows = rows.filter((pl.col("series_id") != "a00") | (pl.col("timestamp") >= late))
    rows = rows.filter((pl.col("series_id") != "b00") | (pl.col("timestamp") < late))
    config = small_dataset("30m", prediction_length)
    panel, spec = preparation.prepare(rows, config)
    assert (spec.season_length, spec.long_season) == (48, 336)
    assert spec.opening_hours == "mon-sun 07:30-21:00"

    made = estimator.fit(panel, spec, replace(config.training, steps=60))

    whole = hold_out(panel, spec)
    last_week = points(lambda context: seasonal_naive(context, prediction_length, 336))
    pairs = whole.pairs(panel)[:: max(1, len(whole.pairs(panel)) // 2000)]
    served = validation.predictor(
        Runner(made.model.network, torch.device("cpu")), made.model.fallback
    )
    found = backtest(
        {"served": served, "last week": last_week},
        panel,
        pairs,
        context_length=spec.context_length,
        prediction_length=prediction_length,
        season_length=48,
    ).overall()
    errors = dict(found.select("predictor", "mase").iter_rows())
    assert errors["served"] < 1.05 * errors["last week"]
    cutoffs = [datetime(2024, 2, 20, hour, tzinfo=UTC) for hour in range(24)]
    said = predictor.predict(made.model, rows, cutoffs)
    assert {*said.skipped} == {"b00"}
    wall = said.forecasts["timestamp"].dt
    minutes = wall.hour().cast(pl.Int64) * 60 + wall.minute()
    assert minutes.is_between(450, 1230).all()
    assert said.keys.height >= 0.95 * 29 * 24
