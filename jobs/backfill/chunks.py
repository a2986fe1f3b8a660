"""A chunk: the forecasts of some ticks, made in few batches, and how right they turned out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import torch

from forecaster.config.settings import DatasetConfig
from forecaster.data.point_in_time import Array
from forecaster.errors import SkipReason
from forecaster.inference import predictor
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.prediction import Prediction
from forecaster.inference.predictor import Contexts
from forecaster.network.spec import ModelSpec
from jobs.backfill.known_values import Stretch

CONTEXTS_AT_ONCE = 16_384
ROWS = 100_000
"""Forecast rows in one transaction: it takes about a second on SQLite, and others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The model that is asked, and whether it was chosen by somebody who knew the future."""

    model_id: int
    model: TrainedModel
    trained_to: datetime
    hindsight: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one model says at some ticks, nothing written yet.

    `parts` are forecasts of some series each. Their keys have the `row` of the series in the past,
    its `number`, its `scale` in training, and the place of the tick in the chunk, `nth`.
    """

    stretch: Stretch
    span: slice
    asked: Asked
    parts: tuple[Prediction, ...]
    skipped: pl.DataFrame
    """`nth`, reason and how many series."""

    @property
    def ticks(self) -> Sequence[datetime]:
        return self.stretch.ticks[self.span]

    @property
    def ends(self) -> Sequence[int]:
        """The grid indices of the cutoffs, one for each tick."""
        return self.stretch.ends[self.span]

    @property
    def cutoffs(self) -> list[datetime]:
        """The instants of the cutoffs, one for each tick."""
        return self._instants(pl.Series(self.ends))

    @property
    def cutoffs_said(self) -> list[datetime]:
        """The instants of the cutoffs of which there are forecasts."""
        return self._instants(pl.concat(part.keys["end"] for part in self.parts).unique().sort())

    def _instants(self, ends: pl.Series) -> list[datetime]:
        return self.asked.model.spec.grid().timestamps_of(ends).to_list()


