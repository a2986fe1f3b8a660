"""A trial: train on what was known, let the model and its rivals forecast what came after.

The road is that of the service: `training.prepare` and `training.fit` see what lies up to the first
cutoff and nothing else; the windows after it are read in the units of that panel, so nothing later
can reach a model, a rival or a scale.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl
import torch
from torch import Tensor

from forecaster import rivals, training
from forecaster.backtest import Backtest, Predictor, backtest, joined
from forecaster.config import DatasetConfig
from forecaster.errors import SkipReason
from forecaster.model.checkpoint import TrainedModel
from forecaster.model.device import Runner, choose_device
from forecaster.model.eligibility import FORECAST, REASONS, judge
from forecaster.model.spec import ModelSpec
from forecaster.origins import Origins
from forecaster.series.continued import continued
from forecaster.series.panel import Panel, still
from forecaster.series.windows import gather
from forecaster.training import Progress, TrainingResult
from forecaster.validation import MODEL, predictor

NOT_KNOWN, NOTHING_TO_JUDGE = "no_data_before", "nothing_to_judge"
"""Why a series with windows was not judged, beside the reasons of a tick."""
_MOST_WINDOWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told how far a trial is."""

    training: Callable[[Progress], None] = lambda _: None
    windows: Callable[[int, int], None] = lambda _, __: None
    """Is told how many windows all predictors are done with, on average, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One training of a trial, and what it saw."""

    turn: int
    series: int
    observations: int
    length: int
    """Steps from the first to the last."""
    trained_from: datetime
    trained_to: datetime
    spec: ModelSpec
    result: TrainingResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a trial found."""

    found: Backtest
    scaled: Backtest
    """The same without series that had never moved: no error can be told in units of their past."""
    still: Sequence[str]
    """The series that `scaled` lacks, some of them only before they moved."""
    trainings: Sequence[Trained]
    left_out: Mapping[str, str]
    """Series of which no point was judged, and why."""


def run(
    observations: pl.DataFrame,
    origins: Origins,
    dataset: DatasetConfig,
    names: Sequence[str],
    *,
    refit: bool = False,
    watch: Watch | None = None,
) -> Trial:
    """Forecast OBSERVATIONS at `origins` with a model and the rivals `names`.

    The model is trained once, on what lies before the first window of every series, or, `refit`,
    before each turn anew. InsufficientHistory where that is too little, TrainingDiverged.
    """
    turns = range(origins.turns) if refit else [None]
    stages = [
        _Stage(observations, origins, dataset, turn, watch or Watch()).run(names) for turn in turns
    ]
    found = joined([stage.found for stage in stages])
    judged = set(found.sums["series_id"].unique())
    reasons = dict(origins.left_out)
    for stage in stages:
        reasons |= stage.silent
    return Trial(
        found=found,
        scaled=joined([stage.scaled for stage in stages]),
        still=tuple(sorted(judged.intersection(name for stage in stages for name in stage.still))),
        trainings=[stage.trained for stage in stages],
        left_out={name: why for name, why in sorted(reasons.items()) if name not in judged},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What a stage found: `silent` are series that were not judged, and why."""

    found: Backtest
    trained: Trained
    still: Sequence[str]
    silent: Mapping[str, str]

    @property
    def scaled(self) -> Backtest:
        moved = ~pl.col("series_id").is_in(self.still)
        return replace(self.found, sums=self.found.sums.filter(moved))


