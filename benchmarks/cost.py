"""What a forecast costs: the forward pass of 10 000 series, and all of it as a user calls it."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import torch
from torch import Tensor

from benchmarks.protocols import M4
from benchmarks.tables import Row
from forecaster.data.anchor import detect_grid
from forecaster.data.panel import build
from forecaster.data.seasonality import Seasons
from forecaster.inference import predictor
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.device import LARGEST_BATCH
from forecaster.network.calendar_features import calendar_features
from forecaster.network.network import AttentionLSTM
from forecaster.network.spec import ModelSpec
from forecaster.schemas import INSTANT
from forecaster.training.hyperparameters import derive

SERIES, CONTEXT = 10_000, 512
REPEATS = 3


def run() -> list[Row]:
    """Time untrained networks: a network's weights do not change what it costs."""
    observations = _observations(10, CONTEXT)
    grid = detect_grid(observations, M4.config(0).step, "UTC")
    panel = build(observations, grid, season_length=24)
    spec = derive(M4.config(0), Seasons(season_length=24, long_season=168), panel)
    patches = -(-CONTEXT // spec.patch_length)
    long = replace(spec, context_length=patches * spec.patch_length)
    context = max(24 * 14, long.context_length)
    return [*(_forward(each) for each in (_default(spec), long)), _predict(long, context)]


def _default(spec: ModelSpec) -> ModelSpec:
    return replace(spec, context_length=14 * spec.patch_length)


def _forward(spec: ModelSpec) -> Row:
    network = AttentionLSTM(spec).eval()
    chunks = torch.randn(SERIES, spec.context_length).split(LARGEST_BATCH)
    cutoff = torch.tensor(spec.context_length)  # one for all series, as in service
    seconds = []
    with torch.inference_mode():
        _pass(network, chunks[0], cutoff)
        for _ in range(REPEATS):
            started = time.process_time()
            for chunk in chunks:
                _pass(network, chunk, cutoff)
            seconds.append(time.process_time() - started)
    return _row("forward pass", spec, min(seconds))


def _pass(network: AttentionLSTM, context: Tensor, cutoff: Tensor) -> None:
    network(context, None, calendar_features(network.spec, cutoff.expand(len(context))))


def _predict(spec: ModelSpec, length: int) -> Row:
    observations = _observations(SERIES, length)
    model = TrainedModel(spec=spec, network=AttentionLSTM(spec).eval(), series_scale={})
    cutoff = observations["timestamp"].max()
    assert isinstance(cutoff, datetime)
    started = time.process_time()
    predictor.predict(model, observations, [cutoff], device="cpu")
    return _row("forecast frames, attention included", spec, time.process_time() - started)


def _row(what: str, spec: ModelSpec, seconds: float) -> Row:
    return {
        "what": what,
        "series": SERIES,
        "context": spec.context_length,
        "horizon": spec.prediction_length,
        "cpu_s": seconds,
        "ms_per_series": 1000 * seconds / SERIES,
    }


def _observations(series: int, length: int) -> pl.DataFrame:
    values = np.random.default_rng(0).normal(size=series * length)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hours = pl.datetime_range(
        start, start + timedelta(hours=length - 1), "1h", eager=True, time_zone="UTC"
    ).cast(INSTANT)
    names = pl.DataFrame({"series_id": [f"series {number:05}" for number in range(series)]})
    frame = names.join(pl.DataFrame({"timestamp": hours}), how="cross")
    return frame.with_columns(pl.Series("value", values))