def spans(stretch: Stretch, horizon: int, longest: timedelta) -> Iterator[slice]:
    """Cut a stretch into what one transaction holds; ticks of one cutoff stay together.

    It spans no more than `longest`, for it may need a table for each day.
    """
    size, first = max(1, ROWS // max(1, len(stretch.past.ids) * horizon)), 0
    ticks, ends = stretch.ticks, stretch.ends
    for place in range(1, len(ends) + 1):
        is_full = place - first >= size or (
            place < len(ends) and ticks[place] - ticks[first] > longest
        )
        if place == len(ends) or (is_full and ends[place] != ends[place - 1]):
            yield slice(first, place)
            first = place


def make(dataset: DatasetConfig, stretch: Stretch, span: slice, asked: Asked) -> Chunk:
    """Forecast every series at every tick of `span`, from what was known there and then.

    Where several ticks have one cutoff, a later one forecasts what the earlier ones could not.
    """
    parts, skipped = [], []
    lacking = _Lacking.of(stretch, span)
    for pairs in lacking.blocks():
        block = _Block.of(stretch, span, asked.model.spec, pairs)
        said = predictor.predict_contexts(
            asked.model,
            block.contexts,
            bounds=(dataset.lower_bound, dataset.upper_bound),
            device=dataset.training.device,
        )
        parts.append(_marked(block.named(said, asked.model.series_scale), asked))
        skipped.append(block.reasons(said, asked.model))
        lacking.take(parts[-1])
    return Chunk(
        stretch=stretch,
        span=span,
        asked=asked,
        parts=tuple(parts),
        skipped=pl.concat(skipped).group_by("nth", "reason").agg(pl.col("series").sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Some rows of a past, some ticks of a chunk, and which of both together are asked of."""

    row: Array
    nth: Array
    is_asked: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lacking:
    """What is still to be said.

    cutoff   (K,) which of the C cutoffs each tick has, ascending
    is_left  (N, C) of which series nothing was said at which cutoff
    """

    cutoff: Array
    is_left: Array

    @classmethod
    def of(cls, stretch: Stretch, span: slice) -> "_Lacking":
        ends, cutoff = np.unique(stretch.ends[span], return_inverse=True)
        return cls(cutoff=cutoff, is_left=np.ones((len(stretch.past.ids), len(ends)), bool))

    def blocks(self) -> Iterator[_Pairs]:
        """Give the first ticks of all cutoffs, then the second ones, some series at a time."""
        earlier = np.arange(len(self.cutoff)) - np.searchsorted(self.cutoff, self.cutoff)
        for number in range(int(earlier.max()) + 1):
            nth = np.flatnonzero(earlier == number)
            is_left = self.is_left[:, self.cutoff[nth]]
            rows = np.flatnonzero(is_left.any(1))
            at_once = max(1, CONTEXTS_AT_ONCE // len(nth))
            for first in range(0, len(rows), at_once):
                some = rows[first : first + at_once]
                yield _Pairs(row=some, nth=nth, is_asked=is_left[some])

    def take(self, said: Prediction) -> None:
        """Note what was said."""
        row, nth = (said.keys[name].to_numpy() for name in ("row", "nth"))
        self.is_left[row, self.cutoff[nth]] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """The contexts of some series at some ticks of a chunk, those without any value left out."""

    contexts: Contexts
    row: Array
    nth: Array
    empty: pl.DataFrame
    """The `row` and `nth` of contexts without a value."""
    stretch: Stretch

    @classmethod
    def of(cls, stretch: Stretch, span: slice, spec: ModelSpec, asked: "_Pairs") -> "_Block":
        """Take the contexts of the pairs that are asked of."""
        ends = np.array(stretch.ends[span], np.int64)
        windows = [
            stretch.past.window(int(place), int(end), spec.context_length, asked.row)
            for place, end in zip(stretch.places[span][asked.nth], ends[asked.nth], strict=True)
        ]
        values = np.stack(windows, axis=1)[asked.is_asked]
        place, at = np.nonzero(asked.is_asked)
        row, nth = asked.row[place], asked.nth[at]
        is_there = ~np.isnan(values).all(1)
        ids = stretch.past.ids[row[is_there]]
        return cls(
            contexts=Contexts(
                series_ids=[stretch.names[number] for number in ids.tolist()],
                ends=torch.from_numpy(ends[nth[is_there]]),
                values=torch.from_numpy(values[is_there]),
            ),
            row=row[is_there],
            nth=nth[is_there],
            empty=pl.DataFrame({"row": row[~is_there], "nth": nth[~is_there]}),
            stretch=stretch,
        )

    def named(self, said: Prediction, scales: Mapping[str, float]) -> Prediction:
        """Note of which row, series and tick each forecast is, and the scale of its series."""
        context = said.keys["context"].to_numpy()
        row, nth = self.row[context], self.nth[context]
        keys = said.keys.with_columns(
            row=pl.Series(row),
            number=pl.Series(self.stretch.past.ids[row]),
            nth=pl.Series(nth),
            scale=pl.Series(
                [scales.get(name) for name in said.keys["series_id"]], dtype=pl.Float64
            ),
        )
        return replace(said, keys=keys)

    def reasons(self, said: Prediction, model: TrainedModel) -> pl.DataFrame:
        """Count the series that were left out; those without data where the model knows them."""
        left = said.left_out.select(
            nth=pl.Series(self.nth[said.left_out["context"].to_numpy()]), reason="reason"
        )
        names = [
            self.stretch.names[number]
            for number in self.stretch.past.ids[self.empty["row"].to_numpy()].tolist()
        ]
        is_known = pl.Series([name in model.series_scale for name in names], dtype=pl.Boolean)
        empty = self.empty.filter(is_known).select("nth", reason=pl.lit(SkipReason.NO_DATA.value))
        return (
            pl.concat([left, empty])
            .group_by("nth", "reason")
            .agg(pl.len().cast(pl.Int64).alias("series"))
        )


def _marked(said: Prediction, asked: Asked) -> Prediction:
    """Mark as hindsight what a model says of a past that it was trained on, or chosen for."""
    trained = asked.model.spec.grid().index_at(asked.trained_to)
    return said.with_hindsight(pl.lit(asked.hindsight) | (pl.col("end") < trained))
