"""A backtest as a file: a document (JSON), a long table (CSV) or a page (Markdown)."""

import json
from dataclasses import asdict
from pathlib import Path

import polars as pl

from forecaster.errors import ConfigError, DataError
from forecaster.experiments.stage import Trained
from jobs.backtest import forecasts_file
from jobs.backtest.forecasts_file import require_new
from jobs.backtest.page import markdown
from jobs.backtest.plan import Plan, plan_notes
from jobs.backtest.run import Outcome
from jobs.execution.reports import Json, to_json

SUFFIXES = (".md", ".json", ".csv")
_METRICS = ("points", "smape", "mase", "owa", "wql", "mae", "bias", "skill",
         "coverage_50", "coverage_80", "coverage_95", "width_80")  # fmt: skip


def require_writable(out: Path | None, forecasts: Path | None) -> None:
    """Raise ConfigError unless these, where given, are new files of a format that is written."""
    if out is not None:
        hint = ".md is a readable page, .json has all results, .csv is the long table"
        require_new("--out", out, SUFFIXES, hint)
    if forecasts is not None:
        hint = "one row per step of each forecast; for large results use .parquet"
        require_new("--forecasts", forecasts, forecasts_file.SUFFIXES, hint)
    if out is not None and forecasts is not None and out.resolve() == forecasts.resolve():
        raise ConfigError(
            [f"--out and --forecasts must be different files, found {out} for both"],
            hint="choose another file for one of them",
        )


def write(path: Path, outcome: Outcome) -> None:
    """Write the report in the format of the suffix of `path`; DataError if the file exists."""
    texts = {
        ".md": lambda: markdown(outcome),
        ".json": lambda: json.dumps(document(outcome), indent=2, ensure_ascii=False) + "\n",
        ".csv": lambda: long_table(outcome).write_csv(),
    }
    try:
        with path.open("x", encoding="utf-8") as opened:
            opened.write(texts[path.suffix.lower()]())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def document(outcome: Outcome) -> Json:
    """Return all results as JSON, nothing rounded."""
    plan, spec = outcome.plan, outcome.trainings[-1].spec
    return to_json(
        {
            **_subject(plan),
            "windows_per_series": plan.turns,
            "windows": outcome.backtest.windows,
            "tested_from": plan.tested_from,
            "tested_to": plan.tested_to,
            "timezone": spec.timezone,
            "season_length": spec.season_length,
            "long_season": spec.long_season,
            "context_length": spec.context_length,
            "seed": plan.seeds[0],
            "seeds": _metrics(outcome.by_seed, "seed"),
            "train_seconds": outcome.seconds,
            "trainings": [_training(training) for training in outcome.trainings],
            "notes": [*plan_notes(plan), *outcome.notes],
            "overall": _metrics(outcome.overall, "predictor", "series"),
            "by_lead": _metrics(outcome.by_lead, "predictor", "lead"),
            "by_series": _metrics(outcome.by_series, "predictor", "series_id"),
            "by_series_and_lead": _metrics(
                outcome.by_series_and_lead, "predictor", "series_id", "lead"
            ),
            "unsaid_points": dict(outcome.backtest.missing),
            "series_without_scale": list(outcome.still),
            "left_out": dict(outcome.left_out),
        }
    )


def _subject(plan: Plan) -> dict[str, object]:
    """Return what was read and rejected, and what was to be tested."""
    rows, dataset = plan.rows, plan.dataset
    return {
        "name": rows.name,
        "rows": len(rows.observations),
        "rejected": {
            reason: {"rows": count, "example": rows.examples.get(reason)}
            for reason, count in rows.rejected.items()
        },
        "duplicates": rows.duplicates,
        "conflicting": rows.conflicting,
        "series": plan.series,
        "first": rows.span[0],
        "last": rows.span[1],
        "split": plan.split,
        "windows_at": "series-end" if plan.at_series_end else "common-end",
        "step": str(dataset.step),
        "prediction_length": dataset.prediction_length,
        "stride": plan.stride,
        "lower_bound": dataset.lower_bound,
        "upper_bound": dataset.upper_bound,
    }


def _training(training: Trained) -> dict[str, object]:
    result, prepared = training.result, training.prepared
    return {
        "turn": training.turn + 1,
        "seed": training.seed,
        "series": prepared.series,
        "observations": prepared.observations,
        "trained_from": prepared.trained_from,
        "trained_to": prepared.trained_to,
        "steps": result.steps,
        "planned_steps": training.planned,
        "seconds": result.seconds,
        "device": result.device,
        "variant": {"statistics": training.spec.statistics, "calendar": training.spec.calendar},
        "validation": None if result.validation is None else asdict(result.validation),
        "fallback": result.model.fallback,
    }


def _metrics(table: pl.DataFrame, *keys: str) -> list[dict[str, object]]:
    return table.select(*keys, *(name for name in _METRICS if name in table.columns)).to_dicts()


def long_table(outcome: Outcome) -> pl.DataFrame:
    """Return one row per predictor, series and lead that was summed up; empty means: all."""
    tables = (outcome.overall, outcome.by_lead, outcome.by_series, outcome.by_series_and_lead)
    parts = [table.drop("series") for table in tables]
    texts = [part.with_columns(pl.col("predictor", "^lead$").cast(pl.String)) for part in parts]
    table = pl.concat(texts, how="diagonal")
    return table.select(
        "predictor", "series_id", "lead", *(name for name in _METRICS if name in table.columns)
    )
