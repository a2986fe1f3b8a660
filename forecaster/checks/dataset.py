"""What rows tell about the settings of their dataset, from a sample of them and an instant.

Facts are numbers for a table; findings are sentences, for what is not as it was meant; suggestions
are settings that fit the rows better.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from forecaster.checks import freshness
from forecaster.checks.findings import (
    Finding,
    failure,
    failures_of,
    note,
)
from forecaster.checks.opening_times import on_hours
from forecaster.checks.tick_times import on_ticks
from forecaster.config.settings import DatasetConfig
from forecaster.data.frequency import advised_step, find_spacing, is_same_step
from forecaster.data.panel import Panel
from forecaster.data.seasonality import LEAST_CYCLES, candidates
from forecaster.data.timestamp_marks import grid_of
from forecaster.errors import ForecasterError
from forecaster.ingestion.normalize import REMEDIES, NormalizedRows
from forecaster.network.spec import ModelSpec
from forecaster.times.durations import (
    Step,
    format_duration,
    rough,
    rounded_up,
)
from forecaster.training import preparation

MOST_CELLS = 200_000_000
"""Of a panel: a step that is far too short would otherwise fill the memory."""
_FEW = 0.01
"""Shares below this are not worth a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows of a dataset between two instants, and what became of them."""

    rows: int
    taken: NormalizedRows
    since: datetime
    """All rows from here to `now` are in the sample."""
    now: datetime
    versions: pl.DataFrame | None = None
    """VERSIONS of some of its rows, where we have them."""


@dataclass(slots=True, kw_only=True)
class Diagnosis:
    """What was found; keys of `suggestions` are settings of the dataset."""

    facts: dict[str, object] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    suggestions: dict[str, str | int | float] = field(default_factory=dict)


def diagnose(sample: Sample, dataset: DatasetConfig) -> Diagnosis:
    """Return what the sample tells. Raises nothing: what cannot be told is a finding."""
    found = Diagnosis(facts=_counts(sample))
    observations = sample.taken.observations
    found.findings += _on_rows(sample, dataset)
    if observations.is_empty():
        return found
    step = _judge_spacing(observations, dataset, found)
    delay = _judge_age(sample, step, dataset, found)
    _judge_values(observations, dataset, found)
    if step != dataset.step:
        return found
    cells = _cells(observations, dataset)
    if cells > MOST_CELLS:
        found.findings.append(
            failure(
                dataset.name,
                f"history must fit into memory, found {cells:,.0f} cells of {dataset.step}",
                hint="set a longer step, or a shorter history",
            )
        )
        return found
    try:
        known = sample.now - dataset.delay
        panel, spec = preparation.prepare(
            observations, dataset, known=known, versions=sample.versions
        )
    except ForecasterError as error:
        found.findings += failures_of(dataset.name, error)
        return found
    _judge_panel(panel, spec, dataset, found)
    found.findings += on_hours(panel, dataset)
    found.findings += on_ticks(panel.grid, dataset, delay, sample.now)
    _judge_length(_steps(sample, panel, dataset), spec, dataset, found)
    _judge_seasons(sample, panel, dataset, found)
    return found


def _counts(sample: Sample) -> dict[str, object]:
    observations, taken = sample.taken.observations, sample.taken
    newest = observations["timestamp"].max()
    return {
        "rows": sample.rows,
        "series": observations["series_id"].n_unique(),
        "first": observations["timestamp"].min(),
        "last": newest,
        "age": None if not isinstance(newest, datetime) else rough(sample.now - newest),
        "rejected": sum(taken.rejected.values()),
        "duplicates": taken.duplicates + taken.conflicting,
    }


def rejections(about: str, rows: int, taken: NormalizedRows) -> Iterator[Finding]:
    """Say which of so many rows cannot be used, with an example: a failure if none of them can."""
    for reason, count in taken.rejected.items():
        message = f"{count} of {rows} rows cannot be used: {reason}"
        message += f", such as {taken.examples[reason]}" if reason in taken.examples else ""
        message += f"; {REMEDIES[reason]}" if reason in REMEDIES else ""
        if taken.observations.is_empty():
            yield failure(about, message, hint="name another column, or cast it in the query")
        else:
            yield note(about, message)


def _on_rows(sample: Sample, dataset: DatasetConfig) -> Iterator[Finding]:
    taken = sample.taken
    yield from rejections(dataset.name, sample.rows, taken)
    if taken.conflicting:
        yield note(
            dataset.name,
            f"{taken.conflicting} rows contradict another of their series and timestamp: each such "
            "value is their mean",
            hint="add what tells them apart to series_columns, or aggregate in the query",
        )
    if sample.rows == 0:
        yield failure(
            dataset.name,
            f"there must be rows since {sample.since:%Y-%m-%d %H:%M}Z, found none",
            hint="see whether the query is right, lengthen history, or run `forecaster ingest`",
        )


def _judge_spacing(observations: pl.DataFrame, dataset: DatasetConfig, found: Diagnosis) -> Step:
    """Return the step of the settings, or of the rows where it is so short that nothing can be told
    of what lies on it."""
    spacing = find_spacing(observations)
    if spacing is None:
        return dataset.step
    found.facts |= {"step": str(spacing.step), "regular": spacing.regular}
    if spacing.regular < 1 - _FEW:
        found.findings.append(
            note(
                dataset.name,
                f"{1 - spacing.regular:.0%} of the rows do not come a whole number of "
                f"{spacing.step} after the one before: those that share a step are averaged",
            )
        )
    advised = advised_step(spacing, observations)
    if is_same_step(advised, dataset.step):
        return dataset.step
    found.suggestions["step"] = str(advised)
    is_sparse = advised.approximate > dataset.step.approximate
    found.findings.append(
        (failure if is_sparse else note)(
            dataset.name,
            f"step is {dataset.step}, rows come every {advised}: "
            + ("most steps would be empty" if is_sparse else "rows that share a step are averaged"),
            hint=f'set step = "{advised}", or let the query give a row for each step',
        )
    )
    return advised if is_sparse else dataset.step


def _judge_age(sample: Sample, step: Step, dataset: DatasetConfig, found: Diagnosis) -> timedelta:
    """Return the `delay` that fits: that of the settings where nothing tells another."""
    observations = sample.taken.observations
    grid = grid_of(
        observations,
        step,
        dataset.timezone or "UTC",
        marks=dataset.timestamp_marks,
        are_sums=dataset.groups,
    )
    told = freshness.judge(observations, grid, dataset, sample.now, sample.versions)
    found.findings += told.findings
    if told.delay is not None:
        found.suggestions["delay"] = format_duration(told.delay)
    return told.delay or dataset.delay


def _judge_values(observations: pl.DataFrame, dataset: DatasetConfig, found: Diagnosis) -> None:
    values = observations["value"].drop_nulls()
    if values.is_empty():
        return
    outside = 0
    if dataset.lower_bound is not None:
        outside += int((values < dataset.lower_bound).sum())
    if dataset.upper_bound is not None:
        outside += int((values > dataset.upper_bound).sum())
    if outside:
        message = f"{outside} values lie outside lower_bound and upper_bound, forecasts never will"
        found.findings.append(note(dataset.name, message))
    if dataset.lower_bound is None and values.min() == 0:
        found.suggestions["lower_bound"] = 0


def _judge_panel(panel: Panel, spec: ModelSpec, dataset: DatasetConfig, found: Diagnosis) -> None:
    observed = panel.deviations.isfinite()
    seen, counts = int(observed.sum()), panel.counts
    found.facts |= {
        "off_grid": counts.off_grid / max(1, seen + counts.merged),
        "gaps": counts.gaps / max(1, seen + counts.gaps),
        "timestamp_marks": spec.timestamp_marks,
        "season_length": spec.season_length,
        "context_length": spec.context_length,
        "open": spec.opening_hours or "always",
    }
    some = panel.deviations.nan_to_num(nan=0.0)
    empty = int((~observed.any(1)).sum())
    constant = int(((some == 0).all(1) & observed.any(1)).sum())
    short = int((observed.sum(1) < spec.min_observed).sum()) - empty
    for count, what in (
        (empty, "have no value at all, and are not forecast"),
        (constant, "never change"),
        (short, f"have fewer than {spec.min_observed} values, and are not forecast yet"),
    ):
        if count:
            found.findings.append(note(dataset.name, f"{count} of {len(panel)} series {what}"))
    for name, what in (("off_grid", "rows lie between two steps"), ("gaps", "steps have no row")):
        share = found.facts[name]
        if isinstance(share, float) and share >= _FEW:
            found.findings.append(note(dataset.name, f"{share:.0%} of the {what}"))
    if spec.season_length == 1:
        message = "no season was found: a forecast will mostly be a level and its spread"
        found.findings.append(note(dataset.name, message))


def _judge_length(steps: int, spec: ModelSpec, dataset: DatasetConfig, found: Diagnosis) -> None:
    needed = spec.context_length + 2 * spec.prediction_length
    if steps < needed:
        message = (
            f"there are {steps} steps: {spec.context_length} to look back, "
            f"{spec.prediction_length} to learn from and as many to judge by take {needed}"
        )
        hint = "lengthen history, shorten the horizon, or wait for more data"
        found.findings.append(note(dataset.name, message, hint=hint))


def _judge_seasons(sample: Sample, panel: Panel, dataset: DatasetConfig, found: Diagnosis) -> None:
    """Say which seasons nobody could look for, and whether a longer `history` would help."""
    steps = _steps(sample, panel, dataset)
    missed = [each for each in candidates(dataset.step) if LEAST_CYCLES * each > steps]
    if not missed or dataset.model.season_length is not None:
        return
    needed = LEAST_CYCLES * missed[0]
    first = sample.taken.observations["timestamp"].min()
    assert isinstance(first, datetime)
    is_cut = first - sample.since < 2 * dataset.step.approximate
    hint = "wait for more data"
    if is_cut:
        found.suggestions["history"] = format_duration(
            rounded_up((needed + 1) * dataset.step.approximate)
        )
        hint = f'set history = "{found.suggestions["history"]}"'
    found.findings.append(
        note(
            dataset.name,
            f"a season of {missed[0]} steps takes {needed} steps to be found, and there are "
            f"{steps}",
            hint=hint,
        )
    )


def _steps(sample: Sample, panel: Panel, dataset: DatasetConfig) -> int:
    """Return how many steps a training would see: all of `history` where the sample has not."""
    if sample.since <= sample.now - dataset.history:
        return panel.length
    return max(panel.length, dataset.history // dataset.step.approximate)


def _cells(observations: pl.DataFrame, dataset: DatasetConfig) -> float:
    first, last = observations["timestamp"].min(), observations["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    steps = (last - first) / dataset.step.approximate + 1
    return steps * observations["series_id"].n_unique()
