"""What is to be scored: forecasts that matured, their actual values, and the values before."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import polars as pl
from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.data.grid import Grid
from forecaster.errors import ForecasterError, ModelError
from forecaster.evaluation import metrics
from forecaster.evaluation.metrics import Lead
from forecaster.inference import checkpoint
from forecaster.inference.checkpoint import ScoringScale
from forecaster.network.spec import ModelSpec, stored_grid
from forecaster.schemas import INSTANT
from forecaster.store.forecasts import matured
from forecaster.store.forecasts.matured import LeadWindow
from forecaster.store.observations import observations
from forecaster.store.state import datasets, models

SCORED = "score"
"""The watermark up to which everything that was forecast has been scored."""
CALENDAR_SLACK = timedelta(days=5)
"""How far any number of calendar steps may be from their mean length."""
FEW = 1000
"""Up to so many series are read by name, rather than all."""

log = logging.getLogger("forecaster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one model forecast, and what was observed before and after it."""

    model_id: int
    scoring_scale: ScoringScale
    forecasts: pl.DataFrame
    observations: pl.DataFrame
    memory: int
    """How many steps before a cutoff seasonal_naive looks at."""
    is_new: bool = False
    """Whether the model was not trained on these series: it knows no scale of theirs."""
    problem: str | None = None
    """Why the scales of the model are not used, where they cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What matured in (after, until] is scored, where its last cell is complete by `known`."""

    after: datetime | None
    until: datetime
    known: datetime


def read(
    conn: Connection, dataset: DatasetConfig, span: Span, *, tick: datetime, reported: set[int]
) -> tuple[list[Case], dict[int, str]]:
    """Read what matured in `span` and was not scored yet, a case or two for each model.

    Actual values are those up to `tick` less `delay`, however late they came. Where the
    checkpoint of a model is gone or cannot be read, each series is scored by what it was forecast
    from, like a new one. Where not even the spec can be read, nothing is scored; such models come
    second, with their problems. `reported` is that of `grids_of`.
    """
    grids = grids_of(conn, dataset.name, reported)
    over = _over(grids, span.known)
    forecasts = pl.concat(
        matured.read(conn, dataset.name, _window(lead, [*grids.values()], span)).filter(over)
        for lead in metrics.leads(dataset.prediction_length)
    )
    cases: list[Case] = []
    problems: dict[int, str] = {}
    for (model_id,), of_model in forecasts.partition_by("model_id", as_dict=True).items():
        try:
            cases += _of_model(conn, dataset.name, of_model, tick - dataset.delay)
        except ModelError as error:
            problem = f"cannot score forecasts of model {model_id}: its spec cannot be read"
            problems[int(model_id)] = f"{problem}: {error.message}"
            log.warning("dataset %s: %s", dataset.name, problems[int(model_id)])
    return cases, problems


def grids_of(conn: Connection, dataset: str, reported: set[int] | None = None) -> dict[int, Grid]:
    """Return the grids of all models of a dataset whose specs can be read, by their numbers.

    The others are logged, except those whose numbers are in `reported`, and added to it.
    """
    grids, reported = {}, set() if reported is None else reported
    for model in models.list_models(conn, dataset):
        try:
            grids[model.model_id] = stored_grid(model.config)
        except (KeyError, TypeError, ValueError, ForecasterError) as error:
            if model.model_id not in reported:
                warning = "dataset %s: cannot read the grid of model %d: %r"
                log.warning(warning, dataset, model.model_id, error)
            reported.add(model.model_id)
    return grids


def _over(grids: Mapping[int, Grid], known: datetime) -> pl.Expr:
    """Return of rows of QUANTILES whether the last cell of their lead is complete."""
    last = {
        model_id: grid.timestamp_at(grid.complete_at([known])[0])
        for model_id, grid in grids.items()
        if grid.lag
    }
    if not last:
        return pl.lit(value=True)
    limit = pl.col("model_id").replace_strict(last, default=None, return_dtype=INSTANT)
    ends = pl.col("timestamp").max().over("series_id", "cutoff", "model_id")
    return (ends <= limit).fill_null(value=True)


