"""Train on a frame, forecast from it, and compare with what happened.

python examples/fit_and_predict.py          # about a minute
python examples/fit_and_predict.py 4        # four steps of training, to see that it runs
"""

import math
import random
import sys
from datetime import UTC, datetime, timedelta

import polars as pl

import forecaster

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEKS = 8


def load_of(service: str, noise: random.Random) -> pl.DataFrame:
    """Return hourly rows of one service: a wave per day, less on weekends, some noise."""
    hours = range(WEEKS * 7 * 24)
    busy = [1.0 if hour // 24 % 7 < 5 else 0.6 for hour in hours]
    waves = [60 - 25 * math.cos(math.tau * hour / 24) for hour in hours]
    return pl.DataFrame(
        {
            "series_id": service,
            "timestamp": [START + timedelta(hours=hour) for hour in hours],
            "value": [
                wave * share + noise.gauss(0, 2) for wave, share in zip(waves, busy, strict=True)
            ],
        }
    )


def main(steps: int) -> None:
    noise = random.Random(0)
    rows = pl.concat([load_of("api", noise), load_of("web", noise)])
    today = START + timedelta(weeks=WEEKS, days=-2)
    known = rows.filter(pl.col("timestamp") <= today)

    print(forecaster.detect_seasons(known, step="1h"))
    model = forecaster.fit(known, step="1h", horizon="1d", training={"steps": steps})
    forecast = model.predict(known)
    print(forecast.quantiles.select("series_id", "timestamp", "q10", "q50", "q90"))

    strongest = forecast.attention.sort("weight", descending=True)
    print(strongest.select("series_id", "step_from", "source", "context_from", "weight").head())

    accuracy = model.score(forecast, rows, by=["series_id"])
    print(accuracy.select("series_id", "mase", "seasonal_naive_mase", "coverage_80"))


if __name__ == "__main__":
    main(steps=int(sys.argv[1]) if len(sys.argv) > 1 else 150)
