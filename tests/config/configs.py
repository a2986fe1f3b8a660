"""Configuration files, and configurations, to test with."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from forecaster.config.file import parse
from forecaster.config.settings import Config, DatasetConfig, ModelConfig
from forecaster.errors import ConfigError
from forecaster.times.durations import Step
from forecaster.times.schedules import Every

BIKES = """
database_url = "sqlite:///forecaster.db"
[server]
listen = "0.0.0.0:9000"
[datasets.bikes]
query = "SELECT station AS series_id, hour AS timestamp, rentals AS value FROM trips"
source_url = "${WAREHOUSE_URL}"
step = "1h"
horizon = "2d"
timezone = "America/New_York"
delay = "5m"
forecast_every = "1h"
retrain_every = "1d"
history = "180d"
late_data = "2h"
lower_bound = 0
"""
WAREHOUSE = {"WAREHOUSE_URL": "postgres://reader:hunter2@warehouse/sales"}
MINIMAL = 'database_url = "sqlite:///f.db"\n[datasets.x]\nstep = "{}"\nprediction_length = 3\n'


def parsed(
    text: str, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> Config:
    def read_file(path: str) -> str:
        if path not in (files or {}):
            raise FileNotFoundError(2, "No such file or directory", path)
        return (files or {})[path]

    return parse(text, environ or {}, read_file=read_file)


def problems_of(
    text: str, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parsed(text, environ, files)
    return caught.value.problems


def dataset(line: str) -> str:
    return f'database_url = "sqlite:///f.db"\n[datasets.x]\nstep = "1h"\nhorizon = "2d"\n{line}\n'


SETTLED = {"statistics": "window", "calendar": False}
"""What is otherwise chosen on validation windows, in trainings that take three times as long."""


def small_dataset(
    step: str = "1h", prediction_length: int = 12, *, settled: bool = True, **model: object
) -> DatasetConfig:
    """A dataset with a small network, of which nothing is left to choose if it is `settled`."""
    small: dict[str, object] = {"hidden_size": 8, "layers": 1, "heads": 2}
    small |= SETTLED if settled else {}
    return DatasetConfig(
        name="small",
        step=Step.parse(step),
        prediction_length=prediction_length,
        forecast_schedule=Every(timedelta(hours=1)),
        retrain_schedule=Every(timedelta(days=1)),
        history=timedelta(days=365),
        late_data=timedelta(hours=2),
        model=ModelConfig(**(small | model)),  # type: ignore[arg-type]
    )
