"""Scheduled quantile forecasts for time series in SQL, with the attention behind them.

The library. Its public names train on a frame of rows and forecast from one:

>>> from datetime import UTC, datetime, timedelta
>>> import polars as pl
>>> import forecaster
>>> monday = datetime(2026, 1, 5, tzinfo=UTC)
>>> rows = pl.DataFrame(
...     {
...         "series_id": "pump",
...         "timestamp": [monday + timedelta(hours=hour) for hour in range(24 * 14)],
...         "value": [float(hour % 24 + hour % 5) for hour in range(24 * 14)],
...     }
... )
>>> forecaster.detect_seasons(rows, step="1h").season_length
24
>>> model = forecaster.fit(
...     rows,
...     step="1h",
...     horizon="6h",
...     model={"hidden_size": 8, "layers": 1, "heads": 2},  # tiny: an example in seconds
...     training={"steps": 4, "batch_size": 8, "device": "cpu", "naive_guard": False},
... )
>>> forecast = model.predict(rows)
>>> forecast.quantiles.select("series_id", "step", "q10", "q50", "q90").shape
(6, 5)
>>> totals = forecast.attention.group_by("step_from").agg(pl.col("weight").sum())["weight"]
>>> {round(total, 3) for total in totals}
{1.0}

The other names of the library may change without notice. A package imports from the layers below
its own, never from above:

api                               the public names
checks · experiments · explain    what `check` reports; backtests; faithfulness of attention
training                          from a panel and settings to a model
evaluation · inference            metrics and rolling origins; from a model to forecasts
network · source                  the LSTM with temporal attention; reading a user's database
data · store                      values on a time grid; Forecaster's own database
config · ingestion                settings; raw rows into observations
baselines · times                 forecasts without training; durations, cron, timestamps
schemas · errors                  the data frames that packages exchange; exceptions

The program that runs it on a schedule is the package `jobs`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from forecaster.errors import ForecasterError, SkipReason

if TYPE_CHECKING:
    from forecaster.api import Forecast, Model, detect_seasons, fit
    from forecaster.schemas import QUANTILE_COLUMNS, QUANTILE_LEVELS

__all__ = [
    "QUANTILE_COLUMNS",
    "QUANTILE_LEVELS",
    "Forecast",
    "ForecasterError",
    "Model",
    "SkipReason",
    "__version__",
    "detect_seasons",
    "fit",
]
__version__ = "0.2.0"

_FROM = {
    **dict.fromkeys(("Forecast", "Model", "detect_seasons", "fit"), "forecaster.api"),
    **dict.fromkeys(("QUANTILE_COLUMNS", "QUANTILE_LEVELS"), "forecaster.schemas"),
}
"""Names that need torch or polars: imported when they are first used, which the command line, whose
help needs neither, never does."""


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_FROM[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
