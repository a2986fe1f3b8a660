"""A stage of an experiment: the data before some windows, trainings on it, and forecasts.

It works as the service does: `training.prepare` and `training.fit` see the data up to the first
cutoff and nothing else; the windows after it are read in the units of that panel, so nothing later
can reach a model, a rival or a scale.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl
import torch
from torch import Tensor

from forecaster.config.settings import DatasetConfig
from forecaster.data.panel import constant_series
from forecaster.errors import SkipReason
from forecaster.evaluation.cutoffs import BacktestWindows
from forecaster.evaluation.rolling_origin import Backtest, Predictor, backtest
from forecaster.experiments import rivals
from forecaster.experiments.continued import continued
from forecaster.experiments.forecast_rows import recorded
from forecaster.experiments.testable import NOT_KNOWN, last_cells, untested
from forecaster.inference.device import Runner, choose_device
from forecaster.network.spec import ModelSpec
from forecaster.training import estimator, preparation
from forecaster.training.estimator import Progress, TrainingResult
from forecaster.training.validation import predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a training is to learn from, and what it will be tested on."""

    series: int
    observations: int
    length: int
    """Steps from the first to the last."""
    trained_from: datetime
    trained_to: datetime
    spec: ModelSpec
    """What it leaves open is chosen in training."""
    windows: int
    left_out: Mapping[str, str]
    """Series that cannot be tested, and why."""
    still: Sequence[str]
    """Series that never moved: no error can be measured in units of their past."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Callbacks for the progress of an experiment."""

    prepared: Callable[[Prepared], None] = lambda _: None
    """Called before the first training with what there is to learn and to test."""
    training: Callable[[Progress], None] = lambda _: None
    windows: Callable[[int, int], None] = lambda _, __: None
    """Called with how many windows the predictors have done, on average, and of how many."""
    forecasts: Callable[[pl.DataFrame], None] | None = None
    """Called with every forecast, in chunks; see `forecaster.experiments.forecast_rows`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One training of an experiment, and its data."""

    name: str
    """Of the predictor that it made."""
    turn: int
    seed: int
    planned: int
    """Steps at most; `result.steps` were taken."""
    prepared: Prepared
    result: TrainingResult

    @property
    def spec(self) -> ModelSpec:
        """What was chosen."""
        return self.result.model.spec


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """The result of a stage: `unscored` are series that were not scored, and why."""

    backtest_result: Backtest
    trained: Sequence[Trained]
    still: Sequence[str]
    unscored: Mapping[str, str]

    @property
    def scaled(self) -> Backtest:
        """The same without series that had never moved."""
        moved = ~pl.col("series_id").is_in(self.still)
        return replace(self.backtest_result, sums=self.backtest_result.sums.filter(moved))


