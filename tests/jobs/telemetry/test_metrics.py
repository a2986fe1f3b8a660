"""Telemetry: what Prometheus sees, before and after runs."""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric

from jobs.execution.reports import (
    ForecastReport,
    LeadAccuracy,
    PruneReport,
    PullReport,
    RetrainReport,
    ScoreReport,
)
from jobs.telemetry import record
from jobs.telemetry.metrics import LABELS, Telemetry
from tests.jobs.terminal.test_attention_report import GOOD

TICK = datetime(2026, 1, 2, tzinfo=UTC)
NAN = float("nan")
OF_THE_MACHINE = ("process_", "python_", "forecaster_build_info")


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(["bikes"])


def exposed(telemetry: Telemetry) -> str:
    body, _ = telemetry.expose("text/plain")
    return body.decode()


def sample(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(f"forecaster_{name}", labels)


def pulled() -> PullReport:
    return PullReport(
        since=TICK - timedelta(hours=3),
        until=TICK,
        rows=9,
        new=4,
        corrected=1,
        unchanged=3,
        late=2,
        outside=0,
        rejected={"unreadable_value": 1},
        examples={},
        duplicates=1,
        conflicting=2,
        watermark=TICK,
    )


def forecast() -> ForecastReport:
    return ForecastReport(
        dataset="bikes",
        tick=TICK,
        cutoff=TICK,
        model_id=1,
        trained_to=TICK,
        known_to=TICK,
        series=3,
        rows=36,
        attention_rows=6,
        statuses={"ok": 2, "cold_start": 1},
        skipped={"too_short": 2},
        skipped_series={},
        newest_observation=TICK - timedelta(hours=1),
        panel={"merged": 0, "off_grid": 5, "non_finite": 0, "gaps": 7},
        pull=pulled(),
        stages={"pull": 0.02, "predict": 0.5},
    )


def retrain(decision: str = "promoted") -> RetrainReport:
    return RetrainReport(
        dataset="bikes",
        tick=TICK,
        model_id=2,
        decision="promoted" if decision == "promoted" else "kept",
        reason="first model",
        series=3,
        observations=300,
        trained_from=TICK - timedelta(days=30),
        trained_to=TICK,
        season_length=24,
        scores={"mase": 0.8},
        train_loss=0.25,
        steps=4,
        train_seconds=12.0,
        windows_per_second=900.0,
        device="cpu",
        notes=(),
        pull=None,
        stages={"fit": 12.0},
    )


def scored(*, mase: float = 0.75) -> ScoreReport:
    lead = LeadAccuracy(
        lead="2-3",
        points=6,
        mase=mase,
        seasonal_naive_mase=1.0,
        skill=0.25,
        wql=0.1,
        bias=-0.01,
        coverage_50=0.5,
        coverage_80=0.8,
        coverage_95=NAN,
        width_80=2.0,
    )
    return ScoreReport(
        dataset="bikes", tick=TICK, matured_to=TICK, points=6, rows=3, leads=(lead,), stages={}
    )


@pytest.mark.fault(35)
def test_every_label_is_one_of_the_bounded_set_and_never_job_or_series(
    telemetry: Telemetry,
) -> None:
    used = {label for metric in telemetry.declared for label in metric.labels}

    assert used - {"version", "torch"} <= set(LABELS)
    assert not used & {"job", "series", "series_id", "instance"}


def test_names_carry_their_unit_and_counters_end_in_total(telemetry: Telemetry) -> None:
    for metric in telemetry.declared:
        assert metric.name.startswith("forecaster_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")


def test_no_created_series_double_the_output(telemetry: Telemetry) -> None:
    assert "_created" not in exposed(telemetry)


def test_counters_are_there_at_zero_before_anything_happened(telemetry: Telemetry) -> None:
    assert sample(telemetry, "runs_total", task="forecast", dataset="bikes", outcome="failed") == 0
    assert sample(telemetry, "series_skipped_total", dataset="bikes", reason="too_short") == 0
    assert (
        sample(telemetry, "rejected_rows_total", dataset="bikes", reason="missing_series_id") == 0
    )


def test_forecasts_in_hindsight_are_counted_beside_their_status(telemetry: Telemetry) -> None:
    record.report(telemetry, replace(forecast(), hindsight=3), at=TICK)

    counts = {
        reason: sample(telemetry, "series_fallback_total", dataset="bikes", reason=reason)
        for reason in ("hindsight", "cold_start")
    }
    assert counts == {"hindsight": 3, "cold_start": 1}


def test_a_forecast_report_becomes_rows_series_lag_and_latency(telemetry: Telemetry) -> None:
    record.report(telemetry, forecast(), at=TICK + timedelta(seconds=4))

    assert sample(telemetry, "series_forecast_total", dataset="bikes") == 3
    assert sample(telemetry, "series_skipped_total", dataset="bikes", reason="too_short") == 2
    assert sample(telemetry, "series_fallback_total", dataset="bikes", reason="cold_start") == 1
    assert sample(telemetry, "rows_written_total", task="forecast", dataset="bikes") == 42
    assert sample(telemetry, "pulled_rows_total", dataset="bikes", outcome="corrected") == 1
    assert sample(telemetry, "late_rows_total", dataset="bikes") == 2
    assert sample(telemetry, "pull_lag_seconds", dataset="bikes") == 3600
    assert sample(telemetry, "forecast_latency_seconds_sum", dataset="bikes") == 4
    assert sample(telemetry, "panel_cells_total", dataset="bikes", reason="gaps") == 7
    stage = {"task": "forecast", "stage": "predict", "dataset": "bikes"}
    assert sample(telemetry, "stage_duration_seconds_sum", **stage) == 0.5


def test_a_promoted_model_becomes_the_champion_and_a_kept_one_does_not(
    telemetry: Telemetry,
) -> None:
    record.report(telemetry, retrain("kept"), at=TICK)
    before = sample(telemetry, "champion_trained_timestamp_seconds", dataset="bikes")
    record.report(telemetry, retrain("promoted"), at=TICK)

    assert before is None
    trained = sample(telemetry, "champion_trained_timestamp_seconds", dataset="bikes")
    assert trained == TICK.timestamp()
    assert sample(telemetry, "retrain_decisions_total", dataset="bikes", outcome="kept") == 1
    assert sample(telemetry, "train_windows_per_second", dataset="bikes") == 900


def test_the_attention_of_a_promoted_model_shows_how_far_it_can_be_trusted(
    telemetry: Telemetry,
) -> None:
    trusted = replace(retrain(), scores={"mase": 0.8, **GOOD.to_scores()})

    record.report(telemetry, replace(trusted, decision="kept"), at=TICK)
    before = sample(telemetry, "attention_deletion_ratio", dataset="bikes")
    record.report(telemetry, trusted, at=TICK)

    assert before is None
    ratio = sample(telemetry, "attention_deletion_ratio", dataset="bikes")
    assert ratio == pytest.approx(4.2)
    assert sample(telemetry, "attention_effective_patches", dataset="bikes") == 6.3


def test_accuracy_is_shown_by_lead_and_an_unknown_measure_leaves_its_gauge_alone(
    telemetry: Telemetry,
) -> None:
    record.report(telemetry, scored(), at=TICK)
    record.report(telemetry, scored(mase=NAN), at=TICK)

    assert sample(telemetry, "accuracy_mase", dataset="bikes", lead="2-3") == 0.75
    coverage = {"dataset": "bikes", "lead": "2-3"}
    assert sample(telemetry, "accuracy_coverage_ratio", **coverage, level="0.8") == 0.8
    assert sample(telemetry, "accuracy_coverage_ratio", **coverage, level="0.95") is None
    assert sample(telemetry, "points_scored_total", dataset="bikes") == 12


def test_promtool_finds_nothing_to_complain_about(
    telemetry: Telemetry, promtool: str, tmp_path: Path
) -> None:
    fill(telemetry)

    checked = subprocess.run(
        [promtool, "check", "metrics"], input=exposed(telemetry), capture_output=True, text=True
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_page_is_the_golden_one(
    telemetry: Telemetry, golden: Callable[[str, str], None]
) -> None:
    fill(telemetry)

    lines = [
        line
        for line in exposed(telemetry).splitlines()
        if not re.sub(r"^# (HELP|TYPE) ", "", line).startswith(OF_THE_MACHINE)
    ]
    golden("metrics.txt", "\n".join(lines) + "\n")


def fill(telemetry: Telemetry) -> None:
    """Let everything happen once."""
    prune = PruneReport(dataset="bikes", tick=TICK, deleted={"forecasts": 3})
    for report in (forecast(), retrain(), scored(), prune):
        record.report(telemetry, report, at=TICK + timedelta(seconds=4))


def test_a_dataset_that_is_gone_stays_so_whatever_its_last_runs_report() -> None:
    telemetry = Telemetry(["bikes", "cars"])
    telemetry.serve(["cars"])

    record.missed(telemetry, "forecast", "bikes", "limit", 3)
    gone = exposed(telemetry)
    record.missed(telemetry, "forecast", "bikes", "limit", 3)
    telemetry.serve(["bikes", "cars"])
    back = exposed(telemetry)

    assert 'dataset="bikes"' not in gone
    assert 'ticks_missed_total{dataset="bikes",reason="limit",task="forecast"} 0.0' in back


def test_a_run_that_ends_while_metrics_are_exposed_brings_no_dataset_back() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(["bikes", "cars"], registry=registry)
    telemetry.serve(["cars"])

    class Ending:
        """What ends between the start of a scrape and the runs in it."""

        def collect(self) -> Iterator[Metric]:
            record.missed(telemetry, "forecast", "bikes", "limit", 3)
            yield from telemetry.ticks_missed.collect()

    registry.unregister(telemetry.ticks_missed)
    registry.register(Ending())

    assert 'ticks_missed_total{dataset="cars"' in exposed(telemetry)
    assert 'dataset="bikes"' not in exposed(telemetry)