class _Stage:
    """One training, and the windows that it forecasts: those of one turn, or all of them."""

    def __init__(
        self,
        observations: pl.DataFrame,
        origins: Origins,
        dataset: DatasetConfig,
        turn: int | None,
        watch: Watch,
    ) -> None:
        self._origins, self._dataset, self._turn, self._watch = origins, dataset, turn, watch
        self._done, self._whole, self._predictors = 0, 0, 1
        self._known, self._later = origins.parted(observations, turn)

    def run(self, names: Sequence[str]) -> _Judged:
        """Train, forecast, judge."""
        panel, spec = training.prepare(self._known, self._dataset)
        made = training.fit(panel, spec, self._dataset.training, self._watch.training)
        whole = continued(panel, self._later, self._limits(panel))
        pairs, unknown = self._pairs(panel)
        self._whole, self._predictors = len(pairs), 1 + len(names)
        self._watch.windows(0, self._whole)
        model = made.model
        found = backtest(
            {MODEL: self._ours(model, whole), **self._rivals(names, whole, model.spec)},
            whole,
            pairs,
            context_length=max(
                model.spec.context_length,
                rivals.memory_of(rivals.SEASONAL_NAIVE, whole, model.spec),
            ),
            prediction_length=model.spec.prediction_length,
            season_length=model.spec.season_length,
        )
        told = _silent(whole, pairs, model.spec, found, _last_cells(panel) >= panel.start)
        return _Judged(
            found=found,
            trained=_trained(panel, made, self._turn or 0),
            still=[
                name
                for name, is_still in zip(panel.series_ids, still(panel), strict=True)
                if is_still
            ],
            silent=dict.fromkeys(unknown, NOT_KNOWN) | told,
        )

    def _ours(self, model: TrainedModel, panel: Panel) -> Predictor:
        runner = Runner(model.network, choose_device(self._dataset.training.device))
        said = rivals.within(predictor(runner, model.fallback), model.spec.context_length)
        return rivals.told(self._bounded(said, panel), self._tell)

    def _rivals(self, names: Sequence[str], panel: Panel, spec: ModelSpec) -> dict[str, Predictor]:
        return {
            name: self._bounded(rivals.rival(name, panel, spec, self._tell), panel)
            for name in names
        }

    def _bounded(self, said: Predictor, panel: Panel) -> Predictor:
        lower, upper = self._dataset.lower_bound, self._dataset.upper_bound
        return rivals.bounded(said, panel, lower, upper)

    def _tell(self, windows: int) -> None:
        self._done += windows
        self._watch.windows(self._done // self._predictors, self._whole)

    def _limits(self, panel: Panel) -> Tensor:
        """Return the last cell (N,) that was known of each series of the panel."""
        limits = self._on(panel, self._origins.limits_at(self._turn))
        places = pl.DataFrame({"series_id": panel.series_ids})
        ends = places.join(limits, on="series_id", how="left", maintain_order="left")["end"]
        known = torch.from_numpy(ends.to_numpy(writable=True))
        assert bool((_last_cells(panel) <= known).all()), "a row that was trained on is not known"
        return known

    def _pairs(self, panel: Panel) -> tuple[Tensor, list[str]]:
        """Return rows and cutoffs (W, 2), and the series with windows that the panel lacks."""
        windows = self._on(panel, self._origins.windows)
        if self._turn is not None:
            windows = windows.filter(pl.col("turn") == self._turn)
        rows = pl.DataFrame({"series_id": panel.series_ids}).with_row_index("row")
        placed = windows.join(rows, on="series_id", how="left").sort("row", "end")
        pairs = placed.drop_nulls("row").select(pl.col("row", "end").cast(pl.Int64))
        unknown = placed.filter(pl.col("row").is_null())["series_id"].unique().to_list()
        return torch.from_numpy(pairs.to_numpy(writable=True)), unknown

    def _on(self, panel: Panel, cells: pl.DataFrame) -> pl.DataFrame:
        """Return cells of the origins' grid as those of the panel's in which they end.

        Their anchors differ where stamps moved after the cutoff: no row up to it comes later.
        """
        if panel.grid == self._origins.grid:
            return cells
        ends = self._origins.grid.lasts_of(cells["end"])
        return cells.with_columns(panel.grid.index_of(ends).alias("end"))


def _last_cells(panel: Panel) -> Tensor:
    """Return the last observed cell (N,) of each series, before the panel where there is none."""
    places = torch.arange(1, panel.length + 1).where(panel.deviations.isfinite(), 0)
    return panel.start - 1 + places.amax(1)


def _trained(panel: Panel, made: TrainingResult, turn: int) -> Trained:
    return Trained(
        turn=turn,
        series=len(panel),
        observations=int(panel.deviations.isfinite().sum()),
        length=panel.length,
        trained_from=panel.grid.timestamp_at(panel.start),
        trained_to=panel.grid.timestamp_at(panel.end),
        spec=made.model.spec,
        result=made,
    )


def _silent(
    panel: Panel, pairs: Tensor, spec: ModelSpec, found: Backtest, seen: Tensor
) -> dict[str, str]:
    """Return why series with windows have no judged point: the reason at the oldest window.

    A series that was `seen` (N,) before, but not in the context of a window, had ended.
    """
    judged = set(found.sums["series_id"].unique())
    silent = [row for row, name in enumerate(panel.series_ids) if name not in judged]
    chosen = pairs[torch.isin(pairs[:, 0], torch.tensor(silent, dtype=torch.int64))]
    reasons: dict[str, str] = {}
    for chunk in chosen.split(_MOST_WINDOWS):
        windows = gather(panel, chunk[:, 0], chunk[:, 1], spec.context_length)
        outcomes = judge(windows, spec).tolist()
        for row, outcome in zip(chunk[:, 0].tolist(), outcomes, strict=True):
            reason = NOTHING_TO_JUDGE if outcome == FORECAST else REASONS[outcome].value
            if reason == SkipReason.NO_DATA.value and seen[row]:
                reason = SkipReason.STALE.value
            reasons.setdefault(panel.series_ids[row], reason)
    return reasons
