"""The state of a dataset and its reason, from facts. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Literal, get_args

import numpy as np

from forecaster.config.settings import DatasetConfig
from forecaster.data.open_cells import is_open
from forecaster.errors import InsufficientHistory
from forecaster.network.spec import stored_grid
from forecaster.store.state.health import Facts, Serving
from forecaster.store.state.run_history import Run
from forecaster.times.schedules import Schedule

State = Literal["awaiting_data", "initializing", "running", "degraded", "failed", "stopped"]
STATES: tuple[State, ...] = get_args(State)

MOST_TICKS_BEHIND = 3
"""So many ticks may be due without a forecast; one more, and the dataset has failed."""
SILENT_STEPS = 3
"""The source is silent when so many steps and so many ticks have passed without anything new."""
_WAITING = (InsufficientHistory.NO_DATA, InsufficientHistory.TOO_LITTLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """A state with its reason as text; `since` is when the event of the reason happened."""

    state: State
    reason: str
    since: datetime | None = None
    progress: float | None = None
    """The share of the first training that is done."""

    @property
    def words(self) -> str:
        """The state as text, such as `initializing 43 %`."""
        name = self.state.replace("_", " ")
        return name if self.progress is None else f"{name} {int(100 * self.progress)} %"


def lifecycle(facts: Facts, dataset: DatasetConfig | None, now: datetime) -> Lifecycle:
    """Return the state at `now` of a dataset that is configured as `dataset`, None where not."""
    if dataset is None:
        return Lifecycle(state="stopped", reason="not in the configuration")
    if facts.replicas == 0:
        seen = f"; last seen at {_at(facts.last_replica)}" if facts.last_replica else ""
        reason = f"no service is running{seen}"
        return Lifecycle(state="stopped", reason=reason, since=facts.last_replica)
    if facts.serving is None:
        return _before_a_champion(facts)
    return _in_service(facts, facts.serving, dataset, now)


def _before_a_champion(facts: Facts) -> Lifecycle:
    run = facts.retrains[0] if facts.retrains else None
    if run is None and facts.newest_observation is None:
        return Lifecycle(state="awaiting_data", reason="no observations yet")
    if run is None:
        return Lifecycle(state="initializing", reason="the first training is pending", progress=0.0)
    if run.state == "running":
        done = min(1.0, max(0.0, run.progress or 0.0))
        reason = f"training since {_at(run.started_at)}"
        return Lifecycle(state="initializing", reason=reason, since=run.started_at, progress=done)
    if run.hint in _WAITING:
        reason = "no observations yet"
        if facts.newest_observation is not None:
            until = _at(facts.newest_observation)
            reason = f"{facts.series} series up to {until}: {run.error}"
        return Lifecycle(state="awaiting_data", reason=reason, since=run.finished_at)
    return Lifecycle(state="failed", reason=_no_model(run), since=run.finished_at)


def _no_model(run: Run) -> str:
    match run.state:
        case "succeeded":
            return "no usable model: all are damaged or pruned"
        case "missed":
            return f"the training of {_at(run.tick)} was missed: {run.error or 'too old'}"
        case _:
            return f"the training of {_at(run.tick)} failed: {run.error or 'unknown error'}"


def _in_service(facts: Facts, serving: Serving, dataset: DatasetConfig, now: datetime) -> Lifecycle:
    last = facts.last_forecast
    since = serving.promoted_at if last is None else last.tick
    behind = _ticks(dataset.forecast_schedule, since, now, MOST_TICKS_BEHIND + 1)
    if behind > MOST_TICKS_BEHIND:
        failed = next((run for run in facts.forecasts if run.error), None)
        because = "" if failed is None else f": {failed.error}"
        return Lifecycle(
            state="failed",
            reason=f"no forecast since {_at(since)}, more than {MOST_TICKS_BEHIND} are due"
            f"{because}",
            since=(None if failed is None else failed.finished_at) or since,
        )
    problems = [*_problems(facts, serving, dataset, now, behind)]
    if problems:
        reason = "; ".join(reason for reason, _ in problems)
        return Lifecycle(state="degraded", reason=reason, since=problems[0][1])
    if last is None:
        reason = f"model {serving.model_id} is in service; its first forecast is due"
        return Lifecycle(state="running", reason=reason, since=serving.promoted_at)
    reason = f"the forecast of {_at(last.tick)} succeeded (model {serving.model_id})"
    return Lifecycle(state="running", reason=reason, since=last.finished_at)


Problem = tuple[str, datetime | None]


def _problems(
    facts: Facts, serving: Serving, dataset: DatasetConfig, now: datetime, behind: int
) -> Iterator[Problem]:
    """Yield what is wrong and since when, the worst first."""
    yield from _of_forecasts(facts, behind)
    yield from _of_models(facts, serving)
    newest = facts.newest_observation
    if newest is not None and _is_silent(newest, dataset, serving, now):
        yield f"no new data from the source since {_at(newest)}", newest


def _of_forecasts(facts: Facts, behind: int) -> Iterator[Problem]:
    ended = next((run for run in facts.forecasts if run.state != "running"), None)
    if ended is not None and ended.state == "failed":
        yield f"the forecast of {_at(ended.tick)} failed: {ended.error}", ended.finished_at
    elif ended is not None and ended.state == "missed":
        because = f": {ended.error}" if ended.error else ""
        yield f"the forecast of {_at(ended.tick)} was missed{because}", ended.finished_at
    elif behind > 1:
        tick = None if facts.last_forecast is None else facts.last_forecast.tick
        yield f"forecasts are late: {behind} are due", tick


def _of_models(facts: Facts, serving: Serving) -> Iterator[Problem]:
    if serving.is_fallback:
        reason = f"fallback to model {serving.model_id}: a newer one is damaged"
        yield reason, serving.promoted_at
    yield from _of_refusal(facts.last_forecast, serving)
    ended = [run for run in facts.retrains if run.state != "running"]
    failed = [*takewhile(lambda run: run.state == "failed", ended)]
    if sum(run.attempt for run in failed) > 1:
        yield f"retraining keeps failing: {failed[0].error}", failed[-1].finished_at


def _of_refusal(last: Run | None, serving: Serving) -> Iterator[Problem]:
    """Yield the problem of an undamaged champion that could not be loaded at the last tick."""
    report = {} if last is None or last.report is None else last.report
    if last is None or last.finished_at is None or last.finished_at < serving.promoted_at:
        return
    used = report.get("model_id")
    earlier = report.get("stands_in", "fallback_champion" in report.get("statuses", ()))
    is_fallback = report.get("is_fallback", earlier)  # `stands_in` in reports of earlier versions
    if is_fallback and used != serving.model_id:
        yield (
            f"fallback to model {used}: model {serving.model_id} cannot be loaded",
            (last.finished_at),
        )


def _is_silent(newest: datetime, dataset: DatasetConfig, serving: Serving, now: datetime) -> bool:
    known = newest + dataset.delay
    steps: timedelta = SILENT_STEPS * dataset.step.approximate
    missed = _ticks(dataset.forecast_schedule, known, now, SILENT_STEPS + 1)
    if now - known <= steps or missed <= SILENT_STEPS:
        return False
    return not serving.spec.get("opening_hours") or _open_since(newest, dataset, serving, now)


def _open_since(newest: datetime, dataset: DatasetConfig, serving: Serving, now: datetime) -> bool:
    """Return whether more than SILENT_STEPS open steps have ended since the newest value."""
    grid = stored_grid(serving.spec)
    first, last = grid.index_at(newest), grid.complete_at([now - dataset.delay])[0]
    return int(is_open(grid, np.arange(first + 1, last + 1)).sum()) > SILENT_STEPS


def _ticks(schedule: Schedule, after: datetime, until: datetime, most: int) -> int:
    """Return how many ticks are after `after` and not after `until`; counts to `most`."""
    count, tick = 0, schedule.after(after)
    while tick <= until and count < most:
        count, tick = count + 1, schedule.after(tick)
    return count


def _at(instant: datetime | None) -> str:
    return "an unknown time" if instant is None else f"{instant:%Y-%m-%d %H:%M} UTC"
