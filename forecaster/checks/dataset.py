"""Checks of the settings of a dataset against a sample of its rows, at an instant.

Facts are numbers for a table; findings are sentences about problems; suggestions are settings that
fit the rows better.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from forecaster.checks import freshness
from forecaster.checks.findings import Finding, failure, failures_of, note
from forecaster.checks.opening_times import check_hours
from forecaster.checks.rejected_rows import losses
from forecaster.checks.tick_times import check_ticks
from forecaster.config.settings import DatasetConfig
from forecaster.data.frequency import advised_step, find_spacing, is_same_step
from forecaster.data.panel import Panel
from forecaster.data.seasonality import LEAST_CYCLES, candidates
from forecaster.data.timestamp_marks import grid_of
from forecaster.errors import ForecasterError
from forecaster.ingestion.normalize import NormalizedRows
from forecaster.network.spec import ModelSpec
from forecaster.times.durations import Step, format_duration, rough, rounded_up
from forecaster.training import preparation

MOST_CELLS = 200_000_000
"""Of a panel: a step that is far too short would otherwise exhaust the memory."""
_FEW = 0.01
"""Shares below this are not reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows of a dataset between two instants, raw and normalized."""

    rows: int
    taken: NormalizedRows
    since: datetime
    """All rows from here to `now` are in the sample."""
    now: datetime
    versions: pl.DataFrame | None = None
    """VERSIONS of some of its rows, if available."""
    arrivals: pl.DataFrame | None = None
    """When rows arrived, by `ingest_column`: series_id, timestamp, arrived; None if not known."""


@dataclass(slots=True, kw_only=True)
class Diagnosis:
    """What was found; keys of `suggestions` are settings of the dataset."""

    facts: dict[str, object] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    suggestions: dict[str, str | int | float] = field(default_factory=dict)

    def note(self, dataset: DatasetConfig, message: str, *, hint: str | None = None) -> None:
        """Add a note on the dataset."""
        self.findings.append(note(dataset.name, message, hint=hint))


def diagnose(sample: Sample, dataset: DatasetConfig) -> Diagnosis:
    """Return the diagnosis of the sample. Raises nothing: errors become findings."""
    diagnosis = Diagnosis(facts=_counts(sample))
    observations = sample.taken.observations
    diagnosis.findings += _on_rows(sample, dataset)
    if observations.is_empty():
        return diagnosis
    step = _check_spacing(observations, dataset, diagnosis)
    delay = _check_age(sample, step, dataset, diagnosis)
    _check_values(observations, dataset, diagnosis)
    if step != dataset.step:
        return diagnosis
    cells = _cells(observations, dataset)
    if cells > MOST_CELLS:
        diagnosis.findings.append(
            failure(
                dataset.name,
                f"history does not fit into memory: {cells:,.0f} cells of {dataset.step}",
                hint="set a longer step, or a shorter history",
            )
        )
        return diagnosis
    try:
        known = sample.now - dataset.delay
        panel, spec = preparation.prepare(
            observations, dataset, known=known, versions=sample.versions
        )
    except ForecasterError as error:
        diagnosis.findings += failures_of(dataset.name, error)
        return diagnosis
    _check_panel(panel, spec, dataset, diagnosis)
    diagnosis.findings += check_hours(panel, dataset)
    diagnosis.findings += check_ticks(panel.grid, dataset, delay, sample.now)
    _check_length(_steps(sample, panel, dataset), spec, dataset, diagnosis)
    _check_seasons(sample, panel, dataset, diagnosis)
    return diagnosis


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


def _on_rows(sample: Sample, dataset: DatasetConfig) -> Iterator[Finding]:
    taken = sample.taken
    yield from losses(dataset, sample.rows, taken)
    if taken.conflicting:
        yield note(
            dataset.name,
            f"{taken.conflicting} rows conflict with another row of the same series and timestamp: "
            "they are averaged",
            hint="add the column that distinguishes them to series_columns, or aggregate in the "
            "query",
        )
    if sample.rows == 0:
        yield failure(
            dataset.name,
            f"no rows since {sample.since:%Y-%m-%d %H:%M}Z",
            hint="check the query, lengthen history, or run `forecaster ingest`",
        )


def _check_spacing(
    observations: pl.DataFrame, dataset: DatasetConfig, diagnosis: Diagnosis
) -> Step:
    """Return the step of the settings, or that of the rows where the former is far too short for
    the other checks."""
    spacing = find_spacing(observations)
    if spacing is None:
        return dataset.step
    diagnosis.facts |= {"step": str(spacing.step), "regular": spacing.regular}
    _check_rates(observations, dataset, diagnosis)
    if spacing.regular < 1 - _FEW:
        diagnosis.note(
            dataset,
            f"{1 - spacing.regular:.0%} of the rows are not a whole number of {spacing.step} "
            "after the previous one: rows that share a step are averaged",
        )
    advised = advised_step(spacing, observations)
    if is_same_step(advised, dataset.step):
        return dataset.step
    diagnosis.suggestions["step"] = str(advised)
    is_sparse = advised.approximate > dataset.step.approximate
    diagnosis.findings.append(
        (failure if is_sparse else note)(
            dataset.name,
            f"step is {dataset.step}, rows come every {advised}: "
            + ("most steps would be empty" if is_sparse else "rows that share a step are averaged"),
            hint=f'set step = "{advised}", or return one row per step from the query',
        )
    )
    return advised if is_sparse else dataset.step


def _check_rates(observations: pl.DataFrame, dataset: DatasetConfig, diagnosis: Diagnosis) -> None:
    """Note series that have rows much less often than the others."""
    gaps = observations.group_by("series_id").agg(gap=pl.col("timestamp").diff().median())
    slow = gaps.filter(pl.col("gap") >= 2 * pl.col("gap").min()).sort("series_id")
    for series, gap in slow[:1].iter_rows():
        message = f"{slow.height} of {gaps.height} series have rows less often than the others, "
        message += f"such as {series} every {rough(gap)}: the steps between them are gaps"
        diagnosis.note(dataset, message, hint="give them a dataset of their own, with its step")


def _check_age(
    sample: Sample, step: Step, dataset: DatasetConfig, diagnosis: Diagnosis
) -> timedelta:
    """Return the `delay` that fits: that of the settings unless the rows show a longer one."""
    observations = sample.taken.observations
    grid = grid_of(
        observations,
        step,
        dataset.timezone or "UTC",
        marks=dataset.timestamp_marks,
        are_sums=dataset.groups,
    )
    fresh = freshness.check(
        observations, grid, dataset, sample.now, sample.versions, sample.arrivals
    )
    diagnosis.findings += fresh.findings
    if fresh.delay is not None:
        diagnosis.suggestions["delay"] = format_duration(fresh.delay)
    return fresh.delay or dataset.delay


def _check_values(observations: pl.DataFrame, dataset: DatasetConfig, diagnosis: Diagnosis) -> None:
    values = observations["value"].drop_nulls()
    if values.is_empty():
        return
    outside = 0
    if dataset.lower_bound is not None:
        outside += int((values < dataset.lower_bound).sum())
    if dataset.upper_bound is not None:
        outside += int((values > dataset.upper_bound).sum())
    if outside:
        message = f"{outside} values lie outside lower_bound and upper_bound; forecasts never do"
        diagnosis.note(dataset, message)
    if dataset.lower_bound is None and values.min() == 0:
        diagnosis.suggestions["lower_bound"] = 0


def _check_panel(
    panel: Panel, spec: ModelSpec, dataset: DatasetConfig, diagnosis: Diagnosis
) -> None:
    observed = panel.deviations.isfinite()
    seen, counts = int(observed.sum()), panel.counts
    diagnosis.facts |= {
        "off_grid": counts.off_grid / max(1, seen + counts.merged),
        "gaps": counts.gaps / max(1, seen + counts.gaps),
        "timestamp_marks": spec.timestamp_marks,
        "season_length": spec.season_length,
        "context_length": spec.context_length,
        "open": spec.opening_hours or "always",
    }
    filled = panel.deviations.nan_to_num(nan=0.0)
    empty = int((~observed.any(1)).sum())
    constant = int(((filled == 0).all(1) & observed.any(1)).sum())
    short = int((observed.sum(1) < spec.min_observed).sum()) - empty
    for count, what in (
        (empty, "have no value at all, and are not forecast"),
        (constant, "are constant"),
        (short, f"have fewer than {spec.min_observed} values, and are not forecast yet"),
    ):
        if count:
            diagnosis.note(dataset, f"{count} of {len(panel)} series {what}")
    for name, what in (("off_grid", "rows lie between two steps"), ("gaps", "steps have no row")):
        share = diagnosis.facts[name]
        if isinstance(share, float) and share >= _FEW:
            diagnosis.note(dataset, f"{share:.0%} of the {what}")
    if spec.season_length == 1:
        message = (
            "no seasonality detected: forecasts will mostly be a constant level with its spread"
        )
        diagnosis.note(dataset, message)


def _check_length(
    steps: int, spec: ModelSpec, dataset: DatasetConfig, diagnosis: Diagnosis
) -> None:
    needed = spec.context_length + 2 * spec.prediction_length
    if steps < needed:
        message = (
            f"history has {steps} steps, of {needed} needed: {spec.context_length} for context, "
            f"{spec.prediction_length} for training and as many for validation"
        )
        hint = "lengthen history, shorten the horizon, or wait for more data"
        diagnosis.note(dataset, message, hint=hint)


def _check_seasons(
    sample: Sample, panel: Panel, dataset: DatasetConfig, diagnosis: Diagnosis
) -> None:
    """Note which seasons could not be detected, and whether a longer `history` would help."""
    steps = _steps(sample, panel, dataset)
    missed = [season for season in candidates(dataset.step) if LEAST_CYCLES * season > steps]
    if not missed or dataset.model.season_length is not None:
        return
    needed = LEAST_CYCLES * missed[0]
    first = sample.taken.observations["timestamp"].min()
    assert isinstance(first, datetime)
    is_cut = first - sample.since < 2 * dataset.step.approximate
    hint = "wait for more data"
    if is_cut:
        diagnosis.suggestions["history"] = format_duration(
            rounded_up((needed + 1) * dataset.step.approximate)
        )
        hint = f'set history = "{diagnosis.suggestions["history"]}"'
    diagnosis.note(
        dataset,
        f"detecting a season of {missed[0]} steps needs {needed} steps, and there are {steps}",
        hint=hint,
    )


def _steps(sample: Sample, panel: Panel, dataset: DatasetConfig) -> int:
    """Return how many steps a training would see: that of `history` where the sample is shorter."""
    if sample.since <= sample.now - dataset.history:
        return panel.length
    return max(panel.length, dataset.history // dataset.step.approximate)


def _cells(observations: pl.DataFrame, dataset: DatasetConfig) -> float:
    first, last = observations["timestamp"].min(), observations["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    steps = (last - first) / dataset.step.approximate + 1
    return steps * observations["series_id"].n_unique()
