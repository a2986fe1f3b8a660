"""Before the first run: `init`, `check` and `config`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster import configtext
from forecaster.config import Config, DatasetConfig
from forecaster.errors import ConfigError, ForecasterError
from jobs.commands.boundary import complain
from jobs.commands.opening import DEFAULT_DATABASE, Schema, opened
from jobs.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, load
from jobs.commands.output import as_json, data, say, table
from jobs.commands.telling import when

if TYPE_CHECKING:
    from sqlalchemy import Engine

PEEK_STEPS = 200
"""Steps of the recent past that `check` reads from a source."""
FINDINGS = ("dataset", "rows", "series", "first", "last", "rejected")


def init(
    config: ConfigOption = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented configuration, and make the embedded database."""
    from jobs.sample import SAMPLE

    if config.exists() and not force:
        raise ConfigError(
            [f"{config} must not exist yet, found one"],
            hint="edit it, or pass --force to overwrite it",
        )
    try:
        config.write_text(SAMPLE)
    except OSError as error:
        raise ConfigError([f"{config} cannot be written: {error.strerror}"]) from error
    data(f"wrote {config}")
    with opened(DEFAULT_DATABASE, Schema.MADE):
        pass
    say(f"next: edit {config}, then `forecaster check`")


def config(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print all settings in force as TOML, passwords masked."""
    data(configtext.to_toml(load(config)).rstrip("\n"))


def check(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Try the configuration, the database and every dataset's query."""
    settings = load(config)
    with opened(settings.database_url, Schema.ANY) as engine:
        _check_schema(engine)
        findings, failures = _look_at(settings, engine)
    if json:
        as_json(findings)
    elif findings:
        table(findings, columns=FINDINGS)
    for dataset, failure in failures.items():
        say(f"{dataset}:")
        complain(failure)
    if failures:
        raise typer.Exit(1)


def _look_at(
    settings: Config, engine: "Engine"
) -> tuple[list[dict[str, Any]], dict[str, ForecasterError]]:
    findings: list[dict[str, Any]] = []
    failures: dict[str, ForecasterError] = {}
    for dataset in settings.datasets.values():
        try:
            _try_plugins(dataset)
            findings.append({"dataset": dataset.name, **_found(dataset, settings, engine)})
        except ForecasterError as error:
            failures[dataset.name] = error
    return findings, failures


def _try_plugins(dataset: DatasetConfig) -> None:
    """Raise UnusablePlugin if a score or prior of the user's own cannot be used."""
    if dataset.model.plugins:
        from forecaster.model import plugins

        plugins.load(dataset.model)


def _found(dataset: DatasetConfig, settings: Config, engine: "Engine") -> dict[str, Any]:
    """Return what the source holds of the recent past, or what was ingested."""
    from forecaster import frames, intake
    from forecaster.store import observations, schema
    from forecaster.store.engine import reading
    from forecaster.store.source import read_rows
    from forecaster.store.source_question import Wanted
    from jobs.pull import columns_of

    now = datetime.now(UTC)
    if dataset.query is None:
        if schema.revision(engine) is None:
            return _described(frames.empty(frames.OBSERVATIONS), 0, {})
        with reading(engine) as conn:
            landed = observations.read(conn, dataset.name, since=now - dataset.history)
        return _described(landed, landed.height, {})
    url = dataset.source_url or settings.database_url
    recent = now - min(dataset.history, PEEK_STEPS * dataset.step.approximate + dataset.late_data)
    raw = read_rows(dataset, url, Wanted(since=recent, until=now))
    if raw.is_empty():
        raw = read_rows(dataset, url, Wanted(since=now - dataset.history, until=now))
    taken = intake.normalize(raw, columns_of(dataset), timezone=dataset.timezone)
    return _described(taken.observations, raw.height, taken.rejected)


def _described(observations: Any, rows: int, rejected: Mapping[str, int]) -> dict[str, Any]:
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
    stamps = observations["timestamp"]
    return {
        "rows": rows,
        "series": observations["series_id"].n_unique(),
        "first": None if stamps.is_empty() else when(stamps.min()),
        "last": None if stamps.is_empty() else when(stamps.max()),
        "rejected": reasons or "none",
    }


def _check_schema(engine: "Engine") -> None:
    """Say that the database answers; SchemaOutOfDate if it has tables of another version."""
    from forecaster.store import schema
    from forecaster.store.urls import masked

    if schema.revision(engine) is None:
        say(f"{masked(engine.url)} answers; it has no tables of ours yet, the first run makes them")
        return
    schema.require_head(engine)
    say(f"{masked(engine.url)} answers; its schema is the newest")
