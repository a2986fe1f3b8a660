"""Predictions of a model at some cutoffs: tensors, and frames of them on demand."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import polars as pl
import torch

from forecaster.data.panel import PanelCounts
from forecaster.errors import SkipReason
from forecaster.inference.to_frames import (
    Numbers,
    arrays_frame,
    attention_frame,
    attention_rows_of,
    forecasts_frame,
    patches_frame,
    rows_of,
    steps_frame,
)
from forecaster.network.spec import ModelSpec

SERIES_AT_ONCE = 8192
"""How many series' forecasts are rows in memory at one time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predictions of a model at some cutoffs: tensors, and frames of them on demand."""

    spec: ModelSpec
    ends: tuple[int, ...]
    """Grid indices of the cutoffs."""
    keys: pl.DataFrame
    """series_id, status, hindsight and the cutoff's grid index `end`, one row each, sorted."""
    numbers: Numbers
    is_explained: bool
    """Whether there is attention: none where a naive forecast serves."""
    left_out: pl.DataFrame
    """series_id, `end` and `reason` of each forecast that could not be made."""
    panel_counts: PanelCounts

    @property
    def skipped(self) -> dict[str, SkipReason]:
        """Series without a forecast at any of the cutoffs, and why not at the last one."""
        none = self.left_out.join(self.keys, on="series_id", how="anti").sort("series_id", "end")
        last = none.unique("series_id", keep="last", maintain_order=True)
        reasons = map(SkipReason, last["reason"])
        return dict(zip(last["series_id"], reasons, strict=True))

    @property
    def forecasts(self) -> pl.DataFrame:
        """FORECASTS, sorted by series_id, cutoff and step."""
        return forecasts_frame(self.numbers, self.keys, self.spec)

    @property
    def arrays(self) -> pl.DataFrame:
        """FORECAST_ARRAYS, sorted by series_id and cutoff."""
        return arrays_frame(self.numbers, self.keys, self.spec)

    @property
    def steps(self) -> pl.DataFrame:
        """STEPS of the cutoffs at which a series has a forecast."""
        return steps_frame(self.keys["end"].unique().sort().to_list(), self.spec)

    @property
    def attention(self) -> pl.DataFrame:
        """ATTENTION, sorted by series_id, cutoff and step_from."""
        frame = attention_frame(self.numbers, self.keys, self.spec)
        return frame if self.is_explained else frame.clear()

    @property
    def patches(self) -> pl.DataFrame:
        """PATCHES of every cutoff; none without attention."""
        return self.patches_at(self.ends)

    def patches_at(self, ends: Sequence[int]) -> pl.DataFrame:
        """Return PATCHES of some of the cutoffs; none without attention."""
        frame = patches_frame(list(ends), self.spec)
        return frame if self.is_explained else frame.clear()

    def summary(self, *, named: int) -> dict[str, Any]:
        """Count series and rows, by status, and those that were skipped; `named` of these by name.

        Keys are those of a report on a run.
        """
        series = pl.col("series_id").n_unique()
        by_status = self.keys.group_by("status").agg(series).sort("status")
        skipped = {series_id: reason.value for series_id, reason in self.skipped.items()}
        ends = self.keys["end"]
        return {
            "series": self.keys["series_id"].n_unique(),
            "rows": rows_of(ends, self.spec),
            "attention_rows": attention_rows_of(ends, self.spec) if self.is_explained else 0,
            "statuses": dict(by_status.iter_rows()),
            "hindsight": self.keys.filter("hindsight")["series_id"].n_unique(),
            "skipped": Counter(skipped.values()),
            "skipped_series": dict(islice(skipped.items(), named)),
            "panel": asdict(self.panel_counts),
        }

    def without(self, series_ids: Collection[str]) -> "Prediction":
        """Return the forecasts of all other series."""
        return self.select(~self.keys["series_id"].is_in(series_ids)) if series_ids else self

    def select(self, kept: pl.Series) -> "Prediction":
        """Return the forecasts where `kept` is true."""
        chosen = torch.from_numpy(kept.to_numpy(writable=True))
        return replace(self, keys=self.keys.filter(kept), numbers=self.numbers.select(chosen))

    def with_status(self, status: str, *, instead_of: str) -> "Prediction":
        """Return the same forecasts, those of one status with another."""
        replaced = pl.col("status").replace(instead_of, status)
        return replace(self, keys=self.keys.with_columns(replaced))

    def with_hindsight(self, is_hindsight: pl.Expr) -> "Prediction":
        """Return the same forecasts, marked where `is_hindsight` is true of their keys."""
        return replace(self, keys=self.keys.with_columns(hindsight=is_hindsight))

    def blocks(self, size: int = SERIES_AT_ONCE) -> Iterator["Prediction"]:
        """Yield the forecasts, `size` at a time: their frames take much more memory."""
        for first in range(0, self.keys.height, size):
            part = slice(first, first + size)
            yield replace(self, keys=self.keys[part], numbers=self.numbers.select(part))
