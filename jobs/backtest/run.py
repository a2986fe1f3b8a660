"""Backtest: the accuracy of the model on past data. Does not write to the database."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import polars as pl

from forecaster.checks.dataset import MOST_CELLS
from forecaster.config.settings import DatasetConfig
from forecaster.data.frequency import find_spacing
from forecaster.data.grid import Grid
from forecaster.data.timestamp_marks import grid_of
from forecaster.errors import ConfigError, DataError, InsufficientHistory
from forecaster.evaluation import cutoffs
from forecaster.evaluation.cutoffs import BacktestWindows, Rolling
from forecaster.evaluation.rolling_origin import Backtest
from forecaster.experiments import experiment, rivals
from forecaster.experiments.experiment import Experiment, TrainingPlan
from forecaster.experiments.stage import Listener, Prepared, Trained
from forecaster.experiments.testable import ENDED, NOT_KNOWN
from jobs.backtest import tables
from jobs.backtest.inputs import Rows, Split
from jobs.backtest.plan import OFFICIAL, Plan

TOO_LITTLE = "provide more rows, a shorter --horizon, or fewer --windows"
AT_SERIES_END = "pass --windows-at series-end, which tests every series at its own end"

Place = Literal["common-end", "series-end"]
"""Where windows are: at the end of all rows, or of each series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestRequest:
    """How to test: lengths in steps, None takes what is usual."""

    stride: int | None = None
    windows: int | None = None
    windows_at: Place | None = None
    baselines: Sequence[str] = ()
    naive2: bool = True
    """Whether Naive2 is among the baselines where rows are split."""
    refit: bool = False
    seed: int | None = None
    seeds: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was tested, and the accuracy of each predictor.

    Tables have one row per predictor (and lead, or series), the model first, with the columns of
    `forecaster.evaluation.rolling_origin.Backtest.overall`; `owa` where Naive2 is among them. Of
    several seeds the row of the model is their mean.
    """

    plan: Plan
    backtest: Backtest
    overall: pl.DataFrame
    by_lead: pl.DataFrame
    by_series: pl.DataFrame
    by_series_and_lead: pl.DataFrame
    by_seed: pl.DataFrame
    """Like `overall`, a row for each of several seeds."""
    still: Sequence[str]
    """Series that were constant before the windows: without MASE, OWA and skill."""
    trainings: Sequence[Trained]
    left_out: Mapping[str, str]
    notes: Sequence[str]

    @property
    def seconds(self) -> float:
        """How long all trainings took."""
        return sum(training.result.seconds for training in self.trainings)


def run(
    rows: Rows,
    dataset: DatasetConfig,
    wanted: BacktestRequest,
    *,
    on_plan: Callable[[Plan], None] = lambda _: None,
    watch: Listener | None = None,
) -> Outcome:
    """Train on the rows before the windows, forecast these, and compare with baselines.

    `on_plan` is called with what will be tested before the training. InsufficientHistory where
    there is too little before the windows, DataError where there are none that can be tested.
    """
    names, rows = _names(rows, wanted), _over(rows, dataset)
    rivals.require(names)
    if wanted.seed is not None:
        dataset = replace(dataset, training=replace(dataset.training, seed=wanted.seed))
    rolling = Rolling(
        prediction_length=dataset.prediction_length,
        stride=wanted.stride or dataset.prediction_length,
        windows=wanted.windows,
    )
    chosen = _origins(rows, dataset, rolling, wanted.windows_at)
    plans: list[Plan] = []

    def prepared(stage: Prepared) -> None:
        plans.append(_plan(rows, dataset, wanted, chosen, stage))
        _require_tests(plans[0])
        on_plan(plans[0])

    watch = replace(watch or Listener(), prepared=prepared)
    training_plan = TrainingPlan(refit=wanted.refit, seeds=wanted.seeds)
    with _too_little(f"before the first window, at {chosen.span(0)[0]:%Y-%m-%d %H:%M:%S}Z, "):
        result = experiment.run(
            rows.observations, chosen, dataset, names, plan=training_plan, listener=watch
        )
    return _outcome(plans[0], result)


def _over(rows: Rows, dataset: DatasetConfig) -> Rows:
    """Leave out the newest cell where rows are finer than it and do not reach its end."""
    spacing, (_, last) = find_spacing(rows.observations), rows.span
    lengths = [dataset.step.approximate, *([spacing.step.approximate] if spacing else [])]
    known = min(last + min(lengths), rows.known or datetime.max.replace(tzinfo=UTC))
    until = _grid(rows.observations, dataset).known(known)
    kept = rows.observations.filter(pl.col("timestamp") <= until)
    if until >= last or kept.is_empty():
        return rows
    parts = None if rows.split is None else (rows.split.train, rows.split.test)
    kept_parts = [part.filter(pl.col("timestamp") <= until) for part in parts or ()]
    split = Split(train=kept_parts[0], test=kept_parts[1]) if kept_parts else None
    return replace(rows, observations=kept, split=split)


def _names(rows: Rows, wanted: BacktestRequest) -> list[str]:
    official = [] if rows.split is None or not wanted.naive2 else [rivals.NAIVE2]
    names = dict.fromkeys([*rivals.USUAL, *official, *wanted.baselines])
    if not wanted.naive2 and rivals.NAIVE2 in names:
        raise ConfigError(["--no-naive2 and --baselines naive2 are mutually exclusive"])
    return list(names)


def _origins(
    rows: Rows, dataset: DatasetConfig, rolling: Rolling, at: Place | None
) -> BacktestWindows:
    """Return the windows, on the grid of the rows before them."""
    split, grid = rows.split, _grid(rows.observations, dataset)
    _require_room(rows, grid)
    if split is not None:
        if at is not None:
            raise ConfigError(
                ["--windows-at cannot be used with a split column, which defines the windows"],
                hint="omit --windows-at, or drop the split column",
            )
        return cutoffs.of_split(split.train, split.test, _grid(split.train, dataset), rolling)
    place = cutoffs.at_series_ends if at == "series-end" else cutoffs.at_the_end
    with _too_little():
        chosen = place(rows.observations, grid, rolling)
        known, _ = chosen.split_known(rows.observations, None)
        return place(rows.observations, _grid(known, dataset), rolling)


def _grid(observations: pl.DataFrame, dataset: DatasetConfig) -> Grid:
    return grid_of(
        observations,
        dataset.step,
        dataset.timezone or "UTC",
        marks=dataset.timestamp_marks,
        are_sums=dataset.groups,
    )


def _require_room(rows: Rows, grid: Grid) -> None:
    first, last = (grid.index_at(end) for end in rows.span)
    cells = (last - first + 1) * rows.observations["series_id"].n_unique()
    if cells > MOST_CELLS:
        raise DataError(
            f"the history must have at most {MOST_CELLS:,} steps over all series, "
            f"found {cells:,} of {grid.step}",
            hint="use a longer --step, or fewer rows",
        )


@contextmanager
def _too_little(about: str = "") -> Iterator[None]:
    """Add a hint to InsufficientHistory."""
    try:
        yield
    except InsufficientHistory as error:
        raise InsufficientHistory(about + error.message, hint=TOO_LITTLE) from error


def _plan(
    rows: Rows,
    dataset: DatasetConfig,
    wanted: BacktestRequest,
    chosen: BacktestWindows,
    prepared: Prepared,
) -> Plan:
    tested_from, tested_to = chosen.span(dataset.prediction_length)
    reasons = {**chosen.left_out, **prepared.left_out}
    if wanted.refit:  # what is not known yet may be when a later window is trained for
        reasons = {name: why for name, why in reasons.items() if why != NOT_KNOWN}
    return Plan(
        rows=rows,
        series=rows.observations["series_id"].n_unique(),
        dataset=dataset,
        stride=wanted.stride or dataset.prediction_length,
        turns=chosen.turns,
        asked_for=wanted.windows is not None,
        at_series_end=wanted.windows_at == "series-end",
        split=None if rows.split is None else OFFICIAL,
        tested_from=tested_from,
        tested_to=tested_to,
        seeds=tuple(experiment.seeds(dataset, wanted.seeds).values()),
        prepared=prepared,
        left_out=reasons,
    )


def _require_tests(plan: Plan) -> None:
    """Raise DataError if nothing can be tested, ConfigError for a season that is longer than the
    history.
    """
    season, length = plan.dataset.model.season_length or 1, plan.prepared.length
    if season >= length:
        raise ConfigError(
            [
                f"--season must be shorter than the history before the windows, {length:,} steps, "
                f"found {season:,}"
            ],
            hint="provide more rows, or omit --season to detect it",
        )
    if len(plan.left_out) < plan.series:
        return
    counts = Counter(plan.left_out.values())
    reasons = ", ".join(f"{reason} ({count} series)" for reason, count in counts.most_common())
    raise DataError(
        f"no forecast can be compared with actual values: {reasons}",
        hint=AT_SERIES_END if ENDED in counts else TOO_LITTLE,
    )


def _outcome(plan: Plan, result: Experiment) -> Outcome:
    backtest = result.backtest
    if backtest.sums.is_empty():
        reasons = ", ".join(sorted(set(result.left_out.values())))
        raise DataError(
            f"no forecast can be compared with actual values: {reasons}",
            hint=TOO_LITTLE,
        )
    return Outcome(
        plan=plan,
        backtest=backtest,
        overall=tables.by(result),
        by_lead=tables.by(result, "lead"),
        by_series=tables.by(result, "series_id"),
        by_series_and_lead=tables.by(result, "series_id", "lead"),
        by_seed=tables.by_seed(result),
        still=result.still,
        trainings=result.trainings,
        left_out=result.left_out,
        notes=_notes(result),
    )


def _notes(result: Experiment) -> list[str]:
    several = len(result.trainings) > 1
    notes = [
        f"training {place}: {note}" if several else note
        for place, training in enumerate(result.trainings, 1)
        for note in training.result.notes
    ]
    heavy = [
        f"{name} makes up more than {tables.DOMINANT:.0%} of the weight of WQL, "
        "which says little about other series"
        for name in tables.dominant_series(result)
    ]
    return [*notes, *heavy]
