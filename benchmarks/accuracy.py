"""Accuracy of one default configuration against naive forecasts, on public series.

    python benchmarks/accuracy.py [co2 bike_sharing m4_hourly etth1 exchange_rate] [--seeds 0 1 2]

Training sees nothing after the training cutoff, and takes its validation windows from before it.
The model is not trained again on the way through the test windows. `FORECASTER_DATA` names the
folder of the data files (default: ../shared/data beside the repository); co2 comes with
statsmodels. Results go to benchmarks/results/accuracy-<date>.md and .json.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl
import polars.selectors as cs
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecaster import inference, training
from forecaster.config import DatasetConfig, TrainingConfig
from forecaster.durations import Step
from forecaster.frames import DEVIATION_COLUMNS, INSTANT, QUANTILE_LEVELS
from forecaster.series import accuracy, baselines
from forecaster.series.windows import gather

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("FORECASTER_DATA", HERE.parent.parent / "shared" / "data"))
MEDIAN, LOW, HIGH = (QUANTILE_LEVELS.index(level) for level in (0.5, 0.1, 0.9))
NAIVE2_SMAPE, NAIVE2_MASE = 18.383, 2.395  # M4 hourly, from the competition's table

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A dataset and its protocol: `test` is the length of the test part, or its share; forecasts
    start every `stride` steps, `partial` ones at the end included; `season` is that of MASE."""

    name: str
    load: Callable[[], pl.DataFrame]
    step: str = "1h"
    horizon: int = 48
    test: float = 0.2
    stride: int = 48
    season: int = 24
    seasons: tuple[int, ...] = (24, 168)
    timezone: str = "UTC"
    partial: bool = False

    def config(self, seed: int) -> DatasetConfig:
        """Return the configuration a user would write: step, horizon and zone."""
        return DatasetConfig(
            name=self.name,
            step=Step.parse(self.step),
            prediction_length=self.horizon,
            timezone=self.timezone,
            forecast_every=timedelta(hours=1),
            retrain_every=timedelta(days=1),
            history=timedelta(days=36_500),
            late_data=timedelta(0),
            training=TrainingConfig(seed=seed, device="cpu"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; a naive forecast has neither intervals nor a cost."""

    dataset: str
    forecast: str
    mase: float
    smape: float
    wql: float
    coverage_80: float | None = None
    owa: float | None = None
    cpu_seconds: float | None = None
    windows: int = 0


def shared(name: str, timezone: str = "UTC") -> pl.DataFrame:
    """Read a shared file; a local time that the clock change skips is dropped."""
    return (
        pl.read_parquet(DATA / f"{name}.parquet")
        .with_columns(
            pl.col("ts")
            .dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
            .cast(INSTANT)
            .alias("timestamp")
        )
        .select("series_id", "timestamp", "value")
        .drop_nulls("timestamp")
        .sort("series_id", "timestamp")
    )


def m4_hourly() -> pl.DataFrame:
    """Move the series, whose dates are made up, so that all end together: one cutoff for all."""
    end = pl.col("timestamp").max()
    return shared("m4_hourly").with_columns(
        (pl.col("timestamp") - end.over("series_id") + end).alias("timestamp")
    )


def co2() -> pl.DataFrame:
    """Read the weekly record of Mauna Loa, 1958 to 2001, gaps included."""
    from statsmodels.datasets import co2 as record

    data = record.load_pandas().data["co2"]
    timestamps = pl.Series(data.index.to_numpy().astype("datetime64[us]"))
    values = pl.Series(data.to_numpy(), dtype=pl.Float64).fill_nan(None)
    timestamps = timestamps.dt.replace_time_zone("UTC")
    return pl.DataFrame({"series_id": "co2", "timestamp": timestamps, "value": values})


TASKS = (
    Task(
        name="co2", step="1w", horizon=13, test=104, stride=1, season=52, seasons=(52,), load=co2,
        partial=True,
    ),
    Task(
        name="bike_sharing", load=lambda: shared("bike_sharing", "America/New_York"),
        timezone="America/New_York",
    ),
    Task(name="m4_hourly", test=48, load=m4_hourly),
    Task(name="etth1", load=lambda: shared("etth1")),
    Task(
        name="exchange_rate", step="1d", horizon=30, stride=30, season=1, seasons=(7,),
        load=lambda: shared("exchange_rate"),
    ),
)  # fmt: skip


class Trial:
    """The test windows of a task: B pairs of a series and a cutoff, sorted by both."""

    def __init__(self, task: Task) -> None:
        self.task, self.observations = task, task.load()
        whole, _ = training.prepare(self.observations, task.config(0))
        self.grid, self.panel = whole.grid, whole
        steps = int(task.test if task.test > 1 else whole.length * task.test)
        self.train_end = whole.end - steps
        last = whole.end - (1 if task.partial else task.horizon)
        self.ends = list(range(self.train_end, last + 1, task.stride))
        self.rows = torch.arange(len(whole)).repeat_interleave(len(self.ends))
        self.cutoffs = torch.tensor(self.ends).repeat(len(whole))
        self.actual = self.values(gather(whole, self.rows, self.cutoffs, 1, task.horizon).target)
        self.scale = accuracy.seasonal_error(self._history(), task.season)[self.rows.numpy()]

    def known(self) -> pl.DataFrame:
        """Return what training may see."""
        indices = self.grid.index_of(self.observations["timestamp"])
        return self.observations.filter(indices <= self.train_end)

    def values(self, deviations: Tensor | None) -> Array:
        """Return panel deviations (B, H) in the units of the data."""
        assert deviations is not None
        panel = self.panel
        values = panel.offset[self.rows, None] + panel.scale[self.rows, None] * deviations
        return values.numpy()

    def row(self, name: str, quantiles: Array, **more: float) -> Row:
        """Judge quantiles (B, H, Q), or a point forecast as Q equal ones."""
        median = quantiles[..., MEDIAN]
        mase = accuracy.mase(self.actual, median, self.scale)
        smape = accuracy.smape(self.actual, median)
        owa = accuracy.owa(smape, mase, naive2_smape=NAIVE2_SMAPE, naive2_mase=NAIVE2_MASE)
        return Row(
            dataset=self.task.name,
            forecast=name,
            mase=mase,
            smape=smape,
            wql=accuracy.wql(self.actual, quantiles, QUANTILE_LEVELS),
            owa=owa if self.task.name == "m4_hourly" else None,
            windows=int((~np.isnan(self.actual)).any(1).sum()),
            **more,
        )

    def _history(self) -> Array:
        panel, columns = self.panel, self.train_end - self.panel.start + 1
        values = panel.offset[:, None] + panel.scale[:, None] * panel.deviations[:, :columns]
        return values.numpy()


def run(task: Task, seeds: list[int]) -> list[Row]:
    """Train once per seed, forecast the test windows, and judge everything on the same points."""
    trial = Trial(task)
    return [*(_model(trial, seed) for seed in seeds), *_naive(trial)]


def _model(trial: Trial, seed: int) -> Row:
    config, started = trial.task.config(seed), time.process_time()
    panel, spec = training.prepare(trial.known(), config)
    result = training.fit(panel, spec, config.training)
    seconds = time.process_time() - started
    cutoffs = [trial.grid.timestamp_at(end) for end in trial.ends]
    said = inference.predict(result.model, trial.observations, cutoffs, device="cpu").forecasts
    quantiles = _quantiles(trial, said)
    return trial.row(
        f"model, seed {seed}",
        quantiles,
        coverage_80=accuracy.coverage(trial.actual, quantiles[..., LOW], quantiles[..., HIGH]),
        cpu_seconds=seconds,
    )


def _quantiles(trial: Trial, forecasts: pl.DataFrame) -> Array:
    """Return forecasts as (B, H, Q); a window that was skipped is judged nowhere."""
    series = pl.Series(trial.panel.series_ids)[trial.rows.numpy()]
    cutoffs = trial.grid.timestamps_of(pl.Series(trial.cutoffs.numpy()))
    said = forecasts.select(
        "series_id",
        "cutoff",
        pl.concat_list(pl.col("level") + pl.col(name) for name in DEVIATION_COLUMNS).alias("q"),
    )
    said = said.group_by("series_id", "cutoff", maintain_order=True).agg(pl.col("q").explode())
    keys = pl.DataFrame({"series_id": series, "cutoff": cutoffs})
    lists = keys.join(said, on=["series_id", "cutoff"], how="left", maintain_order="left")["q"]
    shape = (*trial.actual.shape, len(QUANTILE_LEVELS))
    missing = lists.is_null().to_numpy()
    quantiles = np.full(shape, np.nan)
    quantiles[~missing] = lists.drop_nulls().explode().to_numpy().reshape(-1, *shape[1:])
    trial.actual[missing] = np.nan
    return quantiles


def _naive(trial: Trial) -> list[Row]:
    task = trial.task
    context = gather(trial.panel, trial.rows, trial.cutoffs, 4 * max(*task.seasons, 14)).context
    drift = baselines.seasonal_naive_drift(context, task.horizon, task.season)
    forecasts = {
        "naive": baselines.naive(context, task.horizon),
        f"seasonal_naive {task.season} with drift": drift,
    }
    for season in task.seasons:
        seasonal = baselines.seasonal_naive(context, task.horizon, season)
        forecasts[f"seasonal_naive {season}"] = seasonal
    return [
        trial.row(name, trial.values(forecast)[..., None].repeat(len(QUANTILE_LEVELS), 2))
        for name, forecast in forecasts.items()
    ]


def machine() -> dict[str, str | int | None]:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return {
        "cpu": next(line.split(":")[1].strip() for line in lines if "model name" in line),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "polars": pl.__version__,
    }


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    frame = pl.DataFrame(rows).with_columns(cs.float().round_sig_figs(4).cast(pl.String))
    lines = [frame.columns, ["---"] * frame.width, *frame.fill_null("").iter_rows()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=[task.name for task in TASKS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows = []
    for task in (task for task in TASKS if task.name in arguments.tasks):
        rows += run(task, arguments.seeds)
        print(table(rows), flush=True)
    _keep(rows)


def _keep(rows: list[Row]) -> None:
    day, about = datetime.now(UTC).date().isoformat(), machine()
    path = HERE / "results" / f"accuracy-{day}"
    document = {"date": day, "machine": about, "rows": [asdict(row) for row in rows]}
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    said = ", ".join(f"{name} {value}" for name, value in about.items())
    text = f"# Accuracy, {day}\n\n`python benchmarks/accuracy.py`; {said}.\n\n{table(rows)}\n"
    path.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
