"""The accuracy of backfilled forecasts, by what was known when the job `score` would have run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import polars as pl
import torch

from forecaster.config.settings import DatasetConfig
from forecaster.data.grid import Grid
from forecaster.data.open_cells import is_open
from forecaster.data.panel import own_scale
from forecaster.data.point_in_time import Array
from forecaster.data.snapshots import Snapshots
from forecaster.evaluation import metrics
from forecaster.evaluation.metrics import Lead
from forecaster.inference.prediction import Prediction
from forecaster.schemas import ACCURACY, INSTANT, empty, quantiles_of_level
from forecaster.times.durations import MICROSECOND
from jobs.backfill.known_values import Segment

_LATER = _NEVER = np.iinfo(np.int64).max
_LONG_AGO = np.iinfo(np.int64).min
_ACTUAL_COLUMNS = ("actual", "seasonal_naive", "scale")


def score(dataset: DatasetConfig, segment: Segment, prediction: Prediction) -> pl.DataFrame:
    """Return ACCURACY of the leads that can be scored by now; hindsight is not scored.

    `prediction` is a part of a chunk. A lead is scored by what was known at the first tick of
    `score` at which its last step was over, `delay` and `late_data` too, and a newer value was
    there. If nothing was known of its steps, it is tried again for as long as `score` would.
    """
    scorable = prediction.select(~prediction.keys["hindsight"])
    reached = prediction.spec.prediction_length  # maybe that of another horizon
    leads = [lead for lead in metrics.leads(dataset.prediction_length) if lead.step_to <= reached]
    if scorable.keys.is_empty() or not leads:
        return empty(ACCURACY)
    actuals, lookups = (
        _KnownActuals.of(segment, scorable, leads),
        _Lookups.of(dataset, segment, scorable, leads),
    )
    nth = lookups.first()
    values = np.full((3, *actuals.shape), np.nan)
    rows = np.arange(len(nth))
    while len(rows):
        visible = actuals.only(rows)
        values[:, rows] = visible.as_known(lookups.when(nth[rows]))
        unknown = lookups.without_points(np.isfinite(values[:2, rows]).all(0) & visible.is_open)
        unknown &= lookups.may_run_again(rows, nth[rows])
        nth[rows] += unknown
        rows = rows[unknown.any(1)]
    steps = scorable.forecasts.filter(pl.col("step") <= actuals.horizon)
    frame = steps.select("series_id", "cutoff", "step", *quantiles_of_level()).with_columns(
        pl.Series(name, column[actuals.is_open])
        for name, column in zip(_ACTUAL_COLUMNS, values, strict=True)
    )
    return metrics.score(frame, dataset.prediction_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lookups:
    """When the job `score` ran: S ticks, and B forecasts with their leads.

    ticks  (S,) places among all ticks
    until  (S,) up to when everything counted as known
    after  (S,) what ended up to here was not scored again
    ends   (B, leads) when the last open steps of leads end, _NEVER where all are closed
    """

    ticks: Array
    until: Array
    after: Array
    ends: Array
    step_counts: Array

    @classmethod
    def of(
        cls, dataset: DatasetConfig, segment: Segment, prediction: Prediction, leads: Sequence[Lead]
    ) -> "_Lookups":
        wait, late = _microseconds(dataset.delay + dataset.late_data), dataset.late_data
        instants = segment.knowledge.ticks[segment.scoring]
        known = np.minimum(instants - wait, segment.past.newest[segment.scoring])
        written = instants - _microseconds(dataset.deadlines.write)
        oldest = instants[np.searchsorted(instants, written)]
        fresh = oldest - _microseconds(dataset.delay + dataset.step.approximate)
        late += segment.past.grid.lag + MICROSECOND
        looked_back = np.minimum(known.clip(_LONG_AGO // 2) - _microseconds(late), fresh)
        end = prediction.keys["end"].to_numpy()
        grid = prediction.spec.grid()
        last = np.stack([_last_open(grid, end, lead) for lead in leads], 1)
        stamps = grid.timestamps_of(pl.Series(last.clip(end[:, None]).ravel(), dtype=pl.Int64))
        ends = stamps.to_physical().to_numpy().reshape(last.shape)
        return cls(
            ticks=segment.scoring,
            until=_complete(segment.past, known),
            after=np.insert(looked_back, 0, _LONG_AGO)[: len(known)],
            ends=np.where(last < end[:, None], _NEVER, ends),
            step_counts=np.array([lead.step_to - lead.step_from + 1 for lead in leads]),
        )

    def first(self) -> Array:
        """Return the number of the first run that scores each lead, S where there was none yet."""
        places: Array = np.searchsorted(self.until, self.ends)
        return places

    def when(self, nth: Array) -> Array:
        """Return the ticks of these runs for every step, (B, H); _LATER for none."""
        ticks = np.append(self.ticks, _LATER)[nth]
        return np.repeat(ticks, self.step_counts, axis=1)

    def without_points(self, is_known: Array) -> Array:
        """Return of which leads no step is known, (B, leads); `is_known` is (B, H)."""
        first = np.cumsum(self.step_counts) - self.step_counts
        return ~np.logical_or.reduceat(is_known, first, axis=1)

    def may_run_again(self, rows: Array, nth: Array) -> Array:
        """Return which leads the run after the `nth` still includes."""
        after = np.append(self.after, _NEVER)
        may: Array = self.ends[rows] > after[np.minimum(nth + 1, len(self.after))]
        return may


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownActuals:
    """The actual values of B series after some cutoffs, H steps of each, as known at any tick."""

    past: Snapshots
    row: Array
    end: Array
    given: Array
    """Scales (B,) of training, NaN for series that are new since."""
    season: int
    context: int
    leads: Sequence[Lead]
    is_open: Array
    """(B, H) which steps are open: only these are scored."""

    @classmethod
    def of(cls, segment: Segment, prediction: Prediction, leads: Sequence[Lead]) -> "_KnownActuals":
        spec, keys = prediction.spec, prediction.keys
        steps = np.arange(1, leads[-1].step_to + 1)
        return cls(
            past=segment.past,
            row=keys["row"].to_numpy(),
            end=keys["end"].to_numpy(),
            given=keys["scale"].to_numpy(),
            season=spec.season_length,
            context=spec.context_length,
            leads=leads,
            is_open=is_open(spec.grid(), keys["end"].to_numpy()[:, None] + steps),
        )

    @property
    def horizon(self) -> int:
        """How many steps are scored, H."""
        return self.leads[-1].step_to

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.row), self.horizon

    def only(self, rows: Array) -> "_KnownActuals":
        """Return those of some of the series."""
        names = ("row", "end", "given", "is_open")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def as_known(self, when: Array) -> Array:
        """Return actual values, seasonal naive and scales as known at ticks `when`, (3, B, H)."""
        steps = np.arange(1, self.horizon + 1)
        actual = self._at(self.end[:, None] + steps, when)
        return np.stack((actual, self._seasonal_naive(when), self._scale(when)))

    def _seasonal_naive(self, when: Array) -> Array:
        """Return the latest value of the same phase in memory, else the last one."""
        latest = self.end[:, None] - self.season + 1 + np.arange(self.horizon) % self.season
        naive = self._at(latest, when)
        missing = np.flatnonzero(np.isnan(naive) & (when < _LATER))
        memory = max(self.context, self.season)
        last = np.repeat(self.end, self.horizon)
        for indices in (
            *(latest.ravel() - back for back in range(self.season, memory, self.season)),
            *(last - back for back in range(memory if len(missing) else 0)),
        ):
            missing = missing[np.isnan(naive.ravel()[missing])]
            wanted = missing[indices[missing] > last[missing] - memory]
            naive.ravel()[wanted] = self.past.values_at(
                self.row[wanted // self.horizon], indices[wanted], when.ravel()[wanted]
            )
        return naive

    def _scale(self, when: Array) -> Array:
        """Return the scales of the training; new series are scaled by their contexts."""
        scale = np.repeat(self.given[:, None], self.horizon, axis=1)
        new = np.flatnonzero(np.isnan(self.given))
        if len(new) == 0:
            return scale
        indices = self.end[new, None] + np.arange(1 - self.context, 1)
        rows = np.broadcast_to(self.row[new, None], indices.shape)
        for lead in self.leads:
            steps = slice(lead.step_from - 1, lead.step_to)
            then = np.broadcast_to(when[new, lead.step_from - 1, None], indices.shape)
            context = torch.from_numpy(self.past.values_at(rows, indices, then))
            scale[new, steps] = own_scale(context, self.season).numpy()[:, None]
        return scale

    def _at(self, indices: Array, when: Array) -> Array:
        rows = np.broadcast_to(self.row[:, None], indices.shape)
        values = self.past.values_at(rows, indices, when)
        return np.where(when < _LATER, values, np.nan)


def _complete(past: Snapshots, known: Array) -> Array:
    """Return the timestamps of the cells that are complete at instants in microseconds."""
    grid = past.grid
    if not grid.lag:
        return known
    first = grid.timestamps_of(pl.Series([past.start])).to_physical().item()
    cells = grid.complete_of(pl.Series(known.clip(first), dtype=pl.Int64).cast(INSTANT))
    timestamps: Array = grid.timestamps_of(cells).to_physical().to_numpy()
    return timestamps


def _last_open(grid: Grid, ends: Array, lead: Lead) -> Array:
    """Return the grid index of the last open step of a lead after each cutoff, least if none is."""
    steps = ends[:, None] + np.arange(lead.step_from, lead.step_to + 1)
    last: Array = np.where(is_open(grid, steps), steps, _LONG_AGO).max(1)
    return last


def _microseconds(length: timedelta) -> int:
    return length // MICROSECOND