def _window(lead: Lead, grids: Sequence[Grid], span: Span) -> LeadWindow:
    """Return where the last rows of a lead are, by the grids of the models that are known."""
    steps, has_closed = [grid.step for grid in grids], any(grid.hours for grid in grids)
    lasts = {lead.step_from if has_closed else lead.step_to, lead.step_to}
    ends = [
        last * step.approximate + slack
        for last in lasts
        for step in steps
        for slack in ((-CALENDAR_SLACK, CALENDAR_SLACK) if step.is_calendar else (timedelta(0),))
    ]
    return LeadWindow(
        lead=lead.name,
        step_from=lead.step_from,
        step_to=lead.step_to,
        nearest=min(ends, default=timedelta(0)),
        farthest=max(ends, default=timedelta(0)),
        after=span.after,
        until=span.until,
        has_closed=has_closed,
    )


def _of_model(
    conn: Connection, dataset: str, forecasts: pl.DataFrame, until_known: datetime
) -> Iterator[Case]:
    """Yield the series without gaps, for which a season of the past is enough, then the others,
    then those that are new since the model was trained."""
    model_id = int(forecasts["model_id"][0])
    scoring_scale, problem = _scoring_scale(conn, dataset, model_id)
    spec, grid = scoring_scale.spec, scoring_scale.spec.grid()
    first, last = (_index(grid, end(forecasts["cutoff"])) for end in (pl.Series.min, pl.Series.max))
    until = min(until_known, grid.last_of(_index(grid, forecasts["timestamp"].max())))
    season, memory = spec.season_length, max(spec.context_length, spec.season_length)

    recent = observations.read(conn, dataset, since=grid.timestamp_at(first - season), until=until)
    without_gaps = set(_without_gaps(recent, grid, range(first - season + 1, last + 1)))
    is_without_gaps = pl.col("series_id").is_in(without_gaps & scoring_scale.series_scale.keys())
    dense, sparse = forecasts.filter(is_without_gaps), forecasts.filter(~is_without_gaps)
    case = partial(Case, model_id=model_id, scoring_scale=scoring_scale, problem=problem)
    if not dense.is_empty():
        yield case(forecasts=dense, observations=recent.filter(is_without_gaps), memory=season)
    if not sparse.is_empty():
        since, names = grid.timestamp_at(first - memory), sparse["series_id"].unique()
        older = _read_some(conn, dataset, names, since, until)
        case = partial(case, observations=older, memory=memory)
        is_known = pl.col("series_id").is_in(scoring_scale.series_scale.keys())
        for is_new, part in ((False, sparse.filter(is_known)), (True, sparse.filter(~is_known))):
            if not part.is_empty():
                yield case(forecasts=part, is_new=is_new)


def _scoring_scale(
    conn: Connection, dataset: str, model_id: int
) -> tuple[ScoringScale, str | None]:
    """Return what a model is scored by, and why that is its spec alone, if it is."""
    try:
        stored = models.get(conn, dataset, model_id)
        return checkpoint.scoring_scale(stored.weights, stored.sha256), None
    except ModelError as error:
        problem = f"the checkpoint of model {model_id} cannot be read: {error.message}"
        log.warning(
            "dataset %s: %s; its forecasts are scaled by their own history", dataset, problem
        )
    config = models.config(conn, model_id)
    return ScoringScale(spec=ModelSpec.from_json(json.dumps(config)), series_scale={}), problem


def _index(grid: Grid, instant: object) -> int:
    assert isinstance(instant, datetime)
    return grid.index_at(instant)


def _without_gaps(rows: pl.DataFrame, grid: Grid, steps: range) -> pl.Series:
    """Return the series that were observed at each of `steps`."""
    cells = rows.select("series_id", step=grid.index_of(rows["timestamp"]))
    inside = cells.filter(pl.col("step").is_between(steps.start, steps.stop - 1))
    counts = inside.group_by("series_id").agg(pl.col("step").n_unique())
    return counts.filter(pl.col("step") == len(steps))["series_id"]


def _read_some(
    conn: Connection, dataset: str, names: pl.Series, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return OBSERVATIONS of the series in `names`."""
    if len(names) > FEW:
        everything = observations.read(conn, dataset, since=since, until=until)
        return everything.filter(pl.col("series_id").is_in(names.implode()))
    keys = datasets.keys(conn, dataset).filter(pl.col("key").is_in(names.implode()))
    cells = observations.read_some_cells(conn, keys["id"].to_list(), since=since, until=until)
    return observations.named(cells, keys)
