"""What is to be judged: forecasts that matured, what happened then, and what was known before."""

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

JUDGED = "score"
"""The watermark up to which all that was forecast has been judged."""
CALENDAR_SLACK = timedelta(days=5)
"""How far any number of calendar steps may be from their mean length."""
FEW = 1000
"""Up to so many series are read by name, rather than all."""

log = logging.getLogger("forecaster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one model forecast, and what was observed before and after it."""

    model_id: int
    yardstick: ScoringScale
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
    """What matured in (after, until] is judged, where its last cell is complete by `known`."""

    after: datetime | None
    until: datetime
    known: datetime


def read(
    conn: Connection, dataset: DatasetConfig, span: Span, *, tick: datetime, told: set[int]
) -> tuple[list[Case], dict[int, str]]:
    """Read what matured in `span` and was not scored yet, a case or two for each model.

    With what was observed up to `tick` less the delay, however late it is by now. Where the
    checkpoint of a model is gone or cannot be read, each series is scored by what it was forecast
    from, like a new one. Where not even the spec can be read, nothing is scored; such models come
    second, with their problems. `told` is that of `grids_of`.
    """
    grids = grids_of(conn, dataset.name, told)
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
            problems[int(model_id)] = _unscored(dataset.name, int(model_id), error)
    return cases, problems


def _unscored(dataset: str, model_id: int, error: ModelError) -> str:
    problem = (
        f"cannot score forecasts of model {model_id}: its spec cannot be read: {error.message}"
    )
    log.warning("dataset %s: %s", dataset, problem)
    return problem


def grids_of(conn: Connection, dataset: str, told: set[int] | None = None) -> dict[int, Grid]:
    """Return the grids of all models of a dataset whose specs can be read, by their numbers.

    Of the others the log says so, once for those who keep the numbers it was said of in `told`.
    """
    grids, told = {}, set() if told is None else told
    for each in models.list_models(conn, dataset):
        try:
            grids[each.model_id] = stored_grid(each.config)
        except (KeyError, TypeError, ValueError, ForecasterError) as error:
            if each.model_id not in told:
                warning = "dataset %s: cannot read the grid of model %d: %r"
                log.warning(warning, dataset, each.model_id, error)
            told.add(each.model_id)
    return grids


def _over(grids: Mapping[int, Grid], known: datetime) -> pl.Expr:
    """Tell of rows of MATURED whether the last cell of their lead is complete."""
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
    conn: Connection, dataset: str, forecasts: pl.DataFrame, seen: datetime
) -> Iterator[Case]:
    """Yield the series without gaps, for which a season of the past will do, the others, and those
    that are new since the model was trained."""
    model_id = int(forecasts["model_id"][0])
    yardstick, problem = _yardstick(conn, dataset, model_id)
    spec, grid = yardstick.spec, yardstick.spec.grid()
    first, last = (_index(grid, end(forecasts["cutoff"])) for end in (pl.Series.min, pl.Series.max))
    until = min(seen, grid.last_of(_index(grid, forecasts["timestamp"].max())))
    season, memory = spec.season_length, max(spec.context_length, spec.season_length)

    recent = observations.read(conn, dataset, since=grid.timestamp_at(first - season), until=until)
    whole = set(_whole(recent, grid, range(first - season + 1, last + 1)))
    is_whole = pl.col("series_id").is_in(whole & yardstick.series_scale.keys())
    ours, others = forecasts.filter(is_whole), forecasts.filter(~is_whole)
    case = partial(Case, model_id=model_id, yardstick=yardstick, problem=problem)
    if not ours.is_empty():
        yield case(forecasts=ours, observations=recent.filter(is_whole), memory=season)
    if not others.is_empty():
        since, names = grid.timestamp_at(first - memory), others["series_id"].unique()
        older = _read_some(conn, dataset, names, since, until)
        case = partial(case, observations=older, memory=memory)
        is_known = pl.col("series_id").is_in(yardstick.series_scale.keys())
        for is_new, part in ((False, others.filter(is_known)), (True, others.filter(~is_known))):
            if not part.is_empty():
                yield case(forecasts=part, is_new=is_new)


def _yardstick(conn: Connection, dataset: str, model_id: int) -> tuple[ScoringScale, str | None]:
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


def _whole(rows: pl.DataFrame, grid: Grid, steps: range) -> pl.Series:
    """Return the series that were observed at each of `steps`."""
    cells = rows.select("series_id", step=grid.index_of(rows["timestamp"]))
    seen = cells.filter(pl.col("step").is_between(steps.start, steps.stop - 1))
    counts = seen.group_by("series_id").agg(pl.col("step").n_unique())
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
