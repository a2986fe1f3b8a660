"""Decompose one stored forecast: read it, and match it with the values it attended to.

Nothing is recomputed. `median = level + past + lift + last value + residual + adjustment`
holds for every step and so for the means of a range of steps, where past is the sum of weight ·
(value - level) over the attended past, and lift what the heads add that copy values relative to the
level of their own time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection

from forecaster.config.validators import nearest
from forecaster.data.grid import Grid
from forecaster.errors import DataError, ModelError
from forecaster.explain.report import Trust
from forecaster.network.spec import stored_grid
from forecaster.store.forecasts import history
from forecaster.store.forecasts.history import StoredForecast
from forecaster.store.observations import observations
from forecaster.store.state import datasets, models
from forecaster.store.state.models import ModelRecord
from forecaster.times.durations import Step

RECENT = 52
"""Values before the cutoff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One source of a range of future steps; `adds` is None where it is unknown."""

    source: str
    """past, last or level, as in the view `forecast_attention`."""
    context_from: datetime | None = None
    context_to: datetime | None = None
    steps_before: int | None = None
    """From the first of the steps back to it."""
    weight: float
    adds: float | None
    """To the mean of the median over the steps, relative to the level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRange:
    """Future steps with one set of attention weights; numbers are means over these steps."""

    step_from: int
    step_to: int
    starts: datetime
    ends: datetime
    median: float
    low: float
    high: float
    level: float
    copied: float
    lift: float | None
    """What copying relative to the level of its own time adds; None where values are gone."""
    last_value: float
    residual: float
    adjustment: float
    sources: tuple[Source, ...]
    """Those with any weight, the heaviest first; none behind a fallback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One forecast of one series, and how far its model can be trusted."""

    dataset: str
    series_id: str
    cutoff: datetime
    issued_at: datetime
    status: str
    hindsight: bool
    model_id: int
    step: Step
    timezone: str
    patch_length: int
    recent: tuple[float, ...]
    """Values up to the cutoff, NaN where unknown."""
    forecast: pl.DataFrame
    """PARTS: every step."""
    step_ranges: tuple[StepRange, ...]
    trust: Trust | None


def explain(
    conn: Connection, dataset: str, series_id: str, *, until: datetime | None = None
) -> Explanation:
    """Explain the newest forecast of a series, or the newest with a cutoff up to `until`.

    DataError where there is no such series or no such forecast.
    """
    stored = history.newest(conn, dataset, series_id, until=until)
    if stored is None:
        raise _nothing(conn, dataset, series_id, until)
    model = model_of(conn, dataset, stored.model_id)
    grid = stored_grid(model.config)
    forecast = history.read_parts(conn, dataset, stored)
    past = _Past.read(conn, dataset, stored, grid)
    attention = history.read_attention(conn, dataset, stored.cutoff, of=stored)
    return Explanation(
        dataset=dataset,
        series_id=series_id,
        cutoff=stored.cutoff,
        issued_at=stored.issued_at,
        status=forecast["status"][0],
        hindsight=stored.hindsight,
        model_id=stored.model_id,
        step=grid.step,
        timezone=grid.timezone,
        patch_length=model.config["patch_length"],
        recent=past.recent(),
        forecast=forecast,
        step_ranges=tuple(_step_ranges(forecast, attention, past)),
        trust=Trust.from_scores(model.scores),
    )


def model_of(conn: Connection, dataset: str, model_id: int) -> ModelRecord:
    """Return the record of a model, even if its weights are pruned; ModelError if there is none."""
    for model in models.list_models(conn, dataset):
        if model.model_id == model_id:
            return model
    raise ModelError(f"dataset {dataset} has no model {model_id}")


