"""Backtest: how right the model would have been on rows that are known. Writes no database."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from forecaster import origins, rivals, trial
from forecaster.backtest import Backtest
from forecaster.config import DatasetConfig
from forecaster.diagnosis import MOST_CELLS
from forecaster.durations import Step
from forecaster.errors import DataError, InsufficientHistory
from forecaster.origins import Origins, Rolling
from forecaster.series.grid import Grid
from forecaster.series.marks import grid_of
from forecaster.series.season import LEAST_CYCLES, candidates
from forecaster.spacing import find_spacing
from forecaster.trial import Trained, Trial, Watch
from jobs import backtest_tables
from jobs.backtest_rows import Rows, Split

OFFICIAL = "official split"
TOO_LITTLE = "give more rows, a shorter --horizon, or fewer --windows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How to test: lengths in steps, None takes what is usual."""

    stride: int | None = None
    windows: int | None = None
    baselines: Sequence[str] = ()
    refit: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was tested, and how right everybody was.

    Tables have one row per predictor (and lead, or series), the model first, with the columns of
    `forecaster.backtest.Backtest.overall`; `owa` where Naive2 is among them.
    """

    name: str
    rows: int
    series: int
    first: datetime
    last: datetime
    step: Step
    prediction_length: int
    stride: int
    turns: int
    asked_for: bool
    """Whether somebody said how many windows there are to be."""
    split: str | None
    tested_from: datetime
    """The first cutoff."""
    tested_to: datetime
    """The last instant that was forecast."""
    found: Backtest
    overall: pl.DataFrame
    by_lead: pl.DataFrame
    by_series: pl.DataFrame
    still: Sequence[str]
    """Series that never moved before the windows: without MASE, OWA and skill."""
    trainings: Sequence[Trained]
    left_out: Mapping[str, str]
    notes: Sequence[str]
    seed: int

    @property
    def seconds(self) -> float:
        """How long all trainings took."""
        return sum(each.result.seconds for each in self.trainings)


def run(
    rows: Rows,
    dataset: DatasetConfig,
    wanted: Wanted,
    *,
    watch: Watch | None = None,
) -> Outcome:
    """Train on what lies before the windows, forecast them, and hold the forecasts against others.

    InsufficientHistory where there is too little before them, DataError where there are none.
    """
    names, rows = _names(rows, wanted.baselines), _over(rows, dataset)
    rivals.require(names)
    if wanted.seed is not None:
        dataset = replace(dataset, training=replace(dataset.training, seed=wanted.seed))
    rolling = Rolling(
        prediction_length=dataset.prediction_length,
        stride=wanted.stride or dataset.prediction_length,
        windows=wanted.windows,
    )
    chosen = _origins(rows, dataset, rolling)
    with _too_little(f"before the first window, at {chosen.span(0)[0]:%Y-%m-%d %H:%M:%S}Z, "):
        made = trial.run(rows.observations, chosen, dataset, names, refit=wanted.refit, watch=watch)
    return _outcome(rows, dataset, rolling, chosen, made)


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


def _names(rows: Rows, wanted: Sequence[str]) -> list[str]:
    official = [] if rows.split is None else [rivals.NAIVE2]
    return list(dict.fromkeys([*rivals.USUAL, *official, *wanted]))


def _origins(rows: Rows, dataset: DatasetConfig, rolling: Rolling) -> Origins:
    """Return the windows, on the grid that shows in what lies before them."""
    split, grid = rows.split, _grid(rows.observations, dataset)
    _require_room(rows, grid)
    if split is not None:
        return origins.of_split(split.train, split.test, _grid(split.train, dataset), rolling)
    with _too_little():
        chosen = origins.at_the_end(rows.observations, grid, rolling)
        known, _ = chosen.parted(rows.observations, None)
        return origins.at_the_end(rows.observations, _grid(known, dataset), rolling)


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
            f"the history must have at most {MOST_CELLS:,} steps of all series together, "
            f"found {cells:,} of {grid.step}",
            hint="give a longer step, or fewer rows",
        )


@contextmanager
def _too_little(about: str = "") -> Iterator[None]:
    """Say what can be done about too little history."""
    try:
        yield
    except InsufficientHistory as error:
        raise InsufficientHistory(about + error.message, hint=TOO_LITTLE) from error


def _outcome(
    rows: Rows, dataset: DatasetConfig, rolling: Rolling, chosen: Origins, made: Trial
) -> Outcome:
    found = made.found
    if found.sums.is_empty():
        reasons = ", ".join(sorted(set(made.left_out.values())))
        raise DataError(
            f"at least one forecast must be comparable with what happened, found none: {reasons}",
            hint=TOO_LITTLE,
        )
    first, last = rows.span
    tested_from, tested_to = chosen.span(rolling.prediction_length)
    return Outcome(
        name=rows.name,
        rows=len(rows.observations),
        series=rows.observations["series_id"].n_unique(),
        first=first,
        last=last,
        step=dataset.step,
        prediction_length=rolling.prediction_length,
        stride=rolling.stride,
        turns=chosen.turns,
        asked_for=rolling.windows is not None,
        split=None if rows.split is None else OFFICIAL,
        tested_from=tested_from,
        tested_to=tested_to,
        found=found,
        overall=backtest_tables.overall(made),
        by_lead=backtest_tables.by_lead(made),
        by_series=backtest_tables.by_series(made),
        still=made.still,
        trainings=made.trainings,
        left_out=made.left_out,
        notes=_notes(made, dataset.step),
        seed=dataset.training.seed,
    )


def _notes(made: Trial, step: Step) -> list[str]:
    several = len(made.trainings) > 1
    said = [
        f"training {each.turn + 1}: {said}" if several else said
        for each in made.trainings
        for said in each.result.notes
    ]
    heavy = [
        f"{name} makes up more than {backtest_tables.OUTWEIGHING:.0%} of the weight of WQL: "
        "it tells of nothing else"
        for name in backtest_tables.outweighing(made)
    ]
    return [*_shortness(made.trainings[0], step), *said, *heavy]


def _shortness(first: Trained, step: Step) -> Iterator[str]:
    """Say what the first training had too little history for."""
    spec, before = first.spec, f"there are {first.length:,} before the first window"
    needed = spec.context_length + 2 * spec.prediction_length
    if first.length < needed:
        yield f"to look back, learn and judge well takes {needed:,} steps, {before}"
    missed = [season for season in candidates(step) if LEAST_CYCLES * season > first.length]
    if missed:
        needed = LEAST_CYCLES * missed[0]
        yield f"a season of {missed[0]:,} steps takes {needed:,} steps to be found, {before}"
