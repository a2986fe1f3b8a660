"""The plan of a backtest, reported to the user before training."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from forecaster.config.settings import DatasetConfig
from forecaster.data.seasonality import LEAST_CYCLES, candidates
from forecaster.evaluation.cutoffs import SHARE, USUAL_WINDOWS
from forecaster.experiments.stage import Prepared
from forecaster.experiments.testable import ENDED
from forecaster.network.spec import ModelSpec
from jobs.backtest.inputs import Rows
from jobs.backtest.step import first_names

OFFICIAL = "official split"
REASONS: Mapping[str, str] = {
    "no_train_rows": "without train rows",
    "no_test_rows": "without test rows",
    "test_part_too_short": "whose test part is shorter than the horizon",
    "no_room_for_a_window": "that are too short for a window",
    "no_data_before": "that start after the first window",
    "ended": "that end before the windows",
    "nothing_to_judge": "without actual values in the windows",
    "no_data": "without values before the windows",
    "too_short": "with too few values before the windows",
    "stale": "with a long gap before the windows",
    "non_finite": "without a finite forecast",
}
"""Why series are left out, after "3 series"."""

Fact = tuple[str, str]
"""A label and a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is trained and tested on: which rows, which windows."""

    rows: Rows
    series: int
    dataset: DatasetConfig
    stride: int
    turns: int
    asked_for: bool
    """Whether the number of windows was given."""
    at_series_end: bool
    split: str | None
    tested_from: datetime
    """The first cutoff."""
    tested_to: datetime
    """The last instant that is forecast."""
    seeds: Sequence[int]
    prepared: Prepared
    left_out: Mapping[str, str]
    """Series that cannot be tested, and why."""


def plan_facts(plan: Plan) -> list[Fact]:
    """Return what will be tested, with notes on what may be unexpected."""
    return [
        *setting(plan),
        *(("left out", text) for text in left_out(plan.left_out)),
        *(("note", text) for text in plan_notes(plan)),
        *(("note", text) for text in still(plan.prepared.still)),
    ]


def setting(plan: Plan) -> list[Fact]:
    """Return which rows, windows and season there are."""
    dataset, prepared, (first, last) = plan.dataset, plan.prepared, plan.rows.span
    return [
        (
            "data",
            f"{plan.series:,} series, {len(plan.rows.observations):,} rows, {when(first)} … "
            f"{when(last)}, step {dataset.step}",
        ),
        (
            "windows",
            f"{_which(plan)}, each {dataset.prediction_length} steps ahead, "
            f"from {when(plan.tested_from)} to {when(plan.tested_to)}",
        ),
        ("season", season(plan, prepared.spec)),
        (
            "trained on",
            f"{prepared.series:,} series, {prepared.observations:,} observations until "
            f"{when(prepared.trained_to)}",
        ),
    ]


def plan_notes(plan: Plan) -> Iterator[str]:
    """Yield notes on short history, and on series that are not tested."""
    prepared = plan.prepared
    ended = Counter(plan.left_out.values())[ENDED]
    if ended and not plan.split:
        series = "series ends" if ended == 1 else "series end"
        yield (
            f"{ended:,} of {plan.series:,} {series} before the windows, trained on but not tested; "
            "to test every series at its own end, pass --windows-at series-end"
        )
    yield from _outside(plan)
    if plan.at_series_end:
        yield "each series has its own cutoff: training may use later rows of other series"
    spec, before = prepared.spec, f"there are {prepared.length:,} before the first window"
    needed = spec.context_length + 2 * spec.prediction_length
    if prepared.length < needed:
        yield f"training and validation need {needed:,} steps, {before}"
    if plan.dataset.model.season_length is not None:
        return
    step = plan.dataset.step
    missed = [length for length in candidates(step) if LEAST_CYCLES * length > prepared.length]
    if missed:
        needed = LEAST_CYCLES * missed[0]
        yield (
            f"detecting a season of {missed[0]:,} steps needs {needed:,} steps, {before}; "
            f"to set it, pass --season {missed[0]}"
        )


def _outside(plan: Plan) -> Iterator[str]:
    """Report how many values are outside the bounds of forecasts."""
    values, outside = plan.rows.observations["value"], 0
    if plan.dataset.lower_bound is not None:
        outside += int((values < plan.dataset.lower_bound).sum())
    if plan.dataset.upper_bound is not None:
        outside += int((values > plan.dataset.upper_bound).sum())
    if outside:
        yield f"{outside:,} observed values are outside the bounds of forecasts"


def left_out(reasons: Mapping[str, str]) -> Iterator[str]:
    """Count and name series by the reason to leave them out."""
    for reason, count in Counter(reasons.values()).most_common():
        names = [name for name, why in reasons.items() if why == reason]
        yield f"{count:,} series {REASONS[reason]}: {first_names(names)}"


def still(names: Sequence[str]) -> Iterator[str]:
    """Report series without a scale, as they are constant."""
    if count := len(names):
        have = "has" if count == 1 else "have"
        yield (
            f"{count:,} series constant before the windows {have} no MASE and no skill: "
            f"{first_names(names)}"
        )


def season(plan: Plan, spec: ModelSpec) -> str:
    """Return the detected or configured season, and the context length."""
    given = plan.dataset.model.season_length is not None
    text = "none detected" if not given else "none, as configured"
    if spec.season_length > 1:
        text = f"{spec.season_length} steps" + (", as configured" if given else "")
    if spec.long_season > spec.season_length:
        text += f", and a longer one of {spec.long_season} steps"
    return f"{text}; context length {spec.context_length} steps"


def when(instant: datetime) -> str:
    """Return an instant as text, to the minute."""
    return f"{instant:%Y-%m-%d %H:%M}Z"


def _which(plan: Plan) -> str:
    if plan.split is not None and plan.asked_for:
        count = "window" if plan.turns == 1 else "windows"
        most = f", up to {plan.turns}" if plan.turns > 1 else ""
        return f"{plan.split}: the latest {count} in the test rows of every series{most}"
    if plan.split is not None:
        count = "1 window" if plan.turns == 1 else f"up to {plan.turns} windows"
        return f"{plan.split}: {count} after the train rows of every series"
    windows = "the last window of every series" if plan.at_series_end else "the last window"
    if plan.turns > 1:
        count = f"up to {plan.turns}" if plan.at_series_end else f"the last {plan.turns}"
        windows = f"{count} windows of every series, every {plan.stride} steps"
    if plan.at_series_end:
        return f"{windows}, up to its own end"
    if plan.asked_for or plan.turns == USUAL_WINDOWS:
        return windows
    return f"{windows}; more would test on over {SHARE:.0%} of the history"
