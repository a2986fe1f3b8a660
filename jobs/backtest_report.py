"""A backtest as a document (JSON), a long table (CSV) and a page (Markdown)."""

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from forecaster.errors import ConfigError, DataError
from forecaster.trial import Trained
from jobs.backtest import Outcome
from jobs.backtest_figures import (
    COLUMNS,
    LEGEND,
    SERIES_HEADINGS,
    facts,
    lead_rows,
    overall_rows,
    series_rows,
    shown,
)
from jobs.reports import Json, to_json

SUFFIXES = (".md", ".json", ".csv")
NAMED = 10
"""Series that a page names of those that were left out."""
_KEPT = ("points", "smape", "mase", "owa", "wql", "mae", "bias", "skill",
         "coverage_50", "coverage_80", "coverage_95", "width_80")  # fmt: skip


def require_suffix(path: Path | None) -> None:
    """Raise ConfigError unless a report can be written to `path`, a file that is not there yet."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            [f"--out must end in {', '.join(SUFFIXES)}, found {path.suffix or 'no suffix'}"],
            hint=".md is a page for people, .json has everything, .csv is the long table",
        )
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError([f"--out must be a file in a folder that exists, found {path}"])
    if path.exists():
        raise ConfigError(
            [f"--out must be a new file, found {path}, which exists"],
            hint="name another one, or remove it if it is an older report",
        )


def write(path: Path, outcome: Outcome) -> None:
    """Write the report that the suffix of `path` asks for; DataError where a file is there."""
    texts = {
        ".md": lambda: markdown(outcome),
        ".json": lambda: json.dumps(document(outcome), indent=2, ensure_ascii=False) + "\n",
        ".csv": lambda: long_table(outcome).write_csv(),
    }
    try:
        with path.open("x", encoding="utf-8") as opened:
            opened.write(texts[path.suffix.lower()]())
    except OSError as error:
        raise DataError(f"{path} must be writable, found: {error.strerror or error}") from error


def document(outcome: Outcome) -> Json:
    """Return all that was found as JSON, nothing rounded."""
    spec = outcome.trainings[-1].spec
    return to_json(
        {
            "name": outcome.name,
            "rows": outcome.rows,
            "series": outcome.series,
            "first": outcome.first,
            "last": outcome.last,
            "split": outcome.split,
            "step": str(outcome.step),
            "timezone": spec.timezone,
            "prediction_length": outcome.prediction_length,
            "stride": outcome.stride,
            "windows_per_series": outcome.turns,
            "windows": outcome.found.windows,
            "tested_from": outcome.tested_from,
            "tested_to": outcome.tested_to,
            "season_length": spec.season_length,
            "long_season": spec.long_season,
            "context_length": spec.context_length,
            "seed": outcome.seed,
            "train_seconds": outcome.seconds,
            "trainings": [_training(each) for each in outcome.trainings],
            "notes": list(outcome.notes),
            "overall": _kept(outcome.overall, "predictor", "series"),
            "by_lead": _kept(outcome.by_lead, "predictor", "lead"),
            "by_series": _kept(outcome.by_series, "predictor", "series_id"),
            "unsaid_points": dict(outcome.found.missing),
            "series_without_scale": list(outcome.still),
            "left_out": dict(outcome.left_out),
        }
    )


def _training(each: Trained) -> dict[str, object]:
    return {
        "turn": each.turn + 1,
        "series": each.series,
        "observations": each.observations,
        "trained_from": each.trained_from,
        "trained_to": each.trained_to,
        "steps": each.result.steps,
        "seconds": each.result.seconds,
        "device": each.result.device,
        "fallback": each.result.model.fallback,
    }


def _kept(table: pl.DataFrame, *keys: str) -> list[dict[str, object]]:
    return table.select(*keys, *(name for name in _KEPT if name in table.columns)).to_dicts()


def long_table(outcome: Outcome) -> pl.DataFrame:
    """Return one row per predictor, series and lead that was summed up; empty means: all."""
    parts = [outcome.overall.drop("series"), outcome.by_lead.drop("series"),
             outcome.by_series.drop("series")]  # fmt: skip
    texts = [part.with_columns(pl.col("predictor", "^lead$").cast(pl.String)) for part in parts]
    table = pl.concat(texts, how="diagonal")
    return table.select(
        "predictor", "series_id", "lead", *(name for name in _KEPT if name in table.columns)
    )


def markdown(outcome: Outcome) -> str:
    """Return a page that can be attached to a ticket."""
    leads, by_lead = lead_rows(outcome)
    series, hidden = series_rows(outcome)
    about = f"those with the least and the most skill; {hidden} lie between" if hidden else "all"
    parts = [
        f"# Backtest of {outcome.name}",
        "\n".join(f"- {word}: {said}" for word, said in facts(outcome)),
        "## Accuracy",
        _grid(["", *(COLUMNS[name] for name in shown(outcome.overall))],
              list(overall_rows(outcome))),
        " ".join(LEGEND).replace("*", "\\*", 1),
        "## MASE by steps ahead",
        _grid(["", *leads], by_lead),
        f"## Series: {about}",
        _grid(SERIES_HEADINGS, series),
    ]  # fmt: skip
    if outcome.left_out:
        named = [f"- {name}: {reason}" for name, reason in outcome.left_out.items()]
        more = [f"- … and {len(named) - NAMED} more"] if len(named) > NAMED else []
        parts += ["## Left out", "\n".join([*named[:NAMED], *more])]
    return "\n\n".join(parts) + "\n"


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join(["---", *["---:"] * (len(headings) - 1)]) + "|"
    return "\n".join([line(headings), rule, *map(line, rows)])
