"""A chunk: the forecasts of some ticks, made in few batches."""

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
from jobs.backfill.known_values import Segment, cut

CONTEXTS_AT_ONCE = 16_384
ROWS = 100_000
"""Forecast rows in one transaction: it takes about a second on SQLite, and others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingModel:
    """The model that forecasts, and whether it was chosen with knowledge of later data."""

    model_id: int
    model: TrainedModel
    trained_to: datetime
    hindsight: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The forecasts of one model at some ticks, not written yet.

    `parts` are forecasts of some series each. Their keys have the `row` of the series in the past,
    its `number`, its `scale` in training, and the place of the tick in the chunk, `nth`.
    """

    segment: Segment
    span: slice
    serving: ServingModel
    parts: tuple[Prediction, ...]
    skipped: pl.DataFrame
    """`nth`, reason and how many series."""

    @property
    def ticks(self) -> Sequence[datetime]:
        return self.segment.ticks[self.span]

    @property
    def ends(self) -> Sequence[int]:
        """The grid indices of the cutoffs, one for each tick."""
        return self.segment.ends[self.span]

    @property
    def cutoffs(self) -> list[datetime]:
        """The instants of the cutoffs, one for each tick."""
        return self._instants(pl.Series(self.ends))

    @property
    def forecast_cutoffs(self) -> list[datetime]:
        """The instants of the cutoffs that have forecasts."""
        return self._instants(pl.concat(part.keys["end"] for part in self.parts).unique().sort())

    def _instants(self, ends: pl.Series) -> list[datetime]:
        return self.serving.model.spec.grid().timestamps_of(ends).to_list()


