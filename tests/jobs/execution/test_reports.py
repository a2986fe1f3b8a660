"""A report is numbers, text and instants, and becomes JSON without loss of meaning."""

import json
from datetime import UTC, datetime

import pytest

from jobs.execution.reports import (
    LeadAccuracy,
    ScoreReport,
    document,
    to_json,
)

LEAD = LeadAccuracy(
    lead="1",
    points=2,
    mase=0.5,
    seasonal_naive_mase=1.0,
    skill=0.5,
    wql=float("nan"),
    bias=0.0,
    coverage_50=0.5,
    coverage_80=1.0,
    coverage_95=1.0,
    width_80=2.0,
)


def test_a_report_is_a_json_object_with_iso_instants_and_no_nan() -> None:
    tick = datetime(2026, 11, 20, 9, tzinfo=UTC)
    report = ScoreReport(
        dataset="bikes", tick=tick, matured_to=tick, points=2, rows=1, leads=(LEAD,), stages={}
    )

    said = json.loads(json.dumps(document(report), allow_nan=False))

    assert said["tick"] == "2026-11-20T09:00:00+00:00"
    assert said["leads"][0]["mase"] == 0.5
    assert said["leads"][0]["wql"] is None


def test_a_report_holds_nothing_else() -> None:
    with pytest.raises(TypeError, match="a report holds"):
        to_json(object())
