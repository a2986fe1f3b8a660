"""The life of a dataset: every combination of facts is in exactly one state, with a reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.errors import InsufficientHistory
from forecaster.store.state.health import Facts, Serving
from forecaster.store.state.run_history import Run
from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import Step
from jobs.telemetry.dataset_state import STATES, lifecycle
from tests.jobs.small import DATASET

NOW = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOON = NOW.replace(second=0)


def run(state: str, *, job: str = "forecast", back: int = 0, **changes: Any) -> Run:
    """A run of the tick `back` hours before noon."""
    tick = NOON - back * HOUR
    values: dict[str, Any] = {
        "run_id": 1,
        "job": job,
        "dataset": "bikes",
        "tick": tick,
        "state": state,
        "attempt": 1,
        "started_at": tick,
        "finished_at": None if state == "running" else tick + timedelta(seconds=1),
        "report": {"model_id": 3, "statuses": {"ok": 2}} if state == "succeeded" else None,
        "error": "no such table: trips" if state == "failed" else None,
        "hint": None,
    }
    return Run(**values | changes)


SERVING = Serving(
    model_id=3, trained_to=NOON - 9 * HOUR, promoted_at=NOON - 9 * HOUR, is_fallback=False
)
WELL = Facts(
    dataset="bikes",
    series=2,
    newest_observation=NOON,
    serving=SERVING,
    forecasts=(run("succeeded"), run("succeeded", back=1)),
    retrains=(run("succeeded", job="retrain", back=9),),
    last_forecast=run("succeeded"),
    replicas=1,
    last_replica=NOW,
)
NEW = replace(WELL, serving=None, forecasts=(), retrains=(), last_forecast=None)
EMPTY = replace(NEW, series=0, newest_observation=None)


def training(state: str, **changes: Any) -> tuple[Run, ...]:
    return (run(state, job="retrain", **changes),)


def forecasts(*runs: Run) -> dict[str, Any]:
    last = next((each for each in runs if each.state == "succeeded"), None)
    return {"forecasts": runs, "last_forecast": last}


FALLBACK = run("succeeded", report={"model_id": 2, "is_fallback": True, "statuses": {"ok": 2}})
BEFORE = run("succeeded", report={"model_id": 2, "statuses": {"fallback_champion": 2}})
TABLE = {
    "running, tick of noon done": (
        WELL, "running", "the forecast of 2026-11-20 12:00 UTC succeeded (model 3)",
    ),
    "running, tick of noon under way": (
        replace(WELL, **forecasts(run("running"), run("succeeded", back=1))),
        "running", "the forecast of 2026-11-20 11:00",
    ),
    "running, no tick yet": (
        replace(WELL, serving=replace(SERVING, promoted_at=NOW), **forecasts()),
        "running", "its first forecast is due",
    ),
    "no service": (
        replace(WELL, replicas=0),
        "stopped", "no service is running; last seen at 2026-11-20 12:00",
    ),
    "never a service": (
        replace(WELL, replicas=0, last_replica=None), "stopped", "no service is running",
    ),
    "nothing ingested": (EMPTY, "awaiting data", "no observations yet"),
    "nothing in the source": (
        replace(EMPTY, retrains=training("failed", hint=InsufficientHistory.NO_DATA)),
        "awaiting data", "no observations yet",
    ),
    "too little": (
        replace(NEW, retrains=training("failed", hint=InsufficientHistory.TOO_LITTLE, error="few")),
        "awaiting data", "2 series up to 2026-11-20 12:00 UTC: few",
    ),
    "before the first training": (NEW, "initializing 0 %", "the first training is pending"),
    "in the first training": (
        replace(NEW, retrains=training("running", progress=0.437)),
        "initializing 43 %", "training since 2026-11-20 12:00",
    ),
    "at the start of the first training": (
        replace(EMPTY, retrains=training("running")), "initializing 0 %", "training since",
    ),
    "the first training failed": (
        replace(NEW, retrains=training("failed")), "failed", "failed: no such table: trips",
    ),
    "the first training was missed": (
        replace(NEW, retrains=training("missed")), "failed", "was missed: too old",
    ),
    "all models are damaged": (
        replace(WELL, serving=None), "failed", "no usable model",
    ),
    "the last tick failed": (
        replace(WELL, **forecasts(run("failed"), run("succeeded", back=1))),
        "degraded", "the forecast of 2026-11-20 12:00 UTC failed: no such table",
    ),
    "the last tick was missed": (
        replace(WELL, **forecasts(run("missed", error="overlap"), run("succeeded", back=1))),
        "degraded", "was missed: overlap",
    ),
    "a tick failed and the next did not": (
        replace(WELL, **forecasts(run("succeeded"), run("failed", back=1))), "running", "",
    ),
    "late": (
        replace(WELL, **forecasts(run("running", back=1), run("succeeded", back=2))),
        "degraded", "forecasts are late: 2 are due",
    ),
    "three ticks behind": (
        replace(WELL, **forecasts(run("succeeded", back=3))), "degraded", "3 are due",
    ),
    "four ticks behind": (
        replace(WELL, **forecasts(run("failed"), run("succeeded", back=4))),
        "failed", "more than 3 are due: no such table",
    ),
    "never forecast": (
        replace(WELL, **forecasts()), "failed", "no forecast since 2026-11-20 03:00",
    ),
    "a damaged champion": (
        replace(WELL, serving=replace(SERVING, is_fallback=True)),
        "degraded", "fallback to model 3: a newer one is damaged",
    ),
    "a refused champion": (
        replace(WELL, **forecasts(FALLBACK)),
        "degraded", "fallback to model 2: model 3 cannot be loaded",
    ),
    "a refused champion, as 0.1 reported it": (
        replace(WELL, **forecasts(BEFORE)),
        "degraded", "fallback to model 2: model 3 cannot be loaded",
    ),
    "a champion since a refused one": (
        replace(WELL, serving=replace(SERVING, promoted_at=NOW), **forecasts(FALLBACK)),
        "running", "",
    ),
    "retraining failed once": (
        replace(WELL, retrains=training("failed")), "running", "",
    ),
    "retraining fails": (
        replace(WELL, retrains=training("failed", attempt=2)),
        "degraded", "retraining keeps failing: no such table",
    ),
    "a silent source": (
        replace(WELL, newest_observation=NOON - 5 * HOUR),
        "degraded", "no new data from the source since 2026-11-20 07:00",
    ),
    "a source that is a little late": (
        replace(WELL, newest_observation=NOON - 3 * HOUR), "running", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "words", "reason"), TABLE.values(), ids=TABLE)
def test_a_state_says_what_is_the_matter(facts: Facts, words: str, reason: str) -> None:
    found = lifecycle(facts, DATASET, NOW)

    assert found.words == words
    assert reason in found.reason


def test_what_is_not_configured_is_stopped() -> None:
    assert lifecycle(WELL, None, NOW).state == "stopped"


def test_all_that_is_wrong_is_said_the_worst_first() -> None:
    facts = replace(
        WELL,
        serving=replace(SERVING, is_fallback=True),
        newest_observation=NOON - 9 * HOUR,
        **forecasts(run("failed"), run("succeeded", back=1)),
    )

    found = lifecycle(facts, DATASET, NOW)

    assert [each.split(" ")[1] for each in found.reason.split("; ")] == ["forecast", "to", "new"]
    assert found.since == facts.forecasts[0].finished_at


instants = st.integers(0, 30 * 365 * 24 * 60).map(
    lambda minutes: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
maybe_instants = st.none() | instants
runs = st.builds(
    Run,
    run_id=st.just(1),
    job=st.just("forecast"),
    dataset=st.just("bikes"),
    tick=instants,
    state=st.sampled_from(["running", "succeeded", "failed", "missed"]),
    attempt=st.integers(0, 5),
    started_at=maybe_instants,
    finished_at=maybe_instants,
    report=st.none()
    | st.fixed_dictionaries({}, optional={"model_id": st.integers(1, 9), "statuses": st.just({})}),
    error=st.none() | st.text(max_size=5),
    hint=st.none() | st.sampled_from([InsufficientHistory.NO_DATA, "another"]),
    progress=st.none() | st.floats(-1, 2),
)
facts_of_any_kind = st.builds(
    Facts,
    dataset=st.just("bikes"),
    series=st.integers(0, 3),
    newest_observation=maybe_instants,
    serving=st.none()
    | st.builds(
        Serving,
        model_id=st.integers(1, 9),
        trained_to=instants,
        promoted_at=instants,
        is_fallback=st.booleans(),
    ),
    forecasts=st.lists(runs, max_size=3).map(tuple),
    retrains=st.lists(runs, max_size=3).map(tuple),
    last_forecast=st.none() | runs,
    replicas=st.integers(0, 2),
    last_replica=maybe_instants,
)


@given(facts=facts_of_any_kind, now=instants, is_configured=st.booleans())
def test_whatever_the_facts_there_is_one_state_with_a_reason(
    facts: Facts, now: datetime, is_configured: bool
) -> None:
    found = lifecycle(facts, DATASET if is_configured else None, now)

    assert found.state in STATES
    assert found.reason
    assert (found.progress is not None) == (found.state == "initializing")
    assert found.progress is None or 0 <= found.progress <= 1
    assert (found.state == "stopped") == (not is_configured or facts.replicas == 0)
    assert found.state not in {"running", "degraded"} or facts.serving is not None


@pytest.mark.parametrize(
    ("now", "newest", "last", "state"),
    [
        ("2026-12-20", "2026-11-01", "2026-11-19", "running"),  # the tick before an upgrade
        ("2027-02-28", "2026-11-01", "2027-02-06", "running"),
        ("2027-03-07", "2026-11-01", "2027-03-06", "degraded"),
        ("2027-01-05", "2026-11-01", "2026-12-06", "running"),
        ("2027-02-07", "2026-11-01", "2026-12-06", "degraded"),
        ("2027-04-07", "2026-11-01", "2026-12-06", "failed"),
    ],
)
def test_months_are_late_and_silent_by_the_calendar(
    now: str, newest: str, last: str, state: str
) -> None:
    at, seen, tick = (datetime.fromisoformat(text).replace(tzinfo=UTC)
                      for text in (now, newest, last))  # fmt: skip
    monthly = replace(
        DATASET,
        step=Step.parse("1mo"),
        delay=timedelta(days=5),
        forecast_schedule=Periods(Step.parse("1mo"), "UTC", timedelta(days=5)),
    )
    facts = replace(WELL, newest_observation=seen, **forecasts(run("succeeded", tick=tick)))

    assert lifecycle(facts, monthly, at).state == state