def spans(segment: Segment, horizon: int, longest: timedelta) -> Iterator[slice]:
    """Cut a segment into what one transaction holds; ticks of one cutoff stay together.

    Each spans at most `longest`, as it may need a partition for each day.
    """
    size, ticks = max(1, ROWS // max(1, len(segment.past.ids) * horizon)), segment.ticks

    def is_full(first: int, place: int) -> bool:
        return place - first >= size or ticks[place] - ticks[first] > longest

    return cut(segment.ends, is_full)


def make(dataset: DatasetConfig, segment: Segment, span: slice, serving: ServingModel) -> Chunk:
    """Forecast every series at every tick of `span`, from what was known at that tick.

    Where several ticks have one cutoff, a later one forecasts what the earlier ones could not.
    """
    parts, skipped = [], []
    pending = _Pending.of(segment, span)
    for pairs in pending.blocks():
        block = _Block.of(segment, span, serving.model.spec, pairs)
        prediction = predictor.predict_contexts(
            serving.model,
            block.contexts,
            bounds=(dataset.lower_bound, dataset.upper_bound),
            device=dataset.training.device,
        )
        parts.append(_marked(block.named(prediction, serving.model.series_scale), serving))
        skipped.append(block.reasons(prediction, serving.model))
        pending.take(parts[-1])
    return Chunk(
        segment=segment,
        span=span,
        serving=serving,
        parts=tuple(parts),
        skipped=pl.concat(skipped).group_by("nth", "reason").agg(pl.col("series").sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Some rows of a past, some ticks of a chunk, and which pairs of both have no forecast yet."""

    row: Array
    nth: Array
    is_pending: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """Which series still need a forecast.

    cutoff      (K,) which of the C cutoffs each tick has, ascending
    is_missing  (N, C) which series have no forecast yet at which cutoff
    """

    cutoff: Array
    is_missing: Array

    @classmethod
    def of(cls, segment: Segment, span: slice) -> "_Pending":
        ends, cutoff = np.unique(segment.ends[span], return_inverse=True)
        return cls(cutoff=cutoff, is_missing=np.ones((len(segment.past.ids), len(ends)), bool))

    def blocks(self) -> Iterator[_Pairs]:
        """Yield the first ticks of all cutoffs, then the second ones, some series at a time."""
        earlier = np.arange(len(self.cutoff)) - np.searchsorted(self.cutoff, self.cutoff)
        for number in range(int(earlier.max()) + 1):
            nth = np.flatnonzero(earlier == number)
            is_missing = self.is_missing[:, self.cutoff[nth]]
            rows = np.flatnonzero(is_missing.any(1))
            at_once = max(1, CONTEXTS_AT_ONCE // len(nth))
            for first in range(0, len(rows), at_once):
                some = rows[first : first + at_once]
                yield _Pairs(row=some, nth=nth, is_pending=is_missing[some])

    def take(self, prediction: Prediction) -> None:
        """Mark what was forecast."""
        row, nth = (prediction.keys[name].to_numpy() for name in ("row", "nth"))
        self.is_missing[row, self.cutoff[nth]] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """The contexts of some series at some ticks of a chunk, those without any value left out."""

    contexts: Contexts
    row: Array
    nth: Array
    empty: pl.DataFrame
    """The `row` and `nth` of contexts without a value."""
    segment: Segment

    @classmethod
    def of(cls, segment: Segment, span: slice, spec: ModelSpec, pairs: "_Pairs") -> "_Block":
        """Take the contexts of the pending pairs."""
        ends = np.array(segment.ends[span], np.int64)
        windows = [
            segment.past.window(int(place), int(end), spec.context_length, pairs.row)
            for place, end in zip(segment.places[span][pairs.nth], ends[pairs.nth], strict=True)
        ]
        values = np.stack(windows, axis=1)[pairs.is_pending]
        place, at = np.nonzero(pairs.is_pending)
        row, nth = pairs.row[place], pairs.nth[at]
        is_there = ~np.isnan(values).all(1)
        ids = segment.past.ids[row[is_there]]
        return cls(
            contexts=Contexts(
                series_ids=[segment.names[number] for number in ids.tolist()],
                ends=torch.from_numpy(ends[nth[is_there]]),
                values=torch.from_numpy(values[is_there]),
            ),
            row=row[is_there],
            nth=nth[is_there],
            empty=pl.DataFrame({"row": row[~is_there], "nth": nth[~is_there]}),
            segment=segment,
        )

    def named(self, prediction: Prediction, scales: Mapping[str, float]) -> Prediction:
        """Add to each forecast its row, series and tick, and the scale of its series."""
        context = prediction.keys["context"].to_numpy()
        row, nth = self.row[context], self.nth[context]
        keys = prediction.keys.with_columns(
            row=pl.Series(row),
            number=pl.Series(self.segment.past.ids[row]),
            nth=pl.Series(nth),
            scale=pl.Series(
                [scales.get(name) for name in prediction.keys["series_id"]], dtype=pl.Float64
            ),
        )
        return replace(prediction, keys=keys)

    def reasons(self, prediction: Prediction, model: TrainedModel) -> pl.DataFrame:
        """Count skipped series; those without data only if the model was trained on them."""
        left = prediction.left_out.select(
            nth=pl.Series(self.nth[prediction.left_out["context"].to_numpy()]), reason="reason"
        )
        names = [
            self.segment.names[number]
            for number in self.segment.past.ids[self.empty["row"].to_numpy()].tolist()
        ]
        is_known = pl.Series([name in model.series_scale for name in names], dtype=pl.Boolean)
        empty = self.empty.filter(is_known).select("nth", reason=pl.lit(SkipReason.NO_DATA.value))
        return (
            pl.concat([left, empty])
            .group_by("nth", "reason")
            .agg(pl.len().cast(pl.Int64).alias("series"))
        )


def _marked(prediction: Prediction, serving: ServingModel) -> Prediction:
    """Mark as hindsight the forecasts of a past that the model was trained on, or chosen for."""
    trained = serving.model.spec.grid().index_at(serving.trained_to)
    return prediction.with_hindsight(pl.lit(serving.hindsight) | (pl.col("end") < trained))
