"""Series with opening hours, made by hand: car parks that have no rows while they are closed."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from forecaster.schemas import INSTANT, OBSERVATIONS

MONDAY = datetime(2024, 1, 1)  # noqa: DTZ001 - a wall time


@dataclass(frozen=True, kw_only=True)
class Parking:
    """Car parks that rise to a peak and fall again, on `days` days of the week.

    Rows every `step` minutes from `opens[0]` up to and with `opens[1]`, minutes after midnight on
    the clocks of `zone`; past 1440 it is open over midnight. Weekends are quieter, every day has a
    level of its own, and `outages` days a series are missing.
    """

    series: int = 3
    weeks: int = 6
    opens: tuple[int, int] = (480, 1200)
    step: int = 30
    days: int = 7
    zone: str = "UTC"
    first: datetime = MONDAY
    outages: int = 0
    seed: int = 0
    name: str = "p"

    def rows(self) -> pl.DataFrame:
        """Return OBSERVATIONS."""
        random = np.random.default_rng(self.seed)
        wall = pl.concat(self._one(number, random) for number in range(self.series))
        local = pl.lit(self.first) + pl.duration(minutes=pl.col("minute"))
        zoned = local.dt.replace_time_zone(self.zone, ambiguous="earliest", non_existent="null")
        timestamp = zoned.dt.convert_time_zone("UTC").cast(INSTANT).alias("timestamp")
        found = wall.with_columns(timestamp).drop_nulls("timestamp").select(OBSERVATIONS.names())
        return found.sort("series_id", "timestamp")

    def _one(self, number: int, random: np.random.Generator) -> pl.DataFrame:
        opens, closes = self.opens
        within = np.arange(opens, closes + 1, self.step)
        share = (within - opens) / max(1, closes - opens)
        dates = np.array([day for day in range(7 * self.weeks) if day % 7 < self.days])
        level = np.where(dates % 7 < 5, 1.0, 0.6) * random.uniform(0.85, 1.15, len(dates))
        shape = 60 * np.sin(np.pi * (0.1 + 0.8 * share)) * random.uniform(0.5, 2)
        values = 50 + shape * level[:, None] + random.normal(0, 3, (len(dates), len(within)))
        kept = np.ones(len(dates), bool)
        kept[random.integers(0, len(dates), self.outages)] = False
        minutes = dates[:, None] * 1440 + within
        frame = {"minute": minutes[kept].ravel(), "value": values[kept].ravel()}
        return pl.DataFrame(frame).with_columns(
            pl.lit(f"{self.name}{number:02}").alias("series_id")
        )