class Stage:
    """What is known before one turn, or before all of them, and the windows from there on."""

    def __init__(
        self,
        observations: pl.DataFrame,
        cutoffs: BacktestWindows,
        dataset: DatasetConfig,
        turn: int | None,
        listener: Listener,
    ) -> None:
        self._cutoffs, self._dataset, self._turn, self._listener = cutoffs, dataset, turn, listener
        self._done, self._total, self._predictors = 0, 0, 1
        known, later = cutoffs.split_known(observations, turn)
        self._panel, self._spec = preparation.prepare(known, dataset)
        self._continued = continued(self._panel, later, self._limits())

    def prepared(self) -> Prepared:
        """Report the data of the windows of all turns."""
        panel, (pairs, unknown) = self._panel, self._pairs(None)
        return Prepared(
            series=len(panel),
            observations=int(panel.deviations.isfinite().sum()),
            length=panel.length,
            trained_from=panel.grid.timestamp_at(panel.start),
            trained_to=panel.grid.timestamp_at(panel.end),
            spec=self._spec,
            windows=len(pairs),
            left_out=dict.fromkeys(unknown, NOT_KNOWN)
            | untested(self._continued, pairs, self._spec),
            still=self._still(),
        )

    def run(self, names: Sequence[str], seeds: Mapping[str, int]) -> StageResult:
        """Train a model for each of `seeds`, forecast by them and the rivals `names`, score."""
        panel, (pairs, unknown) = self._continued, self._pairs(self._turn)
        trained = [self._trained(name, seed) for name, seed in seeds.items()]
        spec = trained[0].spec
        self._total, self._predictors = len(pairs), len(seeds) + len(names)
        self._listener.windows(0, self._total)
        models = {model.name: self._model_predictor(model.result) for model in trained}
        predictors = {**models, **{name: self._rival_predictor(name, spec) for name in names}}
        result = backtest(
            {name: self._bounded(name, predict) for name, predict in predictors.items()},
            panel,
            pairs,
            context_length=max(
                spec.context_length, rivals.lookback_of(rivals.SEASONAL_NAIVE, panel, spec)
            ),
            prediction_length=spec.prediction_length,
            season_length=spec.season_length,
        )
        scored = set(result.sums["series_id"].unique())
        tested = {panel.series_ids[row] for row in pairs[:, 0].unique().tolist()}
        unscored = dict.fromkeys(tested - scored, SkipReason.NON_FINITE.value)
        unscored |= untested(panel, pairs, spec) | dict.fromkeys(unknown, NOT_KNOWN)
        return StageResult(
            backtest_result=result, trained=trained, still=self._still(), unscored=unscored
        )

    def _trained(self, name: str, seed: int) -> Trained:
        planned = 0

        def report(at: Progress) -> None:
            nonlocal planned
            planned = at.steps
            self._listener.training(at)

        config = replace(self._dataset.training, seed=seed)
        result = estimator.fit(self._panel, self._spec, config, report)
        return Trained(
            name=name,
            turn=self._turn or 0,
            seed=seed,
            planned=planned,
            prepared=self.prepared(),
            result=result,
        )

    def _model_predictor(self, result: TrainingResult) -> Predictor:
        runner = Runner(result.model.network, choose_device(self._dataset.training.device))
        predict = predictor(runner, result.model.fallback)
        return rivals.counted(
            rivals.within(predict, result.model.spec.context_length), self._report_windows
        )

    def _rival_predictor(self, name: str, spec: ModelSpec) -> Predictor:
        return rivals.rival(name, self._continued, spec, self._report_windows)

    def _bounded(self, name: str, predict: Predictor) -> Predictor:
        """Keep a predictor between the bounds of the dataset, and hand on its forecasts."""
        lower, upper = self._dataset.lower_bound, self._dataset.upper_bound
        bounded = rivals.bounded(predict, self._continued, lower, upper)
        if self._listener.forecasts is None:
            return bounded
        return recorded(name, bounded, self._continued, self._listener.forecasts)

    def _report_windows(self, windows: int) -> None:
        self._done += windows
        self._listener.windows(self._done // self._predictors, self._total)

    def _still(self) -> list[str]:
        pairs = zip(self._panel.series_ids, constant_series(self._panel).tolist(), strict=True)
        return [name for name, is_still in pairs if is_still]

    def _limits(self) -> Tensor:
        """Return the last cell (N,) that was known of each series of the panel."""
        limits = self._on_panel(self._cutoffs.limits_at(self._turn))
        places = pl.DataFrame({"series_id": self._panel.series_ids})
        ends = places.join(limits, on="series_id", how="left", maintain_order="left")["end"]
        known = torch.from_numpy(ends.to_numpy(writable=True))
        assert bool((last_cells(self._panel) <= known).all()), "an unknown row was trained on"
        return known

    def _pairs(self, turn: int | None) -> tuple[Tensor, list[str]]:
        """Return rows and cutoffs (W, 2), and the series with windows that the panel lacks."""
        windows = self._on_panel(self._cutoffs.windows)
        if turn is not None:
            windows = windows.filter(pl.col("turn") == turn)
        rows = pl.DataFrame({"series_id": self._panel.series_ids}).with_row_index("row")
        placed = windows.join(rows, on="series_id", how="left").sort("row", "end")
        pairs = placed.drop_nulls("row").select(pl.col("row", "end").cast(pl.Int64))
        unknown = placed.filter(pl.col("row").is_null())["series_id"].unique().to_list()
        return torch.from_numpy(pairs.to_numpy(writable=True)), unknown

    def _on_panel(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Return cells of the origins' grid as those of the panel's in which they end.

        Their anchors differ where stamps moved after the cutoff: no row up to it comes later.
        """
        grid = self._panel.grid
        if grid == self._cutoffs.grid:
            return cells
        ends = self._cutoffs.grid.lasts_of(cells["end"])
        return cells.with_columns(grid.index_of(ends).alias("end"))