def _nothing(conn: Connection, dataset: str, series_id: str, until: datetime | None) -> DataError:
    known = datasets.keys(conn, dataset)["key"].to_list()
    if series_id not in known:
        near = nearest(series_id, known)
        meant = f"; did you mean {near!r}?" if near else ""
        some = ", ".join(known[:5]) or "none"
        return DataError(
            f"unknown series {series_id!r} in dataset {dataset}{meant}",
            hint=f"it has {len(known)} series, such as {some}"
            if known
            else "run `forecaster forecast`",
        )
    when = "" if until is None else f" with a cutoff up to {until.isoformat()}"
    return DataError(
        f"series {series_id!r} of dataset {dataset} has no forecast{when}",
        hint="run `forecaster forecast`; its report lists skipped series and why",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    """What a forecast attended to: values by grid index, as known then, and its patches."""

    grid: Grid
    cutoff: datetime
    values: Mapping[int, float]
    patches: pl.DataFrame

    @classmethod
    def read(cls, conn: Connection, dataset: str, stored: StoredForecast, grid: Grid) -> "_Past":
        patches = history.read_patches(conn, dataset, stored.cutoff, of=stored)
        end = grid.index_at(stored.cutoff)
        first = patches["context_from"].min() if patches.height else None
        earliest = end - RECENT + 1
        if isinstance(first, datetime):
            earliest = min(earliest, grid.index_at(first))
        rows = observations.read(
            conn,
            dataset,
            since=grid.first_of(earliest),
            until=grid.last_of(end),
            as_of=stored.issued_at,
            series=stored.series_id,
        )
        cells = rows.with_columns(index=grid.index_of(rows["timestamp"]))
        means = cells.filter(pl.col("index") <= end).group_by("index").agg(pl.col("value").mean())
        return cls(
            grid=grid,
            cutoff=stored.cutoff,
            values=dict(means.iter_rows()),
            patches=patches,
        )

    def recent(self) -> tuple[float, ...]:
        end = self.grid.index_at(self.cutoff)
        return self.at(end - RECENT + 1, RECENT)

    def at(self, index: int, count: int) -> tuple[float, ...]:
        """Return the values of `count` cells from `index` on, NaN where there is none."""
        return tuple(self.values.get(index + step, float("nan")) for step in range(count))


def _step_ranges(
    forecast: pl.DataFrame, attention: pl.DataFrame, past: _Past
) -> Iterator[StepRange]:
    if attention.is_empty():
        yield _step_range(forecast, (), None)
    for row in attention.iter_rows(named=True):
        steps = forecast.filter(pl.col("step").is_between(row["step_from"], row["step_to"]))
        sources = tuple(_sources(steps, row["step_from"], row["weights"], past))
        copied = [source.adds for source in sources if source.source == "past"]
        known = [adds for adds in copied if adds is not None]
        raw = sum(known) if len(known) == len(copied) else None
        shown = sorted((s for s in sources if s.weight > 0), key=lambda source: -source.weight)
        yield _step_range(steps, tuple(shown), raw)


def _step_range(steps: pl.DataFrame, sources: tuple[Source, ...], raw: float | None) -> StepRange:
    means: dict[str, Any] = steps.select(pl.exclude("step", "timestamp", "status").mean()).row(
        0, named=True
    )
    return StepRange(
        step_from=steps["step"][0],
        step_to=steps["step"][-1],
        starts=steps["timestamp"][0],
        ends=steps["timestamp"][-1],
        median=means["q50"],
        low=means["q10"],
        high=means["q90"],
        level=means["level"],
        copied=means["copied"],
        lift=None if raw is None else means["copied"] - raw,
        last_value=means["last_value"],
        residual=means["residual"],
        adjustment=means["adjustment"],
        sources=sources,
    )


def _sources(
    steps: pl.DataFrame, step_from: int, weights: list[float], past: _Past
) -> Iterator[Source]:
    """Match the weights of a range with the patches, oldest first, then last value and level.

    Steps that are closed are missing, and what was copied to them does not count.
    """
    level, length = steps["level"][0], steps.height
    places = (steps["step"] - step_from).to_list()
    start = past.grid.index_at(past.cutoff) + step_from
    for weight, patch in zip(weights, past.patches.iter_rows(named=True), strict=False):
        first = past.grid.index_at(patch["context_from"])
        copied = (past.at(first + place, 1)[0] for place in places)
        values = [value - level for value in copied if value == value]
        # a missing value stays on the level; if all are missing, the sum is unknown
        adds = weight * sum(values) / length if values or not weight else None
        yield Source(
            source="past",
            context_from=patch["context_from"],
            context_to=patch["context_to"],
            steps_before=start - first,
            weight=weight,
            adds=adds,
        )
    last = steps["last_value"].mean()
    assert isinstance(last, float)
    yield Source(source="last", weight=weights[-2], adds=last)
    yield Source(source="level", weight=weights[-1], adds=0.0)
