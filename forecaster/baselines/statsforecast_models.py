"""Methods of statsforecast, an optional package: fitted to the history before every window.

In the units of the data. A history is cut to its newest `LONGEST` values, and has its gaps filled
along straight lines; where a method cannot be fitted there is no forecast.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forecaster.baselines.histories import Array, histories
from forecaster.errors import ConfigError
from forecaster.schemas import QUANTILE_LEVELS

LONGEST = 2000
"""Values that a method is fitted to: an ARIMA model of more takes minutes."""
METHODS: Mapping[str, str] = {
    "auto_ets": "AutoETS",
    "auto_arima": "AutoARIMA",
    "auto_theta": "AutoTheta",
    "mstl": "MSTL",
}
"""Our names and those of the package."""

_LEVELS = [round(100 * (1 - 2 * level), 1) for level in QUANTILE_LEVELS if level < 0.5]
"""Central intervals in percent, widest first, whose ends are all quantiles but the median."""


def require_package(name: str) -> None:
    """Raise ConfigError unless the package that method `name` is made of is installed."""
    if importlib.util.find_spec("statsforecast") is None:
        raise ConfigError(
            [f"{name} requires statsforecast, which is not installed"],
            hint="pip install 'forecaster[statsforecast]'",
        )


def statistical_quantiles(
    name: str,
    context: Tensor,
    prediction_length: int,
    seasons: Sequence[int],
    on_fitted: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Forecast contexts (B, L) with gaps by method `name`: quantiles (B, H, Q), ascending.

    `seasons` are the season and the long one; only `mstl` looks at both. `on_fitted` is called
    for each row. A row that nothing can be fitted to is NaN.
    """
    require_package(name)
    result = context.new_full((len(context), prediction_length, len(QUANTILE_LEVELS)), torch.nan)
    for history in histories(context[:, -LONGEST:]):
        steps = prediction_length + history.age
        quantiles = _fitted(_method(name, seasons), history.values, steps)
        if quantiles is not None:
            result[history.row] = torch.from_numpy(quantiles[history.age :]).to(result)
        on_fitted(1)
    return result


def _method(name: str, seasons: Sequence[int]) -> Any:
    from statsforecast import models

    distinct = sorted({season for season in seasons if season > 1})
    method = getattr(models, METHODS[name])
    if name == "mstl":
        return method(season_length=distinct or [1])
    return method(season_length=distinct[0] if distinct else 1)


def _fitted(method: Any, values: Array, steps: int) -> Array | None:
    """Return quantiles (H, Q) that ascend; None where the method fails or is not finite."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            forecast = method.forecast(y=values, h=steps, level=sorted(_LEVELS))
    except Exception:  # one history that fails must not end the others
        return None
    low = [forecast[f"lo-{level}"] for level in _LEVELS]
    high = [forecast[f"hi-{level}"] for level in reversed(_LEVELS)]
    quantiles: Array = np.maximum.accumulate(
        np.stack([*low, forecast["mean"], *high], axis=1), axis=1
    )
    return quantiles if np.isfinite(quantiles).all() else None
